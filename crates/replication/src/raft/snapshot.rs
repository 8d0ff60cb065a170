//! Copying a whole partition to a replica that is too far behind for the log.
//!
//! The leader sends what the partition held at one place of the log, piece by piece, each when the
//! last was taken. Meanwhile it goes on applying: what a command is about to change and has not
//! been sent yet is set aside first, as it was ([`Sender::set_aside`]).
//!
//! The receiver drops what it has and stores the pieces in its place. Until the last of them it
//! holds nothing that is of use, says so in its state, and neither leads nor applies; but its log
//! and its vote are untouched, so it still keeps every promise it made. The last piece replaces
//! log and state in one step.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    Change, Cursor, Header, Hlc, KeyspaceId, Mono, NodeId, Record, ScanLimit, Slot, Store, Want,
};

use raft::eraftpb::ConfState;

use super::consensus::Place;
use super::letter::MAX_NUMBER;
use super::log::Damaged;
use super::options::Options;
use super::ring::Known;
use super::running::home;
use super::state::{are_members, get_members, put_members};
use crate::pace::Permit;
use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_flag, get_header, get_size, get_slot, get_varint, put_bytes, put_flag,
    put_header, put_size, put_slot, put_varint,
};

/// How much may be set aside before the copy is given up; it begins anew later.
const MAX_SET_ASIDE: usize = 16 << 20;

/// What a copy begins with: the state at the place it shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Front {
    /// The place in the log.
    pub(super) place: Place,
    /// The term of the leader that sends it.
    pub(super) term: u64,
    /// How many copies this leader has begun: pieces of two do not fit together, even if both show
    /// the same place.
    pub(super) attempt: u64,
    /// Where the log's clock stands there.
    pub(super) clock: Hlc,
    /// Who is a member there.
    pub(super) conf: ConfState,
}

/// One piece.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) front: Front,
    /// Counts from zero.
    pub(super) number: u64,
    pub(super) items: Vec<Record>,
    /// Nothing follows.
    pub(super) last: bool,
}

/// The receiver has taken a piece, or needs none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The copy's [`Front::attempt`].
    pub(super) attempt: u64,
    pub(super) number: u64,
    /// The receiver has everything.
    pub(super) complete: bool,
}

type At = (KeyspaceId, Slot, Bytes);

/// A copy that is being sent.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) to: NodeId,
    pub(super) front: Front,
    /// Only so many copies leave a node at once.
    #[allow(dead_code, reason = "it counts as long as it is held")]
    permit: Permit,
    /// The next piece has yet to be sent.
    pub(super) due: bool,
    /// What was done before, by the names of writes: that goes first.
    sessions: VecDeque<Record>,
    keyspaces: Vec<KeyspaceId>,
    first_slot: Slot,
    last_slot: Slot,
    /// What comes next; nothing when all is sent.
    cursor: Option<(KeyspaceId, Cursor)>,
    /// What has been changed since, as it was: nothing if it was not there.
    aside: BTreeMap<At, Option<Record>>,
    aside_bytes: usize,
    /// The piece that has not been taken yet.
    pub(super) number: u64,
    limit: ScanLimit,
    /// When the receiver is given up.
    pub(super) patience: Mono,
}

impl Sender {
    /// A copy of what the store holds now.
    pub(super) fn new(
        to: NodeId,
        front: Front,
        permit: Permit,
        sessions: Vec<Record>,
        options: &Options,
        patience: Mono,
    ) -> Sender {
        let start = Cursor::start_of(*options.slots.start());
        let mut keyspaces = options.keyspaces.clone();
        // What is set aside is in this order too.
        keyspaces.sort_unstable();
        Sender {
            to,
            front,
            permit,
            due: true,
            sessions: sessions.into(),
            cursor: keyspaces.first().map(|keyspace| (*keyspace, start)),
            keyspaces,
            first_slot: *options.slots.start(),
            last_slot: *options.slots.end(),
            aside: BTreeMap::new(),
            aside_bytes: 0,
            number: 0,
            limit: options.limits.piece,
            patience,
        }
    }

