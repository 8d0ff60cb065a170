//! Anti-entropy: finding and repairing what two replicas hold differently.
//!
//! The nodes compare one root per partition from time to time, and tell the replicas whether theirs
//! were equal. If not, the one with the lower node id begins a *session*: the letters of [`Letter`]
//! go back and forth, always one question and its answer.
//!
//! ```text
//!   Open  ->  Opened            floors and promises, the sum of all slots of each keyspace
//!   Compare -> Unequal          sums of 64 ranges of slots, narrower each time, at last of the
//!                               buckets of a slot
//!   List  ->  Unmatched         prints of the items of unequal buckets, and what does not match
//!   Write ->  Written           what the other replica lacks or holds older
//!   Fetch ->  Fetched           what this one does
//!   Close                       whether they were clean, and up to where
//! ```
//!
//! The other replica answers from what it holds at that moment and keeps nothing but the name of the
//! session (`answer`); all state, and all limits, are with the one that asks (`session`, `transfer`).
//! What is too much for one session is left for the next, which begins there.
//!
//! **Clean.** A session ends clean up to the smaller of the two promises told at its beginning if of
//! every key one replica was seen to hold at or below that, the other was seen to hold that record or
//! a newer one. The levels are read at different moments, and need not be read at the same one:
//!
//! - Records of a key only ever get newer, and every reading lies behind both openings, so behind
//!   the promises that these told. What a replica held of a key when it promised is not newer than
//!   what any of its readings shows.
//! - Equal sums mean equal sets (with probability 1 − 2⁻⁶⁴): for each key of the range the two
//!   readings show the same.
//! - Items that match have equal sums too; each one that does not was sent and answered with
//!   "applied" or "superseded", or was fetched and stored, or is counted as lacking.
//!
//! So of each key, one reading of one replica is at most as new as one reading of the other, both
//! ways. Records above the promises may differ: they hold nothing up.
//!
//! **Invariant:** what an answer shows is durable before it leaves, and the verdict waits until what
//! the asking replica has shown is durable too. So no loss of power turns clean into not clean.
//!
//! **Invariant:** records that are younger than the settle time are writes under way: they are not
//! repaired. Records that may be purged are not compared: the other replica may have purged them.
//!
//! **Invariant:** a record that cannot be read is not shown, so the other replica sends its own.

mod answer;
mod diff;
mod letter;
mod session;
mod transfer;

use std::time::Duration;

use kvorum_core::{Hlc, Lsn, Mono, NodeId, Refused, Store};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Options;
use super::floor::Floor;
use super::hint::Hints;
use super::pending::OpIds;
use crate::{Context, Message, OpId, Report, Root, Status};
use answer::Answerer;
use session::{Flow, Session};
use transfer::{Place, Tally};

pub use letter::{
    Bucket, Decline, Item, Letter, Listing, Opening, Prints, Ranges, Unequal, Unmatched, Verdict,
};

/// How soon the next session follows one that has left something and got on.
const SOON: Duration = Duration::from_millis(100);
/// How long nothing is begun after a session in which a replica could take no more; doubled each
/// time, up to [`MOST_BACKOFF`].
const BACKOFF: Duration = Duration::from_secs(1);
const MOST_BACKOFF: Duration = Duration::from_secs(60);

/// The sessions of one replica.
#[derive(Debug)]
pub(super) struct Sync {
    /// All other members, in the order of their ids.
    peers: Vec<Peer>,
}

#[derive(Debug)]
struct Peer {
    node: NodeId,
    /// The session this replica has begun.
    session: Option<Session>,
    /// The session the other replica has begun, and what this one had promised then.
    answering: Option<(OpId, Hlc)>,
    /// How many marks there were when the last session began, on whichever side.
    marks: u64,
    /// A session should begin.
    wanted: bool,
    /// But not before.
    not_before: Mono,
    /// How many sessions in a row have ended because a replica could take no more.
    refusals: u32,
    /// What the last session did not come to.
    rest: Option<Place>,
}

/// The replica while it handles one input of a session.
pub(super) struct At<'a, 'c> {
    pub(super) options: &'a Options,
    pub(super) floor: &'a mut Floor,
    pub(super) hints: &'a mut Hints,
    pub(super) ids: &'a mut OpIds,
    pub(super) ctx: &'a mut Context<'c>,
}

impl At<'_, '_> {
    /// The newest reading at which records are no writes under way any more.
    fn settled(&self) -> Hlc {
        if self.options.repairs_the_young() {
            return Hlc(u64::MAX);
        }
        let now = self.ctx.now.wall_ms.max(self.ctx.clock.latest().wall_ms());
        let settle = u64::try_from(self.options.limits.settle.as_millis()).unwrap_or(u64::MAX);
        Hlc::from_wall_ms(now.saturating_sub(settle))
    }

