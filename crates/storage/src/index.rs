//! The ordered index in memory: where each key's newest record lies, and all of it but the value.

mod key;
mod sums;

use std::collections::{BTreeMap, btree_map};
use std::ops::Bound;

use kvorum_core::digest::Seed;
use kvorum_core::{Header, Hlc, KeyspaceId, Slot, Version, Writer};

use crate::log::RECORD_HEADER;
use crate::log::record::{Kind, RecordRef};
pub(crate) use key::IndexKey;

/// What a key takes in memory beside a long key's own bytes: key and entry of 64 bytes in B-trees
/// of some dozens of keys, whose nodes are little more than half full. Measured with a million
/// keys.
const KEY_BYTES: u64 = 120;

/// Where a record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    /// Zero for nowhere: the record is lost.
    pub(crate) segment: u32,
    pub(crate) offset: u32,
}

impl Address {
    pub(crate) const NOWHERE: Address = Address { segment: 0, offset: 0 };
}

/// What the index knows of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    hlc: u64,
    expire_ms: u64,
    writer: u32,
    tag: u32,
    value_len: u32,
    address: Address,
    flags: u8,
}

impl Entry {
    const TOMBSTONE: u8 = 1;
    const CORRUPT: u8 = 2;
    const LOST: u8 = 4;
    const COPIED: u8 = 8;
    /// The flags that a checkpoint keeps.
    const KEPT: u8 = Entry::TOMBSTONE | Entry::CORRUPT | Entry::LOST;

    pub(crate) const fn new(header: &Header, address: Address) -> Entry {
        Entry {
            hlc: header.version.hlc.0,
            expire_ms: header.expire_ms,
            writer: header.version.writer.0,
            tag: header.tag,
            value_len: header.value_len,
            address,
            flags: if header.tombstone { Entry::TOMBSTONE } else { 0 },
        }
    }

    pub(crate) const fn header(&self) -> Header {
        Header {
            version: self.version(),
            tombstone: self.tombstone(),
            tag: self.tag,
            expire_ms: self.expire_ms,
            value_len: self.value_len,
        }
    }

    pub(crate) const fn version(&self) -> Version {
        Version { hlc: Hlc(self.hlc), writer: Writer(self.writer) }
    }

    pub(crate) const fn address(&self) -> Address {
        self.address
    }

    pub(crate) const fn tombstone(&self) -> bool {
        self.flags & Entry::TOMBSTONE != 0
    }

    /// The record fails its checksum or is lost.
    pub(crate) const fn corrupt(&self) -> bool {
        self.flags & Entry::CORRUPT != 0
    }

    /// The address is that of a record that says so, or nowhere.
    pub(crate) const fn lost(&self) -> bool {
        self.flags & Entry::LOST != 0
    }

    /// The record was durable elsewhere before compaction copied it here.
    pub(crate) const fn copied(&self) -> bool {
        self.flags & Entry::COPIED != 0
    }

    pub(crate) const fn mark_corrupt(&mut self) {
        self.flags |= Entry::CORRUPT;
    }

    pub(crate) const fn mark_copied(&mut self) {
        self.flags |= Entry::COPIED;
    }

    /// The bytes of the record are gone; what is known of it lies at `address`, if anywhere.
    pub(crate) const fn lose(&mut self, address: Address) {
        self.flags |= Entry::CORRUPT | Entry::LOST;
        self.address = address;
    }

    /// A verified copy of the record lies at `address`.
    pub(crate) const fn move_to(&mut self, address: Address) {
        self.address = address;
        self.flags &= !(Entry::CORRUPT | Entry::LOST);
    }

    /// Length of the record at the address, in bytes.
    pub(crate) const fn stored_len(&self, key_len: usize) -> usize {
        RECORD_HEADER + key_len + if self.lost() { 0 } else { self.value_len as usize }
    }

    /// The flags that a checkpoint keeps.
    pub(crate) const fn kept_flags(&self) -> u8 {
        self.flags & Entry::KEPT
    }

