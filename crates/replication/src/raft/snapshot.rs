//! Copying a whole partition to a replica that is too far behind for the log.
//!
//! The leader sends what the partition held at one place of the log, piece by piece, each when the
//! last was taken, and again if nothing is heard. Meanwhile it goes on applying: what a command is
//! about to change and has not been sent yet is set aside first, as it was ([`Sender::set_aside`]).
//!
//! Each piece is a stretch of the partition, and what the receiver held there it replaces. Until
//! the last of them it holds a mixture, says so in its state, and neither leads nor applies; but its
//! log and its vote are untouched, so it still keeps every promise it made. The last piece replaces
//! log and state in one step.
//!
//! A receiver that holds something where the next piece belongs is told the outline of that first
//! ([`super::stretch::Outline`]) and asks for the records only if it holds others. So a copy that was cut short,
//! whoever sent it and whoever sends the next one, is not sent again: only what changed since is.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use kvorum_core::{Change, Cursor, KeyspaceId, Mono, NodeId, Record, ScanLimit, Slot, Store, Want};

use super::aside::{Aside, Room};
use super::log::Damaged;
use super::options::Options;
use super::piece::{Content, Front, Piece, Taken, record};
use super::ring::Known;
use super::running::home;
use super::stretch::{At, Stretch, place_of};
use crate::pace::Permit;
use crate::wire::WireError;

