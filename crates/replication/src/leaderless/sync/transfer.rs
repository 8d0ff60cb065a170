//! What a session sends and fetches once it knows what differs.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Header, Hlc, KeyspaceId, Mono, NodeId, Record, Slot, Version};

use super::At;
use super::answer::read;
use super::diff::Held;
use super::letter::{Item, Letter, record_weight};
use crate::leaderless::serve::Server;
use crate::pace::Grant;
use crate::{Message, OpId, Status, WriteKind};

/// How many records are under way without an answer.
const IN_FLIGHT: usize = 128;
/// How many keys are fetched at a time.
const FETCH: usize = 512;
/// How long to wait when the other node has no room.
const NO_ROOM: Duration = Duration::from_millis(20);

/// Where keys are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) keyspace: KeyspaceId,
    pub(super) slot: Slot,
}

/// What is on its way between the two replicas.
#[derive(Debug, Default)]
pub(super) struct Transfer {
    push: VecDeque<(Place, Bytes, Version)>,
    /// Sent and not answered, with what was sent.
    sent: BTreeMap<OpId, Header>,
    fetch: VecDeque<(Place, Vec<Item>)>,
    /// Asked for.
    asked: Option<(Place, Vec<Item>)>,
    /// Not before then.
    pause: Option<Mono>,
    pub(super) tally: Tally,
}

/// What became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Records that the other replica has taken.
    pub(super) pushed: u64,
    /// Records that were taken here.
    pub(super) fetched: u64,
    /// Bytes of letters and records in both directions.
    pub(super) bytes: usize,
    /// The oldest record that one of the replicas still lacks.
    pub(super) lacking: Option<Hlc>,
    /// Some of them are no writes under way.
    pub(super) incomplete: bool,
    /// The bounds of a session were reached.
    pub(super) stopped: bool,
    /// Why the other replica, or this one, takes no more for now.
    pub(super) refused: Option<&'static str>,
}

impl Tally {
    /// A replica lacks a record that could not be repaired.
    pub(super) fn lacks(&mut self, hlc: Hlc) {
        self.is_under_way(hlc);
        self.incomplete = true;
    }

    /// A replica lacks a record that is still under way to it.
    pub(super) fn is_under_way(&mut self, hlc: Hlc) {
        self.lacking = Some(self.lacking.map_or(hlc, |other| other.min(hlc)));
    }
}

impl Transfer {
    pub(super) fn want_push(&mut self, place: Place, held: Held) {
        self.push.push_back((place, held.key, held.header.version));
    }

    pub(super) fn want_fetch(&mut self, place: Place, item: Item) {
        match self.fetch.back_mut().filter(|(at, items)| *at == place && items.len() < FETCH) {
            Some((_, items)) => items.push(item),
            None => self.fetch.push_back((place, vec![item])),
        }
    }

    /// Whether nothing is left to be done.
    pub(super) fn is_over(&self) -> bool {
        self.push.is_empty() && self.sent.is_empty() && self.fetch.is_empty() && !self.is_asking()
    }

    pub(super) const fn is_asking(&self) -> bool {
        self.asked.is_some()
    }

    /// Whether an answer is to come.
    pub(super) fn awaits(&self) -> bool {
        self.is_asking() || !self.sent.is_empty()
    }

    pub(super) fn has_sent(&self, op: OpId) -> bool {
        self.sent.contains_key(&op)
    }

    pub(super) const fn pause(&self) -> Option<Mono> {
        self.pause
    }

    /// Does nothing until then.
    pub(super) const fn wait(&mut self, until: Mono) {
        self.pause = Some(until);
    }

    /// Leaves the rest undone.
    pub(super) fn stop(&mut self) {
        for (_, _, version) in self.push.drain(..) {
            self.tally.lacks(version.hlc);
        }
        let asked = self.asked.take();
        for (_, items) in self.fetch.drain(..).chain(asked) {
            for item in items {
                self.tally.lacks(item.version.hlc);
            }
        }
    }

    /// Sends what may be sent now. Returns a question, if there is one to ask.
    pub(super) fn pump(&mut self, at: &mut At<'_, '_>, with: NodeId) -> Option<Letter> {
        let now = at.ctx.now.mono;
        if self.pause.is_some_and(|until| until > now) {
            return None;
        }
        self.pause = None;
        if self.tally.bytes > at.options.limits.session_bytes {
            self.tally.stopped = true;
            self.stop();
        }
        while self.sent.len() < IN_FLIGHT && !self.push.is_empty() {
            if let Err(until) = may_send(at, with) {
                self.pause = Some(until);
                return None;
            }
            if let Some((place, key, version)) = self.push.pop_front() {
                self.send(at, with, place, key, version);
            }
        }
        if self.is_asking() || self.fetch.is_empty() {
            return None;
        }
        if let Err(until) = may_send(at, with) {
            self.pause = Some(until);
            return None;
        }
        let (Place { keyspace, slot }, mut items) = self.fetch.pop_front()?;
        items.sort_unstable();
        let hashes = items.iter().map(|item| item.key_hash).collect();
        self.asked = Some((Place { keyspace, slot }, items));
        Some(Letter::Fetch { keyspace, slot, hashes })
    }

