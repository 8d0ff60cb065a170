//! A store in memory that keeps the contract of the real one and nothing more.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kvorum_core::{
    Change, Cursor, Header, Hlc, Intent, KeyspaceId, Lsn, Page, ReadError, Record, Refused,
    ScanLimit, Slot, Store, Stored, Want, digest,
};

type Place = (KeyspaceId, Slot, Bytes);

/// A log and an index over it. What is not synced is lost in a crash.
#[derive(Clone, Debug)]
pub(crate) struct MemoryStore {
    log: Vec<Change>,
    index: BTreeMap<Place, Lsn>,
    damaged: BTreeSet<Lsn>,
    durable: Lsn,
    pub(crate) full: bool,
    /// What a commit may weigh.
    pub(crate) max_commit: usize,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore {
            log: Vec::new(),
            index: BTreeMap::new(),
            damaged: BTreeSet::new(),
            durable: Lsn(0),
            full: false,
            max_commit: 16 << 20,
        }
    }
}

impl MemoryStore {
    pub(crate) fn durable(&self) -> Lsn {
        self.durable
    }

    pub(crate) fn sync(&mut self) {
        self.durable = Lsn(self.log.len() as u64);
    }

    /// The newest record.
    pub(crate) fn last(&self) -> Lsn {
        Lsn(self.log.len() as u64)
    }

    /// The changes behind `lsn`.
    pub(crate) fn since(&self, lsn: Lsn) -> &[Change] {
        &self.log[lsn.0 as usize..]
    }

    /// What was written up to `lsn` is durable.
    pub(crate) fn sync_to(&mut self, lsn: Lsn) {
        self.durable = self.durable.max(lsn);
    }

    pub(crate) fn crash(&mut self) {
        self.log.truncate(self.durable.0 as usize);
        self.index.clear();
        for (lsn, change) in (1..).map(Lsn).zip(&self.log) {
            index(&mut self.index, lsn, change);
        }
    }

    /// Damages the stored bytes of a key, if they are on disk; tells whether they are.
    pub(crate) fn damage(&mut self, keyspace: KeyspaceId, key: &[u8]) -> bool {
        let place = (keyspace, Slot::of(key), Bytes::copy_from_slice(key));
        let on_disk = self.index.get(&place).filter(|&&lsn| lsn <= self.durable);
        on_disk.is_some_and(|&lsn| self.damaged.insert(lsn))
    }

    /// Damages everything of a keyspace that is on disk.
    pub(crate) fn damage_all(&mut self, keyspace: KeyspaceId) {
        let there = self.index.iter().filter(|((ks, ..), _)| *ks == keyspace);
        let on_disk = there.map(|(_, lsn)| *lsn).filter(|lsn| *lsn <= self.durable);
        self.damaged.extend(on_disk);
    }

    pub(crate) fn highest(&self) -> Hlc {
        let version = |change: &Change| match change {
            Change::Put(record) => Some(record.version.hlc),
            Change::Remove { .. } => None,
        };
        self.log.iter().filter_map(version).max().unwrap_or_default()
    }

    fn record(&self, lsn: Lsn) -> &Record {
        match &self.log[lsn.0 as usize - 1] {
            Change::Put(record) => record,
            Change::Remove { .. } => panic!("the index points to a removal"),
        }
    }

    fn append(&mut self, change: Change) -> Lsn {
        let lsn = Lsn(self.log.len() as u64 + 1);
        // A record that took this number before a crash is forgotten with its damage.
        self.damaged.remove(&lsn);
        index(&mut self.index, lsn, &change);
        self.log.push(change);
        lsn
    }

    /// What is known of the records of the slots.
    fn headers(
        &self,
        keyspace: KeyspaceId,
        first: Slot,
        last: Slot,
    ) -> impl Iterator<Item = (&Place, Header)> {
        let here = self.index.range((keyspace, first, Bytes::new())..);
        here.take_while(move |((ks, slot, _), _)| *ks == keyspace && *slot <= last)
            .map(|(place, lsn)| (place, self.record(*lsn).header()))
    }

    fn sums(&self, keyspace: KeyspaceId, first: Slot, last: Slot, bits: u8) -> Vec<u64> {
        let hashed = self.headers(keyspace, first, last).filter(|_| !keyspace.is_local());
        let items = hashed.map(|((_, _, key), header)| (key.as_ref(), header));
        digest::sums(self.digest_seed(), keyspace, items, bits)
    }

    fn stored(&self, lsn: Lsn) -> Stored {
        Stored {
            header: self.record(lsn).header(),
            pending: (lsn > self.durable).then_some(lsn),
            corrupt: self.damaged.contains(&lsn),
        }
    }
}

