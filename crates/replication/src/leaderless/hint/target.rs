//! What one replica remembers for one other member, and how it is sent.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{KeyspaceId, Mono, NodeId, Record, Slot, Stored};

use super::super::Options;
use super::super::pending::OpIds;
use super::dirty::DirtySlots;
use crate::pace::{Grant, HintShare};
use crate::{Context, Event, Message, OpId, Report, Status, WriteKind};

/// Bytes that a hint takes beside its key: its place in a set, and its allocation.
const OVERHEAD: usize = 64;
/// How often to look whether a target is back.
const POLL: Duration = Duration::from_millis(500);
/// How long a hint may be under way before it is sent again.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait after the first refusal, and at most.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(5));
/// How long to wait for room towards the target.
const PAUSE: Duration = Duration::from_millis(5);
/// How long one partition of many waits for its turn, so that all of them together are not woken
/// oftener than a few times in a millisecond.
const TURN: Duration = Duration::from_micros(125);
/// Keys given up at once.
const GIVEN_UP: usize = 512;

/// What a replay works with.
pub(in super::super) struct Replay<'a, 'c> {
    pub(in super::super) options: &'a Options,
    /// The local replica lacks something: what it holds may be older than what was missed.
    pub(in super::super) rebuilding: bool,
    pub(in super::super) ids: &'a mut OpIds,
    pub(in super::super) ctx: &'a mut Context<'c>,
}

/// A key that was missed. In order, so that a replay goes through the slots.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    keyspace: KeyspaceId,
    slot: Slot,
    /// A copy: the frame of the network that a key lies in is much larger.
    key: Box<[u8]>,
}

impl Key {
    pub(super) fn new(keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Key {
        Key { keyspace, slot, key: key.into() }
    }

    /// Bytes that it takes.
    const fn weight(&self) -> usize {
        OVERHEAD + self.key.len()
    }
}

/// The hints for one member.
#[derive(Debug)]
pub(super) struct Target {
    node: NodeId,
    /// What is to be sent. A key can be under way as well, if it was missed again since.
    waiting: BTreeSet<Key>,
    in_flight: BTreeMap<OpId, Flight>,
    dirty: DirtySlots,
    share: HintShare,
    /// What was sent last: the replay goes on behind it, so that a key that is refused does not
    /// keep the others back.
    last: Option<Key>,
    /// When to go on with the replay; nothing while nothing waits.
    next: Option<Mono>,
    /// The target has refused something: nothing is sent before this, and after the next refusal
    /// it is longer.
    refused: Option<(Mono, Duration)>,
}

#[derive(Debug)]
struct Flight {
    key: Key,
    /// When it is taken for lost. Later ones have larger operation ids.
    until: Mono,
}

/// What became of one hint.
enum Sent {
    Yes,
    NotBefore(Mono),
}

impl Target {
    /// What a former life has left for a member.
    pub(super) fn open(options: &Options, ctx: &mut Context<'_>, node: NodeId) -> Target {
        let dirty = DirtySlots::load(ctx.store, options.partition, &options.slots, node);
        let mut share = ctx.pace.hints.share(node);
        share.set_dirty(dirty.len());
        Target {
            node,
            waiting: BTreeSet::new(),
            in_flight: BTreeMap::new(),
            dirty,
            share,
            last: None,
            next: None,
            refused: None,
        }
    }

    pub(super) const fn node(&self) -> NodeId {
        self.node
    }

    /// When [`Target::advance`] is wanted.
    pub(super) fn wake(&self) -> Option<Mono> {
        let lost = self.in_flight.values().next().map(|flight| flight.until);
        [self.next, lost, self.dirty.save_at()].into_iter().flatten().min()
    }

    /// The target may lack a write to this key; the replica here has it.
    pub(super) fn remember(&mut self, options: &Options, ctx: &mut Context<'_>, key: Key) {
        let now = ctx.now.mono;
        let weight = key.weight();
        if self.waiting.contains(&key) {
            return;
        }
        let limits = &options.limits;
        let room = self.share.has_room(weight, limits.hint_keys, limits.hint_bytes);
        if !room && !options.keeps_hints_without_bounds() {
            return self.overflow(key.slot, ctx);
        }
        if !ctx.peers.is_up(self.node) && self.is_away_for_long(options, now) {
            return self.overflow(key.slot, ctx);
        }
        ctx.out.count(Event::Hinted);
        self.waiting.insert(key);
        self.share.add(weight);
        self.next.get_or_insert(now);
    }

