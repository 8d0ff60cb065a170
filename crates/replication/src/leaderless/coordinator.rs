//! What the coordinators of reads, writes and scans have in common.

use kvorum_core::{Error, Executed, Mono, NodeId, Outcome, Reply};

use super::Options;
use crate::{Context, Message, OpId, Ticket};

/// The client an operation works for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client {
    pub(super) ticket: Ticket,
    /// When it stops waiting.
    pub(super) deadline: Mono,
}

/// Whether an operation goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// More answers are needed.
    Wait,
    /// The client has its answer.
    Done,
    /// A write has a new version and must be sent under a new operation id.
    SendAgain,
}

/// A coordinator while it handles one input of one operation.
pub(super) struct Coordinator<'a, 'c> {
    pub(super) options: &'a Options,
    /// The local replica answers nothing now.
    pub(super) rebuilding: bool,
    /// The operation.
    pub(super) op: OpId,
    pub(super) ctx: &'a mut Context<'c>,
}

impl Coordinator<'_, '_> {
    /// Whether a member is up and its answers can count, as far as this node knows.
    pub(super) fn is_up(&self, node: NodeId) -> bool {
        self.ctx.peers.is_up(node) && !(self.rebuilding && node == self.ctx.me)
    }

    /// Whether a member can be asked something that counts.
    pub(super) fn can_ask(&self, node: NodeId) -> bool {
        self.is_up(node) && self.ctx.peers.has_room(node)
    }

    /// Fails fast, before anything is sent, if fewer than `need` members can be asked.
    ///
    /// # Errors
    /// [`Error::Unavailable`] or [`Error::Overloaded`], both not executed.
    pub(super) fn require(&self, need: usize) -> Outcome<()> {
        let members = || self.options.members.iter().copied();
        let live = members().filter(|&node| self.is_up(node)).count();
        if live < need {
            return Err(Error::Unavailable { need, live });
        }
        if members().filter(|&node| self.can_ask(node)).count() < need {
            let executed = Executed::No;
            return Err(Error::Overloaded { what: "the queue to a replica", executed });
        }
        Ok(())
    }

    /// The members in the order in which they are asked, each with an empty seat: this node
    /// first, then whoever is likely to answer soonest, else in the order of the layout.
    pub(super) fn seats<T>(&self, empty: impl Fn() -> T) -> Vec<(NodeId, T)> {
        let Context { me, now, peers, pace, .. } = &*self.ctx;
        let mut seats: Vec<(NodeId, T)> =
            self.options.members.iter().map(|&node| (node, empty())).collect();
        let queue = |node| (node, peers.queue(node));
        seats.sort_by(|(one, _), (other, _)| {
            let mine_first = (one != me).cmp(&(other != me));
            mine_first.then_with(|| pace.compare(queue(*one), queue(*other), now.mono))
        });
        seats
    }

    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        self.ctx.out.send(to, message);
    }

    /// Answers the client, which ends the operation.
    pub(super) fn reply(&mut self, client: Client, outcome: Outcome<Reply>) -> Progress {
        self.ctx.out.reply(client.ticket, outcome);
        Progress::Done
    }
}
