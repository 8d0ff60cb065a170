//! The floor: up to where everything is settled, so that deletions may be forgotten.
//!
//! A replica keeps two readings of the hybrid clock. Up to its *promise* it takes no new writes of
//! clients; up to its *floor*, which is never above the promise, it takes nothing new from anybody.
//! Of what was ever acknowledged, or seen by a reader, at or below its floor, it holds the same as
//! all others whose floors lie there: so it may remove tombstones, and refuse what comes later.
//!
//! The first member that is up raises the floor in a [`Round`]. Who has missed the commit learns of
//! the new floor when it compares itself with others ([`Floor::adopt`]).
//!
//! The *life* of a replica's data is the version at which it began to keep its promises: a replica
//! that has lost something begins a new one. What a former life promised, and how far it was clean,
//! says nothing of this one.
//!
//! **Invariant:** a promise or a floor is told, and deletions are forgotten below it, only once it is
//! durable.
//!
//! **Invariant:** in one life neither goes back.

mod letter;
mod marks;
mod round;

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{Hlc, Lsn, Mono, NodeId, Version, limits};

pub use self::letter::FloorLetter;
use self::marks::Marks;
use self::round::{Round, Step};
use super::Options;
use super::pending::OpIds;
use crate::{Context, Message, OpId, Report};

/// How long members may take to promise.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before something is tried again for which the log had no room.
const PAUSE: Duration = Duration::from_millis(10);
/// Partitions begin their rounds at so many different times of an interval.
const SPREAD: u32 = 64;
/// How often members are asked whether they are clean, in one interval of rounds.
const QUESTIONS: u32 = 16;

/// The floor of one replica, and the round that raises it.
#[derive(Debug, Default)]
pub(super) struct Floor {
    /// What is durable.
    durable: Marks,
    /// What is to be durable.
    wanted: Marks,
    /// What is on its way to the disk, and the number under which its arrival is told.
    writing: Option<(u64, Marks)>,
    /// How often something was written.
    writes: u64,
    loaded: bool,
    /// In this life no promise at or below is given: it could be taken for one of the life before.
    since: Hlc,
    /// The other members with which a comparison was clean, and up to which promise.
    clean: BTreeMap<NodeId, Hlc>,
    /// Who asked for a promise that is not durable yet.
    asked: Option<(NodeId, OpId, Hlc)>,
    round: Option<Round>,
    next_round: Mono,
    /// When to try to write again.
    retry: Option<Mono>,
    /// This replica has found that it has lost its promise.
    lost: bool,
}

/// What became of another replica's floor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Adoption {
    /// It is not above this replica's.
    Kept,
    /// It is this replica's floor from now on.
    Adopted,
    /// It is above what this replica has promised, which therefore has lost its promise: it must be
    /// rebuilt.
    Lost,
}

impl Floor {
    /// Everything up to here is settled: all members hold the same of it. Durable.
    pub(super) const fn floor(&self) -> Hlc {
        self.durable.floor
    }

    /// The floor, once it was read from the store.
    pub(super) fn known(&self) -> Option<Hlc> {
        self.loaded.then_some(self.durable.floor)
    }

    /// This replica takes no new writes of clients up to here. Durable.
    pub(super) const fn promise(&self) -> Hlc {
        self.durable.promise
    }

    /// Up to where nothing new is taken from anybody: the floor, durable or not.
    pub(super) const fn refused(&self) -> Hlc {
        self.wanted.floor
    }

    /// Up to where no new writes of clients are taken: the promise, durable or not.
    pub(super) const fn refused_to_clients(&self) -> Hlc {
        self.wanted.promise
    }

    /// Reads what is stored, before anything else is done. Tells whether the replica is incomplete:
    /// what it has promised is unknown, or it was being rebuilt.
    pub(super) fn load(&mut self, options: &Options, ctx: &mut Context<'_>) -> bool {
        if std::mem::replace(&mut self.loaded, true) {
            return false;
        }
        let interval = options.limits.gc_interval;
        let turn = u32::from(options.partition.number) % SPREAD;
        self.next_round = ctx.now.mono + interval / SPREAD * (turn + 1);
        match Marks::read(ctx.store, options.partition) {
            Ok(Some(marks)) => (self.durable, self.wanted) = (marks, marks),
            // Later lives of this process begin later.
            Ok(None) => {
                let (hlc, writer) = (ctx.clock.latest(), ctx.clock.writer());
                self.wanted.life = Version { hlc, writer };
            }
            Err(_) => self.wanted.incomplete = true,
        }
        self.wanted.incomplete
    }

    /// Another replica has told its floor.
    pub(super) fn adopt(&mut self, ctx: &mut Context<'_>, peer: NodeId, floor: Hlc) -> Adoption {
        if floor <= self.wanted.floor || self.wanted.incomplete {
            return Adoption::Kept;
        }
        let promise = self.wanted.promise;
        if floor <= promise {
            self.wanted.floor = floor;
            return Adoption::Adopted;
        }
        if !std::mem::replace(&mut self.lost, true) {
            ctx.out.report(Report::LostPromise { peer, floor, promise });
        }
        Adoption::Lost
    }