    /// An entry with flags read from a checkpoint; nothing if they mean nothing.
    pub(crate) fn with_flags(mut self, flags: u8) -> Option<Entry> {
        self.flags = flags;
        (flags & !Entry::KEPT == 0).then_some(self)
    }
}

/// The keys of one slot of one keyspace.
#[derive(Clone, Debug, Default)]
pub(crate) struct SlotIndex {
    entries: BTreeMap<IndexKey, Entry>,
    /// How many are not tombstones.
    live: u64,
}

impl SlotIndex {
    pub(crate) fn iter(&self) -> btree_map::Iter<'_, IndexKey, Entry> {
        self.entries.iter()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries from `key` on.
    pub(crate) fn from(&self, key: &[u8]) -> btree_map::Range<'_, IndexKey, Entry> {
        self.entries.range::<[u8], _>((Bound::Included(key), Bound::Unbounded))
    }
}

/// All keys of a store.
#[derive(Clone, Debug, Default)]
pub(crate) struct Index {
    keyspaces: BTreeMap<KeyspaceId, Vec<SlotIndex>>,
    keys: u64,
    key_bytes: u64,
    heap_bytes: u64,
    /// What sums are keyed with, once that is known.
    seed: Option<Seed>,
}

impl Index {
    pub(crate) fn get(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<&Entry> {
        self.slot(keyspace, slot)?.entries.get(key)
    }

    pub(crate) fn get_mut(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Option<&mut Entry> {
        self.keyspaces.get_mut(&keyspace)?.get_mut(usize::from(slot.get()))?.entries.get_mut(key)
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
        let slot = self.slot_mut(keyspace, slot)?;
        slot.live += u64::from(!entry.tombstone());
        if let Some(old) = slot.entries.get_mut(key) {
            slot.live -= u64::from(!old.tombstone());
            return Some(std::mem::replace(old, entry));
        }
        slot.entries.insert(IndexKey::new(key), entry);
        self.keys += 1;
        self.key_bytes += key.len() as u64;
        self.heap_bytes += IndexKey::heap_bytes(key.len()) as u64;
        None
    }

    /// Takes out the keys that a removal names, and tells of each its length and its entry.
    pub(crate) fn remove(
        &mut self,
        removal: &RecordRef<'_>,
        mut removed: impl FnMut(usize, &Entry),
    ) {
        let RecordRef { keyspace, slot, key: from, value: to, .. } = *removal;
        let slots = self.keyspaces.get_mut(&keyspace);
        let Some(slot) = slots.and_then(|slots| slots.get_mut(usize::from(slot.get()))) else {
            return;
        };
        if from >= to {
            return;
        }
        let range = IndexKey::new(from)..IndexKey::new(to);
        for (key, entry) in slot.entries.extract_if(range, |_, _| true) {
            let len = key.as_slice().len();
            slot.live -= u64::from(!entry.tombstone());
            self.keys -= 1;
            self.key_bytes -= len as u64;
            self.heap_bytes -= IndexKey::heap_bytes(len) as u64;
            removed(len, &entry);
        }
    }

    /// Adds the keys of a slot that has none, in their order.
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
        let live = entries.iter().filter(|(_, entry)| !entry.tombstone()).count() as u64;
        if let Some(place) = self.slot_mut(keyspace, slot) {
            *place = SlotIndex { entries: entries.into_iter().collect(), live };
        }
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
        self.range(keyspace, first, last).iter().map(|slot| slot.live).sum()
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

    /// All entries, to be changed in anything but whether they are tombstones.
    pub(crate) fn entries_mut(
        &mut self,
    ) -> impl Iterator<Item = (KeyspaceId, Slot, &IndexKey, &mut Entry)> {
        self.keyspaces.iter_mut().flat_map(|(keyspace, slots)| {
            (0..).zip(slots).flat_map(move |(n, slot)| {
                let number = Slot::new(n).unwrap_or_default();
                slot.entries.iter_mut().map(move |(key, entry)| (*keyspace, number, key, entry))
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

    /// The memory the index takes, in bytes.
    pub(crate) const fn bytes(&self) -> u64 {
        self.keys * KEY_BYTES + self.heap_bytes
    }
}
