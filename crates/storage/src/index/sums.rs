//! The sums of one slot, maintained as its records change.
//!
//! Every write pays for them, so of most slots only the sum is kept, beside what a write touches
//! anyway. The sums of buckets are another place in memory, which costs ten times what the hashes
//! do: they are hashed when somebody asks, which is when two replicas differ in the slot, and takes
//! no longer than listing the items that comes next. Only a slot with very many keys keeps them,
//! because nobody can wait for it.

use kvorum_core::KeyspaceId;
use kvorum_core::digest::{self, MAX_BITS, Seed};

use super::{Entry, IndexKey};

/// A slot with more keys keeps the sums of its buckets. Hashing so many takes a quarter of a
/// millisecond.
pub(super) const MANY: usize = 4096;

/// How many sums of buckets are kept, if any: the finest division, which folds to all others.
const BUCKETS: usize = 1 << MAX_BITS;

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

    /// The sums of 2^`bits` buckets of these records.
    pub(super) fn sums<'a>(
        self,
        entries: impl IntoIterator<Item = (&'a IndexKey, &'a Entry)>,
        bits: u8,
    ) -> Vec<u64> {
        let items = entries.into_iter().map(|(key, entry)| (key.as_slice(), entry.header()));
        digest::sums(self.seed, self.keyspace, items, bits)
    }
}

/// The sums of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    total: u64,
    /// The sums of the buckets, which add up to the total.
    buckets: Option<Box<[u64; BUCKETS]>>,
}

impl Sums {
    /// The sums of no records; of buckets as well if there will be so many keys.
    pub(super) fn new(keys: usize) -> Sums {
        Sums { total: 0, buckets: (keys > MANY).then(|| Box::new([0; BUCKETS])) }
    }

    /// The sums of no records, of buckets as well if these ones are.
    pub(super) fn cleared(&self) -> Sums {
        Sums { total: 0, buckets: self.buckets.is_some().then(|| Box::new([0; BUCKETS])) }
    }

    pub(super) const fn total(&self) -> u64 {
        self.total
    }

    /// The sums of the buckets, if they are kept.
    pub(super) fn buckets(&self) -> Option<&[u64]> {
        self.buckets.as_ref().map(|buckets| buckets.as_slice())
    }

    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> u64 {
        self.buckets().map_or(0, size_of_val) as u64
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
        let buckets = self.buckets.as_mut().map(|buckets| buckets.as_mut_slice());
        let bucket = digest::bucket(key_hash, MAX_BITS);
        if let Some(sum) = buckets.and_then(|buckets| buckets.get_mut(bucket)) {
            *sum = sum.wrapping_add(difference);
        }
    }

    /// Forgets the sums of the buckets if few keys are left: not as soon as they are no longer
    /// many, so that a slot whose keys come and go is not hashed anew all the time.
    pub(super) fn shrink(&mut self, keys: usize) {
        self.buckets.take_if(|_| keys <= MANY / 2);
    }
}