    /// Keeps what is about to be changed, if it has not been sent.
    ///
    /// # Errors
    /// [`Damaged`] if it cannot be read.
    pub(super) fn set_aside<'a>(
        &mut self,
        places: impl Iterator<Item = &'a At>,
        store: &mut dyn Store,
    ) -> Result<(), Damaged> {
        let Some((keyspace, cursor)) = &self.cursor else { return Ok(()) };
        let next = (*keyspace, cursor.slot, cursor.key.clone());
        for place in places.filter(|place| **place >= next) {
            if self.aside.contains_key(place) {
                continue;
            }
            let (keyspace, slot, key) = place;
            let found = store.value(*keyspace, *slot, key);
            let found = found.map_err(|_| Damaged("a value fails its checksum"))?;
            let old = found.map(|(stored, value)| record(place, &stored.header, value));
            self.aside_bytes += weight(place, old.as_ref());
            self.aside.insert(place.clone(), old);
        }
        Ok(())
    }

    /// Whether so much was set aside that the copy must be given up.
    pub(super) const fn is_too_large(&self) -> bool {
        self.aside_bytes > MAX_SET_ASIDE
    }

    /// The next piece.
    ///
    /// # Errors
    /// [`Damaged`] if a value cannot be read.
    pub(super) fn piece(&mut self, store: &mut dyn Store) -> Result<Piece, Damaged> {
        let mut items = self.next_sessions();
        if items.is_empty()
            && let Some((keyspace, from)) = self.cursor.take()
        {
            let page = store.page(keyspace, &from, self.last_slot, &[], self.limit, Want::Value);
            if page.items.iter().any(|(_, stored)| stored.corrupt) {
                return Err(Damaged("a value fails its checksum"));
            }
            let first = (keyspace, from.slot, from.key);
            let next = match page.next {
                Some(next) => Some((keyspace, next)),
                None => self.following(keyspace),
            };
            let there = page.items.into_iter().map(|(record, _)| (place(&record), Some(record)));
            let mut merged: BTreeMap<At, Option<Record>> = there.collect();
            let mut aside = self.aside.split_off(&first);
            if let Some((keyspace, cursor)) = &next {
                self.aside = aside.split_off(&(*keyspace, cursor.slot, cursor.key.clone()));
            }
            merged.append(&mut aside.clone());
            let (taken, rest) = self.fitting(merged);
            items = taken;
            // What has no room any more is read or taken from aside with the next piece.
            self.cursor = rest.as_ref().map_or(next, |(ks, slot, key)| {
                Some((*ks, Cursor { slot: *slot, key: key.clone() }))
            });
            if let Some(rest) = rest {
                self.aside.append(&mut aside.split_off(&rest));
            }
            let kept = self.aside.iter().map(|(place, old)| weight(place, old.as_ref()));
            self.aside_bytes = kept.sum();
        }
        let last = self.cursor.is_none();
        Ok(Piece { front: self.front.clone(), number: self.number, items, last })
    }

    /// What is remembered, as far as one piece has room for it.
    fn next_sessions(&mut self) -> Vec<Record> {
        let (mut items, mut bytes) = (Vec::new(), 0);
        while let Some(record) = self.sessions.pop_front_if(|record| {
            bytes += record.weight();
            items.is_empty() || (bytes <= self.limit.bytes && items.len() < self.limit.items)
        }) {
            items.push(record);
        }
        items
    }

    /// The first of the records, as far as one piece has room for them, and where the rest begins.
    fn fitting(&self, all: BTreeMap<At, Option<Record>>) -> (Vec<Record>, Option<At>) {
        let mut items: Vec<Record> = Vec::new();
        let mut bytes = 0;
        for (at, record) in all {
            let Some(record) = record else { continue };
            bytes += record.weight();
            if !items.is_empty() && (bytes > self.limit.bytes || items.len() == self.limit.items) {
                return (items, Some(at));
            }
            items.push(record);
        }
        (items, None)
    }

    fn following(&self, keyspace: KeyspaceId) -> Option<(KeyspaceId, Cursor)> {
        let at = self.keyspaces.iter().position(|known| *known == keyspace)?;
        let next = self.keyspaces.get(at + 1)?;
        Some((*next, Cursor::start_of(self.first_slot)))
    }
}

