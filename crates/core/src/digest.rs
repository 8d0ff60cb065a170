//! Digests: what replicas compare to find where they differ.
//!
//! Every record of a replicated keyspace has an *item hash* of its key and version; the value needs
//! none, because a version names one value. What replicas compare are wrapping **sums** of item
//! hashes. A sum does not depend on order, changes by one subtraction and one addition when a record
//! is replaced, and adds up: *buckets* (keys of a slot whose hashes begin with the same bits) to
//! slots, slots to partitions. A sum instead of an exclusive or: what was added twice shows.
//!
//! The hashes are keyed with a [`Seed`] that clients do not learn, so nobody can choose keys whose
//! hashes cancel or which all fall into one bucket. Two sets that differ have the same sum with
//! probability 2⁻⁶⁴.
//!
//! Source: Basho's Active Anti-Entropy, whose "tictactoe" trees fold and merge in the same way and
//! hash the vector clock instead of the value; XXH3 is by Yann Collet.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::{Header, KeyspaceId};

/// How many items a bucket should hold at most.
pub const BUCKET_ITEMS: usize = 32;
/// The finest division of a slot: 2⁹ buckets.
pub const MAX_BITS: u8 = 9;

/// What the hashes of a cluster are keyed with: the same on all nodes, unknown to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seed(pub u64);

/// The hash of a key. Its top bits choose the [`bucket`].
#[must_use]
pub fn key_hash(seed: Seed, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, seed.0)
}

/// The hash of a record: of its keyspace, its key (as [`key_hash`]), its version, whether it is a
/// tombstone, its tag and its expiry.
#[must_use]
pub fn item_hash(seed: Seed, keyspace: KeyspaceId, key_hash: u64, header: &Header) -> u64 {
    let Header { version, tombstone, tag, expire_ms, value_len: _ } = *header;
    let words = [
        key_hash,
        version.hlc.0,
        expire_ms,
        u64::from(version.writer.0) << 32 | u64::from(tag),
        u64::from(keyspace.0) << 1 | u64::from(tombstone),
    ];
    xxh3_64_with_seed(words.map(u64::to_le_bytes).as_flattened(), seed.0)
}

/// The bucket of a key: the top `bits` bits of its hash.
#[must_use]
pub const fn bucket(key_hash: u64, bits: u8) -> usize {
    // Shifting by all 64 bits would overflow.
    if bits == 0 { 0 } else { (key_hash >> (64 - bits as u32)) as usize }
}

/// From one division of a slot to the next finer one the number of buckets grows eightfold, so that
/// the items of a slot that grows are seldom hashed anew.
const STEP: u8 = 3;

/// How finely a slot with so many items is divided: 0, 3, 6 or 9 bits, the least at which a bucket
/// holds at most [`BUCKET_ITEMS`] on average, or [`MAX_BITS`].
#[must_use]
pub const fn bits_for(items: usize) -> u8 {
    let mut bits = 0;
    while bits < MAX_BITS && items > BUCKET_ITEMS << bits {
        bits += STEP;
    }
    bits
}

/// The sums of the 2^`bits` buckets of some items of a keyspace, each a key and what is known of
/// its record.
pub fn sums<'a>(
    seed: Seed,
    keyspace: KeyspaceId,
    items: impl IntoIterator<Item = (&'a [u8], Header)>,
    bits: u8,
) -> Vec<u64> {
    let mut sums = vec![0_u64; 1 << bits];
    for (key, header) in items {
        let key_hash = key_hash(seed, key);
        if let Some(sum) = sums.get_mut(bucket(key_hash, bits)) {
            *sum = sum.wrapping_add(item_hash(seed, keyspace, key_hash, &header));
        }
    }
    sums
}

/// The sums of a slot at a coarser division than they have: those of buckets whose keys' hashes
/// begin with the same `bits` bits are added up. Sums that are coarser already stay as they are.
#[must_use]
pub fn fold(sums: &[u64], bits: u8) -> Vec<u64> {
    let together = (sums.len() >> bits).max(1);
    let total = |sums: &[u64]| sums.iter().fold(0_u64, |total, sum| total.wrapping_add(*sum));
    sums.chunks(together).map(total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hlc, NodeId, Version, Writer};

    const SEED: Seed = Seed(7);

    fn header() -> Header {
        let writer = Writer::new(NodeId::new(3).unwrap(), 4);
        let version = Version { hlc: Hlc(5), writer };
        Header { version, tombstone: false, tag: 6, expire_ms: 7, value_len: 8 }
    }

    fn hash(seed: Seed, keyspace: KeyspaceId, key: &[u8], header: &Header) -> u64 {
        item_hash(seed, keyspace, key_hash(seed, key), header)
    }

    #[test]
    fn everything_that_tells_two_records_apart_is_hashed() {
        let here = KeyspaceId::DEFAULT;
        let h = header();
        let later = Version { hlc: Hlc(6), ..h.version };
        let other = Version { writer: Writer(9), ..h.version };
        let mut all = vec![
            hash(SEED, here, b"key", &h),
            hash(Seed(8), here, b"key", &h),
            hash(SEED, KeyspaceId(2), b"key", &h),
            hash(SEED, here, b"kez", &h),
            hash(SEED, here, b"key", &Header { version: later, ..h }),
            hash(SEED, here, b"key", &Header { version: other, ..h }),
            hash(SEED, here, b"key", &Header { tombstone: true, ..h }),
            hash(SEED, here, b"key", &Header { tag: 5, ..h }),
            hash(SEED, here, b"key", &Header { expire_ms: 8, ..h }),
        ];
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 9);
        let unhashed = Header { value_len: 9, ..h };
        assert_eq!(hash(SEED, here, b"key", &unhashed), hash(SEED, here, b"key", &h));
    }

    /// Nodes of different builds compare these hashes.
    #[test]
    fn hashes_do_not_change_between_versions_of_the_program() {
        assert_eq!(key_hash(SEED, b"key"), 2_716_753_337_528_975_820);
        assert_eq!(hash(SEED, KeyspaceId::DEFAULT, b"key", &header()), 7_911_424_934_520_993_067);
    }

    #[test]
    fn buckets_are_the_top_bits_of_the_hash() {
        assert_eq!(bucket(u64::MAX, 0), 0);
        assert_eq!(bucket(u64::MAX, 1), 1);
        assert_eq!(bucket(0b1010 << 60, 3), 0b101);
        assert_eq!(bucket(u64::MAX, MAX_BITS), 511);
    }

    #[test]
    fn a_slot_is_divided_when_a_bucket_would_hold_too_many() {
        assert_eq!([0, 1, 32, 33, 256, 257].map(bits_for), [0, 0, 0, 3, 3, 6]);
        assert_eq!([32 << 6, (32 << 6) + 1, usize::MAX].map(bits_for), [6, 9, 9]);
    }

    #[test]
    fn fine_sums_fold_to_coarse_ones() {
        let keys: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n, n ^ 3]).collect();
        let at = |bits| {
            let items = keys.iter().map(|key| (key.as_slice(), header()));
            sums(SEED, KeyspaceId::DEFAULT, items, bits)
        };
        for bits in 0..=MAX_BITS {
            assert_eq!(at(bits).len(), 1 << bits);
            for coarser in 0..=bits {
                assert_eq!(fold(&at(bits), coarser), at(coarser), "{bits} to {coarser}");
            }
            assert_eq!(fold(&at(bits), MAX_BITS), at(bits));
        }
    }
}
