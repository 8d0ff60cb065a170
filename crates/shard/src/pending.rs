//! Requests that have no answer yet: clients' and those that peers have forwarded here.
//!
//! A slab whose tickets carry a generation: a ticket is taken once, and whatever comes for it
//! later finds nothing. That is what "every request is answered exactly once" rests on.

use std::collections::BTreeSet;

use kvorum_core::{Attempt, Error, Executed, Hlc, Mono, NodeId, PartitionId, Request};
use kvorum_replication::Ticket;

use crate::links::{Life, Place};

/// A request that has no answer yet.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    /// Who wants the answer.
    pub(crate) origin: Origin,
    /// Who works on it.
    pub(crate) stage: Stage,
    /// Bytes it makes this node hold.
    pub(crate) weight: usize,
    /// Whether it changes anything.
    pub(crate) is_write: bool,
    /// How many replicas it needs.
    pub(crate) need: usize,
    /// The partition whose leader it must find, if the keyspace is a strong one.
    pub(crate) seeks: Option<PartitionId>,
    /// The request itself, if it may have to be sent again.
    pub(crate) request: Option<Box<Request>>,
    /// How often it was sent on.
    pub(crate) hops: u8,
    /// The name of a write of a strong keyspace, under which it may be sent again.
    pub(crate) attempt: Option<Attempt>,
    /// What the clock of the partition's log was known to show before it was first sent.
    pub(crate) known: Hlc,
}

impl Pending {
    /// A read that any replica can answer.
    pub(crate) const fn new(origin: Origin, stage: Stage, weight: usize) -> Pending {
        let (is_write, need, seeks, request) = (false, 1, None, None);
        let (hops, attempt, known) = (0, None, Hlc(0));
        Pending { origin, stage, weight, is_write, need, seeks, request, hops, attempt, known }
    }

    /// Whether the request may have taken effect if whoever works on it is lost.
    pub(crate) const fn executed_if_lost(&self) -> Executed {
        if self.is_write { Executed::Unknown } else { Executed::No }
    }

    /// Whether an earlier attempt may have taken effect.
    pub(crate) fn is_unsure(&self) -> bool {
        self.attempt.is_some_and(|attempt| attempt.since.is_some())
    }

    /// What the error of the last attempt means for all attempts together.
    pub(crate) fn as_a_whole(&self, error: Error) -> Error {
        let executed = Executed::Unknown;
        match error {
            error if !self.is_unsure() || error.executed() == executed => error,
            // Whoever says so has looked for the earlier attempts too.
            Error::KeyReused => error,
            Error::Timeout { need, acked, .. } => Error::Timeout { need, acked, executed },
            _ => Error::CoordinatorLost { executed },
        }
    }

    /// The request is sent on once more. The number goes on growing, since it tells whose turn it
    /// is, and is not zero again.
    pub(crate) fn hop(&mut self) {
        self.hops = self.hops.checked_add(1).unwrap_or(1);
    }

    /// An attempt may have taken effect; whatever is sent from now on says so.
    pub(crate) fn may_be_done(&mut self) {
        let known = self.known;
        if let Some(attempt) = &mut self.attempt {
            attempt.since.get_or_insert(known);
        }
    }
}

/// Who wants the answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin {
    /// A client of this node, by the driver's ticket.
    Client(Ticket),
    /// A node that has forwarded it, in one life of the connection to it.
    Peer {
        /// The node.
        node: NodeId,
        /// Its name for the request.
        id: Ticket,
        /// The life of the connection.
        life: Life,
    },
}

/// Who works on it.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stage {
    /// A group of this node, by its index.
    Group(usize),
    /// Another node.
    Forwarded {
        /// The node.
        to: NodeId,
        /// Where in the stream to it.
        place: Place,
        /// When this node stops waiting.
        deadline: Mono,
    },
    /// Nobody, until somebody may lead.
    Resting {
        /// When it goes on.
        until: Mono,
    },
}

impl Stage {
    /// When this node must look at the request again by itself.
    const fn due(&self) -> Option<Mono> {
        match self {
            Stage::Group(_) => None,
            Stage::Forwarded { deadline: due, .. } | Stage::Resting { until: due } => Some(*due),
        }
    }
}

/// All requests that have no answer yet.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// When what was forwarded or rests is due; groups watch the deadlines of the rest.
    deadlines: BTreeSet<(Mono, Ticket)>,
    count: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Slot {
    generation: u32,
    pending: Option<Pending>,
}

