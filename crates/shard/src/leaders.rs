//! Requests of strong keyspaces on their way to the replica that leads.
//!
//! Any replica says who leads, as far as it knows, and that nothing was executed; so the node that
//! took the request from its client asks until a leader answers or the client waits no longer.
//!
//! It names each write. One that may have been executed, because the node it was sent to is lost, is
//! sent again under its name, and the replicas do not do it twice. It is unknown to the client only
//! if nobody could say in time.
//!
//! What was sent on a connection is taken before the connection ends, or never, so a first attempt comes
//! before one that is sent again; should it be overtaken all the same, the replicas know.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{Attempt, Error, Executed, Hlc, NodeId, Outcome, PartitionId, Reply, Request};
use kvorum_replication::{Input, Peers, Willingness};

use crate::pending::{Origin, Pending, Stage};
use crate::shard::{Shard, Turn};
use crate::wire::Envelope;

/// How long a request rests when nobody is known to lead.
const REST: Duration = Duration::from_millis(20);
/// How often a request follows what replicas say before it rests.
const HOPS: u8 = 3;

/// What replicas have told of the strong partitions.
#[derive(Debug, Default)]
pub(crate) struct Leaders {
    /// Who leads.
    leaders: BTreeMap<PartitionId, NodeId>,
    /// What the clock of the log has shown, for partitions of which no replica is here.
    reached: BTreeMap<PartitionId, Hlc>,
    /// How many writes this node has named.
    named: u64,
}

impl Leaders {
    fn learn(&mut self, partition: PartitionId, leader: Option<NodeId>) {
        match leader {
            Some(leader) => self.leaders.insert(partition, leader),
            None => self.leaders.remove(&partition),
        };
    }
}

impl Shard {
    /// Takes a request for a strong partition.
    pub(crate) fn seek(&mut self, mut pending: Pending, request: Request, turn: &mut Turn<'_>) {
        let Some(partition) = pending.seeks else { return };
        let here = self.groups.index(partition);
        self.name(&mut pending, partition, here);
        let leader = self.leaders.leaders.get(&partition).copied();
        // A read that any replica may answer goes to one of them first; if that one cannot, to the
        // leader like the others.
        let anywhere = pending.hops == 0 && request.consistency.is_some_and(|l| l.by_any_replica());
        let local = anywhere || leader.is_none_or(|leader| leader == self.me());
        if matches!(pending.origin, Origin::Peer { .. }) || local {
            if let Some(group) = here {
                pending.stage = Stage::Group(group);
                pending.request = Shard::kept(&pending, &request);
                let attempt = pending.attempt;
                let ticket = self.requests.insert(pending);
                self.local.push_back((group, Input::Request { ticket, request, attempt }));
                return;
            }
            if matches!(pending.origin, Origin::Peer { .. }) {
                let text = "the nodes do not agree on who holds this key";
                self.answer(pending.origin, Err(Error::NotServing(text.into())), turn);
                return;
            }
        }
        // One that leaves may be gone before it answers.
        let usable = |node: &NodeId| {
            let other = *node != self.options.me && self.links.is_up(*node);
            let stays = self.links.willingness(*node) < Willingness::Leaving;
            other && stays && self.links.has_room(*node)
        };
        let others = || self.layout().replicas(partition).iter().copied().filter(usable);
        let next = || {
            let turns = usize::from(pending.hops).checked_rem(others().count())?;
            others().nth(turns)
        };
        let other = || others().find(|node| anywhere && Some(*node) != leader);
        match other().or(leader.filter(usable)).or_else(next) {
            Some(to) => self.send_to(to, pending, request, turn),
            None => self.rest(pending, request, turn),
        }
    }

    /// Names a write of a client, and notes what the clock of the log has shown before.
    fn name(&mut self, pending: &mut Pending, partition: PartitionId, here: Option<usize>) {
        if !pending.is_write || pending.is_unsure() || matches!(pending.origin, Origin::Peer { .. })
        {
            return;
        }
        if pending.attempt.is_none() {
            self.leaders.named += 1;
            let (session, seq) = (self.clock.writer(), self.leaders.named);
            pending.attempt = Some(Attempt { session, seq, since: None });
        }
        let reached = || self.leaders.reached.get(&partition).copied().unwrap_or_default();
        pending.known = here.map_or_else(reached, |group| self.groups.reached(group));
    }