    /// Whether this replica has lost its promise, and nothing has been done about it.
    pub(super) const fn is_lost(&self) -> bool {
        self.lost
    }

    /// A comparison with a member was clean. `through` is the smaller of both promises at the two
    /// snapshots; all that these showed is durable on both.
    ///
    /// This is forgotten when the connection is lost: a process that comes back may have another
    /// disk. It is not when the other one is rebuilt in one process, because that one gives no more
    /// promises at or below those it gave before.
    pub(super) fn clean_with(&mut self, peer: NodeId, through: Hlc) {
        let known = self.clean.entry(peer).or_default();
        *known = through.max(*known);
    }

    /// The connection to a member was lost.
    pub(super) fn peer_lost(&mut self, peer: NodeId) {
        self.clean.remove(&peer);
        self.asked.take_if(|(from, ..)| *from == peer);
    }

    /// This replica has lost something: a new life begins, which is incomplete at first.
    pub(super) fn begin_rebuild(&mut self, ctx: &mut Context<'_>) {
        self.clean.clear();
        (self.round, self.asked) = (None, None);
        // The node's own clock is not moved: this may be done while the wall clock is wrong.
        let mut clock = ctx.clock.clone();
        clock.observe(self.wanted.life.hlc);
        self.wanted.life = clock.tick(ctx.now.wall_ms);
        self.wanted.incomplete = true;
        self.lost = false;
    }

    /// While this replica is rebuilt, a complete one has told what it knows to be settled, and what
    /// it has promised.
    pub(super) fn learn(&mut self, floor: Hlc, promise: Hlc) {
        self.wanted.floor = self.wanted.floor.max(floor);
        self.wanted.promise = self.wanted.promise.max(promise).max(floor);
    }

    /// This replica is complete again once the LSN is durable; nothing if the log has no room for the
    /// record that says so.
    pub(super) fn end_rebuild(&mut self, options: &Options, ctx: &mut Context<'_>) -> Option<Lsn> {
        self.wanted.incomplete = false;
        let lsn = self.keep(options, ctx);
        self.wanted.incomplete = lsn.is_none();
        self.since = self.wanted.promise;
        lsn
    }

    /// Takes a letter.
    pub(super) fn take(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        ids: &mut OpIds,
        (from, op): (NodeId, OpId),
        letter: FloorLetter,
    ) {
        match letter {
            FloorLetter::Propose(at) => self.promise_to(options, ctx, (from, op), at),
            FloorLetter::Ask if self.wanted.incomplete => decline(ctx, from, op),
            FloorLetter::Ask => {
                let Marks { life, promise, .. } = self.durable;
                let with = self.clean.iter().map(|(node, through)| (*node, *through)).collect();
                send(ctx, from, op, FloorLetter::Clean { life, promise, with });
            }
            FloorLetter::Commit { floor, lives } => self.commit(options, ctx.me, floor, &lives),
            FloorLetter::Compare(_) if self.wanted.incomplete => decline(ctx, from, op),
            FloorLetter::Compare(floor) => {
                if self.adopt(ctx, from, floor) == Adoption::Lost {
                    return decline(ctx, from, op);
                }
                let Marks { floor, promise, .. } = self.durable;
                send(ctx, from, op, FloorLetter::Told { floor, promise });
            }
            FloorLetter::Promised { .. }
            | FloorLetter::Clean { .. }
            | FloorLetter::Told { .. }
            | FloorLetter::Declined => {
                let Some(round) = &mut self.round else { return };
                let step = round.answered(options, from, op, letter);
                self.follow(options, ctx, ids, step);
            }
        }
    }

    /// Promises to take nothing new of clients up to `at`, unless that could stop live writes: a
    /// proposer whose clock is fast finds nobody who promises.
    fn promise_to(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        (from, op): (NodeId, OpId),
        at: Hlc,
    ) {
        let latest = options.lagging(ctx.now.wall_ms.saturating_add(limits::MAX_SKEW_MS));
        let allowed = at <= latest && at > self.since && at >= self.wanted.promise;
        if !allowed || ctx.clock_suspect || self.wanted.incomplete {
            return decline(ctx, from, op);
        }
        self.wanted.promise = at;
        self.asked = Some((from, op, at));
        self.answer_promise(ctx);
    }

    fn answer_promise(&mut self, ctx: &mut Context<'_>) {
        let durable = self.durable;
        let known = |at: Hlc| at <= durable.promise && durable.life == self.wanted.life;
        if let Some((to, op, _)) = self.asked.take_if(|(.., at)| known(*at)) {
            send(ctx, to, op, FloorLetter::Promised { life: durable.life });
        }
    }

