//! The index beside a model, with slots large enough that their sums are divided as finely as it
//! gets.

use std::collections::BTreeMap;

use kvorum_core::digest::{self, MAX_BITS};
use kvorum_core::{Header, Hlc, Version, Writer};

use super::*;
use crate::log::record::RecordRef;

const SEED: Seed = Seed(99);
const SPACE: KeyspaceId = KeyspaceId::DEFAULT;
const SLOT: Slot = match Slot::new(3) {
    Some(slot) => slot,
    None => panic!("there are more slots"),
};

/// An index and what it should hold in one slot.
#[derive(Default)]
struct World {
    index: Index,
    model: BTreeMap<Vec<u8>, Header>,
    random: u64,
    version: u64,
}

impl World {
    fn seeded() -> World {
        let mut world = World::default();
        world.index.seed_digests(SEED, false);
        world
    }

    fn below(&mut self, bound: u64) -> u64 {
        // An odd multiplier of a power-of-two modulus; the upper bits are random enough.
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.random >> 33) % bound
    }

    fn put(&mut self, key: u64) {
        self.version += 1;
        let header = Header {
            version: Version { hlc: Hlc(self.version), writer: Writer(1) },
            tombstone: self.below(4) == 0,
            tag: 0,
            expire_ms: if self.below(9) == 0 { self.version } else { 0 },
            value_len: 7,
        };
        let key = key.to_be_bytes();
        let old = self.index.insert(SPACE, SLOT, &key, Entry::new(&header, Address::NOWHERE));
        assert_eq!(old.map(|entry| entry.header()), self.model.insert(key.to_vec(), header));
    }

    fn remove(&mut self, from: u64, to: u64) {
        let (from, to) = (from.to_be_bytes(), to.to_be_bytes());
        let removal = kvorum_core::Change::Remove {
            keyspace: SPACE,
            slot: SLOT,
            from: from.to_vec().into(),
            to: to.to_vec().into(),
        };
        let mut removed = 0;
        self.index.remove(&RecordRef::of_change(&removal), |_, _| removed += 1);
        let before = self.model.len();
        self.model.retain(|key, _| key.as_slice() < &from[..] || key.as_slice() >= &to[..]);
        assert_eq!(before - self.model.len(), removed);
    }

    fn items(&self) -> impl Iterator<Item = (&[u8], Header)> {
        self.model.iter().map(|(key, header)| (key.as_slice(), *header))
    }

    /// Compares everything that is maintained with what it should be, and returns the bits.
    fn compare(&self) -> u8 {
        let most = self.index.bucket_bits(SPACE, SLOT);
        assert!(most == MAX_BITS || self.model.len() <= 32 << most);
        let kept = self.index.slot(SPACE, SLOT).is_some_and(|slot| slot.sums().buckets().is_some());
        assert!(if kept { self.model.len() > 2048 } else { self.model.len() <= 4096 });
        for bits in 0..=MAX_BITS {
            let right = digest::sums(SEED, SPACE, self.items(), bits.min(most));
            assert_eq!(self.index.bucket_sums(SPACE, SLOT, bits), right, "{bits} of {most} bits");
        }
        let total = digest::sums(SEED, SPACE, self.items(), 0);
        assert_eq!([self.index.sum(SPACE, Slot::default(), SLOT)], *total);
        let dead = self.items().filter(|(_, header)| header.tombstone).count() as u64;
        assert_eq!(self.index.tombstones(SPACE, SLOT, SLOT), dead);
        assert_eq!(self.index.live(SPACE, SLOT, SLOT), self.model.len() as u64 - dead);
        let mortal = self.items().any(|(_, header)| header.tombstone || header.expire_ms != 0);
        let found = self.index.next_mortal(SPACE, Slot::default(), SLOT);
        assert_eq!(found, mortal.then_some(SLOT));
        most
    }

    /// Hashes everything anew and returns what was wrong, and in how many steps.
    fn check(&mut self) -> (Vec<(KeyspaceId, Slot)>, usize) {
        let (mut check, mut wrong, mut steps) = (Check::default(), Vec::new(), 0);
        while !check.is_complete() {
            wrong.extend(self.index.check(&mut check).1);
            steps += 1;
        }
        (wrong, steps)
    }
}

