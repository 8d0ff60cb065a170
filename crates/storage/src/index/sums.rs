//! Digests of the index: what replicas compare to find where they differ.

use kvorum_core::digest::{self, Seed};
use kvorum_core::{KeyspaceId, Slot};

use super::{Entry, Index, SlotIndex};

impl Index {
    /// From now on there are sums, keyed with `seed`.
    pub(crate) fn seed_digests(&mut self, seed: Seed) {
        self.seed = Some(seed);
    }

    pub(crate) fn digest_seed(&self) -> Option<Seed> {
        self.seed
    }

    /// The sum of the item hashes of the slots.
    pub(crate) fn sum(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let slots = self.range(keyspace, first, last).iter();
        let sums = slots.flat_map(|slot| self.sums_of(keyspace, slot, 0));
        sums.fold(0, u64::wrapping_add)
    }

    /// How finely the sums of a slot are kept.
    pub(crate) fn bucket_bits(&self, keyspace: KeyspaceId, slot: Slot) -> u8 {
        self.slot(keyspace, slot).map_or(0, |slot| digest::bits_for(slot.entries.len()))
    }

    /// The sums of the buckets of a slot.
    pub(crate) fn bucket_sums(&self, keyspace: KeyspaceId, slot: Slot, bits: u8) -> Vec<u64> {
        let bits = bits.min(self.bucket_bits(keyspace, slot));
        self.slot(keyspace, slot).map_or(vec![0], |slot| self.sums_of(keyspace, slot, bits))
    }

    /// The first of the slots that holds something that may be purged some day.
    pub(crate) fn next_mortal(&self, keyspace: KeyspaceId, from: Slot, last: Slot) -> Option<Slot> {
        let slots = self.range(keyspace, from, last).iter();
        let mortal = |entry: &Entry| entry.tombstone() || entry.expire_ms != 0;
        let (number, _) =
            (from.get()..).zip(slots).find(|(_, slot)| slot.entries.values().any(mortal))?;
        Slot::new(number)
    }

    /// How many keys of the slots are tombstones.
    pub(crate) fn tombstones(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let slots = self.range(keyspace, first, last).iter();
        slots.map(|slot| slot.entries.len() as u64 - slot.live).sum()
    }

    fn sums_of(&self, keyspace: KeyspaceId, slot: &SlotIndex, bits: u8) -> Vec<u64> {
        let Some(seed) = self.seed.filter(|_| !keyspace.is_local()) else {
            return vec![0; 1 << bits];
        };
        let items = slot.iter().map(|(key, entry)| (key.as_slice(), entry.header()));
        digest::sums(seed, keyspace, items, bits)
    }
}
