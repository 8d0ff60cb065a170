//! Digests of the index: what replicas compare to find where they differ, and what purge looks
//! for.

use kvorum_core::digest::Seed;
use kvorum_core::{KeyspaceId, Slot};

use super::sums::Hashing;
use super::{Index, SlotIndex};

impl Index {
    /// Hashes everything with this seed, and every change from now on.
    pub(crate) fn seed_digests(&mut self, seed: Seed, keeps_replaced: bool) {
        self.seed = Some(seed);
        self.keeps_replaced = keeps_replaced;
        for (keyspace, slots) in &mut self.keyspaces {
            if keyspace.is_local() {
                continue;
            }
            let hashing = Hashing { seed, keyspace: *keyspace, keeps_replaced };
            for slot in slots.iter_mut().filter(|slot| !slot.is_empty()) {
                self.heap_bytes -= slot.sums().heap_bytes();
                slot.hash(hashing);
                self.heap_bytes += slot.sums().heap_bytes();
            }
        }
    }

    /// What the hashes are keyed with, once that is known.
    pub(crate) const fn digest_seed(&self) -> Option<Seed> {
        self.seed
    }

    /// How records of a keyspace are hashed, if they are.
    pub(super) fn hashing(&self, keyspace: KeyspaceId) -> Option<Hashing> {
        let keeps_replaced = self.keeps_replaced;
        let seed = self.seed.filter(|_| !keyspace.is_local())?;
        Some(Hashing { seed, keyspace, keeps_replaced })
    }

    /// The sum of the item hashes of the slots.
    pub(crate) fn sum(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let totals = self.range(keyspace, first, last).iter().map(|slot| slot.sums().total());
        totals.fold(0, u64::wrapping_add)
    }

    /// How finely a slot is divided: in 2^bits buckets.
    pub(crate) fn bucket_bits(&self, keyspace: KeyspaceId, slot: Slot) -> u8 {
        let slot = self.slot(keyspace, slot).filter(|_| self.hashing(keyspace).is_some());
        slot.map_or(0, SlotIndex::bits)
    }

    /// The sums of 2^`bits` buckets of a slot, or of as many as it has if they are fewer.
    pub(crate) fn bucket_sums(&self, keyspace: KeyspaceId, slot: Slot, bits: u8) -> Vec<u64> {
        match (self.slot(keyspace, slot), self.hashing(keyspace)) {
            (Some(slot), Some(hashing)) => slot.bucket_sums(hashing, bits),
            _ => vec![0],
        }
    }

    /// The first of the slots that holds a tombstone or a record that expires.
    pub(crate) fn next_mortal(&self, keyspace: KeyspaceId, from: Slot, last: Slot) -> Option<Slot> {
        let mut slots = (from.get()..).zip(self.range(keyspace, from, last));
        let (number, _) = slots.find(|(_, slot)| slot.is_mortal())?;
        Slot::new(number)
    }

    /// How many keys of the slots are tombstones.
    pub(crate) fn tombstones(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.range(keyspace, first, last).iter().map(SlotIndex::tombstones).sum()
    }
}