    fn is_away_for_long(&self, options: &Options, now: Mono) -> bool {
        now.since(self.share.away(now)) >= options.limits.hint_window
    }

    fn overflow(&mut self, slot: Slot, ctx: &mut Context<'_>) {
        ctx.out.count(Event::HintOverflow);
        if self.share.overflows() {
            ctx.out.report(Report::HintsOverflowed { to: self.node });
        }
        self.mark(slot, ctx);
    }

    /// Remembers that the slot has to be compared.
    pub(super) fn mark(&mut self, slot: Slot, ctx: &Context<'_>) {
        self.dirty.mark(slot, ctx.now.mono);
        self.share.set_dirty(self.dirty.len());
    }

    pub(super) fn dirty(&self) -> impl Iterator<Item = Slot> {
        self.dirty.slots()
    }

    pub(super) const fn marks(&self) -> u64 {
        self.dirty.marks()
    }

    pub(super) fn cleaned(&mut self, slots: &RangeInclusive<Slot>, marks: u64, now: Mono) {
        self.dirty.cleaned(slots, marks, now);
        self.share.set_dirty(self.dirty.len());
    }

    /// Whether something was sent under this id, and not answered yet.
    pub(super) fn awaits(&self, op: OpId) -> bool {
        self.in_flight.contains_key(&op)
    }

    /// Takes an answer.
    pub(super) fn on_answer(&mut self, ctx: &mut Context<'_>, op: OpId, status: Status) {
        let Some(Flight { key, .. }) = self.in_flight.remove(&op) else { return };
        self.share.set_in_flight(self.in_flight.len());
        match status {
            Status::Applied { .. } | Status::Superseded(_) | Status::Late(_) => {
                self.refused = None;
                self.taken(&key, ctx);
            }
            Status::NotReplica => {
                ctx.out.count(Event::HintDropped);
                self.forget(&key, ctx);
            }
            Status::Rebuilding
            | Status::ClockSkew
            | Status::DiskFull
            | Status::IndexFull
            | Status::Overloaded => {
                self.keep(key);
                self.back_off(ctx.now.mono);
            }
        }
    }

    fn taken(&mut self, key: &Key, ctx: &mut Context<'_>) {
        ctx.out.count(Event::HintReplayed);
        self.share.replayed();
        self.forget(key, ctx);
    }

    /// A hint is done with.
    fn forget(&mut self, key: &Key, ctx: &mut Context<'_>) {
        self.share.remove(key.weight());
        if let Some(keys) = self.share.ends() {
            ctx.out.report(Report::HintsReplayed { to: self.node, keys });
        }
    }

    /// A hint that was under way has to be sent again.
    fn keep(&mut self, key: Key) {
        let weight = key.weight();
        if !self.waiting.insert(key) {
            // It was missed again since.
            self.share.remove(weight);
        }
    }

    fn back_off(&mut self, now: Mono) {
        let (least, most) = BACK_OFF;
        let span = match self.refused {
            // What was under way at the first refusal is refused as well.
            Some((until, _)) if until > now => return,
            Some((_, span)) => (span * 2).min(most),
            None => least,
        };
        self.refused = Some((now + span, span));
        self.next = Some(now + span);
    }

    pub(super) fn on_lost(&mut self, now: Mono) {
        for (_, flight) in std::mem::take(&mut self.in_flight) {
            self.keep(flight.key);
        }
        self.share.set_in_flight(0);
        self.refused = None;
        if !self.waiting.is_empty() {
            self.next = Some(now);
        }
    }

    /// Does what it is time for.
    pub(super) fn advance(&mut self, replay: &mut Replay<'_, '_>) {
        let now = replay.ctx.now.mono;
        if replay.options.forgets_dirty_slots() {
            self.dirty.forget_to_save();
        }
        self.dirty.save(replay.ctx.store, now);
        while let Some(flight) = self.in_flight.first_entry() {
            if flight.get().until > now {
                break;
            }
            let flight = flight.remove();
            self.keep(flight.key);
            self.next.get_or_insert(now);
        }
        self.share.set_in_flight(self.in_flight.len());
        if self.next.is_some_and(|next| next <= now) {
            self.next = self.replay(replay);
        }
    }

