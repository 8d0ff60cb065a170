//! A stretch of a partition: what is copied as one piece, and how two replicas find out that they
//! hold the same there without sending it.
//!
//! A version is given to one change of one key only, and all replicas give the same. So where keys
//! and versions are equal, so are the values.

use std::hash::Hasher as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use kvorum_core::{
    Change, Cursor, Header, KeyspaceId, Record, ScanLimit, Slot, Store, Stored, Want, limits,
};
use xxhash_rust::xxh3::Xxh3;

use super::options::Options;
use crate::wire::WireError;
use crate::wire::primitive::{get_size, put_bytes, put_header, put_size, put_slot};

/// Behind every key, which are no longer than this.
const END: Bytes = Bytes::from_static(&[0xff; limits::MAX_KEY + 1]);

/// A place in a partition. Copies go through the partition in this order.
pub(super) type At = (KeyspaceId, Slot, Bytes);

/// The keys of a partition from one place up to, and without, another.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) from: At,
    /// Nothing for the end of the partition.
    pub(super) to: Option<At>,
}

/// What a stretch holds, told in a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outline {
    records: usize,
    digest: u128,
}

impl Outline {
    /// The outline of records in their order. `seed` differs from copy to copy, so that nobody can
    /// choose keys for being mistaken for others.
    pub(super) fn of<'a>(records: impl Iterator<Item = &'a Record>, seed: u64) -> Outline {
        let mut sum = Sum::new(seed);
        records.for_each(|record| sum.add(record, &record.header()));
        sum.outline()
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        put_size(out, self.records);
        out.put_u128_le(self.digest);
    }

    /// # Errors
    /// [`WireError`] if the input holds no outline.
    pub(super) fn decode(input: &mut Bytes) -> Result<Outline, WireError> {
        Ok(Outline { records: get_size(input)?, digest: input.try_get_u128_le()? })
    }
}

/// An outline that is being made.
struct Sum {
    records: usize,
    hasher: Xxh3,
    /// Only keeps its memory.
    said: BytesMut,
}

impl Sum {
    fn new(seed: u64) -> Sum {
        Sum { records: 0, hasher: Xxh3::with_seed(seed), said: BytesMut::new() }
    }

    fn add(&mut self, record: &Record, header: &Header) {
        self.records += 1;
        self.said.clear();
        self.said.put_u32_le(record.keyspace.0);
        put_slot(&mut self.said, record.slot);
        put_bytes(&mut self.said, &record.key);
        put_header(&mut self.said, header);
        self.hasher.write(&self.said);
    }

    fn outline(&self) -> Outline {
        Outline { records: self.records, digest: self.hasher.digest128() }
    }
}

impl Stretch {
    /// Where partitions begin.
    pub(super) fn beginning(options: &Options) -> At {
        let first = options.keyspaces.iter().min().copied().unwrap_or(KeyspaceId::RAFT);
        (first, *options.slots.start(), Bytes::new())
    }

    /// Whether it ends before it begins.
    pub(super) fn goes_back(&self) -> bool {
        self.to.as_ref().is_some_and(|to| *to < self.from)
    }

    /// Whether a place lies within.
    pub(super) fn contains(&self, at: &At) -> bool {
        self.from <= *at && self.to.as_ref().is_none_or(|to| at < to)
    }

    /// Whether the store holds what an outline tells, whole and readable.
    pub(super) fn holds(
        &self,
        outline: Outline,
        seed: u64,
        options: &Options,
        store: &mut dyn Store,
    ) -> bool {
        // Only what is the same by its headers, and so as large as a piece, is read from the disk.
        [Want::Header, Want::Value].into_iter().all(|want| {
            let mut sum = Sum::new(seed);
            let mut whole = true;
            self.walk(options, store, options.limits.piece, want, |record, stored| {
                sum.add(record, &stored.header);
                whole &= !stored.corrupt;
                whole && sum.records <= outline.records
            });
            whole && sum.outline() == outline
        })
    }

    /// Whether the store holds anything there.
    pub(super) fn is_held(&self, options: &Options, store: &mut dyn Store) -> bool {
        let mut any = false;
        let limit = ScanLimit { items: 1, ..options.limits.piece };
        self.walk(options, store, limit, Want::Header, |_, _| {
            any = true;
            false
        });
        any
    }

    /// The changes that remove everything the store holds there.
    pub(super) fn removals(&self, options: &Options, store: &dyn Store) -> Vec<Change> {
        let mut removals = Vec::new();
        for keyspace in self.keyspaces(options) {
            let (first, last) = self.slots(keyspace, options);
            for slot in (first.get()..=last.get()).filter_map(Slot::new) {
                let begins = (self.from.0, self.from.1) == (keyspace, slot);
                let from = if begins { self.from.2.clone() } else { Bytes::new() };
                let end = self.to.as_ref().filter(|to| (to.0, to.1) == (keyspace, slot));
                let to = end.map_or(END, |(_, _, key)| key.clone());
                if from < to && store.live(keyspace, slot, slot) > 0 {
                    removals.push(Change::Remove { keyspace, slot, from, to });
                }
            }
        }
        removals
    }

    /// Shows what the store holds there in order, until it is enough.
    fn walk(
        &self,
        options: &Options,
        store: &mut dyn Store,
        limit: ScanLimit,
        want: Want,
        mut goes_on: impl FnMut(&Record, &Stored) -> bool,
    ) {
        for keyspace in self.keyspaces(options) {
            let (first, last) = self.slots(keyspace, options);
            let begins = self.from.0 == keyspace;
            let key = if begins { self.from.2.clone() } else { Bytes::new() };
            let mut next = Some(Cursor { slot: first, key });
            while let Some(from) = next {
                let page = store.page(keyspace, &from, last, b"", limit, want);
                for (record, stored) in &page.items {
                    if !self.contains(&place_of(record)) || !goes_on(record, stored) {
                        return;
                    }
                }
                next = page.next;
            }
        }
    }

    /// The keyspaces it touches, in order.
    fn keyspaces(&self, options: &Options) -> Vec<KeyspaceId> {
        let mut keyspaces = options.keyspaces.clone();
        keyspaces.sort_unstable();
        let last = self.to.as_ref().map(|to| to.0);
        keyspaces.retain(|ks| self.from.0 <= *ks && last.is_none_or(|last| *ks <= last));
        keyspaces
    }

    /// The first and the last slot it touches in a keyspace.
    fn slots(&self, keyspace: KeyspaceId, options: &Options) -> (Slot, Slot) {
        let (first, last) = (*options.slots.start(), *options.slots.end());
        let first = if self.from.0 == keyspace { self.from.1.max(first) } else { first };
        let end = self.to.as_ref().filter(|to| to.0 == keyspace);
        (first, end.map_or(last, |to| to.1.min(last)))
    }
}

/// Where a record lies.
pub(super) fn place_of(record: &Record) -> At {
    (record.keyspace, record.slot, record.key.clone())
}
