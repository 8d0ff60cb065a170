//! Writes on their way into the log, and back as answers.

use std::collections::VecDeque;

use kvorum_core::{Error, Executed, Mono, NodeId};

use super::apply::Applied;
use super::consensus::{Consensus, Place};
use super::options::Options;
use super::payload::{Command, Payload};
use super::reads::Waiting;
use crate::{Event, Outbox, Ticket};

/// The queue an [`Error::Overloaded`] names.
const LOG: &str = "the log of the partition";

/// A write that has arrived.
#[derive(Debug)]
pub(super) struct Write {
    pub(super) ticket: Ticket,
    pub(super) deadline: Mono,
    /// Bytes of the log that it takes at most, unless it makes a value longer.
    pub(super) weight: usize,
    pub(super) command: Command,
}

/// Writes that have no answer yet.
#[derive(Debug, Default)]
pub(super) struct Proposals {
    /// Those of this turn.
    arrived: Vec<Write>,
    /// Reads that want time to pass.
    late: Vec<Waiting>,
    /// An entry is wanted even without commands: for the leader's lease, or for its time.
    renews: bool,
    /// The entries under way, in the order of their places.
    proposed: VecDeque<Proposed>,
    bytes: usize,
}

/// An entry under way: who waits for its commands, in their order, and which reads wait for it.
#[derive(Debug)]
struct Proposed {
    place: Place,
    commands: Vec<Option<(Ticket, Mono)>>,
    bytes: usize,
    reads: Vec<Waiting>,
}

impl Proposals {
    /// Adds a write.
    pub(super) fn push(&mut self, write: Write) {
        self.bytes += write.weight;
        self.arrived.push(write);
    }

    /// Adds a read that can be answered when an entry of the present time is applied.
    pub(super) fn push_time(&mut self, read: Waiting) {
        self.late.push(read);
    }

    /// Asks for an entry, whether there are commands or not.
    pub(super) const fn renew(&mut self) {
        self.renews = true;
    }

    /// Bytes of the writes that have no answer yet.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Entries under way.
    pub(super) fn entries(&self) -> usize {
        self.proposed.len()
    }

    /// Proposes what has arrived: one entry, or few if it is much.
    pub(super) fn propose(
        &mut self,
        consensus: &mut Consensus,
        time_ms: u64,
        entry_bytes: usize,
        out: &mut Outbox,
    ) {
        let mut writes = std::mem::take(&mut self.arrived).into_iter().peekable();
        let mut reads = std::mem::take(&mut self.late);
        // The clock may have gone back since they arrived.
        let time_ms = reads.iter().map(|read| read.arrived_ms).fold(time_ms, u64::max);
        let mut renews = std::mem::take(&mut self.renews);
        while writes.peek().is_some() || !reads.is_empty() || std::mem::take(&mut renews) {
            renews = false;
            let mut payload = Payload { time_ms, commands: Vec::new() };
            let mut commands = Vec::new();
            let mut bytes = 0;
            while let Some(write) = writes.next_if(|_| bytes < entry_bytes) {
                bytes += write.weight;
                commands.push(Some((write.ticket, write.deadline)));
                payload.commands.push(write.command);
            }
            let reads = std::mem::take(&mut reads);
            let Some(place) = consensus.propose(payload.encode()) else {
                self.bytes -= bytes;
                refuse(consensus, commands, reads, out);
                continue;
            };
            out.count(Event::Proposed);
            self.proposed.push_back(Proposed { place, commands, bytes, reads });
        }
    }

    /// Answers the writes that have been applied. Returns the reads that waited for that.
    pub(super) fn settle(&mut self, applied: Vec<Applied>, out: &mut Outbox) -> Vec<Waiting> {
        let mut reads = Vec::new();
        for Applied { place, reply } in applied {
            self.forget_overwritten(place, out);
            let Some(front) = self.proposed.front_mut().filter(|front| front.place == place) else {
                continue;
            };
            if let Some((number, outcome)) = reply {
                let waiting = front.commands.get_mut(number).and_then(Option::take);
                if let Some((ticket, _)) = waiting {
                    out.reply(ticket, outcome);
                }
            } else if let Some(ended) = self.proposed.pop_front() {
                self.bytes -= ended.bytes;
                reads.extend(ended.reads);
            }
        }
        reads
    }

