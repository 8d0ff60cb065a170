//! Effects that wait until the log is durable.
//!
//! The log becomes durable turn by turn, so effects are kept per turn, in the order they were
//! wanted: releasing a turn is taking its list, and nothing is sorted or searched per effect.

use std::collections::VecDeque;

use kvorum_core::{Lsn, NodeId, Outcome, PartitionId, Reply};
use kvorum_replication::{Input, Ticket};

use crate::links::Life;
use crate::rounds::Verdict;
use crate::wire::Envelope;

/// An effect that is held.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Answer a request.
    Reply {
        /// The shard's ticket.
        ticket: Ticket,
        /// The answer.
        outcome: Outcome<Reply>,
    },
    /// Hand an input to a group of this node.
    Local {
        /// The index of the group.
        group: usize,
        /// The input.
        input: Input,
    },
    /// Send an envelope to a peer, unless its connection has been lost meanwhile.
    Peer {
        /// The receiver.
        to: NodeId,
        /// The life of the connection to which the envelope belongs.
        life: Life,
        /// The envelope.
        envelope: Envelope,
    },
    /// Tell the replicas here what roots have shown, unless the connection has been lost meanwhile.
    Compared {
        /// The node they were compared with.
        with: NodeId,
        /// The life of the connection.
        life: Life,
        /// What was shown.
        verdict: Verdict,
    },
    /// Report a partition as rebuilt, unless that was ordered again meanwhile.
    Rebuilt {
        /// The partition.
        partition: PartitionId,
        /// The number of the rebuild.
        number: Option<u64>,
    },
}

/// The effects that wait, and how much they make this node hold.
#[derive(Debug, Default)]
pub(crate) struct Held {
    durable: Lsn,
    /// One list per turn, each with the last LSN it waits for; the lists' LSNs ascend.
    turns: VecDeque<Turn>,
    /// The last list still belongs to the present turn.
    open: bool,
    count: usize,
    bytes: usize,
    spare: Vec<Entry>,
}

#[derive(Debug)]
struct Turn {
    last: Lsn,
    entries: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    after: Lsn,
    bytes: usize,
    effect: Effect,
}

impl Held {
    /// Whether an effect that needs `after` to be durable must wait.
    pub(crate) fn must_wait(&self, after: Option<Lsn>) -> Option<Lsn> {
        after.filter(|&after| after > self.durable)
    }

    /// Holds an effect until `after` is durable. `bytes` is what a peer makes this node hold by it.
    pub(crate) fn hold(&mut self, after: Lsn, bytes: usize, effect: Effect) {
        let entry = Entry { after, bytes, effect };
        self.count += 1;
        self.bytes += bytes;
        // A record of an earlier turn that is read now is durable when that turn is.
        let earlier = self.turns.partition_point(|turn| turn.last < after);
        if let Some(turn) = self.turns.get_mut(earlier) {
            turn.entries.push(entry);
            return;
        }
        match self.turns.back_mut().filter(|_| self.open) {
            Some(turn) => {
                turn.last = after;
                turn.entries.push(entry);
            }
            None => {
                let mut entries = std::mem::take(&mut self.spare);
                entries.push(entry);
                self.turns.push_back(Turn { last: after, entries });
                self.open = true;
            }
        }
    }

    /// Ends the turn.
    pub(crate) fn end_of_turn(&mut self) {
        self.open = false;
    }

    /// The log is durable up to `durable`: moves what waited for that into `ready`.
    pub(crate) fn release(&mut self, durable: Lsn, ready: &mut Vec<Effect>) {
        self.durable = self.durable.max(durable);
        while let Some(mut turn) = self.turns.pop_front() {
            if turn.last <= self.durable {
                self.take(turn.entries.drain(..), ready);
                self.spare = turn.entries;
                continue;
            }
            // The store splits a turn that is too large for one frame of its log.
            let partial = turn.entries.extract_if(.., |entry| entry.after <= self.durable);
            let partial: Vec<Entry> = partial.collect();
            self.take(partial.into_iter(), ready);
            self.turns.push_front(turn);
            break;
        }
        self.open &= !self.turns.is_empty();
    }

    fn take(&mut self, entries: impl Iterator<Item = Entry>, ready: &mut Vec<Effect>) {
        for entry in entries {
            self.count -= 1;
            self.bytes -= entry.bytes;
            ready.push(entry.effect);
        }
    }

    /// How many effects wait.
    pub(crate) const fn count(&self) -> usize {
        self.count
    }

    /// How many bytes peers make this node hold by them.
    pub(crate) const fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn effect(number: u16) -> Effect {
        let partition = PartitionId { placement: 0, number };
        Effect::Rebuilt { partition, number: None }
    }

    fn released(held: &mut Held, durable: u64) -> Vec<u16> {
        let mut ready = Vec::new();
        held.release(Lsn(durable), &mut ready);
        ready
            .into_iter()
            .map(|effect| match effect {
                Effect::Rebuilt { partition, .. } => partition.number,
                other => panic!("{other:?}"),
            })
            .collect()
    }

    #[test]
    fn effects_are_released_in_order_and_never_before_their_lsn() {
        let mut held = Held::default();
        held.hold(Lsn(1), 10, effect(1));
        held.hold(Lsn(3), 10, effect(3));
        held.end_of_turn();
        held.hold(Lsn(5), 10, effect(5));
        held.hold(Lsn(2), 10, effect(2));
        assert_eq!((held.count(), held.bytes()), (4, 40));
        assert_eq!(released(&mut held, 0), []);
        assert_eq!(released(&mut held, 1), [1]);
        assert_eq!(released(&mut held, 2), [2]);
        assert_eq!(released(&mut held, 4), [3]);
        assert_eq!(released(&mut held, 9), [5]);
        assert_eq!((held.count(), held.bytes()), (0, 0));
        assert_eq!(held.must_wait(Some(Lsn(9))), None);
        assert_eq!(held.must_wait(Some(Lsn(10))), Some(Lsn(10)));
        assert_eq!(released(&mut held, 3), []);
        assert_eq!(held.must_wait(Some(Lsn(9))), None);
    }

    #[test]
    fn a_partly_durable_turn_can_still_grow() {
        let mut held = Held::default();
        held.hold(Lsn(1), 0, effect(1));
        held.hold(Lsn(2), 0, effect(2));
        assert_eq!(released(&mut held, 1), [1]);
        held.hold(Lsn(3), 0, effect(3));
        assert_eq!(released(&mut held, 2), [2]);
        assert_eq!(released(&mut held, 3), [3]);
        held.hold(Lsn(4), 0, effect(4));
        assert_eq!(released(&mut held, 4), [4]);
    }
}
