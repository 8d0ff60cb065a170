//! A store in memory that keeps the contract of the real one.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::{
    Change, Cursor, Header, Intent, KeyspaceId, Lsn, Page, ReadError, Record, Refused, ScanLimit,
    Slot, Store, Stored, Want, digest,
};

type Place = (KeyspaceId, Slot, Bytes);

/// Records by place, each with its position in a log that is durable up to some point.
#[derive(Debug, Default)]
pub(super) struct MemoryStore {
    records: BTreeMap<Place, (Lsn, Record)>,
    written: Lsn,
    durable: Lsn,
}

impl MemoryStore {
    /// Makes everything durable and tells how far that is.
    pub(super) fn sync(&mut self) -> Lsn {
        self.durable = self.written;
        self.durable
    }

    /// How many records of clients there are.
    pub(super) fn records(&self) -> usize {
        self.records.keys().filter(|(keyspace, ..)| !keyspace.is_local()).count()
    }

    /// Loses all records; the log goes on where it was.
    pub(super) fn forget(&mut self) {
        self.records.clear();
    }

    /// What is known of the records of the slots.
    fn headers(
        &self,
        keyspace: KeyspaceId,
        first: Slot,
        last: Slot,
    ) -> impl Iterator<Item = (&Place, Header)> {
        let here = self.records.range((keyspace, first, Bytes::new())..);
        here.take_while(move |((ks, slot, _), _)| *ks == keyspace && *slot <= last)
            .map(|(place, (_, record))| (place, record.header()))
    }

    fn sums(&self, keyspace: KeyspaceId, first: Slot, last: Slot, bits: u8) -> Vec<u64> {
        let hashed = self.headers(keyspace, first, last).filter(|_| !keyspace.is_local());
        let items = hashed.map(|((_, _, key), header)| (key.as_ref(), header));
        digest::sums(self.digest_seed(), keyspace, items, bits)
    }

    fn stored(&self, lsn: Lsn, record: &Record) -> Stored {
        let pending = (lsn > self.durable).then_some(lsn);
        Stored { header: record.header(), pending, corrupt: false }
    }
}

impl Store for MemoryStore {
    fn header(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<Stored> {
        let (lsn, record) = self.records.get(&(keyspace, slot, Bytes::copy_from_slice(key)))?;
        Some(self.stored(*lsn, record))
    }

    fn value(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Result<Option<(Stored, Bytes)>, ReadError> {
        let found = self.records.get(&(keyspace, slot, Bytes::copy_from_slice(key)));
        Ok(found.map(|(lsn, record)| {
            (self.stored(*lsn, record), record.value.clone().unwrap_or_default())
        }))
    }

    fn page(
        &mut self,
        keyspace: KeyspaceId,
        from: &Cursor,
        last: Slot,
        prefix: &[u8],
        limit: ScanLimit,
        _want: Want,
    ) -> Page {
        let begin = (keyspace, from.slot, from.key.clone());
        let mut page = Page::default();
        for ((ks, slot, key), (lsn, record)) in self.records.range(begin..) {
            if *ks != keyspace || *slot > last {
                break;
            }
            if page.items.len() == limit.items {
                page.next = Some(Cursor { slot: *slot, key: key.clone() });
                break;
            }
            if key.starts_with(prefix) {
                page.items.push((record.clone(), self.stored(*lsn, record)));
            }
        }
        page
    }

    fn live(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        let here = |(ks, slot, _): &&Place| *ks == keyspace && (first..=last).contains(slot);
        self.records.keys().filter(here).count() as u64
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
        self.written.0 += 1;
        let place = (record.keyspace, record.slot, record.key.clone());
        self.records.insert(place, (self.written, record));
        Ok(self.written)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        for change in changes {
            match change {
                Change::Put(record) => {
                    self.put(record.clone())?;
                }
                Change::Remove { keyspace, slot, from, to } => {
                    self.written.0 += 1;
                    self.records.retain(|(ks, at, key), _| {
                        (*ks, *at) != (*keyspace, *slot) || *key < *from || *key >= *to
                    });
                }
            }
        }
        Ok(self.written)
    }

    fn commit_unawaited(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        self.commit(changes)
    }

    fn max_commit_bytes(&self) -> usize {
        usize::MAX
    }

    fn room_for(&self, _: Intent, _: usize, _: usize) -> Result<(), Refused> {
        Ok(())
    }
}
