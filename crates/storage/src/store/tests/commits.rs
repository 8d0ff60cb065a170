//! Commits: together or not at all; and what they remove stays away.

use bytes::Bytes;
use kvorum_core::{
    Change, Cursor, KeyspaceId, Lsn, Mono, Record, Refused, ScanLimit, Slot, Store as _, Want,
};

use super::rig::{KEYSPACE, get, header, open, put, record, small, sync};
use super::world::{Checked, check};
use crate::{Disk as _, Options, SimDisk, Store, Survival};

const SLOT: Slot = match Slot::new(7) {
    Some(slot) => slot,
    None => panic!("there are more slots"),
};

fn key(index: u64) -> Bytes {
    Bytes::copy_from_slice(&index.to_be_bytes())
}

fn entry(index: u64, value: &[u8]) -> Change {
    let record = record(&key(index), index, Some(value));
    Change::Put(Record { keyspace: KeyspaceId::RAFT, slot: SLOT, ..record })
}

fn removal(from: u64, to: u64) -> Change {
    Change::Remove { keyspace: KeyspaceId::RAFT, slot: SLOT, from: key(from), to: key(to) }
}

/// The indexes of the entries that are there.
fn entries(store: &mut Store) -> Vec<u64> {
    let limit = ScanLimit { items: usize::MAX, bytes: usize::MAX };
    let from = Cursor::start_of(SLOT);
    let page = store.page(KeyspaceId::RAFT, &from, SLOT, b"", limit, Want::Header);
    page.items
        .iter()
        .map(|(record, _)| u64::from_be_bytes(record.key[..].try_into().unwrap()))
        .collect()
}

#[test]
fn changes_are_made_one_behind_the_other_and_are_visible_at_once() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    let put_before = put(&mut store, b"a", 1, Some(b"one")).unwrap();
    let changes = [
        entry(1, b"first"),
        entry(2, b"gone"),
        entry(3, b"gone too"),
        removal(2, 9),
        entry(3, b"back with the same version"),
        Change::remove(KEYSPACE, Slot::of(b"a"), Bytes::from_static(b"a")),
        Change::Put(record(b"b", 2, Some(b"two"))),
    ];
    assert_eq!(store.commit(&changes), Ok(Lsn(put_before.0 + 7)));
    for restart in [false, true] {
        if restart {
            sync(&mut store);
            drop(store);
            disk.power_cycle(Survival::Nothing);
            (store, _) = open(&disk, &small(), 2);
        }
        assert_eq!(entries(&mut store), [1, 3]);
        let (_, value) = store.value(KeyspaceId::RAFT, SLOT, &key(3)).unwrap().unwrap();
        assert_eq!(value, "back with the same version");
        assert!(header(&store, b"a").is_none());
        assert_eq!(get(&mut store, b"b").unwrap().1, "two");
        let all = Slot::new(kvorum_core::SLOTS - 1).unwrap();
        assert_eq!(store.live(KEYSPACE, Slot::default(), all), 1);
        assert_eq!((store.live(KeyspaceId::RAFT, SLOT, SLOT), store.stats().keys), (2, 3));
    }
}

#[test]
fn a_range_ends_before_its_end_and_an_inverted_one_is_empty() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let log: Vec<Change> = (0..10).map(|index| entry(index, b"v")).collect();
    store.commit(&log).unwrap();
    store.commit(&[removal(3, 5), removal(8, 8), removal(9, 2)]).unwrap();
    assert_eq!(entries(&mut store), [0, 1, 2, 5, 6, 7, 8, 9]);
    let other = Slot::new(8).unwrap();
    let elsewhere = Change::remove(KeyspaceId::RAFT, other, key(0));
    let nowhere = Change::remove(KeyspaceId(9), SLOT, key(0));
    store.commit(&[elsewhere, nowhere, Change::remove(KeyspaceId::RAFT, SLOT, key(0))]).unwrap();
    assert_eq!(entries(&mut store), [1, 2, 5, 6, 7, 8, 9]);
}