    /// Learns from an answer what the clock of a log shows that is not here.
    pub(crate) fn learn_place(&mut self, pending: &Pending, outcome: &Outcome<Reply>) {
        let Some(partition) = pending.seeks else { return };
        let version = match outcome {
            Ok(Reply::Written { version, .. }) => Some(*version),
            Ok(Reply::Found(item)) => Some(item.header.version),
            Ok(Reply::Txn(answer)) => answer.steps.iter().filter_map(|done| done.version).max(),
            _ => None,
        };
        if let Some(version) = version.filter(|_| self.groups.index(partition).is_none()) {
            let reached = self.leaders.reached.entry(partition).or_default();
            *reached = version.hlc.max(*reached);
        }
    }

    /// Takes a replica's answer that it did not do it, or cannot say whether it did. The next one is
    /// asked, unless the request is a peer's, which does that itself.
    pub(crate) fn not_led(&mut self, mut pending: Pending, error: Error, turn: &mut Turn<'_>) {
        if error.executed() == Executed::Unknown {
            pending.may_be_done();
        }
        let mut leader = None;
        if let (Error::NotLeader { leader: told }, Some(partition)) = (&error, pending.seeks) {
            leader = *told;
            self.leaders.learn(partition, leader.filter(|&leader| leader != self.me()));
        }
        let Some(request) = pending.request.take() else {
            self.answer(pending.origin, Err(error), turn);
            return;
        };
        pending.hop();
        let follow =
            leader.is_some_and(|leader| leader != self.me()) && !pending.hops.is_multiple_of(HOPS);
        if follow {
            self.seek(pending, *request, turn);
        } else {
            self.rest(pending, *request, turn);
        }
    }

    /// Goes on with a request that has rested.
    pub(crate) fn rested(&mut self, mut pending: Pending, turn: &mut Turn<'_>) {
        if let Some(request) = pending.request.take() {
            self.seek(pending, *request, turn);
        }
    }

    /// Whether an answer means that the request has to be sent again.
    pub(crate) fn must_seek(pending: &Pending, error: &Error) -> bool {
        let named = pending.attempt.is_some() && pending.request.is_some();
        match error {
            _ if pending.seeks.is_none() => false,
            Error::NotLeader { .. } => true,
            Error::CoordinatorLost { executed: Executed::Unknown } => named,
            Error::Timeout { .. } | Error::KeyReused => false,
            // This attempt did nothing, which says nothing of the one before.
            error => named && pending.is_unsure() && error.executed() == Executed::No,
        }
    }

    fn rest(&mut self, mut pending: Pending, request: Request, turn: &mut Turn<'_>) {
        let too_late = request.deadline <= turn.now.mono + REST;
        if too_late || matches!(pending.origin, Origin::Peer { .. }) {
            let error = pending.as_a_whole(Error::NotLeader { leader: None });
            self.answer(pending.origin, Err(error), turn);
            return;
        }
        pending.stage = Stage::Resting { until: turn.now.mono + REST };
        pending.request = Some(Box::new(request));
        self.requests.insert(pending);
    }

    fn send_to(&mut self, to: NodeId, mut pending: Pending, request: Request, turn: &mut Turn<'_>) {
        let deadline = request.deadline;
        let patience = deadline.since(turn.now.mono);
        pending.request = Shard::kept(&pending, &request);
        let id = self.requests.next_ticket();
        let attempt = pending.attempt;
        let envelope = Envelope::Forward { id, patience, attempt, request };
        if let Some(place) = self.links.push(to, &envelope, turn.out) {
            pending.stage = Stage::Forwarded { to, place, deadline };
            self.requests.insert(pending);
        } else if let Envelope::Forward { request, .. } = envelope {
            self.rest(pending, request, turn);
        }
    }

    /// What is kept of a request, to ask again: nothing of a peer's.
    fn kept(pending: &Pending, request: &Request) -> Option<Box<Request>> {
        matches!(pending.origin, Origin::Client(_)).then(|| Box::new(request.clone()))
    }

    const fn me(&self) -> NodeId {
        self.options.me
    }
}