    /// Sends what may be sent now; tells when to go on.
    fn replay(&mut self, replay: &mut Replay<'_, '_>) -> Option<Mono> {
        let now = replay.ctx.now.mono;
        if self.waiting.is_empty() {
            return None;
        }
        if !replay.ctx.peers.is_up(self.node) {
            return self.wait_for_target(replay, now);
        }
        self.share.back();
        if let Some((until, _)) = self.refused
            && until > now
        {
            return Some(until);
        }
        if replay.rebuilding {
            return Some(now + POLL);
        }
        let turn = now + TURN * u32::try_from(self.share.holders()).unwrap_or(u32::MAX);
        let most = replay.options.limits.hints_in_flight;
        while let Some(key) = self.first() {
            if self.share.all_in_flight() >= most || !replay.ctx.peers.has_room(self.node) {
                return Some(turn.max(now + PAUSE));
            }
            match self.send(replay, &key) {
                Sent::Yes => {}
                Sent::NotBefore(later) => return Some(turn.max(later)),
            }
        }
        None
    }

    /// The first key behind the one that was sent last; the first of all behind the last one.
    fn first(&self) -> Option<Key> {
        let behind = self
            .last
            .as_ref()
            .and_then(|last| self.waiting.range::<Key, _>((Excluded(last), Unbounded)).next());
        behind.or_else(|| self.waiting.first()).cloned()
    }

    /// The target is away: once it has been for long, gives up a few keys for their slots.
    fn wait_for_target(&mut self, replay: &mut Replay<'_, '_>, now: Mono) -> Option<Mono> {
        let (options, ctx) = (replay.options, &mut *replay.ctx);
        if !self.is_away_for_long(options, now) {
            return Some(now + POLL);
        }
        for _ in 0..GIVEN_UP {
            let key = self.waiting.pop_first()?;
            self.overflow(key.slot, ctx);
            self.forget(&key, ctx);
        }
        Some(now + TURN * u32::try_from(self.share.holders()).unwrap_or(u32::MAX))
    }

    /// Sends what is stored under a key, if the allowance permits.
    fn send(&mut self, replay: &mut Replay<'_, '_>, key: &Key) -> Sent {
        let ctx = &mut *replay.ctx;
        let now = ctx.now.mono;
        let stored = ctx.store.header(key.keyspace, key.slot, &key.key);
        let value_len = |stored: &Stored| stored.header.value_len as usize;
        let bytes = stored.as_ref().map_or(0, |stored| value_len(stored) + key.key.len());
        if let Grant::NotBefore(later) = ctx.pace.background.take_hints(now, self.node, 1, bytes) {
            return Sent::NotBefore(later);
        }
        self.waiting.remove(key);
        self.last = Some(key.clone());
        match ctx.store.value(key.keyspace, key.slot, &key.key) {
            Ok(Some((stored, value))) => self.send_record(replay, key.clone(), stored, value),
            Ok(None) => {
                // Removed below the floor, so the target has it, or removed it as well.
                ctx.out.count(Event::HintDropped);
                self.forget(key, ctx);
            }
            Err(_) => {
                ctx.out.count(Event::Corrupt);
                self.mark(key.slot, ctx);
                self.forget(key, ctx);
            }
        }
        Sent::Yes
    }

    fn send_record(
        &mut self,
        replay: &mut Replay<'_, '_>,
        key: Key,
        Stored { header, pending, .. }: Stored,
        value: Bytes,
    ) {
        let ctx = &mut *replay.ctx;
        if self.share.begins() {
            ctx.out.report(Report::ReplayBegan { to: self.node, keys: self.share.all_keys() });
        }
        let record = Record {
            keyspace: key.keyspace,
            slot: key.slot,
            key: Bytes::copy_from_slice(&key.key),
            version: header.version,
            tag: header.tag,
            expire_ms: header.expire_ms,
            value: (!header.tombstone).then_some(value),
        };
        let op = replay.ids.next(ctx.clock.writer());
        let message = Message::Write { op, record, kind: WriteKind::Repair, patience: PATIENCE };
        ctx.out.send_after(pending, self.node, message);
        if replay.options.drops_hints_when_sent() {
            return self.forget(&key, ctx);
        }
        self.in_flight.insert(op, Flight { key, until: ctx.now.mono + PATIENCE });
        self.share.set_in_flight(self.in_flight.len());
    }
}