#[test]
fn sums_and_counts_are_right_while_a_slot_grows_and_shrinks() {
    let mut world = World::seeded();
    let mut seen = [0; MAX_BITS as usize + 1];
    for reach in [40, 400, 3000, 9000, 9000, 3000, 900, 100, 40] {
        for _ in 0..3 {
            for _ in 0..reach {
                let key = world.below(reach);
                world.put(key);
            }
            let from = world.below(reach);
            world.remove(from, from + reach / 4);
            seen[usize::from(world.compare())] += 1;
        }
        world.remove(reach / 2, u64::MAX);
        seen[usize::from(world.compare())] += 1;
        assert_eq!(world.check().0, []);
    }
    world.remove(0, u64::MAX);
    assert_eq!((world.compare(), world.index.bytes()), (0, 0));
    assert!([0, 3, 6, 9].into_iter().all(|bits| seen[bits] > 0), "{seen:?}");
}

#[test]
fn nothing_is_hashed_before_the_seed_is_known_and_everything_is_then() {
    let mut world = World::default();
    for key in 0..5000 {
        world.put(key);
    }
    assert_eq!(world.index.sum(SPACE, SLOT, SLOT), 0);
    assert_eq!(world.index.bucket_bits(SPACE, SLOT), 0);
    let unhashed = world.index.bytes();
    world.index.seed_digests(SEED, false);
    assert_eq!(world.compare(), 9);
    assert_eq!(world.index.bytes(), unhashed + (8 << 9));
    // Another seed: other hashes, no more memory.
    world.index.seed_digests(Seed(1), false);
    world.index.seed_digests(SEED, false);
    assert_eq!(world.compare(), 9);
    assert_eq!(world.index.bytes(), unhashed + (8 << 9));
}

#[test]
fn a_slot_whose_keys_come_and_go_is_not_hashed_anew_all_the_time() {
    let mut world = World::seeded();
    let kept = |world: &World| {
        world.index.slot(SPACE, SLOT).is_some_and(|slot| slot.sums().heap_bytes() > 0)
    };
    for key in 0..4097 {
        assert!(!kept(&world), "of {key} keys");
        world.put(key);
    }
    assert!(kept(&world));
    world.remove(100, 2000);
    assert!(kept(&world), "it would have to be hashed as soon as some keys come back");
    world.remove(2000, 4000);
    assert!(!kept(&world));
    world.compare();
}

#[test]
fn records_of_local_keyspaces_are_not_hashed() {
    let mut index = Index::default();
    index.seed_digests(SEED, false);
    for keyspace in [KeyspaceId::LOCAL, KeyspaceId::RAFT] {
        for key in 0..100_u8 {
            let header = Header {
                version: Version::default(),
                tombstone: true,
                tag: 0,
                expire_ms: 0,
                value_len: 0,
            };
            index.insert(keyspace, SLOT, &[key], Entry::new(&header, Address::NOWHERE));
        }
        assert_eq!(index.sum(keyspace, SLOT, SLOT), 0);
        assert_eq!(index.bucket_sums(keyspace, SLOT, 9), [0]);
        assert_eq!(index.tombstones(keyspace, SLOT, SLOT), 100);
    }
}

#[test]
fn a_slot_takes_little_memory() {
    assert_eq!(size_of::<SlotIndex>(), 48);
}

#[test]
fn a_check_finds_wrong_sums_and_puts_them_right() {
    let mut world = World::seeded();
    for key in 0..300 {
        world.put(key);
    }
    assert_eq!(world.check(), (vec![], 2));
    world.index.keeps_replaced = true;
    world.put(17);
    world.index.keeps_replaced = false;
    assert_eq!(world.check().0, [(SPACE, SLOT)]);
    world.compare();
    assert_eq!(world.check().0, []);
    // What stays of a slot whose keys have all gone is found as well.
    world.index.keeps_replaced = true;
    world.remove(0, u64::MAX);
    assert_ne!(world.index.sum(SPACE, SLOT, SLOT), 0);
    assert_eq!(world.check().0, [(SPACE, SLOT)]);
    world.compare();
}

#[test]
fn a_check_of_a_very_large_slot_takes_several_steps_unless_it_changes() {
    let mut world = World::seeded();
    for key in 0..40_000 {
        world.put(key);
    }
    assert_eq!(world.check(), (vec![], 4));
    let mut check = Check::default();
    assert_eq!(world.index.check(&mut check), (16384, None));
    world.put(39_000);
    // It is left to the next pass, not taken for wrong.
    assert_eq!(world.index.check(&mut check), (0, None));
    assert_eq!(world.index.check(&mut check), (0, None));
    assert!(check.is_complete());
    world.compare();
    // All keys go between two steps.
    let mut check = Check::default();
    assert_eq!(world.index.check(&mut check), (16384, None));
    world.remove(0, u64::MAX);
    assert_eq!(world.index.check(&mut check), (0, None));
    assert!(check.is_complete());
}
