//! A replica's part in copies of the partition: as the leader that sends one, and as the replica
//! that receives it. See [`super::snapshot`] for what travels.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Change, Error, NodeId};

use super::clients::Clients;
use super::letter::Letter;
use super::log::Damaged;
use super::options::Options;
use super::ring::Known;
use super::running::{Running, Todo};
use super::sessions::Sessions;
use super::snapshot::{Front, Piece, Receiver, Sender, Taken, removals};
use super::state::State;
use crate::{Context, Event, Message};

/// How long a sender waits for a piece to be taken, and a receiver for the next one.
const PATIENCE: Duration = Duration::from_secs(5);

impl Running {
    /// Begins to send a copy to a replica that needs one, if none is being sent.
    pub(super) fn begin_copy(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
    ) -> Result<(), Damaged> {
        // What the store holds must be the state at one place of the log.
        let settled = self.applying.is_done() && self.consensus.log().state.ordinal == 0;
        if !self.consensus.leads() {
            self.behind.clear();
        }
        if self.sender.is_some() || !settled || self.behind.is_empty() {
            return Ok(());
        }
        let Some(place) = self.consensus.applied_place() else { return Ok(()) };
        let Some(permit) = ctx.pace.copies.permit() else { return Ok(()) };
        let Some(to) = self.behind.pop_first() else { return Ok(()) };
        let state = &self.consensus.log().state;
        let (clock, conf) = (state.clock, state.conf.clone());
        self.attempts += 1;
        let (term, attempt) = (self.consensus.term(), self.attempts);
        let front = Front { place, term, attempt, clock, conf };
        let sessions = self.consensus.log().session_records(options.loses_sessions_in_copy());
        let patience = ctx.now.mono + PATIENCE;
        self.sender = Some(Sender::new(to, front, permit, sessions, options, patience));
        self.send_piece(ctx)
    }

    /// Sends the next piece, if it is due and there is room for it on the way.
    fn send_piece(&mut self, ctx: &mut Context<'_>) -> Result<(), Damaged> {
        let Some(sender) = self.sender.as_mut().filter(|sender| sender.due) else { return Ok(()) };
        if !ctx.peers.has_room(sender.to) {
            return Ok(());
        }
        let (to, piece) = (sender.to, sender.piece(ctx.store)?);
        sender.due = false;
        sender.patience = ctx.now.mono + PATIENCE;
        ctx.out.send(to, Message::Raft(Letter::Piece(piece).encode()));
        Ok(())
    }

    /// The receiver has taken a piece.
    pub(super) fn taken(
        &mut self,
        ctx: &mut Context<'_>,
        from: NodeId,
        taken: Taken,
    ) -> Result<(), Damaged> {
        let Some(sender) = &mut self.sender else { return Ok(()) };
        let expected = sender.to == from
            && sender.front.attempt == taken.attempt
            && sender.number == taken.number
            && !sender.due;
        if !expected {
            return Ok(());
        }
        if taken.complete {
            self.end_copy(true);
            ctx.out.count(Event::CopySent);
            return Ok(());
        }
        sender.number += 1;
        sender.due = true;
        self.send_piece(ctx)
    }

    /// Ends the copy that is being sent.
    pub(super) fn end_copy(&mut self, complete: bool) {
        if let Some(sender) = self.sender.take() {
            self.consensus.report_copy(sender.to, complete);
        }
    }

    /// Ends the copy that is being sent if nobody takes it, or it is not this replica's any more;
    /// and the one that is being received if nothing comes any more.
    ///
    /// # Errors
    /// [`Damaged`] if a value that is to be sent cannot be read.
    pub(super) fn check_copy(&mut self, ctx: &mut Context<'_>) -> Result<(), Damaged> {
        let (term, now) = (self.consensus.term(), ctx.now.mono);
        self.receiver.take_if(|copy| copy.front.term != term || copy.patience <= now);
        let Some(sender) = &self.sender else { return Ok(()) };
        let leads = self.consensus.leads() && self.consensus.term() == sender.front.term;
        if !leads || sender.patience <= ctx.now.mono || !ctx.peers.is_up(sender.to) {
            self.end_copy(false);
        }
        self.send_piece(ctx)
    }