    fn commit(&mut self, options: &Options, me: NodeId, floor: Hlc, lives: &[(NodeId, Version)]) {
        let mine = lives.contains(&(me, self.wanted.life)) || options.ignores_lives();
        if mine && floor <= self.wanted.promise && !self.wanted.incomplete {
            self.wanted.floor = self.wanted.floor.max(floor);
        }
    }

    /// Something became durable. Tells whether the floor has risen.
    pub(super) fn became_durable(&mut self, ctx: &mut Context<'_>, number: u64) -> bool {
        let Some((_, marks)) = self.writing.take_if(|(writing, _)| *writing == number) else {
            return false;
        };
        let risen = marks.floor > self.durable.floor;
        self.durable = marks;
        if risen {
            ctx.out.report(Report::FloorRaised { floor: marks.floor });
        }
        self.answer_promise(ctx);
        risen
    }

    /// Writes what has changed, if anything has. Called behind every input.
    pub(super) fn keep(&mut self, options: &Options, ctx: &mut Context<'_>) -> Option<Lsn> {
        let newest = self.writing.as_ref().map_or(self.durable, |(_, marks)| *marks);
        self.retry = None;
        if newest == self.wanted {
            return None;
        }
        match self.wanted.write(ctx.store, options.partition) {
            Ok(lsn) => {
                self.writes += 1;
                self.writing = Some((self.writes, self.wanted));
                ctx.out.notify(Some(lsn), self.writes);
                Some(lsn)
            }
            // The next turn has another frame.
            Err(_) => {
                self.retry = Some(ctx.now.mono + PAUSE);
                None
            }
        }
    }

    /// When this wants to be woken.
    pub(super) fn wake(&self) -> Mono {
        let round = self.round.as_ref().map_or(self.next_round, |round| round.wake);
        self.retry.map_or(round, |retry| retry.min(round))
    }

    /// Goes on with the round, or begins one, if it is time.
    pub(super) fn advance(&mut self, options: &Options, ctx: &mut Context<'_>, ids: &mut OpIds) {
        let now = ctx.now.mono;
        let step = match &self.round {
            Some(round) if round.wake <= now => round.waited(),
            None if self.next_round <= now => {
                self.next_round = now + options.limits.gc_interval;
                return self.propose(options, ctx, ids);
            }
            _ => return,
        };
        self.follow(options, ctx, ids, step);
    }

    /// Begins a round, if this replica should and anything could be purged.
    fn propose(&mut self, options: &Options, ctx: &mut Context<'_>, ids: &mut OpIds) {
        let up = |node: &&NodeId| ctx.peers.is_up(**node);
        let first = options.members.iter().find(up) == Some(&ctx.me);
        let members: Vec<NodeId> = match options.ignores_the_down() {
            true => options.members.iter().filter(up).copied().collect(),
            false => options.members.clone(),
        };
        let floor = options.lagging(ctx.now.wall_ms);
        let able = first && !ctx.clock_suspect && !self.wanted.incomplete;
        let useful =
            floor > self.wanted.promise && (self.is_half_done() || options.holds_mortal(ctx.store));
        if !able || !useful || !members.iter().all(|node| ctx.peers.is_up(*node)) {
            return;
        }
        let op = ids.next(ctx.clock.writer());
        let me = ctx.me;
        for &member in members.iter().filter(|member| **member != me) {
            send(ctx, member, op, FloorLetter::Propose(floor));
        }
        let round = Round::new(floor, me, members, op, ctx.now.mono + PATIENCE);
        let step = round.waiting();
        self.round = Some(round);
        self.follow(options, ctx, ids, step);
    }

    /// Whether somebody began a round that came to no end.
    fn is_half_done(&self) -> bool {
        self.wanted.promise > self.wanted.floor
    }

    fn follow(&mut self, options: &Options, ctx: &mut Context<'_>, ids: &mut OpIds, step: Step) {
        let Some(round) = &mut self.round else { return };
        match step {
            Step::Wait => {}
            Step::Promise(at) => {
                let (_, op) = round.asked();
                send(ctx, ctx.me, op, FloorLetter::Propose(at));
            }
            Step::Ask(letter) => {
                let pause = options.limits.gc_interval / QUESTIONS;
                round.ask(options, ids.next(ctx.clock.writer()), ctx.now.mono + pause);
                ask(ctx, round, &letter);
            }
            Step::Commit(letter) => {
                ask(ctx, round, &letter);
                self.round = None;
            }
            Step::End => self.round = None,
        }
    }
}

fn ask(ctx: &mut Context<'_>, round: &Round, letter: &FloorLetter) {
    let (members, op) = round.asked();
    for &member in members {
        send(ctx, member, op, letter.clone());
    }
}

fn decline(ctx: &mut Context<'_>, to: NodeId, op: OpId) {
    send(ctx, to, op, FloorLetter::Declined);
}

fn send(ctx: &mut Context<'_>, to: NodeId, op: OpId, letter: FloorLetter) {
    ctx.out.send(to, Message::Floor { op, letter });
}
