//! The slots in which a member may lack more than is remembered by key.
//!
//! They are durable, as one record of [`KeyspaceId::LOCAL`] per partition and member: a restart
//! forgets keys, and a member with very many of them needs to be compared anyway. The record has
//! the key `dirty/{placement}/{partition}/{node}` and the value `format u8 = 1 | first slot u16 |
//! bits`, little endian; bit `i` of byte `n` is slot `first + 8 n + i`. No record: no dirty slots.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    Change, Hlc, KeyspaceId, Mono, NodeId, PartitionId, Record, Slot, Store, Version, Writer,
};

/// The record is not written more often than this.
const SAVE_EVERY: Duration = Duration::from_millis(100);
/// The format of the record.
const FORMAT: u8 = 1;

/// The dirty slots of one partition and one member.
#[derive(Debug)]
pub(super) struct DirtySlots {
    key: Bytes,
    /// Each with the number of the mark that it got last.
    slots: BTreeMap<Slot, u64>,
    /// Marks so far.
    marks: u64,
    /// When the record must be written anew.
    save_at: Option<Mono>,
    /// When it was written last.
    saved: Option<Mono>,
}

impl DirtySlots {
    /// Those of a former life, if there are any. If the record cannot be read, all slots are.
    pub(super) fn load(
        store: &mut dyn Store,
        partition: PartitionId,
        slots: &RangeInclusive<Slot>,
        node: NodeId,
    ) -> DirtySlots {
        let PartitionId { placement, number } = partition;
        let key = Bytes::from(format!("dirty/{placement}/{number}/{node}"));
        let found = match store.value(KeyspaceId::LOCAL, Slot::default(), &key) {
            Ok(None) => Vec::new(),
            Ok(Some((_, value))) => decode(value).unwrap_or_else(|| all(slots)),
            Err(_) => all(slots),
        };
        let here = found.into_iter().filter(|slot| slots.contains(slot));
        let slots = here.map(|slot| (slot, 0)).collect();
        DirtySlots { key, slots, marks: 0, save_at: None, saved: None }
    }

    /// Something in the slot is not remembered by key.
    pub(super) fn mark(&mut self, slot: Slot, now: Mono) {
        self.marks += 1;
        if self.slots.insert(slot, self.marks).is_none() {
            self.change(now);
        }
    }

    /// The slots, in order.
    pub(super) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.slots.keys().copied()
    }

    /// How many they are.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    /// How many marks there have been: what is marked later has a higher number.
    pub(super) const fn marks(&self) -> u64 {
        self.marks
    }

    /// Two replicas were found equal in these slots, apart from what was marked after `marks`.
    pub(super) fn cleaned(&mut self, slots: &RangeInclusive<Slot>, marks: u64, now: Mono) {
        let before = self.slots.len();
        self.slots.retain(|slot, mark| !slots.contains(slot) || *mark > marks);
        if self.slots.len() != before {
            self.change(now);
        }
    }

    /// When [`DirtySlots::save`] is wanted.
    pub(super) const fn save_at(&self) -> Option<Mono> {
        self.save_at
    }

    /// Writes the record anew if it is time to.
    pub(super) fn save(&mut self, store: &mut dyn Store, now: Mono) {
        if self.save_at.is_none_or(|at| at > now) {
            return;
        }
        let slot = Slot::default();
        let written = if self.slots.is_empty() {
            store.commit(&[Change::remove(KeyspaceId::LOCAL, slot, self.key.clone())])
        } else {
            let stored = store.header(KeyspaceId::LOCAL, slot, &self.key);
            // Local records have no clock: their versions only count.
            let hlc = stored.map_or(Hlc(1), |stored| stored.header.version.hlc.next());
            store.put(Record {
                keyspace: KeyspaceId::LOCAL,
                slot,
                key: self.key.clone(),
                version: Version { hlc, writer: Writer::default() },
                tag: 0,
                expire_ms: 0,
                value: Some(self.encode()),
            })
        };
        self.saved = Some(now);
        // A frame that is full has room again in a later turn.
        self.save_at = written.err().map(|_| now + SAVE_EVERY);
    }

    /// Takes it that the record was written.
    pub(super) const fn forget_to_save(&mut self) {
        self.save_at = None;
    }

    fn change(&mut self, now: Mono) {
        let earliest = self.saved.map_or(now, |saved| (saved + SAVE_EVERY).max(now));
        self.save_at.get_or_insert(earliest);
    }

    fn encode(&self) -> Bytes {
        let first = self.slots.keys().next().copied().unwrap_or_default().get();
        let mut bits: Vec<u8> = Vec::new();
        for slot in self.slots.keys() {
            let at = usize::from(slot.get() - first);
            if bits.len() <= at / 8 {
                bits.resize(at / 8 + 1, 0);
            }
            if let Some(byte) = bits.get_mut(at / 8) {
                *byte |= 1 << (at % 8);
            }
        }
        let mut value = BytesMut::with_capacity(3 + bits.len());
        value.put_u8(FORMAT);
        value.put_u16_le(first);
        value.put_slice(&bits);
        value.freeze()
    }
}

