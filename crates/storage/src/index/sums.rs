//! The sums of one slot, maintained as its records change.

use kvorum_core::KeyspaceId;
use kvorum_core::digest::{self, BUCKET_ITEMS, MAX_BITS, Seed};

use super::Entry;

/// How the records of one keyspace are hashed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Hashing {
    pub(super) seed: Seed,
    pub(super) keyspace: KeyspaceId,
    /// Leaves out that what is replaced is subtracted, to prove that the tests would notice.
    pub(super) keeps_replaced: bool,
}

impl Hashing {
    fn hash(self, key_hash: u64, entry: &Entry) -> u64 {
        digest::item_hash(self.seed, self.keyspace, key_hash, &entry.header())
    }
}

/// The sums of one slot. With few keys there is only one, which takes no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    total: u64,
    /// The sums of 2^bits buckets, which add up to the total; none instead of one.
    buckets: Box<[u64]>,
}

impl Sums {
    /// The sums of no records, of 2^`bits` buckets.
    pub(super) fn new(bits: u8) -> Sums {
        let buckets = if bits == 0 { Box::default() } else { vec![0; 1 << bits].into() };
        Sums { total: 0, buckets }
    }

    pub(super) fn total(&self) -> u64 {
        self.total
    }

    pub(super) fn bits(&self) -> u8 {
        // At most nine.
        self.buckets.len().checked_ilog2().unwrap_or(0) as u8
    }

    /// The sums of 2^`bits` buckets, or of those there are if they are fewer.
    pub(super) fn folded(&self, bits: u8) -> Vec<u64> {
        if self.buckets.is_empty() { vec![self.total] } else { digest::fold(&self.buckets, bits) }
    }

    /// How many keys these sums are fine enough for.
    pub(super) fn capacity(&self) -> usize {
        let bits = self.bits();
        if bits < MAX_BITS { BUCKET_ITEMS << bits } else { usize::MAX }
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> u64 {
        size_of_val(&*self.buckets) as u64
    }

    /// A key has the entry `new` instead of `old`.
    pub(super) fn replace(
        &mut self,
        hashing: Hashing,
        key: &[u8],
        old: Option<&Entry>,
        new: Option<&Entry>,
    ) {
        let key_hash = digest::key_hash(hashing.seed, key);
        let hash = |entry: Option<&Entry>| entry.map_or(0, |entry| hashing.hash(key_hash, entry));
        let old = old.filter(|_| !hashing.keeps_replaced);
        let difference = hash(new).wrapping_sub(hash(old));
        self.total = self.total.wrapping_add(difference);
        if let Some(sum) = self.buckets.get_mut(digest::bucket(key_hash, self.bits())) {
            *sum = sum.wrapping_add(difference);
        }
    }

    /// Makes them coarser if they are for many more than so many keys: not as soon as they may be,
    /// so that a slot whose keys come and go is not hashed anew all the time. Nothing is hashed here.
    pub(super) fn shrink(&mut self, keys: usize) {
        let bits = digest::bits_for(keys.saturating_mul(4));
        if bits < self.bits() {
            let coarser = digest::fold(&self.buckets, bits);
            self.buckets = if bits == 0 { Box::default() } else { coarser.into() };
        }
    }
}
