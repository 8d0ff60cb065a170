//! The commands of a connection that wait for answers, in the order of their replies.
//!
//! Calls are answered in any order; replies are written in the order of the commands. Everything
//! here is found by position: no command costs a hash map.

use std::collections::VecDeque;

use bytes::Bytes;
use kvorum_core::limits::DEFAULT_DEADLINE;
use kvorum_core::{Consistency, KeyspaceId, Mono, Now, Op, Outcome, Reply, Request};
use kvorum_node::{CallId, NodeView, Port};

use super::client::Client;
use super::encoder::{Encoder, Version};
use super::error::ErrorReply;
use super::server::Server;
use crate::auth::{Authenticator, Credentials};

/// Writes the reply to a command from the answer to its only call.
pub(super) type Render = fn(&Reply, &mut Finish<'_>) -> Result<(), ErrorReply>;

/// Writes a reply that depends on the replies before it.
pub(super) type Late = fn(&mut Finish<'_>);

/// What a command needs to write its reply when its turn has come.
pub(super) struct Finish<'a> {
    /// Where the reply goes.
    pub(super) out: &'a mut Encoder,
    /// The node, for the time.
    pub(super) node: &'a dyn NodeView,
    /// What all connections have in common.
    pub(super) server: &'a Server,
    /// The connection's settings.
    pub(super) client: &'a mut Client,
}

/// A command that makes several calls, at once or one after another.
pub(super) trait Job {
    /// Takes the answer to a call; may submit more. Returns whether all calls are answered.
    fn answer(&mut self, part: u32, outcome: Outcome<Reply>, calls: &mut Calls<'_, '_>) -> bool;

    /// Writes the reply.
    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply>;
}

/// In which keyspace a command runs, and with which consistency if the client chose one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Aim {
    /// The keyspace.
    pub(super) keyspace: KeyspaceId,
    /// For reads.
    pub(super) read: Option<Consistency>,
    /// For writes.
    pub(super) write: Option<Consistency>,
}

/// What a command that waits is waiting for.
pub(super) enum Work {
    /// Nothing but the commands before it: the reply is encoded.
    Ready(Bytes),
    /// The commands before it.
    Late(Late),
    /// The answer to one call.
    One(Render, Option<Outcome<Reply>>),
    /// Several answers; the flag tells that all are there.
    Many(Box<dyn Job>, bool),
}

/// A command that waits.
pub(super) struct Entry {
    /// For what.
    pub(super) work: Work,
    /// The memory its request takes, in bytes.
    pub(super) weight: usize,
    /// The version of the protocol its reply is written in.
    pub(super) version: Version,
    /// Whether the client does not want the reply.
    pub(super) mute: bool,
    /// Whether the commands behind it must wait until it is done.
    pub(super) barrier: bool,
    /// When it arrived, if it is the last of the commands that arrived together.
    pub(super) arrived: Option<Mono>,
}

impl Entry {
    fn done(&self) -> bool {
        match &self.work {
            Work::Ready(_) | Work::Late(_) => true,
            Work::One(_, outcome) => outcome.is_some(),
            Work::Many(_, done) => *done,
        }
    }
}

/// Whose call it is.
struct Owner {
    call: CallId,
    /// The number of the command.
    entry: u64,
    /// Which of the command's calls.
    part: u32,
    answered: bool,
    write: bool,
}

/// The calls of a connection, by rising number.
#[derive(Default)]
pub(super) struct Owners {
    list: VecDeque<Owner>,
    open: usize,
    /// Those of the open calls that may change something.
    writes: usize,
}

impl Owners {
    /// Marks a call as answered and returns its command and part; nothing if it is not known.
    fn answered(&mut self, call: CallId) -> Option<(u64, u32)> {
        let at = self.list.binary_search_by_key(&call, |owner| owner.call).ok()?;
        let owner = self.list.get_mut(at)?;
        if std::mem::replace(&mut owner.answered, true) {
            return None;
        }
        let found = (owner.entry, owner.part);
        self.open -= 1;
        self.writes -= usize::from(owner.write);
        while self.list.front().is_some_and(|owner| owner.answered) {
            self.list.pop_front();
        }
        Some(found)
    }
}