    /// How often slots were marked for a member, of which hints tell less than all.
    fn marks(&self, with: NodeId) -> u64 {
        self.hints.marks(with)
    }

    /// This replica and another one hold the same up to a reading. They were compared when so many
    /// `marks` had been made.
    fn conclude(&mut self, with: NodeId, verdict: Verdict, marks: u64) {
        let Verdict { through: Some(through), complete } = verdict else { return };
        self.floor.clean_with(with, through);
        if complete {
            self.hints.cleaned(with, &self.options.slots, marks, self.ctx);
            self.ctx.out.report(Report::Clean { with, through });
        }
    }
}

/// The newest record in the log: what is stored now is durable once this is.
fn newest(ctx: &mut Context<'_>) -> Result<Lsn, Refused> {
    ctx.store.commit(&[])
}

impl Sync {
    pub(super) fn new(options: &Options) -> Sync {
        let mut members = options.members.clone();
        members.sort_unstable();
        let peer = |node| Peer {
            node,
            session: None,
            answering: None,
            marks: 0,
            wanted: false,
            not_before: Mono::default(),
            refusals: 0,
            rest: None,
        };
        Sync { peers: members.into_iter().map(peer).collect() }
    }

    /// When a session wants to be woken.
    pub(super) fn wake(&self) -> Option<Mono> {
        self.peers.iter().filter_map(Peer::wake).min()
    }

    /// Whether a record was sent under this id.
    pub(super) fn has_sent(&self, op: OpId) -> bool {
        self.peers.iter().filter_map(|peer| peer.session.as_ref()).any(|s| s.has_sent(op))
    }

    /// The nodes have compared roots; `equal` is the promise under which they were.
    pub(super) fn compared(&mut self, at: &mut At<'_, '_>, with: NodeId, equal: Option<Hlc>) {
        let Some(peer) = self.peer(with) else { return };
        match equal {
            Some(_) => {
                peer.wanted = false;
                // A replica with dirty slots has no root, so there is nothing to be cleaned.
                at.conclude(with, Verdict { through: equal, complete: true }, 0);
            }
            None if at.ctx.me < with => {
                peer.wanted = true;
                peer.go_on(at);
            }
            // The other replica begins.
            None => {}
        }
    }

    /// Takes a letter.
    pub(super) fn on_letter(
        &mut self,
        at: &mut At<'_, '_>,
        from: NodeId,
        (session, step): (OpId, u32),
        letter: Letter,
    ) {
        let me = at.ctx.me;
        if from == me {
            // A session that has waited for this node's log.
            let mine = |peer: &&mut Peer| peer.session.as_ref().is_some_and(|s| s.id == session);
            if let Some(peer) = self.peers.iter_mut().find(mine) {
                peer.on_answer(at, step, letter);
            }
            return;
        }
        let Some(peer) = self.peer(from) else { return };
        if letter.asks() {
            peer.answer(at, session, step, &letter);
        } else if let Letter::Close(verdict) = letter {
            let told = peer.answering.take_if(|(known, _)| *known == session);
            if told.is_some_and(|(_, promise)| verdict.through <= Some(promise)) {
                at.conclude(from, verdict, peer.marks);
            }
        } else if peer.session.as_ref().is_some_and(|mine| mine.id == session) {
            peer.on_answer(at, step, letter);
        }
    }

    /// Takes the answer to a record that was sent.
    pub(super) fn on_written(
        &mut self,
        at: &mut At<'_, '_>,
        from: NodeId,
        op: OpId,
        status: Status,
    ) {
        let Some(peer) = self.peer(from) else { return };
        let Some(session) = peer.session.as_mut().filter(|session| session.has_sent(op)) else {
            return;
        };
        let flow = session.on_written(at, op, status);
        peer.after(at, flow);
    }

    /// The connection to a node is lost, and whatever was under way.
    pub(super) fn lost(&mut self, at: &mut At<'_, '_>, node: NodeId) {
        let Some(peer) = self.peer(node) else { return };
        peer.answering = None;
        peer.wanted = false;
        if peer.session.is_some() {
            peer.after(at, Flow::Failed("the connection is lost"));
        }
    }

    /// This replica is to be rebuilt: nothing can be compared with what it holds.
    pub(super) fn abandon(&mut self, at: &mut At<'_, '_>) {
        for peer in &mut self.peers {
            (peer.answering, peer.wanted, peer.rest) = (None, false, None);
            if peer.session.is_some() {
                peer.after(at, Flow::Failed("this replica is to be rebuilt"));
            }
        }
    }

    /// The time has come that [`Sync::wake`] has told.
    pub(super) fn on_wake(&mut self, at: &mut At<'_, '_>) {
        for peer in &mut self.peers {
            if peer.wake().is_none_or(|wake| wake > at.ctx.now.mono) {
                continue;
            }
            match &mut peer.session {
                Some(session) => {
                    let flow = session.on_wake(at);
                    peer.after(at, flow);
                }
                None => peer.go_on(at),
            }
        }
    }