    /// What another leader's entry at `place` has taken the place of will never be executed: an
    /// entry of an older term at this place or behind it is in no log that can still win.
    fn forget_overwritten(&mut self, place: Place, out: &mut Outbox) {
        let lost = |front: &mut Proposed| {
            front.place.index < place.index
                || (front.place != place && front.place.term < place.term)
        };
        while let Some(lost) = self.proposed.pop_front_if(lost) {
            self.bytes -= lost.bytes;
            let commands = lost.commands.into_iter().flatten().map(|(ticket, _)| ticket);
            for ticket in commands.chain(lost.reads.into_iter().map(|read| read.ticket)) {
                out.reply(ticket, Err(Error::NotLeader { leader: None }));
            }
        }
    }

    /// Takes the reads: another leader may have committed more than they may see.
    pub(super) fn take_reads(&mut self) -> Vec<Waiting> {
        let proposed = self.proposed.iter_mut().flat_map(|proposed| proposed.reads.drain(..));
        let mut reads: Vec<Waiting> = proposed.collect();
        reads.append(&mut self.late);
        reads
    }

    /// Takes those whose callers have stopped waiting, and whether they may have been executed.
    pub(super) fn take_overdue(&mut self, now: Mono) -> Vec<(Ticket, Executed)> {
        let mut overdue = Vec::new();
        for proposed in &mut self.proposed {
            let commands = proposed.commands.iter_mut();
            let due = commands.filter_map(|w| w.take_if(|(_, deadline)| *deadline <= now));
            overdue.extend(due.map(|(ticket, _)| (ticket, Executed::Unknown)));
            let reads = proposed.reads.extract_if(.., |read| read.request.deadline <= now);
            overdue.extend(reads.map(|read| (read.ticket, Executed::No)));
        }
        overdue
    }

    /// This replica leads no more, or anew. What is proposed may still be executed, so nothing is
    /// said of it yet.
    pub(super) fn deposed(&mut self, options: &Options, leader: Option<NodeId>, out: &mut Outbox) {
        if options.refuses_proposed() {
            for (ticket, _) in self.take_all() {
                out.reply(ticket, Err(Error::NotLeader { leader }));
            }
        }
    }

    /// Takes all, and whether they may have been executed.
    pub(super) fn take_all(&mut self) -> Vec<(Ticket, Executed)> {
        let mut all = Vec::new();
        self.bytes = 0;
        all.extend(self.arrived.drain(..).map(|write| (write.ticket, Executed::No)));
        all.extend(self.late.drain(..).map(|read| (read.ticket, Executed::No)));
        for proposed in self.proposed.drain(..) {
            let commands = proposed.commands.into_iter().flatten();
            all.extend(commands.map(|(ticket, _)| (ticket, Executed::Unknown)));
            all.extend(proposed.reads.into_iter().map(|read| (read.ticket, Executed::No)));
        }
        all
    }
}

/// Answers what could not be proposed: nothing of it was executed.
fn refuse(
    consensus: &Consensus,
    commands: Vec<Option<(Ticket, Mono)>>,
    reads: Vec<Waiting>,
    out: &mut Outbox,
) {
    let error = if consensus.takes_proposals() {
        Error::Overloaded { what: LOG, executed: Executed::No }
    } else {
        Error::NotLeader { leader: consensus.leader() }
    };
    let commands = commands.into_iter().flatten().map(|(ticket, _)| ticket);
    for ticket in commands.chain(reads.into_iter().map(|read| read.ticket)) {
        out.reply(ticket, Err(error.clone()));
    }
}
