//! The ordered index in memory: where each key's newest record lies, and all of it but the value.

mod check;
mod digests;
mod entry;
mod key;
mod slot;
mod sums;

use std::collections::BTreeMap;

use kvorum_core::digest::Seed;
use kvorum_core::{KeyspaceId, Slot};

use crate::log::record::{Kind, RecordRef};
pub(crate) use check::Check;
pub(crate) use entry::{Address, Entry};
pub(crate) use key::IndexKey;
pub(crate) use slot::SlotIndex;

/// What a key takes in memory beside a long key's own bytes: key and entry of 64 bytes in B-trees
/// of some dozens of keys, whose nodes are little more than half full. Measured with a million
/// keys.
const KEY_BYTES: u64 = 120;

/// All keys of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keyspaces: BTreeMap<KeyspaceId, Vec<SlotIndex>>,
    keys: u64,
    key_bytes: u64,
    heap_bytes: u64,
    /// What the hashes are keyed with, once that is known.
    seed: Option<Seed>,
    /// Leaves out that the hash of what is replaced is subtracted; see
    /// [`Index::seed_digests`].
    keeps_replaced: bool,
}

impl Index {
    pub(crate) fn get(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<&Entry> {
        self.slot(keyspace, slot)?.get(key)
    }

    /// The entry of a key, to be changed in anything but its header.
    pub(crate) fn get_mut(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Option<&mut Entry> {
        self.present_mut(keyspace, slot)?.get_mut(key)
    }

    pub(crate) fn slot(&self, keyspace: KeyspaceId, slot: Slot) -> Option<&SlotIndex> {
        self.keyspaces.get(&keyspace)?.get(usize::from(slot.get()))
    }

    /// Sets the entry of a key and returns the one it had.
    pub(crate) fn insert(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
        entry: Entry,
    ) -> Option<Entry> {
        let hashing = self.hashing(keyspace);
        let slot = self.slot_mut(keyspace, slot)?;
        let sums_before = slot.sums().heap_bytes();
        let old = slot.insert(key, entry, hashing);
        let sums_after = slot.sums().heap_bytes();
        self.heap_bytes = self.heap_bytes + sums_after - sums_before;
        if old.is_none() {
            self.keys += 1;
            self.key_bytes += key.len() as u64;
            self.heap_bytes += IndexKey::heap_bytes(key.len()) as u64;
        }
        old
    }

    /// Takes out the keys that a removal names, and tells of each its length and its entry.
    pub(crate) fn remove(
        &mut self,
        removal: &RecordRef<'_>,
        mut removed: impl FnMut(usize, &Entry),
    ) {
        let RecordRef { keyspace, slot, key: from, value: to, .. } = *removal;
        let hashing = self.hashing(keyspace);
        let slots = self.keyspaces.get_mut(&keyspace);
        let Some(slot) = slots.and_then(|slots| slots.get_mut(usize::from(slot.get()))) else {
            return;
        };
        let sums_before = slot.sums().heap_bytes();
        slot.remove(from, to, hashing, |key, entry| {
            let len = key.as_slice().len();
            self.keys -= 1;
            self.key_bytes -= len as u64;
            self.heap_bytes -= IndexKey::heap_bytes(len) as u64;
            removed(len, entry);
        });
        self.heap_bytes -= sums_before - slot.sums().heap_bytes();
    }

    /// Adds the keys of a slot that has none, in their order, before anything is hashed.
    pub(crate) fn add_sorted(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        entries: Vec<(IndexKey, Entry)>,
    ) {
        self.keys += entries.len() as u64;
        for (key, _) in &entries {
            self.key_bytes += key.as_slice().len() as u64;
            self.heap_bytes += IndexKey::heap_bytes(key.as_slice().len()) as u64;
        }
        if let Some(place) = self.slot_mut(keyspace, slot) {
            *place = SlotIndex::new(entries);
        }
    }

    /// A slot, if there ever was anything in it or behind it.
    fn present_mut(&mut self, keyspace: KeyspaceId, slot: Slot) -> Option<&mut SlotIndex> {
        self.keyspaces.get_mut(&keyspace)?.get_mut(usize::from(slot.get()))
    }

    fn slot_mut(&mut self, keyspace: KeyspaceId, slot: Slot) -> Option<&mut SlotIndex> {
        let place = usize::from(slot.get());
        let slots = self.keyspaces.entry(keyspace).or_default();
        if slots.len() <= place {
            slots.resize_with(place + 1, SlotIndex::default);
        }
        slots.get_mut(place)
    }

    /// How many keys of the slots are not tombstones.
    pub(crate) fn live(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.range(keyspace, first, last).iter().map(SlotIndex::live).sum()
    }

    /// The slots `first..=last`, without those at the end that never held anything.
    fn range(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> &[SlotIndex] {
        let slots = self.keyspaces.get(&keyspace).map(Vec::as_slice).unwrap_or_default();
        let behind = slots.len().min(usize::from(last.get()) + 1);
        slots.get(usize::from(first.get())..behind).unwrap_or_default()
    }

    /// All slots in (keyspace, slot) order, from `first` on.
    pub(crate) fn slots(
        &self,
        first: (KeyspaceId, Slot),
    ) -> impl Iterator<Item = (KeyspaceId, Slot, &SlotIndex)> {
        self.keyspaces.range(first.0..).flat_map(move |(keyspace, slots)| {
            let from = if *keyspace == first.0 { first.1.get() } else { 0 };
            let rest = slots.get(usize::from(from)..).unwrap_or_default();
            let numbered = (from..).zip(rest);
            numbered.filter_map(|(n, slot)| Some((*keyspace, Slot::new(n)?, slot)))
        })
    }

    /// All entries, to be changed in anything but their headers.
    pub(crate) fn entries_mut(
        &mut self,
    ) -> impl Iterator<Item = (KeyspaceId, Slot, &IndexKey, &mut Entry)> {
        self.keyspaces.iter_mut().flat_map(|(keyspace, slots)| {
            (0..).zip(slots).flat_map(move |(n, slot)| {
                let number = Slot::new(n).unwrap_or_default();
                slot.iter_mut().map(move |(key, entry)| (*keyspace, number, key, entry))
            })
        })
    }

    /// Does what a record of the log says. A moved record changes only where an entry of exactly
    /// its version lies: it never creates, because its key may have changed since.
    pub(crate) fn replay(&mut self, record: &RecordRef<'_>, address: Address, moved_creates: bool) {
        let RecordRef { keyspace, slot, key, .. } = *record;
        match record.kind {
            Kind::Value | Kind::Tombstone if !record.moved => {
                self.insert(keyspace, slot, key, Entry::new(&record.header(), address));
            }
            Kind::Value | Kind::Tombstone => match self.get_mut(keyspace, slot, key) {
                Some(entry) if entry.version() == record.version => entry.move_to(address),
                None if moved_creates => {
                    self.insert(keyspace, slot, key, Entry::new(&record.header(), address));
                }
                _ => {}
            },
            Kind::Lost => match self.get_mut(keyspace, slot, key) {
                Some(entry) if entry.version() == record.version => entry.lose(address),
                _ => {}
            },
            Kind::Rebuilt => {}
            Kind::Removed => self.remove(record, |_, _| {}),
        }
    }

    /// How many keys there are, tombstones included.
    pub(crate) const fn keys(&self) -> u64 {
        self.keys
    }

    /// The lengths of all keys together.
    pub(crate) const fn key_bytes(&self) -> u64 {
        self.key_bytes
    }

    /// The memory the index takes, sums included, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.keys * KEY_BYTES + self.heap_bytes
    }
}

#[cfg(test)]
mod tests;
