//! The cursors of SCAN.
//!
//! A Redis cursor is an integer and cannot hold a key. It is `slot << 39 | id`: a slot (14 bits)
//! and the id of a resume point in a bounded table of this node. Id 0 is the beginning of the slot.
//! A resume point that is no longer known (evicted, or made by another node) restarts its slot:
//! the client may see keys of one slot again, which Redis allows, but misses none. Cursors stay
//! below 2^53 because some clients keep them in a floating-point number.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;
use kvorum_core::{Cursor, KeyspaceId, Slot};

/// Bits of an id.
const ID_BITS: u32 = 39;
/// The most resume points kept.
const MAX_POINTS: usize = 4096;
/// The most bytes their keys may take.
const MAX_BYTES: usize = 4 << 20;

/// The resume points of a node.
pub(super) struct Cursors {
    points: BTreeMap<u64, (KeyspaceId, Cursor)>,
    /// Ids in the order in which they were made.
    order: VecDeque<u64>,
    bytes: usize,
    made: u64,
    /// Ids are hashes with random keys, so that those of two nodes, or of two starts of one, hardly
    /// ever meet.
    hasher: RandomState,
}

impl Cursors {
    pub(super) fn new() -> Cursors {
        Cursors {
            points: BTreeMap::new(),
            order: VecDeque::new(),
            bytes: 0,
            made: 0,
            hasher: RandomState::new(),
        }
    }

    /// The number by which a client asks to go on at `place`. It is never zero unless the place is
    /// the very beginning.
    pub(super) fn number(&mut self, keyspace: KeyspaceId, place: Cursor) -> u64 {
        let slot = u64::from(place.slot.get()) << ID_BITS;
        if place.key.is_empty() {
            return slot;
        }
        self.made += 1;
        let id = (self.hasher.hash_one(self.made) >> (u64::BITS - ID_BITS)).max(1);
        self.bytes += place.key.len();
        self.order.push_back(id);
        if let Some((_, replaced)) = self.points.insert(id, (keyspace, place)) {
            self.bytes -= replaced.key.len();
        }
        while self.order.len() > MAX_POINTS || self.bytes > MAX_BYTES {
            let Some(oldest) = self.order.pop_front() else { break };
            if let Some((_, place)) = self.points.remove(&oldest) {
                self.bytes -= place.key.len();
            }
        }
        slot | id
    }

    /// The place a number stands for; nothing if it is no cursor.
    pub(super) fn place(&self, keyspace: KeyspaceId, number: u64) -> Option<Cursor> {
        let slot = Slot::new(u16::try_from(number >> ID_BITS).ok()?)?;
        let known = self.points.get(&(number & ((1 << ID_BITS) - 1)));
        let known = known.filter(|(of, place)| *of == keyspace && place.slot == slot);
        Some(known.map_or(Cursor { slot, key: Bytes::new() }, |(_, place)| place.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(slot: u16, key: &[u8]) -> Cursor {
        Cursor { slot: Slot::new(slot).unwrap(), key: Bytes::copy_from_slice(key) }
    }

    const KEYSPACE: KeyspaceId = KeyspaceId::DEFAULT;

    #[test]
    fn a_number_leads_back_to_its_place() {
        let mut cursors = Cursors::new();
        for place in [place(0, b"a"), place(16383, b"z"), place(5, b""), place(0, b"")] {
            let number = cursors.number(KEYSPACE, place.clone());
            assert!(number < 1 << 53);
            assert_eq!(cursors.place(KEYSPACE, number), Some(place));
        }
        assert_eq!(cursors.number(KEYSPACE, place(0, b"")), 0);
    }

    #[test]
    fn unknown_numbers_restart_their_slot_and_impossible_ones_are_refused() {
        let mut cursors = Cursors::new();
        let number = cursors.number(KEYSPACE, place(7, b"key"));
        assert_eq!(cursors.place(KeyspaceId(9), number), Some(place(7, b"")));
        assert_eq!(Cursors::new().place(KEYSPACE, number), Some(place(7, b"")));
        assert_eq!(cursors.place(KEYSPACE, 16384 << ID_BITS), None);
        assert_eq!(cursors.place(KEYSPACE, u64::MAX), None);
    }

    #[test]
    fn the_table_stays_bounded_and_forgets_the_oldest() {
        let mut cursors = Cursors::new();
        let first = cursors.number(KEYSPACE, place(1, b"first"));
        for n in 0..MAX_POINTS {
            cursors.number(KEYSPACE, place(2, format!("{n}").as_bytes()));
        }
        assert_eq!(cursors.place(KEYSPACE, first), Some(place(1, b"")));
        assert!(cursors.order.len() <= MAX_POINTS && cursors.points.len() <= MAX_POINTS);
        let large = vec![b'k'; 4096];
        for _ in 0..2 * MAX_BYTES / large.len() {
            cursors.number(KEYSPACE, place(3, &large));
        }
        assert!(cursors.bytes <= MAX_BYTES);
    }
}
