//! Full disks and full indexes: who is refused, and how it ends.

use kvorum_core::{KeyspaceId, Lsn, Mono, Refused, Store as _};

use super::rig::{open, put, record, small};
use super::world::{Checked, check};
use crate::{Disk as _, Options, SimDisk, Store, Work};

const VALUE: &[u8] = &[5; 4000];

/// Seals, writes and maintains once.
fn turn(store: &mut Store, now: &mut u64) -> Checked {
    *now += 20_000;
    if let Some(job) = store.seal() {
        store.complete(job.run()).map_err(|fatal| format!("{fatal}: {}", fatal.source))?;
    }
    if let Some(work) = store.maintain(Mono(*now)) {
        let done = work.run();
        store.work_done(done);
    }
    Ok(())
}

/// Fills a disk, restarts on it, deletes, and waits for the space to come back.
pub(super) fn fills_and_empties(options: &Options) -> Checked {
    let disk = SimDisk::new();
    disk.set_capacity(Some(24 * u64::from(options.segment_bytes)));
    let (mut store, _) = open(&disk, options, 1);
    let (mut now, mut version, mut refused, mut keys) = (0, 0, 0, 0u64);
    for n in 0..800u64 {
        version += 1;
        match put(&mut store, &n.to_le_bytes(), version, Some(VALUE)) {
            Ok(_) => keys = n,
            Err(Refused::DiskFull) => refused += 1,
            Err(other) => return Err(format!("{other}")),
        }
        turn(&mut store, &mut now)?;
    }
    check!(refused > 100 && store.stats().disk_full, "{refused} of 800 refused, {keys} taken");
    for n in 2..60 {
        drop(store);
        let opened =
            Store::open(std::sync::Arc::new(disk.clone()), options.clone(), super::rig::seed(n));
        let (next, recovery) = opened.map_err(|error| format!("start {n}: {error}"))?;
        check!(recovery.damage.is_none(), "{:?}", recovery.damage);
        store = next;
        turn(&mut store, &mut now)?;
        let mut note = record(b"note", n, Some(b"x"));
        note.keyspace = KeyspaceId::LOCAL;
        check!(store.put(note).is_ok(), "a local record was refused");
        turn(&mut store, &mut now)?;
    }
    version += 1;
    check!(put(&mut store, b"more", version, Some(VALUE)).is_err(), "restarts make no space");
    for n in 0..=keys {
        for attempt in 0..200 {
            version += 1;
            let deleted = put(&mut store, &n.to_le_bytes(), version, None).is_ok();
            turn(&mut store, &mut now)?;
            if deleted {
                break;
            }
            check!(attempt < 199, "the delete of {n} is refused for good");
        }
    }
    for _ in 0..400 {
        turn(&mut store, &mut now)?;
    }
    for n in 0..100u64 {
        version += 1;
        let taken = put(&mut store, &n.to_le_bytes(), version, Some(VALUE));
        check!(taken.is_ok(), "{n}: {taken:?} after everything was deleted");
        turn(&mut store, &mut now)?;
    }
    Ok(())
}

#[test]
fn a_full_disk_refuses_values_first_and_comes_back_after_deletes() {
    fills_and_empties(&small()).unwrap();
}

#[test]
fn a_limit_on_all_files_works_like_a_full_disk() {
    let options = Options { max_disk_bytes: 16 * (64 << 10), ..small() };
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &options, 1);
    let (mut now, mut refused) = (0, 0);
    for n in 0..600u64 {
        refused += u64::from(put(&mut store, &n.to_le_bytes(), n + 1, Some(VALUE)).is_err());
        turn(&mut store, &mut now).unwrap();
        assert!(store.stats().disk_bytes <= options.max_disk_bytes);
    }
    assert!(refused > 100);
}

