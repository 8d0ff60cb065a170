//! Raft on a full disk: what was promised is applied, votes are always taken, and it ends well.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::{Change, Intent, KeyspaceId, Mono, Record, Refused, Slot, Store as _};

use super::rig::{open, record, seed, small};
use super::world::{Checked, check};
use crate::{Options, SimDisk, Store};

/// A follower of one group that logs whatever its leader sends as long as there is room for it, and
/// applies it much later.
struct Follower {
    disk: SimDisk,
    options: Options,
    store: Store,
    now: u64,
    /// What the entries that are logged and not applied yet will write.
    promised: VecDeque<Change>,
    /// The index of the next entry, and of the first that is still in the log.
    next: u64,
    first: u64,
    starts: u64,
}

impl Follower {
    fn new(options: &Options, segments: u64) -> Follower {
        let disk = SimDisk::new();
        disk.set_capacity(Some(segments * u64::from(options.segment_bytes)));
        let (store, _) = open(&disk, options, 1);
        let (options, promised) = (options.clone(), VecDeque::new());
        Follower { disk, options, store, now: 0, promised, next: 0, first: 0, starts: 1 }
    }

    /// Maintains, seals and writes once, as the end of a turn does.
    fn turn(&mut self) -> Checked {
        self.now += 20_000;
        let work = self.store.maintain(Mono(self.now));
        if let Some(job) = self.store.seal() {
            let completed = self.store.complete(job.run());
            completed.map_err(|fatal| format!("{fatal}: {}", fatal.source))?;
        }
        if let Some(work) = work {
            let done = work.run();
            self.store.work_done(done);
        }
        Ok(())
    }

    fn commit(&mut self, changes: &[Change]) -> Checked {
        let mut committed = self.store.commit(changes);
        if committed == Err(Refused::FrameFull) {
            self.turn()?;
            committed = self.store.commit(changes);
        }
        committed.map(|_| ()).map_err(|refused| format!("a commit was refused: {refused}"))
    }

    /// Logs an entry if there is room for it and for everything that is not applied yet.
    fn log(&mut self, value: &[u8]) -> Checked<bool> {
        let data = Change::Put(record(&self.next.to_be_bytes(), self.next, Some(value)));
        let weight = |changes: &VecDeque<Change>| changes.iter().map(Change::weight).sum::<usize>();
        let bytes = weight(&self.promised) + 2 * data.weight();
        match self.store.room_for(Intent::Append, self.promised.len() + 2, bytes) {
            Ok(()) => {}
            Err(Refused::DiskFull) => return Ok(false),
            Err(other) => return Err(format!("{other}")),
        }
        self.commit(&[Change::Put(note(&entry_key(self.next), self.next, value))])?;
        self.promised.push_back(data);
        self.next += 1;
        Ok(true)
    }

    /// Applies the oldest entry, in a frame of its own; the log keeps a few entries behind it.
    fn apply(&mut self) -> Checked {
        let Some(data) = self.promised.pop_front() else { return Ok(()) };
        let applied = self.next - self.promised.len() as u64;
        let first = self.first.max(applied.saturating_sub(10));
        let compacted = Change::Remove {
            keyspace: KeyspaceId::RAFT,
            slot: Slot::default(),
            from: entry_key(self.first),
            to: entry_key(first),
        };
        self.first = first;
        self.commit(&[data, compacted])?;
        self.turn()
    }

    /// A vote, in a frame of its own.
    fn vote(&mut self, term: u64) -> Checked {
        self.commit(&[Change::Put(note(b"state", term, b"vote"))])?;
        self.turn()
    }

    fn restart(&mut self) -> Checked {
        self.starts += 1;
        let (disk, options) = (Arc::new(self.disk.clone()), self.options.clone());
        // The directory is free when nothing of the former process is left.
        (self.store, _) = open(&SimDisk::new(), &options, 1);
        let opened = Store::open(disk, options, seed(self.starts));
        let (store, recovery) = opened.map_err(|error| format!("start: {error}"))?;
        check!(recovery.damage.is_none(), "{:?}", recovery.damage);
        self.store = store;
        Ok(())
    }
}

fn entry_key(index: u64) -> Bytes {
    [&b"log"[..], &index.to_be_bytes()].concat().into()
}

fn note(key: &[u8], version: u64, value: &[u8]) -> Record {
    let keyspace = KeyspaceId::RAFT;
    Record { keyspace, slot: Slot::default(), ..record(key, version, Some(value)) }
}

/// Fills a disk through a group that applies late, votes and restarts on it, deletes, and goes on.
pub(super) fn promises_are_kept(options: &Options, lag: usize, len: usize) -> Checked {
    // In segments much longer than a block, so that a turn with a vote is no large part of one.
    let options = Options { segment_bytes: 256 << 10, ..options.clone() };
    let mut follower = Follower::new(&options, 16);
    let value = vec![3; len];
    let mut refused = 0;
    while refused < 300 {
        check!(follower.next < 10_000, "nothing is refused");
        if !follower.log(&value)? {
            refused += 1;
        }
        if follower.promised.len() > lag {
            follower.apply()?;
        }
        follower.turn()?;
    }
    check!(follower.promised.len() == lag, "{} entries are not applied", follower.promised.len());
    while !follower.promised.is_empty() {
        follower.apply()?;
    }
    for term in 0..300 {
        follower.vote(term)?;
    }
    for term in 300..330 {
        follower.restart()?;
        follower.vote(term)?;
    }
    for index in 0..follower.next {
        let key = Bytes::copy_from_slice(&index.to_be_bytes());
        let Record { keyspace, slot, .. } = record(&key, 0, None);
        follower.commit(&[Change::remove(keyspace, slot, key)])?;
        if index % 8 == 0 {
            follower.turn()?;
        }
    }
    for _ in 0..600 {
        follower.turn()?;
    }
    for _ in 0..100 {
        check!(follower.log(&value)?, "no room after everything was deleted");
        follower.apply()?;
    }
    Ok(())
}

#[test]
fn what_was_promised_is_applied_on_a_full_disk_and_votes_are_taken() {
    for (lag, len) in [(0, 2000), (100, 1000), (40, 7000)] {
        if let Err(violation) = promises_are_kept(&small(), lag, len) {
            panic!("{lag} entries of {len} bytes: {violation}");
        }
    }
}

#[test]
fn who_asks_is_refused_in_the_order_of_intents_when_the_index_is_full() {
    let options = Options { index_limit_bytes: 4000, ..small() };
    let (mut store, _) = open(&SimDisk::new(), &options, 1);
    let intents = [Intent::NewKey, Intent::Value, Intent::Delete, Intent::Append];
    let mut admitted = [0; 4];
    for index in 0..60 {
        let entry = Change::Put(note(&entry_key(index), index, b""));
        store.commit(&[entry]).unwrap();
        for (count, intent) in admitted.iter_mut().zip(intents) {
            *count += u64::from(store.room_for(intent, 1, 100).is_ok());
        }
    }
    assert_eq!(store.stats().keys, 60);
    let [new_key, value, delete, append] = admitted;
    assert!(0 < new_key && new_key < value && value == delete && delete < append && append < 60);
    assert_eq!(store.room_for(Intent::Append, 1, 1), Err(Refused::IndexFull));
}

#[test]
fn what_the_disk_cannot_hold_is_not_promised() {
    let follower = Follower::new(&small(), 40);
    let room = |bytes: usize| follower.store.room_for(Intent::Append, 1, bytes).is_ok();
    assert!(room(64 << 10) && room(512 << 10));
    assert!(!room(40 * (64 << 10)) && !room(usize::MAX));
}
