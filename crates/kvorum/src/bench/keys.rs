//! Which key an operation touches.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::random::{Random, mix};

/// How keys are chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Distribution {
    /// Every key is as likely as any other.
    Uniform,
    /// A few keys are hot, as in YCSB (constant 0.99), and lie anywhere.
    Zipfian,
    /// The newest keys are the hottest.
    Latest,
}

/// Chooses keys by number, 0 up to the number of keys that exist.
#[derive(Clone, Debug)]
pub struct KeyChooser {
    distribution: Distribution,
    zipf: Zipf,
    /// How many keys exist; inserts by any client add to it.
    count: Arc<AtomicU64>,
}

impl KeyChooser {
    /// A chooser over `keys` keys, at least one. Clones share the number of keys.
    #[must_use]
    pub fn new(distribution: Distribution, keys: u64) -> KeyChooser {
        let count = Arc::new(AtomicU64::new(keys));
        // Only the other two look at the table, which costs a power per key.
        let ranks = if distribution == Distribution::Uniform { 1 } else { keys };
        KeyChooser { distribution, zipf: Zipf::new(ranks), count }
    }

    /// A key that exists.
    pub fn existing(&self, random: &mut Random) -> u64 {
        let count = self.count.load(Ordering::Relaxed);
        match self.distribution {
            Distribution::Uniform => random.below(count),
            Distribution::Zipfian => mix(self.zipf.rank(random)) % count.max(1),
            Distribution::Latest => count.saturating_sub(1).saturating_sub(self.zipf.rank(random)),
        }
    }

    /// A key that did not exist.
    pub fn fresh(&self) -> u64 {
        self.count.fetch_add(1, Ordering::Relaxed)
    }
}

/// Ranks by Zipf's law: rank 0 is the most frequent.
///
/// Gray et al., "Quickly Generating Billion-Record Synthetic Databases", SIGMOD 1994, section 3.2.
#[derive(Clone, Debug)]
struct Zipf {
    ranks: f64,
    zeta: f64,
    eta: f64,
}

/// The skew that YCSB uses.
const THETA: f64 = 0.99;

impl Zipf {
    fn new(ranks: u64) -> Zipf {
        let zeta_of = |n: u64| (1..=n).map(|rank| (rank as f64).powf(-THETA)).sum::<f64>();
        let zeta = zeta_of(ranks);
        let ranks = ranks as f64;
        let eta = (1.0 - (2.0 / ranks).powf(1.0 - THETA)) / (1.0 - zeta_of(2) / zeta);
        Zipf { ranks, zeta, eta }
    }

    fn rank(&self, random: &mut Random) -> u64 {
        let unit = random.unit();
        let scaled = unit * self.zeta;
        if scaled < 1.0 || self.ranks < 2.0 {
            return 0;
        }
        if scaled < 1.0 + 0.5_f64.powf(THETA) {
            return 1;
        }
        let rank = self.ranks * (self.eta * unit - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        (rank as u64).min(self.ranks as u64 - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(distribution: Distribution, keys: u64) -> Vec<u32> {
        let chooser = KeyChooser::new(distribution, keys);
        let mut random = Random::new(3, 0);
        let mut counts = vec![0; keys as usize];
        for _ in 0..100_000 {
            counts[chooser.existing(&mut random) as usize] += 1;
        }
        counts
    }

    #[test]
    fn uniform_keys_are_equally_likely() {
        let counts = histogram(Distribution::Uniform, 100);
        assert!(counts.iter().all(|count| (850..1150).contains(count)), "{counts:?}");
    }

    #[test]
    fn zipfian_ranks_have_the_frequencies_of_the_law() {
        let zipf = Zipf::new(1000);
        let mut random = Random::new(3, 0);
        let mut counts = [0_u32; 1000];
        for _ in 0..200_000 {
            counts[zipf.rank(&mut random) as usize] += 1;
        }
        // The law itself: the probability of rank r is 1 / (r^0.99 zeta(1000)).
        for (rank, tolerance) in [(1_u32, 0.03), (2, 0.03), (10, 0.25), (100, 0.3)] {
            let expected = 200_000.0 / (f64::from(rank).powf(THETA) * zipf.zeta);
            let seen = f64::from(counts[rank as usize - 1]);
            assert!((seen / expected - 1.0).abs() < tolerance, "{rank}: {seen} for {expected}");
        }
    }

    #[test]
    fn the_hottest_of_the_latest_keys_is_the_newest() {
        let chooser = KeyChooser::new(Distribution::Latest, 100);
        assert_eq!(chooser.fresh(), 100);
        let mut random = Random::new(3, 0);
        let newest = (0..1000).filter(|_| chooser.existing(&mut random) == 100).count();
        assert!(newest > 150, "{newest}");
    }

    #[test]
    fn a_single_key_is_always_chosen() {
        for distribution in [Distribution::Uniform, Distribution::Zipfian, Distribution::Latest] {
            assert_eq!(histogram(distribution, 1), [100_000]);
        }
    }
}