#[test]
fn room_for_deletes_is_left_even_if_background_work_takes_for_ever() {
    let options = Options { segment_bytes: 256 << 10, max_disk_bytes: 16 * (256 << 10), ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    let mut now = 0u64;
    while store.stats().segments < 4 {
        put(&mut store, &now.to_be_bytes(), 1, Some(VALUE)).unwrap();
        turn(&mut store, &mut now).unwrap();
    }
    // From here on the only piece of background work is one that does not end.
    let sealed = |store: &mut Store| {
        if let Some(job) = store.seal() {
            store.complete(job.run()).unwrap();
        }
    };
    let mut keys = 0u64;
    while put(&mut store, &keys.to_le_bytes(), 1, Some(VALUE)).is_ok() {
        sealed(&mut store);
        keys += 1;
        assert!(keys < 600 && store.stats().disk_bytes <= options.max_disk_bytes);
    }
    for n in 0..10u64 {
        assert!(put(&mut store, &n.to_le_bytes(), 2, None).is_ok(), "delete {n} of {keys}");
        sealed(&mut store);
    }
}

#[test]
fn a_full_index_refuses_new_keys_only() {
    let options = Options { index_limit_bytes: 1000, ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    let keys: Vec<_> = (0..100u64)
        .filter(|n| put(&mut store, &n.to_le_bytes(), n + 1, Some(b"v")).is_ok())
        .collect();
    assert_eq!(keys, (0..9).collect::<Vec<_>>());
    assert_eq!(put(&mut store, b"new", 200, Some(b"v")), Err(Refused::IndexFull));
    assert!(put(&mut store, &3u64.to_le_bytes(), 201, Some(b"w")).is_ok());
    assert!(put(&mut store, &4u64.to_le_bytes(), 202, None).is_ok());
    assert!(put(&mut store, b"unknown", 203, None).is_ok());
    assert_eq!(put(&mut store, b"and so on", 204, None), Err(Refused::IndexFull));
    let mut note = record(b"note", 1, Some(b"x"));
    note.keyspace = KeyspaceId::LOCAL;
    assert!(store.put(note).is_ok());
}

#[test]
fn a_record_that_no_frame_can_hold_is_refused_for_good() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let huge = vec![0; 20 << 10];
    assert_eq!(put(&mut store, b"a", 1, Some(&huge)), Err(Refused::TooLarge));
    assert!(put(&mut store, b"a", 1, Some(&huge[..8 << 10])).is_ok());
}

#[test]
fn a_full_frame_is_refused_for_this_turn_only() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let mut taken = 0;
    while put(&mut store, &[taken], 1, Some(VALUE)).is_ok() {
        taken += 1;
    }
    assert_eq!(put(&mut store, b"x", 1, Some(VALUE)), Err(Refused::FrameFull));
    assert!((2..=4).contains(&taken), "{taken}");
    let mut now = 0;
    turn(&mut store, &mut now).unwrap();
    assert!(put(&mut store, b"x", 1, Some(VALUE)).is_ok());
}

#[test]
fn a_disk_without_room_for_one_segment_is_a_clear_error() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(1000));
    let opened = Store::open(std::sync::Arc::new(disk), small(), super::rig::seed(1)).map(|_| ());
    let text = opened.unwrap_err().to_string();
    assert!(text.contains("65536 bytes"), "{text}");
}

#[test]
fn a_spare_whose_sync_fails_is_not_left_behind() {
    // The file, then its name.
    for sync in [2, 3] {
        let disk = SimDisk::new();
        let (mut store, _) = open(&disk, &small(), 1);
        let before = disk.list().unwrap();
        let work = store.maintain(Mono(0)).unwrap();
        disk.fail_at(disk.calls() + sync, std::io::ErrorKind::Other);
        let done = work.run();
        store.work_done(done);
        assert_eq!(disk.list().unwrap(), before);
        let stats = store.stats();
        assert_eq!((stats.failures, stats.spares), (1, 0));
    }
}

/// A store whose background work takes its time: every piece of it as long as `slow` turns.
struct Slow {
    disk: SimDisk,
    store: Store,
    slow: u64,
    work: Option<(Work, u64)>,
    turns: u64,
    version: u64,
}

impl Slow {
    fn new(options: &Options, slow: u64) -> Slow {
        let disk = SimDisk::new();
        let (store, _) = open(&disk, options, 1);
        Slow { disk, store, slow, work: None, turns: 0, version: 0 }
    }

    fn put(&mut self, key: u64, value: Option<&[u8]>) -> bool {
        self.version += 1;
        put(&mut self.store, &key.to_le_bytes(), self.version, value).is_ok()
    }

    fn turn(&mut self) {
        self.turns += 1;
        if let Some((work, _)) = self.work.take_if(|(_, until)| *until <= self.turns) {
            let done = work.run();
            self.store.work_done(done);
        }
        // A turn of half a millisecond.
        if let Some(work) = self.store.maintain(Mono(self.turns * 500)) {
            self.work = Some((work, self.turns + self.slow));
        }
        if let Some(job) = self.store.seal() {
            self.store.complete(job.run()).unwrap();
        }
    }

    /// Puts new keys, so many in a turn, until one is refused; returns how many were taken.
    fn fill(&mut self, value: &[u8], in_a_turn: u64) -> u64 {
        for key in 0.. {
            if !self.put(key, Some(value)) {
                return key;
            }
            if key % in_a_turn == 0 {
                self.turn();
            }
        }
        0
    }

