//! The coordinator of one write: stamp, send to all, count, and stamp once more if it must be.
//!
//! **Invariant:** a write acknowledged by a majority has a larger version than every write
//! acknowledged by a majority before it began. In the first attempt only "applied" counts: a
//! majority without any newer version stored it. If a newer version is in the way, the write is
//! stamped again above the newest that a majority reports; then a replica that holds a still
//! newer one holds the write of a concurrent client, and its answer counts too.
//!
//! A write at consistency ONE is not stamped again for that. Its guarantee is that one replica holds
//! it or something newer, as if it had been overwritten at once, so "superseded" counts.
//!
//! A write that is refused as late, because it lies at or below what a replica has promised to take
//! nothing new up to, is stamped again as well, above that promise: at ONE too, since nothing holds it.
//!
//! A write outlives the answer to its client: until the last member has answered, or the deadline
//! comes, it is not known who has missed it. What it holds meanwhile is its key.

use bytes::Bytes;
use kvorum_core::{Consistency, Error, Executed, Hlc, Mono, NodeId, Outcome, Record, Reply};

use super::Options;
use super::coordinator::{Client, Coordinator, Progress};
use super::hint::Missed;
use crate::pace::Lingering;
use crate::quorum::MemberSet;
use crate::{Event, Message, Quorum, Status, WriteKind};

/// A write that waits for answers.
#[derive(Debug)]
pub(super) struct Write {
    client: Client,
    consistency: Consistency,
    record: Record,
    attempt: Attempt,
    votes: Quorum,
    /// Members that have compared the version with theirs in this attempt.
    compared: MemberSet,
    /// Members that were sent this attempt and have not told that they did not store it.
    may_hold: MemberSet,
    /// The first attempt may be stored somewhere.
    former_may_be_held: bool,
    /// The clock reading of the newest version, or promise, that stood in the way.
    overtaken: Option<Hlc>,
    /// A replica whose answer counts held a live value before.
    was_live: bool,
    /// The first refusal that gives a reason.
    refusal: Option<Status>,
    /// Members that need not be sent this attempt any more: they hold it, or something newer.
    settled: MemberSet,
    /// Members that were not sent this attempt.
    not_sent: MemberSet,
    /// The client has its answer.
    answered: bool,
    /// Leave to wait for the last members after that.
    lingering: Option<Lingering>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    First,
    Second,
}

impl Write {
    /// A write of `record`, which is stamped already, ready to be sent.
    pub(super) fn new(
        options: &Options,
        client: Client,
        consistency: Consistency,
        record: Record,
    ) -> Write {
        let size = options.members.len();
        Write {
            client,
            consistency,
            record,
            attempt: Attempt::First,
            votes: Quorum::new(size, consistency.required(size)),
            compared: MemberSet::EMPTY,
            may_hold: MemberSet::EMPTY,
            former_may_be_held: false,
            overtaken: None,
            was_live: false,
            refusal: None,
            settled: MemberSet::EMPTY,
            not_sent: MemberSet::EMPTY,
            answered: false,
            lingering: None,
        }
    }

    /// When the write wants to be woken.
    pub(super) const fn wake(&self) -> Mono {
        self.client.deadline
    }

    /// Sends the write to every member that can take it.
    pub(super) fn send(&mut self, at: &mut Coordinator<'_, '_>) {
        let members = &at.options.members;
        let patience = self.client.deadline.since(at.ctx.now.mono);
        for &node in members {
            // A rebuilding replica stores writes too, this node's own included.
            if at.ctx.peers.is_up(node) && at.ctx.peers.has_room(node) {
                self.may_hold.insert(members, node);
                let (op, record, kind) = (at.op, self.record.clone(), WriteKind::Client);
                at.send(node, Message::Write { op, record, kind, patience });
            } else {
                self.votes.lose(members, node);
                self.not_sent.insert(members, node);
                at.ctx.out.count(Event::UnderReplicated);
            }
        }
    }

    /// Takes a member's answer to the present attempt.
    pub(super) fn on_answer(
        &mut self,
        at: &mut Coordinator<'_, '_>,
        from: NodeId,
        status: Status,
    ) -> Progress {
        let members = &at.options.members;
        match status {
            Status::Applied { was_live } => {
                self.was_live |= was_live;
                self.votes.accept(members, from);
            }
            Status::Superseded(version) => {
                self.overtaken = self.overtaken.max(Some(version.hlc));
                self.may_hold.remove(members, from);
                if self.superseded_counts(at.options) {
                    self.votes.accept(members, from);
                } else {
                    self.votes.refuse(members, from);
                }
            }
            Status::Late(promise) => {
                self.overtaken = self.overtaken.max(Some(promise));
                // A repair may have brought it there before.
                self.votes.refuse(members, from);
            }
            Status::Rebuilding => self.votes.refuse(members, from),
            Status::ClockSkew
            | Status::DiskFull
            | Status::IndexFull
            | Status::Overloaded
            | Status::NotReplica => {
                self.may_hold.remove(members, from);
                self.votes.refuse(members, from);
                self.refusal = self.refusal.or(Some(status).filter(|s| *s != Status::NotReplica));
            }
        }
        if compares(status) {
            self.compared.insert(members, from);
        }
        if settles(status) {
            self.settled.insert(members, from);
        }
        self.decide(at)
    }

