//! Who waits for the answer to which request.

use kvorum_core::{Error, Outcome, Reply};
use kvorum_replication::Ticket;
use tokio::sync::oneshot;

use crate::CallId;
use crate::slots::Slots;

/// Who waits for an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Caller {
    /// A session.
    Session { connection: u64, call: CallId },
    /// One place of a batch that came through a handle.
    Batch { batch: u64, position: usize },
}

/// A batch whose answers are collected.
#[derive(Debug)]
struct Batch {
    answers: Vec<Option<Outcome<Reply>>>,
    missing: usize,
    answer: oneshot::Sender<Vec<Outcome<Reply>>>,
}

/// The requests the shard has not answered yet.
#[derive(Debug)]
pub(crate) struct Callers {
    waiting: Slots<Caller>,
    batches: Slots<Batch>,
}

impl Callers {
    pub(crate) const fn new() -> Callers {
        Callers { waiting: Slots::new(), batches: Slots::new() }
    }

    /// A ticket for a new request.
    pub(crate) fn enter(&mut self, caller: Caller) -> Ticket {
        Ticket(self.waiting.insert(caller))
    }

    /// Who waits for a ticket's answer; a ticket is answered once.
    pub(crate) fn leave(&mut self, ticket: Ticket) -> Option<Caller> {
        self.waiting.remove(ticket.0)
    }

    /// A new batch of `len` requests, at least one.
    pub(crate) fn open(&mut self, len: usize, answer: oneshot::Sender<Vec<Outcome<Reply>>>) -> u64 {
        self.batches.insert(Batch { answers: vec![None; len], missing: len, answer })
    }

    /// Notes one answer of a batch and sends the whole once it is complete.
    pub(crate) fn collect(&mut self, batch: u64, position: usize, outcome: Outcome<Reply>) {
        let Some(open) = self.batches.get_mut(batch) else { return };
        if let Some(place @ None) = open.answers.get_mut(position) {
            *place = Some(outcome);
            open.missing -= 1;
        }
        if open.missing > 0 {
            return;
        }
        if let Some(done) = self.batches.remove(batch) {
            let lost = || Err(Error::NotServing("stopping".into()));
            let answers = done.answers.into_iter().map(|answer| answer.unwrap_or_else(lost));
            // A caller that has gone away needs no answer.
            let _ = done.answer.send(answers.collect());
        }
    }

    /// How many requests are waiting.
    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }
}