    /// Deletes keys far from each other, one in a turn; returns how often a delete was refused at
    /// first, and the longest that one was refused, in turns.
    fn delete(&mut self, keys: u64, stride: u64, most: u64) -> (u64, u64) {
        let (mut refused, mut longest) = (0, 0);
        for n in 0..most.min(keys) {
            let begun = self.turns;
            while !self.put(n * stride % keys, None) {
                self.turn();
                assert!(self.turns - begun < 5000, "{:?}", self.store.stats());
            }
            refused += u64::from(self.turns > begun);
            longest = longest.max(self.turns - begun);
            self.turn();
        }
        (refused, longest)
    }
}

/// Fills a disk with live data and deletes it, one key in a turn.
pub(super) fn deletes_go_on(options: &Options) -> Checked {
    // Values as short as a tombstone, shorter than a block, longer than one; alone in their frames
    // or with others; deleted in their order or scattered.
    for (len, in_a_turn, stride) in [(0, 16, 1), (100, 1, 7919), (8000, 1, 1), (8000, 1, 7919)] {
        // A piece of background work takes a few syncs, a turn takes one.
        let mut slow = Slow::new(options, 4);
        let keys = slow.fill(&vec![5; len], in_a_turn);
        let (refused, longest) = slow.delete(keys, stride, 800);
        check!(
            refused == 0,
            "{refused} deletes of {keys} keys refused, one for {longest} turns \
             ({len} bytes, {in_a_turn} in a turn, stride {stride})"
        );
    }
    Ok(())
}

#[test]
fn deletes_are_taken_on_a_disk_full_of_live_data() {
    let bytes = 256 << 10;
    let options = Options { segment_bytes: bytes, max_disk_bytes: 32 << 18, ..small() };
    deletes_go_on(&options).unwrap();
}

#[test]
fn the_smallest_disk_takes_values_and_deletes_again_and_again() {
    let options = Options { max_disk_bytes: 8 * (64 << 10), ..small() };
    let mut slow = Slow::new(&options, 2);
    for _ in 0..3 {
        let keys = slow.fill(VALUE, 1);
        assert!(keys > 5, "{keys}");
        slow.delete(keys, 1, keys);
        for _ in 0..400 {
            slow.turn();
        }
    }
}

#[test]
fn deletes_make_room_on_a_file_system_that_something_else_has_filled() {
    // No checkpoint is due: the first one has to find room where there is none.
    let options = Options { checkpoint_min_bytes: 1 << 30, ..small() };
    let mut slow = Slow::new(&options, 2);
    for n in 0..200 {
        slow.put(n, Some(VALUE));
        slow.turn();
    }
    slow.disk.set_capacity(Some(slow.store.stats().disk_bytes));
    let keys = slow.fill(VALUE, 1).max(200);
    slow.delete(keys, 1, keys);
    assert!(slow.store.stats().checkpoint > Lsn(0));
    for _ in 0..100 {
        slow.turn();
    }
    assert!(slow.put(0, Some(VALUE)), "{:?}", slow.store.stats());
}

#[test]
fn deletes_make_room_however_scattered_and_however_slow_the_background() {
    let options = Options { max_disk_bytes: 96 * (64 << 10), ..small() };
    for (len, in_a_turn) in [(100, 8), (8000, 1)] {
        let mut slow = Slow::new(&options, 100);
        let keys = slow.fill(&vec![5; len], in_a_turn);
        let (refused, longest) = slow.delete(keys, 7919, 600);
        // Some dozens of pieces: a checkpoint, and a segment or two compacted.
        assert!(refused > 0 && longest < 3000, "{refused} of {keys}, one for {longest} turns");
    }
}

#[test]
fn a_disk_full_of_short_records_has_room_for_a_checkpoint_of_them() {
    let options = Options { segment_bytes: 256 << 10, ..small() };
    let disk = SimDisk::new();
    disk.set_capacity(Some(20 * u64::from(options.segment_bytes)));
    let (mut store, _) = open(&disk, &options, 1);
    let (mut now, mut key, mut refused) = (0, 0u64, 0);
    while refused < 300 {
        for _ in 0..8 {
            key += 1;
            let taken = put(&mut store, &key.to_le_bytes(), key, Some(&VALUE[..100]));
            refused += u64::from(taken.is_err());
        }
        turn(&mut store, &mut now).unwrap();
    }
    let last = store.durable();
    store.maintenance.checkpoints.want();
    for _ in 0..200 {
        turn(&mut store, &mut now).unwrap();
    }
    assert!(store.stats().checkpoint >= last, "{:?}", store.stats());
}
