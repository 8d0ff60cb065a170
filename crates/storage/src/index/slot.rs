//! The keys of one slot, and what is counted and summed of them as they change.

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use kvorum_core::digest::{self, MAX_BITS};

use super::sums::{Hashing, MANY, Sums};
use super::{Entry, IndexKey};

/// The keys of one slot of one keyspace. Most slots of a small store are empty: they take no memory
/// besides their place.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotIndex {
    entries: BTreeMap<IndexKey, Entry>,
    tombstones: u32,
    /// How many are tombstones or expire.
    mortal: u32,
    sums: Sums,
}

impl SlotIndex {
    /// A slot with these keys, in their order, that is not hashed yet.
    pub(super) fn new(entries: Vec<(IndexKey, Entry)>) -> SlotIndex {
        let mut slot = SlotIndex::default();
        for (_, entry) in &entries {
            slot.count(entry);
        }
        slot.entries = entries.into_iter().collect();
        slot
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// The entry of a key, to be changed in what is neither counted nor hashed: not in its header.
    pub(super) fn get_mut(&mut self, key: &[u8]) -> Option<&mut Entry> {
        self.entries.get_mut(key)
    }

    pub(crate) fn iter(&self) -> btree_map::Iter<'_, IndexKey, Entry> {
        self.entries.iter()
    }

    /// All entries, to be changed in what is neither counted nor hashed.
    pub(super) fn iter_mut(&mut self) -> btree_map::IterMut<'_, IndexKey, Entry> {
        self.entries.iter_mut()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries from `key` on.
    pub(crate) fn from(&self, key: &[u8]) -> btree_map::Range<'_, IndexKey, Entry> {
        self.entries.range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }

    /// The entries behind `key`, or all of them.
    pub(super) fn after(&self, key: Option<&IndexKey>) -> btree_map::Range<'_, IndexKey, Entry> {
        let start = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.entries.range::<IndexKey, _>((start, Bound::Unbounded))
    }

    /// How many keys are not tombstones.
    pub(super) fn live(&self) -> u64 {
        self.entries.len() as u64 - self.tombstones()
    }

    pub(super) fn tombstones(&self) -> u64 {
        u64::from(self.tombstones)
    }

    pub(super) fn is_mortal(&self) -> bool {
        self.mortal > 0
    }

    pub(crate) fn sums(&self) -> &Sums {
        &self.sums
    }

    /// Whether the slot is as one that never held anything.
    pub(super) fn is_blank(&self) -> bool {
        self.is_empty() && self.sums == Sums::default()
    }

    /// Puts sums right that were found wrong.
    pub(super) fn correct(&mut self, sums: Sums) {
        self.sums = sums;
    }

    /// Sets the entry of a key and returns the one it had.
    pub(super) fn insert(
        &mut self,
        key: &[u8],
        entry: Entry,
        hashing: Option<Hashing>,
    ) -> Option<Entry> {
        self.count(&entry);
        let old = match self.entries.get_mut(key) {
            Some(place) => Some(std::mem::replace(place, entry)),
            None => self.entries.insert(IndexKey::new(key), entry),
        };
        if let Some(old) = &old {
            self.discount(old);
        }
        if let Some(hashing) = hashing {
            self.sums.replace(hashing, key, old.as_ref(), Some(&entry));
            if self.entries.len() > MANY && self.sums.buckets().is_none() {
                self.hash(hashing);
            }
        }
        old
    }

    /// Takes out the keys of a range and tells of each.
    pub(super) fn remove(
        &mut self,
        from: &[u8],
        to: &[u8],
        hashing: Option<Hashing>,
        mut removed: impl FnMut(&IndexKey, &Entry),
    ) {
        if from >= to {
            return;
        }
        let range = IndexKey::new(from)..IndexKey::new(to);
        for (key, entry) in self.entries.extract_if(range, |_, _| true) {
            self.tombstones -= u32::from(entry.tombstone());
            self.mortal -= u32::from(entry.mortal());
            if let Some(hashing) = hashing {
                self.sums.replace(hashing, key.as_slice(), Some(&entry), None);
            }
            removed(&key, &entry);
        }
        self.sums.shrink(self.entries.len());
    }

    /// How finely the slot is divided: in 2^bits buckets.
    pub(super) fn bits(&self) -> u8 {
        if self.sums.buckets().is_some() { MAX_BITS } else { digest::bits_for(self.entries.len()) }
    }

    /// The sums of 2^`bits` buckets, or of as many as the slot has if they are fewer.
    pub(super) fn bucket_sums(&self, hashing: Hashing, bits: u8) -> Vec<u64> {
        let bits = bits.min(self.bits());
        match self.sums.buckets() {
            _ if bits == 0 => vec![self.sums.total()],
            Some(buckets) => digest::fold(buckets, bits),
            None => hashing.sums(&self.entries, bits),
        }
    }

    /// Sums everything anew.
    pub(super) fn hash(&mut self, hashing: Hashing) {
        self.sums = Sums::new(self.entries.len());
        for (key, entry) in &self.entries {
            self.sums.replace(hashing, key.as_slice(), None, Some(entry));
        }
    }

    fn count(&mut self, entry: &Entry) {
        self.tombstones += u32::from(entry.tombstone());
        self.mortal += u32::from(entry.mortal());
    }

    fn discount(&mut self, entry: &Entry) {
        self.tombstones -= u32::from(entry.tombstone());
        self.mortal -= u32::from(entry.mortal());
    }
}