    /// A member's answer is not to be expected any more.
    pub(super) fn on_lost(&mut self, at: &mut Coordinator<'_, '_>, node: NodeId) -> Progress {
        let members = &at.options.members;
        if at.options.counts_the_lost() {
            self.votes.give_up(members, node);
        } else {
            self.votes.lose(members, node);
        }
        self.decide(at)
    }

    /// The client waits no longer.
    pub(super) fn on_wake(&self, at: &mut Coordinator<'_, '_>) -> Progress {
        if self.answered {
            return Progress::Done;
        }
        at.reply(self.client, Err(self.timeout(Executed::Unknown)))
    }

    /// Who may not hold the write, now that it is over; nothing if nobody does.
    pub(super) fn missed(&self, options: &Options) -> Option<Missed> {
        if self.may_hold.is_empty() && !self.former_may_be_held {
            return None;
        }
        let missing = |node: &NodeId| {
            let not_sent = self.not_sent.contains(&options.members, *node);
            !self.settled.contains(&options.members, *node)
                && (not_sent || !options.hints_only_who_was_not_sent())
        };
        let members: Vec<NodeId> = options.members.iter().copied().filter(missing).collect();
        let Record { keyspace, slot, version, .. } = self.record;
        let key = self.record.key.clone();
        (!members.is_empty()).then_some(Missed { keyspace, slot, key, version, members })
    }

    /// Answers the client; the write goes on if it has to be seen who stores it.
    fn reply(&mut self, at: &mut Coordinator<'_, '_>, outcome: Outcome<Reply>) -> Progress {
        let done = at.reply(self.client, outcome);
        self.answered = true;
        if !at.options.limits.hints || self.votes.outstanding() == 0 {
            return done;
        }
        self.lingering = at.ctx.pace.hints.linger();
        if self.lingering.is_none() {
            return done;
        }
        // Both are parts of the frame or the connection's input that they came in.
        self.record.value = None;
        self.record.key = Bytes::copy_from_slice(&self.record.key);
        Progress::Wait
    }

    fn superseded_counts(&self, options: &Options) -> bool {
        self.attempt == Attempt::Second
            || self.consistency == Consistency::One
            || options.counts_superseded_at_once()
    }

    fn decide(&mut self, at: &mut Coordinator<'_, '_>) -> Progress {
        if self.answered {
            return if self.votes.outstanding() > 0 { Progress::Wait } else { Progress::Done };
        }
        if self.votes.reached() {
            let (version, acked) = (self.record.version, self.votes.accepted());
            let written = Reply::Written { version, acked, was_live: self.was_live };
            return self.reply(at, Ok(written));
        }
        if !self.votes.impossible() {
            return Progress::Wait;
        }
        if let (Attempt::First, Some(above)) = (self.attempt, self.overtaken) {
            // Only the answers of a majority contain the newest version a majority acknowledged.
            // At consistency ONE nothing newer is in the way, only promises.
            let enough = at.options.majority().min(self.votes.need());
            if self.compared.len() >= enough {
                self.stamp_again(at, above);
                return Progress::SendAgain;
            }
        }
        if self.votes.outstanding() > 0 {
            return Progress::Wait;
        }
        let failure = self.failure();
        self.reply(at, Err(failure))
    }

    fn stamp_again(&mut self, at: &mut Coordinator<'_, '_>, above: Hlc) {
        let Coordinator { options, ctx, .. } = at;
        ctx.clock.observe(above);
        ctx.out.count(Event::Restamp);
        ctx.pace.allowance.owe();
        self.record.version = ctx.clock.tick(ctx.now.wall_ms);
        self.attempt = Attempt::Second;
        self.votes = Quorum::new(options.members.len(), self.votes.need());
        self.compared = MemberSet::EMPTY;
        self.former_may_be_held = !self.may_hold.is_empty();
        self.may_hold = MemberSet::EMPTY;
        self.settled = MemberSet::EMPTY;
        self.not_sent = MemberSet::EMPTY;
        self.overtaken = None;
    }

    /// The error once success is impossible and nobody is left to answer.
    fn failure(&self) -> Error {
        let held = self.former_may_be_held || !self.may_hold.is_empty();
        let executed = if held { Executed::Unknown } else { Executed::No };
        match self.refusal {
            Some(Status::DiskFull) => Error::DiskFull { executed },
            Some(Status::IndexFull) => Error::IndexFull { executed },
            Some(Status::ClockSkew) => Error::ClockSkew { executed },
            Some(Status::Overloaded) => Error::Overloaded { what: "a replica", executed },
            _ => self.timeout(executed),
        }
    }

    const fn timeout(&self, executed: Executed) -> Error {
        Error::Timeout { need: self.votes.need(), acked: self.votes.accepted(), executed }
    }
}

/// Whether a replica that answers so has compared the version with the one it holds. A refusal
/// for space, skew or lateness comes after the comparison; the others tell nothing of what is stored.
const fn compares(status: Status) -> bool {
    match status {
        Status::Applied { .. }
        | Status::Superseded(_)
        | Status::Late(_)
        | Status::ClockSkew
        | Status::DiskFull
        | Status::IndexFull => true,
        Status::Overloaded | Status::NotReplica | Status::Rebuilding => false,
    }
}

/// Whether a replica that answers so holds the write or something newer, or need not hold it.
const fn settles(status: Status) -> bool {
    matches!(status, Status::Applied { .. } | Status::Superseded(_) | Status::NotReplica)
}