    /// Takes a piece of a copy.
    ///
    /// # Errors
    /// [`Damaged`] if the library refuses the state that has been copied.
    pub(super) fn piece(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        from: NodeId,
        piece: Piece,
    ) -> Result<(), Damaged> {
        let front = &piece.front;
        let leads = self.consensus.leader() == Some(from) && self.consensus.term() == front.term;
        if !leads || self.consensus.leads() {
            return Ok(());
        }
        if !piece.makes_sense(options) {
            ctx.out.count(Event::Malformed);
            return Ok(());
        }
        let incomplete = self.consensus.log().state.incomplete;
        let (attempt, number) = (front.attempt, piece.number);
        if !incomplete && self.consensus.has(front.place) {
            self.receipt(from, Taken { attempt, number, complete: true });
            return Ok(());
        }
        let mut receiver = self.receiver.iter();
        let begun = receiver.any(|copy| copy.from == from && copy.front == *front);
        if number == 0 && !begun {
            if !self.consensus.may_be_replaced_at(front.place) {
                return Ok(());
            }
            self.empty(options, ctx);
            let (front, patience) = (front.clone(), ctx.now.mono + PATIENCE);
            let known = Known::default();
            self.receiver = Some(Receiver { from, front, known, next: 0, patience });
        }
        let Some(receiver) = &mut self.receiver else { return Ok(()) };
        if receiver.from != from || receiver.front != *front || receiver.next < number {
            return Ok(());
        }
        let complete = piece.last;
        if receiver.next == number {
            receiver.next += 1;
            receiver.patience = ctx.now.mono + PATIENCE;
            let remembered = receiver.remember(&piece.items);
            let known =
                if complete { std::mem::take(&mut receiver.known) } else { Known::default() };
            let Ok(sessions) = remembered.and_then(|()| known.restore()) else {
                ctx.out.count(Event::Malformed);
                self.receiver = None;
                return Ok(());
            };
            let items = piece.items.into_iter().map(Change::Put);
            self.write(items.collect(), ctx.store);
            if complete {
                self.complete(options, ctx, &piece.front, sessions)?;
            }
        }
        self.receipt(from, Taken { attempt, number, complete });
        Ok(())
    }

    /// Says, once everything before is durable, that a piece has been taken.
    fn receipt(&mut self, to: NodeId, taken: Taken) {
        let letter: Bytes = Letter::Taken(taken).encode();
        self.todo.push_back(Todo::Promise(vec![(to, letter)]));
    }

    /// Drops what the replica holds, and says so first.
    fn empty(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let log = self.consensus.log_mut();
        log.state.incomplete = true;
        let mut changes = vec![log.state_record()];
        changes.extend(log.forget_sessions());
        changes.extend(removals(options, ctx.store));
        self.write(changes, ctx.store);
    }

    /// Everything has arrived: goes on from there.
    fn complete(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        front: &Front,
        (sessions, clients): (Sessions, Clients),
    ) -> Result<(), Damaged> {
        let mut log = self.consensus.log().clone();
        (log.sessions, log.clients) = (sessions, clients);
        let mut changes = Vec::new();
        // The term of the copy may be new to this replica; it must not go back.
        log.set_hard(&self.consensus.hard(), &mut changes);
        let state = State {
            applied: front.place.index,
            ordinal: 0,
            clock: front.clock,
            dropped: front.place.index,
            dropped_term: front.place.term,
            incomplete: false,
            generation: log.state.generation,
            conf: front.conf.clone(),
        };
        log.replace(state, &mut changes);
        // The new state counts only with everything before it, so it goes in one step.
        self.todo.push_back(Todo::Write(changes));
        self.restart(log, options)?;
        self.receiver = None;
        ctx.out.count(Event::CopyTaken);
        self.lease.received(ctx.now.mono);
        self.unsaid.clear();
        for (ticket, executed) in self.proposals.take_all() {
            ctx.out.reply(ticket, Err(Error::CoordinatorLost { executed }));
        }
        Ok(())
    }
}
