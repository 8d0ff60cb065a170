//! The store as the shard sees it.

use bytes::Bytes;
use kvorum_core::{
    Change, Cursor, Intent, KeyspaceId, Lsn, Page, ReadError, Record, Refused, ScanLimit, Slot,
    Stored, Want, digest,
};

use super::Store;
use crate::index::Entry;
use crate::log::RECORD_HEADER;
use crate::log::record::RecordRef;
use crate::options::lacks;

impl kvorum_core::Store for Store {
    fn header(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<Stored> {
        self.index.get(keyspace, slot, key).map(|entry| self.stored(entry))
    }

    fn value(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Result<Option<(Stored, Bytes)>, ReadError> {
        let Some(entry) = self.index.get(keyspace, slot, key) else { return Ok(None) };
        match self.read(entry, key) {
            Some(value) => Ok(Some((self.stored(entry), value))),
            None => {
                let header = entry.header();
                self.mark_corrupt(keyspace, slot, key);
                Err(ReadError::Corrupt(header))
            }
        }
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
        'slots: for (at, slot, keys) in self.index.slots((keyspace, from.slot)) {
            if at != keyspace || slot > last {
                break;
            }
            let from_key = if slot == from.slot { from.key.as_ref() } else { &[] };
            for (key, entry) in keys.from(from_key.max(prefix)) {
                let key = key.as_slice();
                if !key.starts_with(prefix) {
                    break;
                }
                let value_len = if want == Want::Value { entry.header().value_len } else { 0 };
                bytes += key.len() + value_len as usize;
                let full = page.items.len() >= limit.items || bytes > limit.bytes;
                if full && !page.items.is_empty() {
                    page.next = Some(Cursor { slot, key: Bytes::copy_from_slice(key) });
                    break 'slots;
                }
                page.items.push(self.item(keyspace, slot, key, entry, want));
            }
        }
        self.with_corrupt_marked(keyspace, page)
    }

    fn live(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.index.live(keyspace, first, last)
    }

    fn tombstones(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.index.tombstones(keyspace, first, last)
    }

    fn next_mortal(&self, keyspace: KeyspaceId, from: Slot, last: Slot) -> Option<Slot> {
        self.index.next_mortal(keyspace, from, last)
    }

    /// [`digest::Seed::default`] before [`Store::seed_digests`]; all sums are zero then.
    fn digest_seed(&self) -> digest::Seed {
        self.index.digest_seed().unwrap_or_default()
    }

    fn sum(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64 {
        self.index.sum(keyspace, first, last)
    }

    fn bucket_bits(&self, keyspace: KeyspaceId, slot: Slot) -> u8 {
        self.index.bucket_bits(keyspace, slot)
    }

    fn bucket_sums(&self, keyspace: KeyspaceId, slot: Slot, bits: u8) -> Vec<u64> {
        self.index.bucket_sums(keyspace, slot, bits)
    }

    fn put(&mut self, record: Record) -> Result<Lsn, Refused> {
        self.admit(&record)?;
        self.write(&record)
    }

    fn commit(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        self.make_all(changes)
    }

    fn commit_unawaited(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        let awaited = self.tail.open.as_ref().is_some_and(|open| open.awaited);
        let made = self.make_all(changes);
        if let Some(open) = self.tail.open.as_mut().filter(|_| made.is_ok()) {
            open.awaited = awaited;
        }
        made
    }

    fn max_commit_bytes(&self) -> usize {
        self.options.frame_bytes()
    }

    fn room_for(&self, intent: Intent, commits: usize, bytes: usize) -> Result<(), Refused> {
        self.admit_later(intent, commits, bytes)
    }
}

impl Store {
    /// The cluster is known, and with it what the hashes that replicas compare are keyed with.
    /// Hashes everything in the index; from now on every change maintains the sums. Before this
    /// is called nothing is hashed. Nothing happens if the seed is the one there was.
    pub fn seed_digests(&mut self, seed: digest::Seed) {
        if self.index.digest_seed() != Some(seed) {
            self.index.seed_digests(seed, lacks!(self.options, KeepReplaced));
        }
    }

    pub(super) fn count_live(&mut self, entry: &Entry, key_len: usize) {
        if let Some(segment) = self.segments.get_mut(&entry.address().segment) {
            segment.live += 1;
            segment.live_bytes += entry.stored_len(key_len) as u64;
        }
    }

    pub(super) fn count_dead(&mut self, entry: &Entry, key_len: usize) {
        if let Some(segment) = self.segments.get_mut(&entry.address().segment) {
            segment.leave(entry.stored_len(key_len), self.tail.last());
        }
    }

    fn stored(&self, entry: &Entry) -> Stored {
        let hidden = entry.copied() || lacks!(self.options, RevealPending);
        let pending = if hidden { None } else { self.tail.pending(entry.address()) };
        Stored { header: entry.header(), pending, corrupt: entry.corrupt() }
    }

    fn item(
        &self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
        entry: &Entry,
        want: Want,
    ) -> (Record, Stored) {
        let mut stored = self.stored(entry);
        let value = match want {
            Want::Header => Some(Bytes::new()),
            Want::Value => self.read(entry, key),
        };
        stored.corrupt |= value.is_none();
        let header = entry.header();
        let record = Record {
            keyspace,
            slot,
            key: Bytes::copy_from_slice(key),
            version: header.version,
            tag: header.tag,
            expire_ms: header.expire_ms,
            value: if header.tombstone { None } else { Some(value.unwrap_or_default()) },
        };
        (record, stored)
    }

    /// The value of an entry; nothing if its bytes do not verify as exactly this record.
    pub(super) fn read(&self, entry: &Entry, key: &[u8]) -> Option<Bytes> {
        if entry.corrupt() {
            return None;
        }
        if entry.tombstone() {
            return Some(Bytes::new());
        }
        let address = entry.address();
        let len = entry.stored_len(key.len());
        let segment = self.segments.get(&address.segment)?;
        let bytes = match self.tail.in_memory(address) {
            Some(bytes) => Bytes::copy_from_slice(bytes.get(..len)?),
            None => {
                let mut buffer = vec![0; len];
                segment.file.as_ref()?.read_at(&mut buffer, u64::from(address.offset)).ok()?;
                buffer.into()
            }
        };
        if lacks!(self.options, TrustValues) {
            return bytes.get(RECORD_HEADER + key.len()..).map(|value| bytes.slice_ref(value));
        }
        let record = RecordRef::decode(&bytes, segment.seed)?;
        let same = record.key == key && record.header() == entry.header();
        same.then(|| bytes.slice_ref(record.value))
    }

    pub(super) fn mark_corrupt(&mut self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) {
        match self.index.get_mut(keyspace, slot, key) {
            Some(entry) if !entry.corrupt() => entry.mark_corrupt(),
            _ => return,
        }
        self.maintenance.found_corrupt(keyspace, slot);
    }

    fn with_corrupt_marked(&mut self, keyspace: KeyspaceId, page: Page) -> Page {
        for (record, stored) in &page.items {
            if stored.corrupt {
                self.mark_corrupt(keyspace, record.slot, &record.key);
            }
        }
        page
    }
}
