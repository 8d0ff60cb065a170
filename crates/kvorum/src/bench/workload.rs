//! What the clients do: the mix of operations.

use std::fmt;

use bytes::Bytes;

use super::keys::{Distribution, KeyChooser};
use super::random::Random;

/// The longest scan of workload e, as in YCSB.
const LONGEST_SCAN: u64 = 100;

/// A named mix. The letters are the core workloads of YCSB (Cooper et al., "Benchmarking Cloud
/// Serving Systems with YCSB", 2010).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Named {
    /// Writes only.
    Put,
    /// Reads only.
    Get,
    /// Reads and writes; --read-share says how many.
    Mixed,
    /// YCSB A: half reads, half updates.
    A,
    /// YCSB B: 95 % reads, 5 % updates.
    B,
    /// YCSB C: reads only.
    C,
    /// YCSB D: 95 % reads of the newest, 5 % inserts.
    D,
    /// YCSB E: 95 % short scans, 5 % inserts (gRPC only).
    E,
    /// YCSB F: half reads, half read-modify-writes.
    F,
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Reads a key.
    Read,
    /// Writes a key that exists.
    Update,
    /// Writes a new key.
    Insert,
    /// Reads several items.
    Scan,
    /// Reads a key and writes it when the answer is there. Not atomic.
    ReadModifyWrite,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Kind; 5] =
        [Kind::Read, Kind::Update, Kind::Insert, Kind::Scan, Kind::ReadModifyWrite];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::Read => "read",
            Kind::Update => "update",
            Kind::Insert => "insert",
            Kind::Scan => "scan",
            Kind::ReadModifyWrite => "read-modify-write",
        })
    }
}

/// A mix of at most two kinds of operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mix {
    first: Kind,
    /// How many of a hundred operations are of the first kind.
    share: u64,
    second: Kind,
}

/// What a client does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What.
    pub kind: Kind,
    /// To which key.
    pub key: Bytes,
    /// How many items at most, for a scan.
    pub scan_length: u32,
}

impl Named {
    /// The mix behind the name; `read_share` is the percentage of reads of [`Named::Mixed`].
    #[must_use]
    pub const fn mix(self, read_share: u64) -> Mix {
        let (first, share, second) = match self {
            Named::Put => (Kind::Update, 100, Kind::Read),
            Named::Get | Named::C => (Kind::Read, 100, Kind::Update),
            Named::Mixed => (Kind::Read, read_share, Kind::Update),
            Named::A => (Kind::Read, 50, Kind::Update),
            Named::B => (Kind::Read, 95, Kind::Update),
            Named::D => (Kind::Read, 95, Kind::Insert),
            Named::E => (Kind::Scan, 95, Kind::Insert),
            Named::F => (Kind::Read, 50, Kind::ReadModifyWrite),
        };
        Mix { first, share, second }
    }

    /// How keys are chosen unless the user says otherwise.
    #[must_use]
    pub const fn distribution(self) -> Distribution {
        match self {
            Named::Put | Named::Get | Named::Mixed => Distribution::Uniform,
            Named::D => Distribution::Latest,
            Named::A | Named::B | Named::C | Named::E | Named::F => Distribution::Zipfian,
        }
    }

    /// Whether the keys must exist before the measurement begins.
    #[must_use]
    pub const fn needs_keys(self) -> bool {
        !matches!(self, Named::Put)
    }
}

/// The operations of one client.
#[derive(Clone, Debug)]
pub struct Generator {
    mix: Mix,
    keys: KeyChooser,
    random: Random,
}

impl Generator {
    /// The operations of client number `client`.
    #[must_use]
    pub const fn new(mix: Mix, keys: KeyChooser, seed: u64, client: u64) -> Generator {
        Generator { mix, keys, random: Random::new(seed, client) }
    }

    /// The next operation.
    pub fn next(&mut self) -> Operation {
        let kind = self.kind();
        let number = match kind {
            Kind::Insert => self.keys.fresh(),
            _ => self.keys.existing(&mut self.random),
        };
        let scan_length = match kind {
            Kind::Scan => u32::try_from(1 + self.random.below(LONGEST_SCAN)).unwrap_or(1),
            _ => 0,
        };
        Operation { kind, key: key(number), scan_length }
    }

    const fn kind(&mut self) -> Kind {
        if self.random.below(100) < self.mix.share { self.mix.first } else { self.mix.second }
    }
}

/// The key with a number.
#[must_use]
pub fn key(number: u64) -> Bytes {
    format!("key:{number:012}").into()
}

/// A value: printable and not compressible to nothing.
#[must_use]
pub fn value(size: u32, seed: u64) -> Bytes {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut random = Random::new(seed, u64::MAX);
    let letter = |n: u64| LETTERS.get((n % 64) as usize).copied().unwrap_or(b'A');
    (0..size).map(|_| letter(random.next())).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn shares(named: Named, read_share: u64) -> BTreeMap<Kind, u32> {
        let keys = KeyChooser::new(named.distribution(), 1000);
        let mut generator = Generator::new(named.mix(read_share), keys, 1, 0);
        let mut counts = BTreeMap::new();
        for _ in 0..10_000 {
            *counts.entry(generator.next().kind).or_insert(0) += 1;
        }
        counts
    }

    fn assert_share(counts: &BTreeMap<Kind, u32>, kind: Kind, percent: u32) {
        let seen = counts.get(&kind).copied().unwrap_or(0);
        assert!(seen.abs_diff(percent * 100) < 200, "{kind}: {seen}");
    }

    #[test]
    fn the_mixes_are_those_of_ycsb() {
        assert_share(&shares(Named::A, 0), Kind::Update, 50);
        assert_share(&shares(Named::B, 0), Kind::Read, 95);
        assert_eq!(shares(Named::C, 0).len(), 1);
        assert_share(&shares(Named::D, 0), Kind::Insert, 5);
        assert_share(&shares(Named::E, 0), Kind::Scan, 95);
        assert_share(&shares(Named::F, 0), Kind::ReadModifyWrite, 50);
    }

    #[test]
    fn a_mixed_load_has_the_share_of_reads_it_was_told() {
        for percent in [0, 30, 100] {
            let counts = shares(Named::Mixed, u64::from(percent));
            assert_share(&counts, Kind::Read, percent);
            assert_share(&counts, Kind::Update, 100 - percent);
        }
    }

    #[test]
    fn inserts_never_repeat_a_key() {
        let keys = KeyChooser::new(Distribution::Latest, 10);
        let mut clients: Vec<Generator> =
            (0..2).map(|client| Generator::new(Named::D.mix(0), keys.clone(), 1, client)).collect();
        let mut inserted = std::collections::BTreeSet::new();
        for step in 0..2000 {
            let operation = clients[step % 2].next();
            if operation.kind == Kind::Insert {
                assert!(inserted.insert(operation.key));
            }
        }
        assert!(inserted.len() > 50);
    }

    #[test]
    fn values_have_the_size_asked_for() {
        assert_eq!(value(100, 1).len(), 100);
        assert!(value(0, 1).is_empty());
        assert_eq!(key(7), "key:000000000007");
    }
}