/// How a command submits calls.
pub(super) struct Calls<'a, 'p> {
    port: &'a mut Port<'p>,
    owners: &'a mut Owners,
    entry: u64,
    now: Now,
}

impl Calls<'_, '_> {
    /// Submits an operation; the job gets the answer with `part`.
    pub(super) fn submit(&mut self, aim: Aim, op: Op, part: u32) {
        let consistency = if op.is_write() { aim.write } else { aim.read };
        let request = Request {
            // Without users a login selects a keyspace and nothing else.
            identity: Authenticator.identify(Credentials::None),
            keyspace: aim.keyspace,
            op,
            consistency,
            min_version: None,
            key: None,
            deadline: self.now.mono + DEFAULT_DEADLINE,
        };
        let write = request.op.is_write();
        let call = self.port.submit(request);
        let owner = Owner { call, entry: self.entry, part, answered: false, write };
        self.owners.list.push_back(owner);
        self.owners.open += 1;
        self.owners.writes += usize::from(write);
    }

    /// The time, the same for all commands that are executed together.
    pub(super) const fn now(&self) -> Now {
        self.now
    }

    /// The node.
    pub(super) fn node(&self) -> &dyn NodeView {
        self.port.node()
    }
}

/// The commands that wait.
#[derive(Default)]
pub(super) struct Queue {
    entries: VecDeque<Entry>,
    /// The number of the first entry; numbers count the commands that ever waited.
    first: u64,
    owners: Owners,
    weight: usize,
    barriers: usize,
}

impl Queue {
    /// Whether nothing waits.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The memory that waiting requests take, in bytes.
    pub(super) const fn weight(&self) -> usize {
        self.weight
    }

    /// Calls without an answer.
    pub(super) const fn open_calls(&self) -> usize {
        self.owners.open
    }

    /// Whether calls without an answer may change something, and whether some only read.
    pub(super) const fn open_kinds(&self) -> (bool, bool) {
        (self.owners.writes > 0, self.owners.writes < self.owners.open)
    }

    /// Whether a command waits that lets no other run beside it.
    pub(super) const fn has_barrier(&self) -> bool {
        self.barriers > 0
    }

    /// The number of the next entry.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// How the next entry submits its calls.
    pub(super) fn calls<'a, 'p>(&'a mut self, port: &'a mut Port<'p>, now: Now) -> Calls<'a, 'p> {
        let entry = self.next();
        Calls { port, owners: &mut self.owners, entry, now }
    }

    /// Adds a command.
    pub(super) fn push(&mut self, entry: Entry) {
        self.weight += entry.weight;
        self.barriers += usize::from(entry.barrier);
        self.entries.push_back(entry);
    }

    /// Notes when the last command arrived, together with all commands since `first`.
    pub(super) fn mark_arrival(&mut self, first: u64, arrived: Mono) {
        if self.next() > first
            && let Some(last) = self.entries.back_mut()
        {
            last.arrived = Some(arrived);
        }
    }

    /// Hands an answer to its command.
    pub(super) fn answer(&mut self, call: CallId, outcome: Outcome<Reply>, port: &mut Port<'_>) {
        let Some((number, part)) = self.owners.answered(call) else { return };
        let position = usize::try_from(number.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let Some(entry) = self.entries.get_mut(position) else { return };
        match &mut entry.work {
            Work::Ready(_) | Work::Late(_) => {}
            Work::One(_, place) => *place = Some(outcome),
            Work::Many(job, done) => {
                let (owners, now) = (&mut self.owners, port.node().now());
                let mut calls = Calls { port, owners, entry: number, now };
                *done = job.answer(part, outcome, &mut calls);
            }
        }
    }

    /// Takes the first command if its reply can be written.
    pub(super) fn pop_done(&mut self) -> Option<Entry> {
        let entry = self.entries.pop_front_if(|entry| entry.done())?;
        self.first += 1;
        self.weight -= entry.weight;
        self.barriers -= usize::from(entry.barrier);
        Some(entry)
    }
}