    fn peer(&mut self, node: NodeId) -> Option<&mut Peer> {
        self.peers.iter_mut().find(|peer| peer.node == node)
    }
}

impl Peer {
    fn wake(&self) -> Option<Mono> {
        match &self.session {
            Some(session) => Some(session.wake()),
            None => self.wanted.then_some(self.not_before),
        }
    }

    /// Begins a session if one is wanted and can be had.
    fn go_on(&mut self, at: &mut At<'_, '_>) {
        if !self.wanted || self.session.is_some() || self.not_before > at.ctx.now.mono {
            return;
        }
        self.wanted = false;
        if !at.ctx.peers.is_up(self.node) {
            return;
        }
        self.marks = at.marks(self.node);
        self.session = Some(Session::begin(at, self.node, self.rest.take()));
        at.ctx.out.report(Report::SessionBegun { with: self.node });
    }

    /// Answers a letter of the other replica.
    fn answer(&mut self, at: &mut At<'_, '_>, session: OpId, step: u32, letter: &Letter) {
        let options = at.options;
        if let Letter::Open(opening) = letter {
            at.floor.adopt(at.ctx, self.node, opening.floor);
            self.answering = Some((session, at.floor.promise()));
            self.marks = at.marks(self.node);
        }
        let known = self.answering.is_some_and(|(known, _)| known == session);
        let mut answerer = Answerer { options, floor: at.floor, ctx: at.ctx };
        let answer = match known {
            true => answerer.answer(letter),
            false => Some(Letter::Declined(Decline::Unknown)),
        };
        // Without an answer the other replica tries again later.
        let (Some(letter), Ok(after)) = (answer, answerer.after()) else { return };
        let message = Message::Sync { session, step, letter };
        at.ctx.out.send_after(after, self.node, message);
    }

    fn on_answer(&mut self, at: &mut At<'_, '_>, step: u32, letter: Letter) {
        let Some(session) = &mut self.session else { return };
        if let Letter::Opened(opening) = &letter {
            at.floor.adopt(at.ctx, self.node, opening.floor);
        }
        let flow = session.on_letter(at, step, letter);
        self.after(at, flow);
    }

    /// Sees to the end of a session.
    fn after(&mut self, at: &mut At<'_, '_>, flow: Flow) {
        if flow == Flow::Going {
            return;
        }
        let (Some(session), with) = (self.session.take(), self.node) else { return };
        let Tally { pushed, fetched, bytes, refused, stopped, .. } = session.tally();
        let progress = pushed + fetched > 0;
        self.rest = session.rest();
        let now = at.ctx.now.mono;
        self.wanted |= (stopped || self.rest.is_some()) && progress;
        self.not_before = now + SOON;
        self.refusals = if refused.is_some() { self.refusals.saturating_add(1) } else { 0 };
        if self.refusals > 0 {
            let doubled = BACKOFF.saturating_mul(1 << (self.refusals - 1).min(16));
            self.not_before = now + doubled.min(MOST_BACKOFF);
        }
        let failure = match flow {
            Flow::Failed(reason) => {
                self.wanted = false;
                Some(reason)
            }
            Flow::Going | Flow::Over(_) => refused,
        };
        if let Some(reason) = failure {
            at.ctx.out.report(Report::SessionFailed { with, reason });
        }
        let verdict = if let Flow::Over(verdict) = flow { verdict } else { Verdict::default() };
        at.ctx.out.report(Report::SessionEnded {
            with,
            clean: verdict.through.is_some() && verdict.complete,
            sent: pushed,
            received: fetched,
            bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
        });
        if verdict.through.is_some() {
            session.tell(at, verdict);
            at.conclude(with, verdict, self.marks);
        }
    }
}

/// What this replica holds, in one number.
pub(super) fn root(options: &Options, floor: &Floor, store: &dyn Store) -> Root {
    let (first, last) = (*options.slots.start(), *options.slots.end());
    let mut hash = xxh3_64_with_seed(&floor.floor().0.to_le_bytes(), floor.promise().0);
    for &(keyspace, ..) in &options.keyspaces {
        // The keyspace is part of every item's hash.
        let sum = store.sum(keyspace, first, last);
        hash = xxh3_64_with_seed(&sum.to_le_bytes(), hash);
    }
    Root { hash, promise: floor.promise() }
}

/// Declines a letter of a replica that cannot know that this one is being rebuilt.
pub(super) fn decline(ctx: &mut Context<'_>, to: NodeId, (session, step): (OpId, u32)) {
    let letter = Letter::Declined(Decline::Rebuilding);
    ctx.out.send(to, Message::Sync { session, step, letter });
}
