//! A store driven at random over a disk that fails, beside a model of what it must remember.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Change, Cursor, Hlc, KeyspaceId, Lsn, Mono, Record, Refused, ScanLimit, Slot, Store as _,
    Stored, Version, Want, Writer, digest,
};

use super::rig::{KEYSPACE, seed};
use super::write_once::{WriteOnce, Written};
use crate::index::{Check, Index};
use crate::store::work::Task;
use crate::{OpenError, Options, Recovery, SimDisk, Store, Survival, SyncJob, Work};

/// What a run found wrong; the text names it.
pub(super) type Checked<T = ()> = Result<T, String>;

macro_rules! check {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
pub(super) use check;

/// Random numbers for one run: SplitMix64.
#[derive(Clone, Debug)]
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    pub(super) fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

pub(super) struct World {
    pub(super) disk: SimDisk,
    pub(super) options: Options,
    /// What processes have written to the disk.
    written: Arc<Mutex<Written>>,
    store: Option<Store>,
    job: Option<SyncJob>,
    work: Option<Work>,
    /// What was changed, and under which LSN, as far as it is not known to be lost.
    history: Vec<(Lsn, Change)>,
    /// The first and the last LSN of each commit.
    commits: Vec<(Lsn, Lsn)>,
    /// Everything up to here was said or shown to be durable.
    durable: Lsn,
    start: u32,
    log_id: u128,
    pub(super) opens: u64,
    version: u64,
    now: Mono,
    pub(super) rng: Rng,
    /// Single calls may fail.
    pub(super) faulty: bool,
    /// A bit was flipped: what the store holds is compared by [`World::tolerate`] alone.
    pub(super) flipped: bool,
    pub(super) recovery: Option<Recovery>,
    /// How much happened, to see that a test tests something.
    pub(super) crashes: u64,
    pub(super) refused: u64,
    /// The kinds of background work in which the power went, and that failed.
    pub(super) cut_in: BTreeSet<&'static str>,
    pub(super) failed_in: BTreeSet<&'static str>,
}

impl World {
    pub(super) fn new(options: Options, number: u64) -> Checked<World> {
        World::on(SimDisk::new(), options, number)
    }

    pub(super) fn on(disk: SimDisk, options: Options, number: u64) -> Checked<World> {
        let mut world = World {
            disk,
            options,
            written: Arc::default(),
            store: None,
            job: None,
            work: None,
            history: Vec::new(),
            commits: Vec::new(),
            durable: Lsn(0),
            start: 0,
            log_id: 0,
            opens: 0,
            version: 0,
            now: Mono(1),
            rng: Rng(number),
            faulty: false,
            flipped: false,
            recovery: None,
            crashes: 0,
            refused: 0,
            cut_in: BTreeSet::new(),
            failed_in: BTreeSet::new(),
        };
        world.reopen()?;
        Ok(world)
    }

    pub(super) fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    /// One random thing happens.
    pub(super) fn step(&mut self) -> Checked {
        match self.rng.below(100) {
            0..37 => self.put()?,
            37..45 => self.commit()?,
            45..58 => self.seal(),
            58..72 => self.complete()?,
            72..77 => self.read()?,
            77..88 => self.maintain(),
            88..97 => self.work(),
            97..98 => {
                let settle = self.store().settle();
                if self.job.is_none() {
                    self.job = settle;
                }
            }
            _ => self.now = self.now + Duration::from_millis(100),
        }
        if let Some((file, block)) = self.written.lock().unwrap().twice() {
            return Err(format!("block {block} of {file} was written twice"));
        }
        if self.disk.is_off() { self.crash() } else { Ok(()) }
    }

    fn put(&mut self) -> Checked {
        let record = self.record();
        let last = self.last();
        match self.store().put(record.clone()) {
            Ok(lsn) => {
                check!(lsn > last, "LSN {lsn:?} follows {last:?}");
                self.history.push((lsn, Change::Put(record)));
            }
            Err(Refused::FrameFull) => self.seal(),
            Err(Refused::DiskFull) => {
                check!(record.keyspace != KeyspaceId::LOCAL, "a local record was refused");
                self.refused += 1;
            }
            Err(refused) => return Err(format!("{refused}")),
        }
        Ok(())
    }

    /// Up to twenty changes at once.
    fn commit(&mut self) -> Checked {
        let most = self.store().max_commit_bytes();
        let mut weight = 0;
        let mut changes: Vec<Change> = (0..=self.rng.below(20)).map(|_| self.change()).collect();
        changes.retain(|change| {
            weight += change.weight();
            weight <= most
        });
        let before = self.last();
        let awaited = self.rng.below(2) == 0;
        let store = self.store();
        let made = if awaited { store.commit(&changes) } else { store.commit_unawaited(&changes) };
        match made {
            Ok(last) => {
                let first = Lsn(last.0 + 1 - changes.len() as u64);
                check!(first > before, "LSN {first:?} follows {before:?}");
                self.history.extend((first.0..).map(Lsn).zip(changes));
                self.commits.push((first, last));
            }
            Err(Refused::FrameFull) => self.seal(),
            Err(refused) => return Err(format!("a commit was refused: {refused}")),
        }
        Ok(())
    }

    fn change(&mut self) -> Change {
        let group = self.rng.below(3);
        let slot = Slot::new(group as u16).unwrap();
        let index = self.rng.below(24);
        match self.rng.below(8) {
            0..4 => Change::Put(self.entry(group, index)),
            4 => Change::Put(self.record()),
            5 => {
                let Record { keyspace, slot, key, .. } = self.record();
                if keyspace.is_local() || !self.rng.one_in(6) {
                    return Change::remove(keyspace, slot, key);
                }
                // All keys of the group from this one on.
                let to = Bytes::copy_from_slice(&[&key[..3], b"~"].concat());
                Change::Remove { keyspace, slot, from: key, to }
            }
            6 => Change::remove(KeyspaceId::RAFT, slot, entry_key(group, index)),
            _ => {
                let (from, to) = (entry_key(group, index), entry_key(group, self.rng.below(24)));
                Change::Remove { keyspace: KeyspaceId::RAFT, slot, from, to }
            }
        }
    }

    /// An entry of the log of a group. Its version is one that another entry of the same place had
    /// before, or will have, with other bytes.
    fn entry(&mut self, group: u64, index: u64) -> Record {
        let version = Version { hlc: Hlc(index), writer: Writer(self.rng.below(2) as u32) };
        let len = self.rng.below(900) as usize;
        self.version += 1;
        let value = self.version.to_le_bytes().iter().copied().cycle().take(len).collect();
        Record {
            keyspace: KeyspaceId::RAFT,
            slot: Slot::new(group as u16).unwrap(),
            key: entry_key(group, index),
            version,
            tag: 0,
            expire_ms: 0,
            value: Some(value),
        }
    }

    /// The LSN of the newest change.
    fn last(&self) -> Lsn {
        self.history.last().map_or(Lsn(0), |(lsn, _)| *lsn)
    }

    fn record(&mut self) -> Record {
        self.version += 1;
        let local = self.rng.one_in(20);
        let key = if local {
            format!("note{}", self.rng.below(2))
        } else {
            match self.rng.below(4) {
                // Enough keys in one slot that it is divided.
                3 => format!("{{3}}{}", self.rng.below(80)),
                group => format!("{{{group}}}a rather long key {}", self.rng.below(10)),
            }
        };
        let len = match self.rng.below(4) {
            0 => 0,
            1 => self.rng.below(100),
            _ => self.rng.below(3000),
        };
        let version = Version { hlc: Hlc(self.version), writer: Writer(self.start) };
        let fill = self.version.to_le_bytes();
        let value: Bytes = fill.iter().copied().cycle().take(len as usize).collect();
        Record {
            keyspace: if local { KeyspaceId::LOCAL } else { KEYSPACE },
            // Few and low slots: a test passes over all of them often.
            slot: Slot::new(u16::from(key.as_bytes()[1] % 4)).unwrap(),
            key: key.into(),
            version,
            tag: self.version as u32,
            // Slots without anything that expires or is deleted are there, too.
            expire_ms: if self.rng.one_in(30) { self.version * 3 } else { 0 },
            value: if local || !self.rng.one_in(8) { Some(value) } else { None },
        }
    }

    pub(super) fn seal(&mut self) {
        if self.job.is_none() {
            self.job = self.store().seal();
        }
    }

    pub(super) fn complete(&mut self) -> Checked {
        let Some(job) = self.job.take() else { return Ok(()) };
        let done = job.run();
        match self.store().complete(done) {
            Ok(lsn) => {
                check!(lsn >= self.durable, "durable went back to {lsn:?}");
                self.durable = lsn;
                Ok(())
            }
            Err(_) if self.disk.is_off() => Ok(()),
            // The process must end.
            Err(_) if self.faulty => self.crash(),
            Err(fatal) => Err(format!("{fatal}: {}", fatal.source)),
        }
    }

    pub(super) fn maintain(&mut self) {
        let now = self.now;
        if let Some(work) = self.store().maintain(now) {
            self.work = Some(work);
        }
    }

    pub(super) fn work(&mut self) {
        if let Some(work) = self.work.take() {
            let kind = match work.task {
                Task::Spare { .. } => "spare",
                Task::Free { .. } => "free",
                Task::CheckpointPart { .. } => "checkpoint part",
                Task::CheckpointEnd(_) => "checkpoint end",
                Task::CheckpointRead { .. } | Task::Read(..) => "read",
            };
            let failures = self.store().stats().failures;
            let done = work.run();
            if self.disk.is_off() {
                self.cut_in.insert(kind);
            }
            self.store().work_done(done);
            if self.store().stats().failures > failures {
                self.failed_in.insert(kind);
            }
        }
    }

    /// Until nothing is left to be done.
    pub(super) fn settle(&mut self) -> Checked {
        for _ in 0..2000 {
            self.now = self.now + Duration::from_millis(20);
            self.seal();
            self.complete()?;
            self.maintain();
            let idle = self.work.is_none();
            self.work();
            self.seal();
            if idle && self.job.is_none() {
                self.job = self.store().settle();
                return self.complete();
            }
            if self.disk.is_off() {
                return Ok(());
            }
        }
        Err("background work does not end".to_owned())
    }

    /// Reads a key; what is shown as durable must stay.
    fn read(&mut self) -> Checked {
        let (keyspace, slot, key) = match self.history.last() {
            None => return Ok(()),
            Some((_, Change::Put(record))) => (record.keyspace, record.slot, record.key.clone()),
            Some((_, Change::Remove { keyspace, slot, from, to })) => {
                let (keyspace, slot, from, gone) = (*keyspace, *slot, from.clone(), from < to);
                let stored = self.store().header(keyspace, slot, &from);
                check!(stored.is_none() || !gone, "{from:?} is still there");
                return Ok(());
            }
        };
        let Some(stored) = self.store().header(keyspace, slot, &key) else {
            return Err(format!("{key:?} is absent"));
        };
        if stored.pending.is_none() {
            let lsn = self.lsn_of(&key, stored.header.version)?;
            self.durable = self.durable.max(lsn);
        }
        Ok(())
    }

    fn lsn_of(&self, key: &Bytes, version: Version) -> Checked<Lsn> {
        let found =
            self.history.iter().rev().find(
                |(_, it)| matches!(it, Change::Put(r) if r.key == *key && r.version == version),
            );
        found
            .map(|(lsn, _)| *lsn)
            .ok_or_else(|| format!("{key:?} has version {version}, never put"))
    }

    /// The process is killed: nothing on the disk is lost, not even what was not synced.
    pub(super) fn kill(&mut self) -> Checked {
        if let Some(job) = self.job.take().filter(|_| self.rng.one_in(2)) {
            // Written, but nobody was told.
            let _ = job.run();
        }
        self.drop_process();
        self.disk.kill();
        self.reopen()
    }

    /// The power is cut and comes back, or it was only the process that ended.
    pub(super) fn crash(&mut self) -> Checked {
        self.crashes += 1;
        self.drop_process();
        self.restore_power();
        self.reopen()
    }

    fn restore_power(&mut self) {
        if self.rng.one_in(4) {
            self.disk.kill();
        } else {
            let survival = self.survival();
            self.disk.power_cycle(survival);
        }
    }

    pub(super) fn drop_process(&mut self) {
        self.store = None;
        self.job = None;
        self.work = None;
    }

    pub(super) fn survival(&mut self) -> Survival {
        match self.rng.below(4) {
            0 => Survival::Nothing,
            1 => Survival::Everything,
            _ => Survival::Random(self.rng.next()),
        }
    }

    /// Opens the store, through further power cuts if any are scheduled, and verifies it.
    pub(super) fn reopen(&mut self) -> Checked {
        loop {
            self.opens += 1;
            let number = self.rng.0 ^ self.opens;
            let (disk, written) = (self.disk.clone(), Arc::clone(&self.written));
            let disk = Arc::new(WriteOnce { disk, written });
            match Store::open(disk, self.options.clone(), seed(number)) {
                Ok((mut store, recovery)) => {
                    if !self.rng.one_in(4) {
                        store.seed_digests(SEED);
                    }
                    self.store = Some(store);
                    return self.verify(&recovery);
                }
                Err(_) if self.disk.is_off() => self.restore_power(),
                Err(OpenError::Io { .. } | OpenError::NoSpace { .. }) if self.faulty => {}
                Err(error) => return Err(format!("open: {error}")),
            }
        }
    }

    fn verify(&mut self, recovery: &Recovery) -> Checked {
        let Recovery { recovered, start, log_id, damage, .. } = *recovery;
        self.recovery = Some(*recovery);
        if self.flipped {
            return Ok(());
        }
        check!(damage.is_none(), "false damage {damage:?}");
        check!(recovered >= self.durable, "{recovered:?} of {:?} durable", self.durable);
        check!(start > self.start, "start {start} after {}", self.start);
        check!(self.log_id == 0 || log_id == self.log_id, "another log");
        (self.start, self.log_id, self.durable) = (start, log_id, recovered);
        for (first, last) in &self.commits {
            let whole = *last <= recovered || *first > recovered;
            check!(whole, "{recovered:?} is inside the commit {first:?} to {last:?}");
        }
        self.commits.retain(|(_, last)| *last <= recovered);
        self.history.retain(|(lsn, _)| *lsn <= recovered);
        let reading = |change: &Change| match change {
            Change::Put(record) if !record.keyspace.is_local() => Some(record.version.hlc),
            _ => None,
        };
        let readings = self.history.iter().filter_map(|(_, change)| reading(change));
        let newest = readings.max().unwrap_or_default();
        check!(recovery.highest >= newest, "highest is {:?}, not {newest:?}", recovery.highest);
        self.compare(true)
    }

    /// What the history says the store holds.
    fn expected(&self) -> BTreeMap<Place, Record> {
        let mut expected = BTreeMap::new();
        for (_, change) in &self.history {
            match change {
                Change::Put(record) => {
                    let place = (record.keyspace, record.slot, record.key.clone());
                    expected.insert(place, record.clone());
                }
                Change::Remove { keyspace, slot, from, to } => expected.retain(|place, _| {
                    (place.0, place.1) != (*keyspace, *slot) || place.2 < *from || place.2 >= *to
                }),
            }
        }
        expected
    }

    /// Everything in the store, values included.
    fn everything(&mut self) -> Vec<(Record, Stored)> {
        let last = Slot::new(kvorum_core::SLOTS - 1).unwrap();
        let from = Cursor::start_of(Slot::default());
        let limit = ScanLimit { items: usize::MAX, bytes: usize::MAX };
        let store = self.store();
        let page = |keyspace| store.page(keyspace, &from, last, b"", limit, Want::Value).items;
        SPACES.into_iter().flat_map(page).collect()
    }

    /// The store holds exactly what the history says.
    pub(super) fn compare(&mut self, after_start: bool) -> Checked {
        let expected = self.expected();
        let found = self.everything();
        for (record, stored) in &found {
            let want = expected.get(&(record.keyspace, record.slot, record.key.clone()));
            check!(!stored.corrupt, "{:?} is corrupt", record.key);
            check!(!after_start || stored.pending.is_none(), "{:?} is pending", record.key);
            check!(want == Some(record), "{:?} at {}", record.key, record.version);
            check!(stored.header == record.header(), "header of {:?}", record.key);
        }
        check!(found.len() == expected.len(), "{} of {} keys", found.len(), expected.len());
        let last = Slot::new(kvorum_core::SLOTS - 1).unwrap();
        let live: u64 =
            SPACES.iter().map(|space| self.store().live(*space, Slot::default(), last)).sum();
        let values = expected.values().filter(|record| record.value.is_some()).count() as u64;
        check!(live == values, "{live} of {values} keys count as live");
        self.store().accounts()?;
        self.store().seed_digests(SEED);
        self.compare_digests(&expected)
    }

    /// The sums and counts are those of what the store should hold.
    fn compare_digests(&mut self, expected: &BTreeMap<Place, Record>) -> Checked {
        let store = self.store.as_ref().ok_or("no store")?;
        for keyspace in SPACES {
            let mut mortal = Vec::new();
            for slot in (0..5).filter_map(Slot::new) {
                let here = |(place, _): &(&Place, &Record)| (place.0, place.1) == (keyspace, slot);
                let records: Vec<&Record> =
                    expected.iter().filter(here).map(|(_, record)| record).collect();
                let items = || records.iter().map(|record| (&*record.key, record.header()));
                let most = store.bucket_bits(keyspace, slot);
                let fits = keyspace.is_local() || records.len() <= 32 << most;
                check!(fits, "{} keys of {slot:?} in 2^{most} buckets", records.len());
                for bits in 0..=most {
                    let right = if keyspace.is_local() {
                        vec![0]
                    } else {
                        digest::sums(SEED, keyspace, items(), bits)
                    };
                    let sums = store.bucket_sums(keyspace, slot, bits);
                    check!(sums == right, "2^{bits} sums of {keyspace:?} {slot:?} are wrong");
                    let total = sums.into_iter().fold(0, u64::wrapping_add);
                    check!(total == store.sum(keyspace, slot, slot), "the sum of {slot:?}");
                }
                let deleted = items().filter(|(_, header)| header.tombstone).count() as u64;
                let counted = store.tombstones(keyspace, slot, slot);
                check!(counted == deleted, "{counted} of {deleted} tombstones in {slot:?}");
                if items().any(|(_, header)| header.tombstone || header.expire_ms != 0) {
                    mortal.push(slot);
                }
            }
            let last = Slot::new(kvorum_core::SLOTS - 1).unwrap();
            for from in (0..6).filter_map(Slot::new) {
                let next = store.next_mortal(keyspace, from, last);
                let first = mortal.iter().copied().find(|slot| *slot >= from);
                check!(next == first, "from {from:?}, {next:?} is mortal, not {first:?}");
            }
        }
        Ok(())
    }

    /// After a flipped bit: a verdict, or every key is right or known to be corrupt.
    pub(super) fn tolerate(&mut self) -> Checked<Tolerated> {
        if self.recovery.is_some_and(|recovery| recovery.damage.is_some()) {
            return Ok(Tolerated::Verdict);
        }
        let expected = self.expected();
        let found = self.everything();
        let mut tolerated = Tolerated::Nothing;
        for (record, stored) in &found {
            let place = (record.keyspace, record.slot, record.key.clone());
            let Some(want) = expected.get(&place) else {
                return Err(format!("{:?} was never put", record.key));
            };
            check!(stored.header == want.header(), "{:?} is not the newest", record.key);
            check!(stored.corrupt || want == record, "{:?} has another value", record.key);
            if stored.corrupt {
                tolerated = Tolerated::Corrupt;
            }
        }
        check!(found.len() == expected.len(), "{} of {} keys", found.len(), expected.len());
        self.store().seed_digests(SEED);
        let (mut pass, index) = (Check::default(), &mut self.store().index);
        while !pass.is_complete() {
            let wrong = index.check(&mut pass).1;
            check!(wrong.is_none(), "the sums of {wrong:?} are wrong");
        }
        Ok(tolerated)
    }
}

/// The keyspaces that are written to.
const SPACES: [KeyspaceId; 3] = [KeyspaceId::LOCAL, KEYSPACE, KeyspaceId::RAFT];

/// What the hashes of the sums are keyed with.
const SEED: digest::Seed = digest::Seed(42);

/// Where a record belongs.
type Place = (KeyspaceId, Slot, Bytes);

fn entry_key(group: u64, index: u64) -> Bytes {
    [&[group as u8][..], &index.to_be_bytes()].concat().into()
}

impl Store {
    /// What is counted as things change is what counting anew comes to.
    fn accounts(&self) -> Checked {
        let mut fresh = Index::default();
        let mut sums_bytes = 0;
        let mut segments = BTreeMap::new();
        for (keyspace, slot, keys) in self.index.slots((KeyspaceId::LOCAL, Slot::default())) {
            sums_bytes += keys.sums().heap_bytes();
            for (key, entry) in keys.iter() {
                fresh.insert(keyspace, slot, key.as_slice(), *entry);
                let (live, bytes) = segments.entry(entry.address().segment).or_insert((0, 0));
                *live += 1;
                *bytes += entry.stored_len(key.as_slice().len()) as u64;
            }
        }
        let sizes = |index: &Index| (index.keys(), index.key_bytes(), index.bytes());
        let (kept, mut counted) = (sizes(&self.index), sizes(&fresh));
        counted.2 += sums_bytes;
        check!(kept == counted, "{kept:?} {counted:?}");
        for (number, segment) in &self.segments {
            let counted = (segment.live, segment.live_bytes);
            let found = segments.remove(number).unwrap_or_default();
            check!(counted == found, "segment {number}: {counted:?} counted, {found:?} found");
        }
        Ok(())
    }
}

/// How a flipped bit shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tolerated {
    Nothing,
    Corrupt,
    Verdict,
}
