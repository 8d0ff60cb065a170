//! What comes from the other nodes, and what becomes of it when one is lost.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Error, Executed, Mono, NodeId, PartitionId, limits};
use kvorum_replication::{Event, Found, Input, Message, Status};

use crate::Out;
use crate::links::Received;
use crate::pending::{Origin, Stage};
use crate::shard::{Shard, Turn};
use crate::wire::{Envelope, queue};

/// Whether this node takes on work for a peer.
enum Capacity {
    Enough,
    /// Too much of the peers' work waits for the log: refuse.
    Full,
    /// Not even refusals can be queued: drop.
    Choked,
}

impl Shard {
    /// Takes a frame of a peer.
    pub(crate) fn receive(
        &mut self,
        from: NodeId,
        frame: Bytes,
        arrived: Mono,
        turn: &mut Turn<'_>,
    ) {
        let waited = match self.options.ignores_waiting() {
            false => turn.now.mono.since(arrived),
            true => Duration::ZERO,
        };
        let mut envelopes = std::mem::take(&mut self.decoded);
        let received = self.links.receive(from, frame, &mut envelopes);
        if let Received::Bad(reason) = received {
            turn.out.push(Out::BadFrame { from, reason });
        }
        for envelope in envelopes.drain(..) {
            let weight = envelope.weight();
            match envelope {
                Envelope::Group { partition, mut message } => {
                    message.age(waited);
                    self.take_message(from, partition, message, weight, turn);
                }
                Envelope::Roots { round, layout, runs } => {
                    let Some(life) = self.links.life(from) else { continue };
                    match self.capacity(from) {
                        Capacity::Enough => self.on_roots(from, life, (round, layout), &runs, turn),
                        // There will be other rounds.
                        Capacity::Full | Capacity::Choked => {
                            turn.out.push(Out::Count(Event::Shed));
                        }
                    }
                }
                Envelope::RootsCompared { round, equal } => {
                    self.on_roots_compared(from, round, &equal, turn);
                }
                Envelope::Forwarded { id, outcome } => {
                    let stage = self.requests.get(id).map(|pending| pending.stage);
                    if matches!(stage, Some(Stage::Forwarded { to, .. }) if to == from) {
                        self.settle(id, outcome, turn);
                    }
                }
                Envelope::Forward { id, patience, attempt, mut request } => {
                    let Some(life) = self.links.life(from) else { continue };
                    let origin = Origin::Peer { node: from, id, life };
                    request.deadline = arrived + patience.min(limits::MAX_DEADLINE);
                    match self.capacity(from) {
                        Capacity::Enough => self.submit(origin, request, attempt, turn),
                        Capacity::Full => {
                            turn.out.push(Out::Count(Event::Shed));
                            let (what, executed) = (queue::LOG, Executed::No);
                            self.answer(origin, Err(Error::Overloaded { what, executed }), turn);
                        }
                        Capacity::Choked => turn.out.push(Out::Count(Event::Shed)),
                    }
                }
            }
        }
        self.decoded = envelopes;
    }

    fn take_message(
        &mut self,
        from: NodeId,
        partition: PartitionId,
        message: Message,
        weight: usize,
        turn: &mut Turn<'_>,
    ) {
        let group = self.groups.index(partition);
        if !message.asks() {
            if let Some(group) = group {
                self.handle(group, Input::Message { from, message }, 0, turn);
            }
            return;
        }
        let refusal = match (self.capacity(from), group) {
            (Capacity::Enough, Some(group)) => {
                self.handle(group, Input::Message { from, message }, weight, turn);
                return;
            }
            (Capacity::Enough, None) => not_a_replica(&message),
            (Capacity::Full, _) => {
                turn.out.push(Out::Count(Event::Shed));
                overloaded(&message)
            }
            (Capacity::Choked, _) => {
                turn.out.push(Out::Count(Event::Shed));
                None
            }
        };
        if let Some(message) = refusal {
            self.links.push(from, &Envelope::Group { partition, message }, turn.out);
        }
    }

    /// What peers make this node hold is bounded by the same number of bytes as what clients do.
    fn capacity(&self, from: NodeId) -> Capacity {
        if self.links.is_choked(from) {
            Capacity::Choked
        } else if self.held.bytes() > self.options.max_pending_bytes {
            Capacity::Full
        } else {
            Capacity::Enough
        }
    }

    /// The connection to a node is lost, or begins anew: nothing sent or received on it so far
    /// will be answered.
    pub(crate) fn disconnect(&mut self, node: NodeId, turn: &mut Turn<'_>) {
        let mut failed = Vec::new();
        // Whoever leads next is asked under the same name, so nothing is done twice.
        let mut seeking = Vec::new();
        let lost = |stage: &Stage| matches!(stage, Stage::Forwarded { to, .. } if *to == node);
        for ticket in self.requests.tickets(lost) {
            let Some(mut pending) = self.requests.take(ticket) else { continue };
            let Stage::Forwarded { place, .. } = pending.stage else { continue };
            let left = self.links.has_left(node, place);
            if pending.seeks.is_some() {
                if left && !self.options.resends_as_new() {
                    pending.may_be_done();
                }
                seeking.push(pending);
                continue;
            }
            let error = if left {
                Error::CoordinatorLost { executed: pending.executed_if_lost() }
            } else {
                Error::Unavailable { need: pending.need, live: 0 }
            };
            failed.push((pending.origin, error));
        }
        let was_up = self.links.down(node);
        self.rounds.down(node);
        self.pace.forget(node);
        for pending in seeking {
            self.not_led(pending, Error::NotLeader { leader: None }, turn);
        }
        for (origin, error) in failed {
            self.answer(origin, Err(error), turn);
        }
        if was_up {
            for group in self.groups.pending() {
                self.handle(group, Input::PeerLost(node), 0, turn);
            }
        }
    }
}

/// The answer to a request for a partition that is not here.
fn not_a_replica(request: &Message) -> Option<Message> {
    match *request {
        Message::Write { op, .. } => Some(Message::Written { op, status: Status::NotReplica }),
        Message::Read { op, .. } => Some(Message::Held { op, found: Found::NotReplica }),
        Message::Scan { op, .. } => Some(Message::Scanned { op, page: None }),
        _ => None,
    }
}

/// The answer to a request this node has no capacity for, if there is one: reads are dropped, and
/// their coordinators ask other replicas or give up at their deadline.
fn overloaded(request: &Message) -> Option<Message> {
    match *request {
        Message::Write { op, .. } => Some(Message::Written { op, status: Status::Overloaded }),
        _ => None,
    }
}
