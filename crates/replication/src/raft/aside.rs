//! What is set aside while a copy of a partition is sent: records as they were at the place that the
//! copy shows, before a command changed them.
//!
//! They are kept in memory; when those are too many, as records of the node's store. They count
//! nothing there after a restart, for then the copy is over.

use std::collections::BTreeMap;

use bytes::{BufMut as _, Bytes, BytesMut};
use kvorum_core::{
    Change, Cursor, Hlc, Intent, KeyspaceId, Record, ScanLimit, Slot, Store, Version, Want, Writer,
};

use super::log::{Damaged, Home};
use super::piece::{Front, record};
use super::stretch::At;
use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_header, get_optional, put_bytes, put_header, put_optional,
};

/// The kind of the records.
const KIND: u8 = b'a';
/// Bytes of changes that are committed to the store at once.
const COMMIT_BYTES: usize = 256 << 10;

/// What a key held; nothing if it was not there.
type Old = Option<Record>;

/// What is set aside for one copy.
#[derive(Debug)]
pub(super) struct Aside {
    home: Home,
    /// What the keys of its records begin with.
    prefix: Bytes,
    kept: BTreeMap<At, Old>,
    bytes: usize,
    /// Bytes that are kept in memory at most.
    most: usize,
    /// Some of it is in the store.
    stored: bool,
}

/// Whether everything has found its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Room {
    Enough,
    /// The present frame of the store is full.
    Later,
    /// The disk is full.
    Never,
}

impl Aside {
    pub(super) fn new(home: Home, front: &Front, most: usize) -> Aside {
        let mut prefix = BytesMut::from(&home.key(KIND, Some(front.term))[..]);
        prefix.put_u64(front.attempt);
        let prefix = prefix.freeze();
        Aside { home, prefix, kept: BTreeMap::new(), bytes: 0, most, stored: false }
    }

    /// Whether what a key held is here already.
    pub(super) fn has(&self, at: &At, store: &dyn Store) -> bool {
        let stored = || store.header(KeyspaceId::RAFT, self.home.slot, &self.key(at)).is_some();
        self.kept.contains_key(at) || (self.stored && stored())
    }

    /// Takes what a key held.
    pub(super) fn insert(&mut self, at: At, old: Old) {
        self.bytes += weight(&at, old.as_ref());
        self.kept.insert(at, old);
    }

    /// Moves what is too much for the memory to the store.
    pub(super) fn settle(&mut self, store: &mut dyn Store) -> Room {
        if self.bytes <= self.most {
            return Room::Enough;
        }
        if store.room_for(Intent::Value, 1 + self.bytes / COMMIT_BYTES, self.bytes).is_err() {
            return Room::Never;
        }
        while !self.kept.is_empty() {
            let (mut changes, mut bytes) = (Vec::new(), 0);
            for (at, old) in &self.kept {
                let change = Change::Put(self.record(at, old.as_ref()));
                bytes += change.weight();
                if !changes.is_empty() && bytes > COMMIT_BYTES.min(store.max_commit_bytes()) {
                    break;
                }
                changes.push(change);
            }
            // Nobody waits for it: whatever is lost with the process, the copy is lost with it.
            if store.commit_unawaited(&changes).is_err() {
                return Room::Later;
            }
            self.stored = true;
            for _ in &changes {
                if let Some((at, old)) = self.kept.pop_first() {
                    self.bytes -= weight(&at, old.as_ref());
                }
            }
        }
        Room::Enough
    }

    /// What keys from `from` on held, as much as the limit allows, and up to where that is all.
    ///
    /// # Errors
    /// [`Damaged`] if a record cannot be read.
    pub(super) fn page(
        &self,
        from: &At,
        limit: ScanLimit,
        store: &mut dyn Store,
    ) -> Result<(BTreeMap<At, Old>, Option<At>), Damaged> {
        let (mut olds, mut end) = (BTreeMap::new(), None);
        if self.stored {
            let slot = self.home.slot;
            let from = Cursor { slot, key: self.key(from) };
            let prefix = &self.prefix;
            let page = store.page(KeyspaceId::RAFT, &from, slot, prefix, limit, Want::Value);
            for (record, stored) in page.items {
                let value = record.value.filter(|_| !stored.corrupt);
                let value = value.ok_or(Damaged("what was set aside fails its checksum"))?;
                let at = self.place(&record.key)?;
                let old = decode(&at, value)?;
                olds.insert(at, old);
            }
            end = page.next.map(|next| self.place(&next.key)).transpose()?;
        }
        let kept =
            self.kept.range(from..).take_while(|(at, _)| end.as_ref().is_none_or(|e| *at < e));
        olds.extend(kept.map(|(at, old)| (at.clone(), old.clone())));
        Ok((olds, end))
    }

    /// Forgets what is before a place; everything if there is none.
    pub(super) fn forget_before(&mut self, end: Option<&At>) {
        self.kept = end.map(|end| self.kept.split_off(end)).unwrap_or_default();
        self.bytes = self.kept.iter().map(|(at, old)| weight(at, old.as_ref())).sum();
    }

    /// What removes it from the store, if anything is there.
    pub(super) fn removal(&self) -> Option<Change> {
        self.stored.then(|| self.home.aside_removal())
    }

    fn key(&self, (keyspace, slot, key): &At) -> Bytes {
        let mut out = BytesMut::from(&self.prefix[..]);
        out.put_u32(keyspace.0);
        out.put_u16(slot.get());
        out.put_slice(key);
        out.freeze()
    }

    fn place(&self, key: &Bytes) -> Result<At, WireError> {
        let wrong = WireError("what was set aside is of no place");
        let rest = key.get(self.prefix.len()..).ok_or(wrong)?;
        let (keyspace, rest) = rest.split_first_chunk().ok_or(wrong)?;
        let (slot, rest) = rest.split_first_chunk().ok_or(wrong)?;
        let slot = Slot::new(u16::from_be_bytes(*slot)).ok_or(wrong)?;
        Ok((KeyspaceId(u32::from_be_bytes(*keyspace)), slot, key.slice_ref(rest)))
    }

    fn record(&self, at: &At, old: Option<&Record>) -> Record {
        let mut value = BytesMut::new();
        put_optional(&mut value, old, |out, old| {
            put_header(out, &old.header());
            put_bytes(out, old.value.as_deref().unwrap_or_default());
        });
        // Each key is written once.
        let version = Version { hlc: Hlc(1), writer: Writer(0) };
        self.home.record(self.key(at), version, value.freeze())
    }
}

impl Home {
    /// Removes what copies have set aside.
    pub(super) fn aside_removal(self) -> Change {
        let (from, to) = (self.key(KIND, None), self.key(KIND + 1, None));
        Change::Remove { keyspace: KeyspaceId::RAFT, slot: self.slot, from, to }
    }

    /// Whether something is left of a copy that ended with the process.
    pub(super) fn has_aside(self, store: &mut dyn Store) -> bool {
        let (slot, prefix) = (self.slot, self.key(KIND, None));
        let from = Cursor { slot, key: prefix.clone() };
        let limit = ScanLimit { items: 1, bytes: 1 };
        let page = store.page(KeyspaceId::RAFT, &from, slot, &prefix, limit, Want::Header);
        !page.items.is_empty()
    }
}

fn decode(at: &At, mut value: Bytes) -> Result<Old, WireError> {
    get_optional(&mut value, |input| {
        let header = get_header(input)?;
        Ok(record(at, &header, get_bytes(input)?))
    })
}

fn weight((_, _, key): &At, old: Option<&Record>) -> usize {
    Change::OVERHEAD + old.map_or(key.len(), Record::weight)
}