#[test]
fn no_changes_are_no_frame() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let lsn = put(&mut store, b"a", 1, Some(b"one"));
    sync(&mut store);
    assert_eq!(store.commit(&[]), lsn);
    assert!(store.seal().is_none());
}

#[test]
fn what_nobody_waits_for_gathers_until_somebody_waits_or_finds_no_room() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let frame = store.max_commit_bytes();
    type Wait = fn(&mut Store, usize);
    let waits: [Wait; 4] = [
        |store, _| assert!(put(store, b"a", 1, Some(b"one")).is_ok()),
        |store, _| assert!(store.commit(&[entry(3, b"awaited")]).is_ok()),
        |store, _| store.wait_for_all(),
        |store, frame| {
            let large = entry(3, &vec![0; frame - 100]);
            assert_eq!(store.commit_unawaited(&[large]), Err(Refused::FrameFull));
        },
    ];
    for wait in waits {
        assert!(!store.is_unawaited(), "nothing is there");
        store.commit_unawaited(&[entry(1, b"first")]).unwrap();
        store.commit_unawaited(&[entry(2, b"second")]).unwrap();
        assert!(store.is_unawaited());
        wait(&mut store, frame);
        assert!(!store.is_unawaited());
        // What gathers behind it is written with it.
        store.commit_unawaited(&[entry(4, b"fourth")]).unwrap();
        assert!(!store.is_unawaited());
        sync(&mut store);
    }
}

#[test]
fn a_commit_that_finds_no_room_in_the_frame_changes_nothing() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    put(&mut store, b"a", 1, Some(&[1; 6000])).unwrap();
    let before = store.stats();
    let changes = [entry(1, &[1; 6000]), removal(0, 9), entry(2, &[1; 6000])];
    assert_eq!(store.commit(&changes), Err(Refused::FrameFull));
    assert_eq!((store.stats(), entries(&mut store).len()), (before, 0));
    sync(&mut store);
    assert!(store.commit(&changes).is_ok());
    assert_eq!(entries(&mut store), [2]);
}

#[test]
fn a_commit_of_the_greatest_weight_fits_into_an_empty_frame_and_a_heavier_one_into_none() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let most = store.max_commit_bytes();
    for n in 0..40 {
        // Frames of all lengths, so that it meets every end of a segment.
        put(&mut store, b"a", n + 1, Some(&vec![1; n as usize * 100])).unwrap();
        sync(&mut store);
        let mut changes = vec![removal(0, 9), entry(1, &[1; 5000])];
        let rest = most - changes.iter().map(Change::weight).sum::<usize>();
        changes.push(entry(2, &vec![2; rest - entry(2, b"").weight()]));
        assert_eq!(changes.iter().map(Change::weight).sum::<usize>(), most);
        assert!(store.commit(&changes).is_ok());
        sync(&mut store);
    }
    let long = vec![0; 70_000];
    for heavy in [
        vec![entry(1, &vec![1; most / 2]), entry(2, &vec![1; most / 2])],
        vec![Change::remove(KEYSPACE, SLOT, long.into())],
    ] {
        assert_eq!(store.commit(&heavy), Err(Refused::TooLarge));
        assert!(store.seal().is_none());
    }
}