fn index(index: &mut BTreeMap<Place, Lsn>, lsn: Lsn, change: &Change) {
    match change {
        Change::Put(record) => {
            index.insert((record.keyspace, record.slot, record.key.clone()), lsn);
        }
        Change::Remove { keyspace, slot, from, to } => index.retain(|(ks, at, key), _| {
            (*ks, *at) != (*keyspace, *slot) || *key < *from || *key >= *to
        }),
    }
}

impl Store for MemoryStore {
    fn header(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<Stored> {
        let lsn = self.index.get(&(keyspace, slot, Bytes::copy_from_slice(key)))?;
        Some(self.stored(*lsn))
    }

    fn value(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Result<Option<(Stored, Bytes)>, ReadError> {
        let place = (keyspace, slot, Bytes::copy_from_slice(key));
        let Some(&lsn) = self.index.get(&place) else { return Ok(None) };
        let stored = self.stored(lsn);
        if stored.corrupt {
            return Err(ReadError::Corrupt(stored.header));
        }
        Ok(Some((stored, self.record(lsn).value.clone().unwrap_or_default())))
    }

    fn page(
        &mut self,
        keyspace: KeyspaceId,
        from: &Cursor,
        last: Slot,
        prefix: &[u8],
        limit: ScanLimit,
        want: Want,
    ) -> Page {
        let mut page = Page::default();
        let mut bytes = 0;
        for ((_, slot, key), &lsn) in self.index.range((keyspace, from.slot, from.key.clone())..) {
            let mut record = self.record(lsn).clone();
            if record.keyspace != keyspace || *slot > last {
                break;
            }
            if !key.starts_with(prefix) {
                continue;
            }
            let stored = self.stored(lsn);
            if want == Want::Header || stored.corrupt {
                record.value = record.value.map(|_| Bytes::new());
            }
            bytes += record.weight();
            if !page.items.is_empty() && (page.items.len() == limit.items || bytes > limit.bytes) {
                page.next = Some(Cursor { slot: *slot, key: key.clone() });
                break;
            }
            page.items.push((record, stored));
        }
        page
    }

    fn live(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let here = |(ks, slot, _): &Place| *ks == keyspace && (first..=last).contains(slot);
        let records = self.index.iter().filter(|(place, _)| here(place));
        records.filter(|&(_, &lsn)| self.record(lsn).value.is_some()).count() as u64
    }

    fn tombstones(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let headers = self.headers(keyspace, first, last);
        headers.filter(|(_, header)| header.tombstone).count() as u64
    }

    fn next_mortal(&self, keyspace: KeyspaceId, from: Slot, last: Slot) -> Option<Slot> {
        let mut headers = self.headers(keyspace, from, last);
        let mortal = headers.find(|(_, header)| header.tombstone || header.expire_ms != 0);
        mortal.map(|((_, slot, _), _)| *slot)
    }

    fn digest_seed(&self) -> digest::Seed {
        digest::Seed(7)
    }

    fn sum(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.sums(keyspace, first, last, 0).into_iter().fold(0, u64::wrapping_add)
    }

    fn bucket_bits(&self, keyspace: KeyspaceId, slot: Slot) -> u8 {
        digest::bits_for(self.headers(keyspace, slot, slot).count())
    }

    fn bucket_sums(&self, keyspace: KeyspaceId, slot: Slot, bits: u8) -> Vec<u64> {
        self.sums(keyspace, slot, slot, bits.min(self.bucket_bits(keyspace, slot)))
    }

    fn put(&mut self, record: Record) -> Result<Lsn, Refused> {
        if self.full {
            return Err(Refused::DiskFull);
        }
        if let Some(stored) = self.header(record.keyspace, record.slot, &record.key) {
            let version = stored.header.version;
            let repairs = stored.corrupt && record.version == version;
            assert!(record.version > version || repairs, "put something old over {version}");
        }
        Ok(self.append(Change::Put(record)))
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        if changes.iter().map(Change::weight).sum::<usize>() > self.max_commit {
            return Err(Refused::TooLarge);
        }
        for change in changes {
            self.append(change.clone());
        }
        Ok(Lsn(self.log.len() as u64))
    }

    fn commit_unawaited(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        self.commit(changes)
    }

    fn max_commit_bytes(&self) -> usize {
        self.max_commit
    }

    fn room_for(&self, _: Intent, _: usize, _: usize) -> Result<(), Refused> {
        if self.full { Err(Refused::DiskFull) } else { Ok(()) }
    }
}
