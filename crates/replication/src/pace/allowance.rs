//! How much a node may ask of others beyond one round of each operation.
//!
//! Two token buckets, filled by operations and not by time: when a node has little to do it has
//! little to repeat. What correctness or availability needs is never refused, but it is taken
//! from the same bucket, so that what is merely useful stops first.

/// What may be asked beyond one round of each operation.
#[derive(Debug)]
pub struct Allowance {
    /// Everything beyond the first round: a tenth of operations.
    repeats: Bucket<10>,
    /// Reads that ask one member more because another is slow: a twentieth of reads.
    hurries: Bucket<20>,
}

impl Default for Allowance {
    fn default() -> Allowance {
        Allowance { repeats: Bucket::full(), hurries: Bucket::full() }
    }
}

impl Allowance {
    /// An operation begins here.
    pub fn begin(&mut self, is_read: bool) {
        self.repeats.earn();
        if is_read {
            self.hurries.earn();
        }
    }

    /// A member is asked once more because the operation would fail without: a write is stamped
    /// again, or a member that was lost or refused is replaced.
    pub fn owe(&mut self) {
        self.repeats.spend();
    }

    /// Whether a read may ask one member more than it must. If so, it has.
    pub fn hurry(&mut self) -> bool {
        let may = self.repeats.has_one() && self.hurries.has_one();
        if may {
            self.repeats.spend();
            self.hurries.spend();
        }
        may
    }
}

/// Holds up to [`Bucket::BURST`] tokens; `PRICE` operations earn one.
#[derive(Debug)]
struct Bucket<const PRICE: u32> {
    earned: u32,
}

impl<const PRICE: u32> Bucket<PRICE> {
    /// So many tokens can be spent at once.
    const BURST: u32 = 100;

    const fn full() -> Bucket<PRICE> {
        Bucket { earned: Self::BURST * PRICE }
    }

    fn earn(&mut self) {
        self.earned = (self.earned + 1).min(Self::BURST * PRICE);
    }

    const fn has_one(&self) -> bool {
        self.earned >= PRICE
    }

    const fn spend(&mut self) {
        self.earned = self.earned.saturating_sub(PRICE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_most_a_twentieth_of_many_reads_is_hurried() {
        let mut allowance = Allowance::default();
        let hurried = (0..100_000)
            .filter(|_| {
                allowance.begin(true);
                allowance.hurry()
            })
            .count();
        assert!((5000..=5100).contains(&hurried), "{hurried}");
    }

    #[test]
    fn writes_earn_no_hurry() {
        let mut allowance = Allowance::default();
        assert_eq!((0..1000).filter(|_| allowance.hurry()).count(), 100);
        for _ in 0..1000 {
            allowance.begin(false);
        }
        assert!(!allowance.hurry());
    }

    #[test]
    fn what_must_be_repeated_is_taken_from_what_may_be() {
        let mut allowance = Allowance::default();
        for _ in 0..1000 {
            allowance.begin(true);
            // Every tenth operation has to be repeated: nothing is left for the rest.
            allowance.owe();
        }
        assert!(!allowance.hurry());
        for _ in 0..20 {
            allowance.begin(true);
        }
        assert!(allowance.hurry());
    }
}