#[test]
fn a_key_longer_than_a_record_can_say_is_refused() {
    let options = Options { segment_bytes: 1 << 20, ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    let long = Bytes::from(vec![0; 70_000]);
    let removal = Change::remove(KEYSPACE, SLOT, long);
    assert!(removal.weight() < store.max_commit_bytes());
    assert_eq!(store.commit(&[removal]), Err(Refused::TooLarge));
}

#[test]
fn a_large_range_goes_at_once_and_leaves_nothing_in_the_accounts() {
    const COUNT: u64 = 100_000;
    let disk = SimDisk::new();
    let options = Options { segment_bytes: 4 << 20, ..small() };
    let (mut store, _) = open(&disk, &options, 1);
    let log: Vec<Change> = (0..COUNT).map(|index| entry(index, b"v")).collect();
    for changes in log.chunks(5000) {
        store.commit(changes).unwrap();
        sync(&mut store);
    }
    assert_eq!(store.stats().keys, COUNT);
    store.commit(&[removal(1, COUNT - 1)]).unwrap();
    sync(&mut store);
    assert_eq!(entries(&mut store), [0, COUNT - 1]);
    let few = store.stats();
    drop(store);
    (store, _) = open(&disk, &options, 2);
    assert_eq!(entries(&mut store), [0, COUNT - 1]);
    store.commit(&[removal(0, COUNT)]).unwrap();
    sync(&mut store);
    let none = store.stats();
    assert_eq!((few.keys, few.index_bytes / 2), (2, few.index_bytes - few.index_bytes / 2));
    assert_eq!((none.keys, none.index_bytes, none.live_bytes), (0, 0, 0));
}

#[test]
fn versions_of_local_keyspaces_are_no_clock_readings() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    let far = u64::MAX / 2;
    store.commit(&[entry(far, b"v"), Change::Put(record(b"a", 5, Some(b"v")))]).unwrap();
    sync(&mut store);
    for n in 2..4 {
        store.maintenance.checkpoints.want();
        work(&mut store, n);
        drop(store);
        let recovery;
        (store, recovery) = open(&disk, &small(), n);
        assert_eq!(recovery.highest.0, 5);
    }
}

/// Seals, writes and does all background work.
fn work(store: &mut Store, now: u64) {
    for step in 0..1000 {
        let work = store.maintain(Mono((now << 30) + (step << 14)));
        // Compaction may have filled the frame.
        sync(store);
        let Some(work) = work else { break };
        let done = work.run();
        store.work_done(done);
    }
}

/// Keys are copied by compaction and removed, and everything turns over until the segment with the
/// removal is gone, but not the one with the copies. Then the checkpoint, which alone knows of the
/// removal, is lost: the copies must not bring the keys back.
pub(super) fn removed_for_good(options: &Options) -> Checked {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    let keep = record(b"keep", 1, Some(&[1; 3000]));
    let old: Vec<Change> = (0..3).map(|index| entry(index, &[1; 1000])).collect();
    store.commit(&[&old[..], &[Change::Put(keep)]].concat()).unwrap();
    let turn_over = |store: &mut Store, turns: u64| {
        for n in 0..turns {
            put(store, &(n % 12).to_le_bytes(), n + 2, Some(&[2; 3000])).unwrap();
            sync(store);
            work(store, n);
        }
    };
    turn_over(&mut store, 120);
    let born = store.segments.keys().next().copied();
    check!(born != Some(1), "nothing was compacted");
    // From here on nothing is copied any more; segments that are empty are still freed.
    store.options.compaction_dead_percent = 99;
    store.commit(&[removal(0, 9)]).unwrap();
    let removed_in = store.tail.open.as_ref().map_or(0, |open| open.at.segment);
    sync(&mut store);
    turn_over(&mut store, 60);
    check!(entries(&mut store).is_empty(), "the removal did not last");
    let kept = store.index.get(KEYSPACE, Slot::of(b"keep"), b"keep").unwrap().address().segment;
    check!(kept < removed_in, "the copies are gone as well: {kept}, {removed_in}");
    check!(!store.segments.contains_key(&removed_in), "the removal is still in the log");
    drop(store);
    for name in disk.list().unwrap() {
        if name.starts_with("checkpoint") {
            disk.flip(&name, 60, 1);
        }
    }
    let (mut store, recovery) = open(&disk, options, 2);
    check!(recovery.damage.is_some(), "the checkpoint is lost");
    let back = entries(&mut store);
    check!(back.is_empty(), "{back:?} are back");
    Ok(())
}

#[test]
fn copies_of_removed_keys_do_not_bring_them_back() {
    removed_for_good(&small()).unwrap();
}