fn decode(mut value: Bytes) -> Option<Vec<Slot>> {
    if value.try_get_u8().ok()? != FORMAT {
        return None;
    }
    let first = usize::from(value.try_get_u16_le().ok()?);
    let set = |(at, byte)| (0..8).filter(move |i| byte >> i & 1u8 == 1).map(move |i| at * 8 + i);
    let numbers = value.into_iter().enumerate().flat_map(set);
    numbers.map(|at| Slot::new(u16::try_from(first + at).ok()?)).collect()
}

fn all(slots: &RangeInclusive<Slot>) -> Vec<Slot> {
    (slots.start().get()..=slots.end().get()).filter_map(Slot::new).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kvorum_core::SLOTS;
    use proptest::prelude::*;

    use super::*;
    use crate::memory_store::MemoryStore;

    const PARTITION: PartitionId = PartitionId { placement: 3, number: 12 };

    fn slot(n: u16) -> Slot {
        Slot::new(n).unwrap()
    }

    fn everything() -> RangeInclusive<Slot> {
        slot(0)..=slot(SLOTS - 1)
    }

    fn loaded(store: &mut MemoryStore, slots: &RangeInclusive<Slot>) -> DirtySlots {
        DirtySlots::load(store, PARTITION, slots, NodeId::new(2).unwrap())
    }

    #[test]
    fn dirty_slots_survive_a_crash_and_clean_ones_are_gone_after_one() {
        let mut store = MemoryStore::default();
        let mut dirty = loaded(&mut store, &everything());
        assert_eq!(dirty.save_at(), None);
        for n in [700, 5, 16383, 700] {
            dirty.mark(slot(n), Mono(1));
        }
        dirty.save(&mut store, dirty.save_at().unwrap());
        assert_eq!(dirty.save_at(), None);
        store.sync();
        store.crash();
        let mut dirty = loaded(&mut store, &everything());
        assert_eq!(dirty.slots().collect::<Vec<_>>(), [slot(5), slot(700), slot(16383)]);

        dirty.cleaned(&everything(), dirty.marks(), Mono(2));
        dirty.save(&mut store, dirty.save_at().unwrap());
        store.sync();
        store.crash();
        assert_eq!(loaded(&mut store, &everything()).len(), 0);
        assert!(store.header(KeyspaceId::LOCAL, slot(0), b"dirty/3/12/2").is_none());
    }

    #[test]
    fn what_is_marked_while_replicas_are_compared_stays_dirty() {
        let mut dirty = loaded(&mut MemoryStore::default(), &everything());
        dirty.mark(slot(1), Mono(1));
        dirty.mark(slot(2), Mono(1));
        let marks = dirty.marks();
        dirty.mark(slot(2), Mono(1));
        dirty.mark(slot(3), Mono(1));
        dirty.cleaned(&everything(), marks, Mono(1));
        assert_eq!(dirty.slots().collect::<Vec<_>>(), [slot(2), slot(3)]);
    }

    #[test]
    fn the_record_is_not_written_for_every_mark() {
        let mut store = MemoryStore::default();
        let mut dirty = loaded(&mut store, &everything());
        let mut written = 0;
        for n in 0..1000 {
            let now = Mono(u64::from(n) * 1000);
            dirty.mark(slot(n), now);
            let before = store.last();
            dirty.save(&mut store, now);
            written += usize::from(store.last() > before);
        }
        assert!(written <= 11, "{written}");
        assert!(dirty.save_at().is_some());
    }

    #[test]
    fn a_record_that_cannot_be_read_makes_all_slots_dirty() {
        let mut store = MemoryStore::default();
        let mut dirty = loaded(&mut store, &everything());
        dirty.mark(slot(1), Mono(1));
        dirty.save(&mut store, Mono(1));
        store.sync();
        store.damage_all(KeyspaceId::LOCAL);
        assert_eq!(loaded(&mut store, &(slot(0)..=slot(9))).len(), 10);
    }

    proptest! {
        #[test]
        fn any_set_of_slots_is_read_as_it_was_written(
            marked in proptest::collection::btree_set(0..SLOTS, 1..50),
        ) {
            let mut dirty = loaded(&mut MemoryStore::default(), &everything());
            for n in &marked {
                dirty.mark(slot(*n), Mono(0));
            }
            let read = decode(dirty.encode()).unwrap();
            prop_assert_eq!(read.iter().map(|slot| slot.get()).collect::<BTreeSet<_>>(), marked);
        }

        #[test]
        fn arbitrary_bytes_are_slots_or_nothing(bytes: Vec<u8>) {
            if let Some(slots) = decode(Bytes::from(bytes)) {
                prop_assert!(slots.iter().all(|slot| slot.get() < SLOTS));
            }
        }
    }
}