    fn send(
        &mut self,
        at: &mut At<'_, '_>,
        to: NodeId,
        place: Place,
        key: Bytes,
        version: Version,
    ) {
        let Some((record, _)) = read(at.ctx, place.keyspace, place.slot, key) else {
            // It was removed meanwhile, or cannot be read.
            self.tally.lacks(version.hlc);
            return;
        };
        let weight = record_weight(&record);
        self.tally.bytes += weight;
        at.ctx.pace.background.correct(0, 1, weight);
        let op = at.ids.next(at.ctx.clock.writer());
        self.sent.insert(op, record.header());
        let (kind, patience) = (WriteKind::Repair, at.options.limits.session_patience);
        at.ctx.out.send(to, Message::Write { op, record, kind, patience });
    }

    /// Takes the other replica's answer to a record.
    pub(super) fn on_written(&mut self, op: OpId, status: Status) {
        let Some(header) = self.sent.remove(&op) else { return };
        let refused = match status {
            Status::Applied { .. } | Status::Superseded(_) => {
                self.tally.pushed += 1;
                return;
            }
            // There is nothing left of it, which is as good as holding it.
            Status::Late(floor) if header.may_be_purged(floor) => return,
            Status::Late(_) => {
                self.tally.lacks(header.version.hlc);
                return;
            }
            Status::DiskFull => "the other replica has no disk space",
            Status::IndexFull => "the other replica has no memory for more keys",
            Status::Overloaded => "the other replica has too much to do",
            Status::Rebuilding => "the other replica is being rebuilt",
            Status::NotReplica => "the other node does not hold the partition",
            Status::ClockSkew => "the other replica takes it for a client's write",
        };
        self.tally.lacks(header.version.hlc);
        self.tally.refused = Some(refused);
        self.stop();
    }

    /// Takes the records that were asked for.
    pub(super) fn on_fetched(
        &mut self,
        at: &mut At<'_, '_>,
        records: Vec<Record>,
        pause: Duration,
    ) {
        let Some((place, mut items)) = self.asked.take() else { return };
        if !pause.is_zero() && records.is_empty() {
            self.pause = Some(at.ctx.now.mono + pause.min(at.options.limits.session_patience));
            self.fetch.push_front((place, items));
            return;
        }
        let seed = at.ctx.store.digest_seed();
        let mut took = false;
        for record in records {
            let hash = kvorum_core::digest::key_hash(seed, &record.key);
            let wanted = items.iter().position(|item| item.key_hash == hash);
            let here = (record.keyspace, record.slot) == (place.keyspace, place.slot);
            let Some(wanted) = wanted.filter(|_| here) else { continue };
            took = true;
            self.tally.bytes += record_weight(&record);
            let item = items.swap_remove(wanted);
            match store(at, record) {
                Ok(()) => self.tally.fetched += 1,
                Err(refused) => {
                    self.tally.lacks(item.version.hlc);
                    self.tally.refused = Some(refused);
                }
            }
        }
        if self.tally.refused.is_some() {
            self.stop();
        }
        if took {
            // What did not fit is asked for again.
            self.fetch.extend((!items.is_empty()).then_some((place, items)));
        } else {
            items.iter().for_each(|item| self.tally.lacks(item.version.hlc));
        }
    }
}

/// Whether there is allowance and room to send something now; else when to try again.
pub(super) fn may_send(at: &mut At<'_, '_>, to: NodeId) -> Result<(), Mono> {
    let now = at.ctx.now.mono;
    if !at.ctx.peers.has_room(to) {
        return Err(now + NO_ROOM);
    }
    match at.ctx.pace.background.take(now, 0, 0) {
        Grant::Granted => Ok(()),
        Grant::NotBefore(then) => Err(then),
    }
}

/// Stores a record of the other replica here.
fn store(at: &mut At<'_, '_>, record: Record) -> Result<(), &'static str> {
    let mut server = Server {
        options: at.options,
        rebuilding: false,
        blind: false,
        floor: at.floor,
        ctx: at.ctx,
    };
    let header = record.header();
    match server.apply(record, WriteKind::Repair).0 {
        Status::Applied { .. } | Status::Superseded(_) => Ok(()),
        Status::Late(floor) if header.may_be_purged(floor) => Ok(()),
        Status::Late(_) => Err("the other replica holds what was deleted for good"),
        Status::DiskFull => Err("there is no disk space"),
        Status::IndexFull => Err("there is no memory for more keys"),
        _ => Err("there is too much to do"),
    }
}
