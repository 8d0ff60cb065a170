//! Hashing everything anew, step by step, to find out whether the sums are right.

use kvorum_core::digest::{BUCKET_ITEMS, MAX_BITS};
use kvorum_core::{KeyspaceId, Slot};

use super::sums::{Hashing, Sums};
use super::{Index, IndexKey, SlotIndex};

/// A slot is hashed in pieces of at most so many keys. One piece takes a millisecond or two, and
/// few slots have more than one.
const PIECE: usize = BUCKET_ITEMS << MAX_BITS;

/// A pass over all slots.
#[derive(Clone, Debug)]
pub(crate) struct Check {
    /// The next slot, in (keyspace, slot) order; nothing at the end.
    next: Option<(KeyspaceId, Slot)>,
    /// What of it has been hashed.
    begun: Option<Begun>,
}

impl Default for Check {
    fn default() -> Check {
        Check { next: Some((KeyspaceId(0), Slot::default())), begun: None }
    }
}

/// The first pieces of a slot.
#[derive(Clone, Debug)]
struct Begun {
    last: Option<IndexKey>,
    sums: Sums,
    /// The slot's sum when it was begun: with another one it has changed since.
    total: u64,
}

impl Check {
    /// Whether the pass is through.
    pub(crate) const fn is_complete(&self) -> bool {
        self.next.is_none()
    }
}

impl Begun {
    fn of(slot: &SlotIndex) -> Begun {
        Begun { last: None, sums: slot.sums().cleared(), total: slot.sums().total() }
    }

    /// Hashes the next piece and returns how many keys it had.
    fn hash(&mut self, slot: &SlotIndex, hashing: Hashing) -> usize {
        let mut hashed = 0;
        let mut last = None;
        for (key, entry) in slot.after(self.last.as_ref()).take(PIECE) {
            self.sums.replace(hashing, key.as_slice(), None, Some(entry));
            hashed += 1;
            last = Some(key);
        }
        self.last = last.cloned();
        hashed
    }
}

impl Index {
    /// Hashes the next piece. Returns how many keys that were, and the slot if its sums were found
    /// wrong; they are right now. A slot of several pieces that changes meanwhile is left to the
    /// next pass.
    pub(crate) fn check(&mut self, check: &mut Check) -> (usize, Option<(KeyspaceId, Slot)>) {
        let place = check.next.and_then(|from| self.next_hashed(from));
        let begun = check.begun.take().filter(|_| place == check.next);
        check.next = place;
        let Some((keyspace, slot)) = place else { return (0, None) };
        let hashing = self.hashing(keyspace);
        let (Some(hashing), Some(keys)) = (hashing, self.present_mut(keyspace, slot)) else {
            return (0, None);
        };
        let mut begun = begun.unwrap_or_else(|| Begun::of(keys));
        let unchanged = begun.total == keys.sums().total();
        let hashed = if unchanged { begun.hash(keys, hashing) } else { 0 };
        if hashed == PIECE {
            check.begun = Some(begun);
            return (hashed, None);
        }
        check.next = behind(keyspace, slot);
        let wrong = unchanged && begun.sums != *keys.sums();
        if wrong {
            keys.correct(begun.sums);
        }
        (hashed, wrong.then_some((keyspace, slot)))
    }

    /// The first slot from `from` on that has sums of anything.
    fn next_hashed(&self, from: (KeyspaceId, Slot)) -> Option<(KeyspaceId, Slot)> {
        let mut slots = self.slots(from);
        let found = slots
            .find(|(keyspace, _, slot)| self.hashing(*keyspace).is_some() && !slot.is_blank())?;
        Some((found.0, found.1))
    }
}

/// The place behind a slot.
fn behind(keyspace: KeyspaceId, slot: Slot) -> Option<(KeyspaceId, Slot)> {
    match Slot::new(slot.get() + 1) {
        Some(next) => Some((keyspace, next)),
        None => Some((KeyspaceId(keyspace.0.checked_add(1)?), Slot::default())),
    }
}
