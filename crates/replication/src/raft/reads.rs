//! Reads that wait until a round of heartbeats has confirmed that this replica leads.
//!
//! A read sees every write that was acknowledged before it began: the leader notes what is
//! committed, learns from a majority that it still led after the read arrived, and answers when
//! that much is applied ("ReadIndex": Ongaro, "Consensus: Bridging Theory and Practice", 2014,
//! section 6.4). All reads of a turn share one round.

use std::collections::VecDeque;

use kvorum_core::{Mono, Request};

use crate::Ticket;

/// A request that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ticket: Ticket,
    pub(super) request: Request,
    /// The time of the clock when it arrived, in milliseconds since 1970. What expires later may
    /// still be answered, so a read waits at most once for the time of the log.
    pub(super) arrived_ms: u64,
}

/// The reads that wait.
#[derive(Debug, Default)]
pub(super) struct Reads {
    /// Those of this turn, and those for which no round could begin yet.
    arrived: Vec<Waiting>,
    rounds: VecDeque<Round>,
    begun: u64,
}

#[derive(Debug)]
struct Round {
    number: u64,
    /// What must be applied before its reads are answered, once the round has succeeded.
    index: Option<u64>,
    reads: Vec<Waiting>,
}

impl Reads {
    /// Adds a read.
    pub(super) fn push(&mut self, read: Waiting) {
        self.arrived.push(read);
    }

    /// Begins a round for the reads that have arrived; nothing if there are none.
    pub(super) fn begin_round(&mut self) -> Option<u64> {
        if self.arrived.is_empty() {
            return None;
        }
        self.begun += 1;
        let reads = std::mem::take(&mut self.arrived);
        self.rounds.push_back(Round { number: self.begun, index: None, reads });
        Some(self.begun)
    }

    /// A round has succeeded, and with it those before.
    pub(super) fn confirmed(&mut self, number: u64, index: u64) {
        for round in self.rounds.iter_mut().take_while(|round| round.number <= number) {
            round.index.get_or_insert(index);
        }
    }

    /// Takes the reads that can be answered when the log is applied up to `applied`.
    pub(super) fn take_ready(&mut self, applied: u64) -> Vec<Waiting> {
        let mut ready = Vec::new();
        while let Some(round) = self.rounds.front() {
            if round.index.is_none_or(|index| index > applied) {
                break;
            }
            ready.extend(self.rounds.pop_front().into_iter().flat_map(|round| round.reads));
        }
        ready
    }

    /// Takes all reads: this replica does not lead any more.
    pub(super) fn take_all(&mut self) -> Vec<Waiting> {
        let rounds = std::mem::take(&mut self.rounds);
        let mut all: Vec<Waiting> = rounds.into_iter().flat_map(|round| round.reads).collect();
        all.append(&mut self.arrived);
        all
    }

    /// Takes the reads whose callers have stopped waiting.
    pub(super) fn take_overdue(&mut self, now: Mono) -> Vec<Waiting> {
        let overdue = |read: &mut Waiting| read.request.deadline <= now;
        let mut taken: Vec<Waiting> = self.arrived.extract_if(.., overdue).collect();
        for round in &mut self.rounds {
            taken.extend(round.reads.extract_if(.., overdue));
        }
        taken
    }
}