impl Requests {
    /// The ticket the next [`Requests::insert`] returns.
    pub(crate) fn next_ticket(&self) -> Ticket {
        let index = self.free.last().copied();
        let index = index.unwrap_or_else(|| u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
        ticket(index, self.slots.get(index as usize).map_or(0, |slot| slot.generation))
    }

    /// Adds a request. The caller has checked the limits, so indices fit in 32 bits.
    pub(crate) fn insert(&mut self, pending: Pending) -> Ticket {
        let ticket = self.next_ticket();
        self.count += 1;
        self.bytes += pending.weight;
        if let Some(due) = pending.stage.due() {
            self.deadlines.insert((due, ticket));
        }
        if self.free.pop().is_none() {
            self.slots.push(Slot::default());
        }
        if let Some(slot) = self.slots.get_mut(index_of(ticket)) {
            slot.pending = Some(pending);
        }
        ticket
    }

    /// The request of a ticket, if it has no answer yet.
    pub(crate) fn get(&self, ticket: Ticket) -> Option<&Pending> {
        let slot = self.slots.get(index_of(ticket))?;
        slot.pending.as_ref().filter(|_| slot.generation == generation_of(ticket))
    }

    /// Takes the request of a ticket out, if it has no answer yet.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<Pending> {
        let index = index_of(ticket);
        let slot = self.slots.get_mut(index)?;
        if slot.generation != generation_of(ticket) {
            return None;
        }
        let pending = slot.pending.take()?;
        slot.generation = slot.generation.wrapping_add(1);
        self.free.push(u32::try_from(index).unwrap_or(u32::MAX));
        self.count -= 1;
        self.bytes -= pending.weight;
        if let Some(due) = pending.stage.due() {
            self.deadlines.remove(&(due, ticket));
        }
        Some(pending)
    }

    /// The tickets of the requests in a stage that `wanted` accepts. Looks at every request: for
    /// rare events only.
    pub(crate) fn tickets(&self, wanted: impl Fn(&Stage) -> bool) -> Vec<Ticket> {
        let pending = |slot: &Slot| slot.pending.as_ref().is_some_and(|p| wanted(&p.stage));
        let slots = (0..).zip(&self.slots).filter(|(_, slot)| pending(slot));
        slots.map(|(index, slot)| ticket(index, slot.generation)).collect()
    }

    /// The forwarded or resting request that has been due longest, if any is due.
    pub(crate) fn overdue(&self, now: Mono) -> Option<Ticket> {
        self.deadlines.first().filter(|(deadline, _)| *deadline <= now).map(|(_, ticket)| *ticket)
    }

    /// When the next forwarded or resting request is due.
    pub(crate) fn next_deadline(&self) -> Option<Mono> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// How many requests have no answer yet.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// How many bytes they make this node hold.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

fn ticket(index: u32, generation: u32) -> Ticket {
    Ticket(u64::from(generation) << 32 | u64::from(index))
}

/// The low half of a ticket is its index.
const fn index_of(ticket: Ticket) -> usize {
    ticket.0 as u32 as usize
}

/// The high half of a ticket is its generation.
const fn generation_of(ticket: Ticket) -> u32 {
    (ticket.0 >> 32) as u32
}

#[cfg(test)]
mod tests {
    use kvorum_core::{IdempotencyKey, Identity, KeyspaceId, Op, Writer};

    use super::*;
    use crate::shard::Shard;

    fn client(n: u64) -> Pending {
        let stage = Stage::Group(0);
        let origin = Origin::Client(Ticket(n));
        Pending { is_write: true, ..Pending::new(origin, stage, 10) }
    }

    /// A write of which an earlier attempt may have been executed.
    fn unsure() -> Pending {
        let since = Some(Hlc(7));
        let attempt = Some(Attempt { session: Writer(1), seq: 1, since });
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId::DEFAULT,
            op: Op::Delete { key: "k".into() },
            consistency: None,
            min_version: None,
            key: Some(IdempotencyKey { client: 1, seq: 1 }),
            deadline: Mono(1),
        };
        let seeks = Some(PartitionId { placement: 0, number: 0 });
        Pending { attempt, seeks, request: Some(Box::new(request)), ..client(1) }
    }

    #[test]
    fn a_name_that_is_taken_is_told_at_once_also_when_an_earlier_attempt_is_open() {
        let pending = unsure();
        assert!(!Shard::must_seek(&pending, &Error::KeyReused));
        assert_eq!(pending.as_a_whole(Error::KeyReused), Error::KeyReused);
        let full = Error::Overloaded { what: "queue", executed: Executed::No };
        assert!(Shard::must_seek(&pending, &full));
        assert_eq!(pending.as_a_whole(full).executed(), Executed::Unknown);
    }

    #[test]
    fn a_request_that_is_sent_on_for_long_goes_on_asking_one_after_the_other() {
        let mut pending = client(1);
        for _ in 0..1000 {
            let before = pending.hops;
            pending.hop();
            assert!(pending.hops != before && pending.hops > 0);
        }
    }

    #[test]
    fn a_ticket_is_taken_once_and_never_valid_again() {
        let mut requests = Requests::default();
        let first = requests.insert(client(1));
        assert_eq!(requests.next_ticket(), requests.insert(client(2)));
        assert!(requests.take(first).is_some());
        assert!(requests.take(first).is_none());
        let reused = requests.insert(client(3));
        assert_ne!(first, reused);
        assert!(requests.get(first).is_none());
        assert!(requests.take(first).is_none());
        assert!(requests.get(reused).is_some());
        assert_eq!((requests.count(), requests.bytes()), (2, 20));
    }
}