/// A copy that is being sent.
#[derive(Debug)]
pub(super) struct Sender {
    pub(super) to: NodeId,
    pub(super) front: Front,
    /// Only so many copies leave a node at once.
    #[allow(dead_code, reason = "it counts as long as it is held")]
    permit: Permit,
    /// A piece has yet to be sent.
    pub(super) due: bool,
    /// When the last one left.
    pub(super) sent: Mono,
    /// The piece that has not been taken yet, if it has been made.
    current: Option<Piece>,
    /// It goes out as an outline.
    asks: bool,
    /// The receiver may hold what comes next.
    meets: bool,
    /// What was done before, by the names of writes: that goes first.
    sessions: VecDeque<Record>,
    keyspaces: Vec<KeyspaceId>,
    first_slot: Slot,
    last_slot: Slot,
    /// What comes next; nothing when all is sent.
    cursor: Option<(KeyspaceId, Cursor)>,
    /// What has been changed since, as it was.
    aside: Aside,
    /// There is no room for what must be set aside, so the copy must be given up.
    pub(super) no_room: bool,
    /// The number of the piece that has not been taken yet.
    number: u64,
    limit: ScanLimit,
    /// When the receiver is given up if it takes nothing.
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
        let aside = Aside::new(home(options), &front, options.limits.aside_bytes);
        Sender {
            to,
            front,
            permit,
            due: true,
            sent: Mono(0),
            current: None,
            asks: false,
            meets: true,
            sessions: sessions.into(),
            cursor: keyspaces.first().map(|keyspace| (*keyspace, start)),
            keyspaces,
            first_slot: *options.slots.start(),
            last_slot: *options.slots.end(),
            aside,
            no_room: false,
            number: 0,
            limit: options.limits.piece,
            patience,
        }
    }

    /// Keeps what is about to be changed, if it has not been sent. False if that must wait for
    /// room in the store's frame.
    ///
    /// # Errors
    /// [`Damaged`] if it cannot be read.
    pub(super) fn set_aside<'a>(
        &mut self,
        places: impl Iterator<Item = &'a At>,
        store: &mut dyn Store,
    ) -> Result<bool, Damaged> {
        let Some((keyspace, cursor)) = &self.cursor else { return Ok(true) };
        let next = (*keyspace, cursor.slot, cursor.key.clone());
        for place in places.filter(|place| **place >= next) {
            if self.aside.has(place, store) {
                continue;
            }
            let (keyspace, slot, key) = place;
            let found = store.value(*keyspace, *slot, key);
            let found = found.map_err(|_| Damaged("a value fails its checksum"))?;
            let old = found.map(|(stored, value)| record(place, &stored.header, value));
            self.aside.insert(place.clone(), old);
        }
        let room = self.aside.settle(store);
        self.no_room |= room == Room::Never;
        Ok(room != Room::Later)
    }

    /// What removes from the store what was set aside there.
    pub(super) fn removal(&self) -> Option<Change> {
        self.aside.removal()
    }

    /// What is to be sent: the piece that has not been taken, or its outline.
    ///
    /// # Errors
    /// [`Damaged`] if a value cannot be read.
    pub(super) fn piece(&mut self, store: &mut dyn Store) -> Result<Piece, Damaged> {
        let piece = match self.current.take() {
            Some(piece) => piece,
            None => self.next(store)?,
        };
        let told = if self.asks { piece.outline() } else { piece.clone() };
        self.current = Some(piece);
        Ok(told)
    }

    /// Whether something is said of the piece under way.
    pub(super) fn awaits(&self, from: NodeId, taken: Taken) -> bool {
        let of_copy = self.to == from && self.front.attempt == taken.attempt;
        of_copy && self.number == taken.number && self.current.is_some()
    }

    /// The piece under way must go out with all it holds.
    pub(super) fn differs(&mut self) {
        self.asks = false;
        self.due = true;
    }

    /// The piece under way has been taken by a receiver that may hold what follows, if it `meets`.
    pub(super) fn advance(&mut self, meets: bool) {
        self.current = None;
        self.number += 1;
        self.meets = meets;
        self.due = true;
    }

    /// Makes the next piece.
    fn next(&mut self, store: &mut dyn Store) -> Result<Piece, Damaged> {
        let mut items = self.next_sessions();
        // What is remembered is not compared: it is little.
        self.asks = items.is_empty() && self.meets;
        if items.is_empty()
            && let Some((keyspace, from)) = self.cursor.take()
        {
            items = self.next_records(keyspace, from, store)?;
        }
        let to = self.cursor.as_ref().map(|(ks, at)| (*ks, at.slot, at.key.clone()));
        let content = Content::Records(items);
        Ok(Piece { front: self.front.clone(), number: self.number, to, content })
    }

    fn next_records(
        &mut self,
        keyspace: KeyspaceId,
        from: Cursor,
        store: &mut dyn Store,
    ) -> Result<Vec<Record>, Damaged> {
        let page = store.page(keyspace, &from, self.last_slot, &[], self.limit, Want::Value);
        if page.items.iter().any(|(_, stored)| stored.corrupt) {
            return Err(Damaged("a value fails its checksum"));
        }
        let first = (keyspace, from.slot, from.key);
        let next = match page.next {
            Some(next) => Some((keyspace, next.slot, next.key)),
            None => self.following(keyspace),
        };
        let (aside, end) = self.aside.page(&first, self.limit, store)?;
        // Both are whole up to the nearer end.
        let next = [next, end].into_iter().flatten().min();
        let there = page.items.into_iter().map(|(record, _)| (place_of(&record), Some(record)));
        let mut merged: BTreeMap<At, Option<Record>> = there.collect();
        merged.extend(aside);
        merged.retain(|at, _| next.as_ref().is_none_or(|next| at < next));
        let (items, rest) = self.fitting(merged);
        // What has no room any more is read or taken from aside with the next piece.
        let next = rest.or(next);
        self.aside.forget_before(next.as_ref());
        self.cursor = next.map(|(keyspace, slot, key)| (keyspace, Cursor { slot, key }));
        Ok(items)
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

    fn following(&self, keyspace: KeyspaceId) -> Option<At> {
        let at = self.keyspaces.iter().position(|known| *known == keyspace)?;
        let next = self.keyspaces.get(at + 1)?;
        Some((*next, self.first_slot, Bytes::new()))
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
    /// Where it begins.
    pub(super) reached: At,
    /// When the sender is given up.
    pub(super) patience: Mono,
}

impl Receiver {
    /// Takes what a piece says of what was done before; the rest must be of its stretch.
    ///
    /// # Errors
    /// [`WireError`] if it makes no sense.
    pub(super) fn remember(
        &mut self,
        stretch: &Stretch,
        items: &[Record],
    ) -> Result<(), WireError> {
        for item in items {
            if item.keyspace == KeyspaceId::RAFT {
                self.known.take(item)?;
            } else if !stretch.contains(&place_of(item)) {
                return Err(WireError("a record is of another stretch"));
            }
        }
        if self.known.is_of(self.front.place.index) {
            Ok(())
        } else {
            Err(WireError("what is remembered is of another place"))
        }
    }
}
