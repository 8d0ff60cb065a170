//! Scrub hashes the index again.

use std::time::Duration;

use kvorum_core::{Mono, SLOTS, Slot, Store as _, digest};

use super::rig::{KEYSPACE, open, put, record, small, sync};
use crate::{Mutation, Options, SimDisk, Store};

const SEED: digest::Seed = digest::Seed(11);

/// The sum of everything that the keys, each in its version, should come to.
fn right(versions: &[(&[u8], u64)]) -> u64 {
    let records: Vec<_> =
        versions.iter().map(|(key, version)| record(key, *version, Some(b"value"))).collect();
    let items = records.iter().map(|record| (&*record.key, record.header()));
    digest::sums(SEED, KEYSPACE, items, 0)[0]
}

fn sum(store: &Store) -> u64 {
    store.sum(KEYSPACE, Slot::default(), Slot::new(SLOTS - 1).unwrap())
}

fn maintain_for(store: &mut Store, from: Mono, span: Duration) {
    for step in 0..20 {
        if let Some(work) = store.maintain(from + span / 20 * step) {
            let done = work.run();
            store.work_done(done);
        }
        sync(store);
    }
}

#[test]
fn scrub_finds_sums_that_are_wrong_and_puts_them_right() {
    let options = Options { mutation: Some(Mutation::KeepReplaced), ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    store.seed_digests(SEED);
    for version in [1, 2] {
        put(&mut store, b"a", version, Some(b"value")).unwrap();
        put(&mut store, b"b", 1 + version / 3, Some(b"value")).unwrap();
    }
    put(&mut store, b"c", 3, Some(b"value")).unwrap();
    sync(&mut store);
    let right = right(&[(b"a", 2), (b"b", 1), (b"c", 3)]);
    assert_ne!(sum(&store), right, "the mutation does nothing");
    maintain_for(&mut store, Mono(1), Duration::from_secs(10));
    assert_eq!(sum(&store), right);
    assert_eq!(store.stats().wrong_sums, 2);
    let mut wrong = store.take_wrongly_summed();
    wrong.sort_unstable();
    let mut slots = [(KEYSPACE, Slot::of(b"a")), (KEYSPACE, Slot::of(b"b"))];
    slots.sort_unstable();
    assert_eq!(wrong, slots);
    assert_eq!(store.take_wrongly_summed(), []);
}

#[test]
fn scrub_says_nothing_of_sums_that_are_right_and_comes_back_in_the_next_round() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    store.seed_digests(SEED);
    put(&mut store, b"a", 1, Some(b"value")).unwrap();
    put(&mut store, b"a", 2, Some(b"value")).unwrap();
    sync(&mut store);
    maintain_for(&mut store, Mono(1), Duration::from_secs(10));
    assert_eq!((store.stats().wrong_sums, sum(&store)), (0, right(&[(b"a", 2)])));
    // From now on what is replaced stays in the sums.
    store.index.seed_digests(SEED, true);
    put(&mut store, b"a", 3, Some(b"value")).unwrap();
    maintain_for(&mut store, Mono(20_000_000), Duration::from_secs(10));
    assert_eq!(store.stats().wrong_sums, 0, "the round is over");
    maintain_for(&mut store, Mono(4_000_000_000), Duration::from_secs(10));
    assert_eq!((store.stats().wrong_sums, sum(&store)), (1, right(&[(b"a", 3)])));
}

#[test]
fn all_of_a_large_store_is_hashed_in_one_round() {
    let options = Options { mutation: Some(Mutation::KeepReplaced), ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    store.seed_digests(SEED);
    for n in 0..5000_u32 {
        let key = n.to_be_bytes();
        for version in 1..=1 + u64::from(n % 100 == 0) {
            if put(&mut store, &key, version, Some(b"value")).is_err() {
                sync(&mut store);
                put(&mut store, &key, version, Some(b"value")).unwrap();
            }
        }
    }
    // At 60 µs each it takes a third of a second at least.
    maintain_for(&mut store, Mono(1), Duration::from_millis(100));
    assert!(store.stats().wrong_sums < 50);
    maintain_for(&mut store, Mono(200_000), Duration::from_secs(2));
    assert_eq!(store.stats().wrong_sums, 50);
}