/// A copy that is being received.
#[derive(Debug)]
pub(super) struct Receiver {
    pub(super) from: NodeId,
    pub(super) front: Front,
    /// What was done before, as far as it has arrived.
    pub(super) known: Known,
    /// The number of the next piece.
    pub(super) next: u64,
    /// When the sender is given up.
    pub(super) patience: Mono,
}

/// The changes that remove everything a replica holds of its partition.
pub(super) fn removals(options: &Options, store: &dyn Store) -> Vec<Change> {
    let mut removals = Vec::new();
    for &keyspace in &options.keyspaces {
        let slots = options.slots.start().get()..=options.slots.end().get();
        for slot in slots.filter_map(Slot::new) {
            if store.live(keyspace, slot, slot) > 0 {
                // Behind every key, which are no longer than this.
                let to = Bytes::from_static(&[0xff; kvorum_core::limits::MAX_KEY + 1]);
                removals.push(Change::Remove { keyspace, slot, from: Bytes::new(), to });
            }
        }
    }
    removals
}

fn weight((_, _, key): &At, old: Option<&Record>) -> usize {
    Change::OVERHEAD + old.map_or(key.len(), Record::weight)
}

fn place(record: &Record) -> At {
    (record.keyspace, record.slot, record.key.clone())
}

fn record((keyspace, slot, key): &At, header: &Header, value: Bytes) -> Record {
    Record {
        keyspace: *keyspace,
        slot: *slot,
        key: key.clone(),
        version: header.version,
        tag: header.tag,
        expire_ms: header.expire_ms,
        value: Some(value),
    }
}

impl Receiver {
    /// Takes what a piece says of what was done before.
    ///
    /// # Errors
    /// [`WireError`] if it makes no sense.
    pub(super) fn remember(&mut self, items: &[Record]) -> Result<(), WireError> {
        for item in items.iter().filter(|item| item.keyspace == KeyspaceId::RAFT) {
            self.known.take(item)?;
        }
        if self.known.is_of(self.front.place.index) {
            Ok(())
        } else {
            Err(WireError("what is remembered is of another place"))
        }
    }
}

impl Piece {
    /// Whether a leader could have sent this: what it says is stored unseen, and a configuration
    /// that makes no sense would end the process.
    pub(super) fn makes_sense(&self, options: &Options) -> bool {
        let Front { place, term, conf, .. } = &self.front;
        let numbers = 0 < place.term && place.term <= *term && 0 < place.index;
        let bounded = *term <= MAX_NUMBER && place.index <= MAX_NUMBER;
        let ours = |item: &Record| {
            options.keyspaces.contains(&item.keyspace)
                && options.slots.contains(&item.slot)
                && (1..=kvorum_core::limits::MAX_KEY).contains(&item.key.len())
        };
        let ours = |item: &Record| ours(item) || home(options).holds_session(item);
        numbers && bounded && are_members(conf) && self.items.iter().all(ours)
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let Front { place, term, attempt, clock, conf } = &self.front;
        for number in [place.index, place.term, *term, *attempt, clock.0, self.number] {
            put_varint(out, number);
        }
        put_members(out, conf);
        put_flag(out, self.last);
        put_size(out, self.items.len());
        for item in &self.items {
            out.put_u32_le(item.keyspace.0);
            put_slot(out, item.slot);
            put_bytes(out, &item.key);
            put_header(out, &item.header());
            put_bytes(out, item.value.as_deref().unwrap_or_default());
        }
    }

    /// # Errors
    /// [`WireError`] if the input holds no piece.
    pub(super) fn decode(input: &mut Bytes) -> Result<Piece, WireError> {
        let (index, at) = (get_varint(input)?, get_varint(input)?);
        let (term, attempt) = (get_varint(input)?, get_varint(input)?);
        let clock = Hlc(get_varint(input)?);
        let number = get_varint(input)?;
        let conf = get_members(input)?;
        let last = get_flag(input)?;
        let mut items = Vec::new();
        for _ in 0..get_size(input)? {
            let keyspace = KeyspaceId(input.try_get_u32_le()?);
            let at = (keyspace, get_slot(input)?, get_bytes(input)?);
            let header = get_header(input)?;
            items.push(record(&at, &header, get_bytes(input)?));
        }
        let place = Place { term: at, index };
        Ok(Piece { front: Front { place, term, attempt, clock, conf }, number, items, last })
    }
}
