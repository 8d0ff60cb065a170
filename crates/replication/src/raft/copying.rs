//! A replica's part in copies of the partition: as the leader that sends one, and as the replica
//! that receives it. See [`super::snapshot`] for what travels.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Change, Error, NodeId};

use super::clients::Clients;
use super::letter::Letter;
use super::log::Damaged;
use super::options::Options;
use super::piece::{Content, Fate, Front, Piece, Taken};
use super::ring::Known;
use super::running::{Running, Todo};
use super::sessions::Sessions;
use super::snapshot::{Receiver, Sender};
use super::state::State;
use super::stretch::Stretch;
use crate::{Context, Event, Message};

/// How long a sender waits for a piece to be taken, connected or not, and a receiver for the next
/// one.
const PATIENCE: Duration = Duration::from_secs(5);
/// After how long a piece of which nothing is heard is sent again.
const AGAIN: Duration = Duration::from_secs(1);

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
        if !ctx.peers.is_up(sender.to) || !ctx.peers.has_room(sender.to) {
            return Ok(());
        }
        let (to, piece) = (sender.to, sender.piece(ctx.store)?);
        sender.due = false;
        sender.sent = ctx.now.mono;
        ctx.out.send(to, Message::Raft(Letter::Piece(piece).encode()));
        Ok(())
    }

    /// The receiver has said what became of a piece.
    pub(super) fn taken(
        &mut self,
        ctx: &mut Context<'_>,
        from: NodeId,
        taken: Taken,
    ) -> Result<(), Damaged> {
        let awaited = self.sender.as_mut().filter(|sender| sender.awaits(from, taken));
        let Some(sender) = awaited else { return Ok(()) };
        sender.patience = ctx.now.mono + PATIENCE;
        match taken.fate {
            Fate::Taken => sender.advance(false),
            Fate::TakenBefore => sender.advance(true),
            Fate::Differs => sender.differs(),
            Fate::Complete => {
                self.copied = Some((from, sender.front.place.index));
                self.end_copy(true);
                ctx.out.count(Event::CopySent);
            }
            // It asks for another one, which will not bring again what it has.
            Fate::Unknown => self.end_copy(false),
        }
        self.send_piece(ctx)
    }

    /// Ends the copy that is being sent.
    pub(super) fn end_copy(&mut self, complete: bool) {
        if let Some(sender) = self.sender.take() {
            self.todo.extend(sender.removal().map(|removal| Todo::Write(vec![removal])));
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
        let Some(sender) = &mut self.sender else { return Ok(()) };
        // A piece may be lost, and so may what was said of it.
        sender.due |= sender.sent + AGAIN <= now;
        let leads = self.consensus.leads() && self.consensus.term() == sender.front.term;
        if !leads || sender.patience <= now {
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
        if self.todo.iter().any(|todo| matches!(todo, Todo::Write(_))) {
            // The store is behind, so what it holds cannot be told. The piece will come again.
            return Ok(());
        }
        let incomplete = self.consensus.log().state.incomplete;
        let (attempt, number) = (front.attempt, piece.number);
        if !incomplete && self.consensus.has(front.place) {
            self.receipt(from, Taken { attempt, number, fate: Fate::Complete });
            return Ok(());
        }
        let mut receiver = self.receiver.iter();
        let begun = receiver.any(|copy| copy.from == from && copy.front == *front);
        if number == 0 && !begun {
            if !self.consensus.may_be_replaced_at(front.place) {
                return Ok(());
            }
            self.become_incomplete(ctx);
            let (front, patience) = (front.clone(), ctx.now.mono + PATIENCE);
            let (known, reached) = (Known::default(), Stretch::beginning(options));
            self.receiver = Some(Receiver { from, front, known, next: 0, reached, patience });
        }
        let fate = self.take(options, ctx, from, piece)?;
        if let Some(fate) = fate {
            self.receipt(from, Taken { attempt, number, fate });
        }
        Ok(())
    }

    /// Takes a piece if it is the next one of the copy under way. Tells what is to be said of it;
    /// nothing if it makes no sense, which ends the copy.
    fn take(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        from: NodeId,
        piece: Piece,
    ) -> Result<Option<Fate>, Damaged> {
        let known = |copy: &&mut Receiver| copy.from == from && copy.front == piece.front;
        let Some(copy) = self.receiver.as_mut().filter(known) else {
            return Ok(Some(Fate::Unknown));
        };
        if copy.next < piece.number {
            return Ok(Some(Fate::Unknown));
        }
        let front = piece.front.clone();
        let complete = piece.to.is_none();
        if copy.next == piece.number {
            copy.patience = ctx.now.mono + PATIENCE;
            let stretch = Stretch { from: copy.reached.clone(), to: piece.to };
            if stretch.goes_back() {
                return Ok(self.end_receipt(ctx));
            }
            let changes = match piece.content {
                Content::Outline(outline)
                    if !stretch.holds(outline, front.seed(), options, ctx.store) =>
                {
                    return Ok(Some(Fate::Differs));
                }
                Content::Outline(_) => Vec::new(),
                Content::Records(records) => {
                    if copy.remember(&stretch, &records).is_err() {
                        return Ok(self.end_receipt(ctx));
                    }
                    let mut changes = Vec::new();
                    if stretch.is_held(options, ctx.store) {
                        changes = stretch.removals(options, ctx.store);
                    }
                    changes.extend(records.into_iter().map(Change::Put));
                    changes
                }
            };
            copy.next += 1;
            copy.reached = stretch.to.unwrap_or(stretch.from);
            let known = if complete { std::mem::take(&mut copy.known) } else { Known::default() };
            let Ok(sessions) = known.restore() else {
                return Ok(self.end_receipt(ctx));
            };
            self.write(changes, ctx.store);
            if complete {
                self.complete(options, ctx, &front, sessions)?;
            }
        }
        let fate = match &self.receiver {
            Some(copy) => {
                let behind = Stretch { from: copy.reached.clone(), to: None };
                if behind.is_held(options, ctx.store) { Fate::TakenBefore } else { Fate::Taken }
            }
            None => Fate::Complete,
        };
        Ok(Some(fate))
    }

    /// Ends the copy that is being received: it makes no sense.
    fn end_receipt(&mut self, ctx: &mut Context<'_>) -> Option<Fate> {
        ctx.out.count(Event::Malformed);
        self.receiver = None;
        None
    }

    /// Says, once everything before is durable, that a piece has been taken.
    fn receipt(&mut self, to: NodeId, taken: Taken) {
        let letter: Bytes = Letter::Taken(taken).encode();
        self.todo.push_back(Todo::Promise(vec![(to, letter)]));
    }

    /// Says that what the replica holds is not the state at one place any more.
    fn become_incomplete(&mut self, ctx: &mut Context<'_>) {
        let log = self.consensus.log_mut();
        log.state.incomplete = true;
        let mut changes = vec![log.state_record()];
        changes.extend(log.forget_sessions());
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
