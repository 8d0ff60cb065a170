//! What groups want done: at once, or when the log is durable that far.

use kvorum_core::Lsn;
use kvorum_replication::{Context, Effect as Wanted, Group, Input, Message};

use crate::Out;
use crate::held::Effect;
use crate::shard::{Shard, Turn};
use crate::wire::Envelope;

impl Shard {
    /// Hands an input to a group and carries out what follows. `cause` is how many bytes a peer
    /// makes this node hold if that has to wait for the log.
    pub(crate) fn handle(&mut self, group: usize, input: Input, cause: usize, turn: &mut Turn<'_>) {
        self.groups.gather(group);
        self.drive(group, cause, turn, |group, context| group.handle(context, input));
    }

    /// Lets a group act and carries out what follows.
    pub(crate) fn drive(
        &mut self,
        group: usize,
        mut cause: usize,
        turn: &mut Turn<'_>,
        act: impl FnOnce(&mut dyn Group, &mut Context<'_>),
    ) {
        let (clock_suspect, willingness) = (self.must_not_stamp(), self.willingness());
        let Some(entry) = self.groups.get_mut(group) else { return };
        let (partition, number) = (entry.partition, entry.rebuild);
        let mut context = Context {
            now: turn.now,
            me: self.options.me,
            clock_suspect,
            willingness,
            clock: &mut self.clock,
            store: turn.store,
            peers: &self.links,
            pace: &mut self.pace,
            out: &mut self.outbox,
        };
        act(&mut *entry.group, &mut context);
        self.groups.schedule(group);
        while let Some(wanted) = self.outbox.pop() {
            let (after, effect) = match wanted {
                Wanted::Reply { ticket, outcome, after } => {
                    (after, Effect::Reply { ticket, outcome })
                }
                Wanted::Send { to, message, after } if to == self.options.me => {
                    let input = Input::Message { from: to, message };
                    (after, Effect::Local { group, input })
                }
                Wanted::Send { to, message, after } => {
                    let Some(life) = self.links.life(to) else { continue };
                    self.sent_records += u64::from(matches!(message, Message::Write { .. }));
                    let envelope = Envelope::Group { partition, message };
                    (after, Effect::Peer { to, life, envelope })
                }
                Wanted::Notify { number, after } => {
                    (after, Effect::Local { group, input: Input::Durable(number) })
                }
                Wanted::Rebuilt { after } => (after, Effect::Rebuilt { partition, number }),
                Wanted::GaveUp(reason) => {
                    self.groups.begin_rebuild(group);
                    turn.out.push(Out::GaveUp { partition, reason });
                    continue;
                }
                Wanted::Report(report) => {
                    turn.out.push(Out::Report { partition, report });
                    continue;
                }
                Wanted::Count(event) => {
                    turn.out.push(Out::Count(event));
                    continue;
                }
            };
            cause -= self.when_durable(after, cause, effect, turn);
        }
    }

    /// Does something once `after` is durable. Returns how much of `cause`, which is what a peer makes
    /// this node hold, was counted for it.
    pub(crate) fn when_durable(
        &mut self,
        after: Option<Lsn>,
        cause: usize,
        effect: Effect,
        turn: &mut Turn<'_>,
    ) -> usize {
        let Some(after) = self.held.must_wait(after) else {
            self.carry_out(effect, turn);
            return 0;
        };
        let (cause, bytes) = match &effect {
            Effect::Peer { envelope, .. } => (cause, cause + envelope.weight()),
            _ => (0, 0),
        };
        self.held.hold(after, bytes, effect);
        cause
    }

    /// Does what waits for nothing any more.
    pub(crate) fn carry_out(&mut self, effect: Effect, turn: &mut Turn<'_>) {
        match effect {
            Effect::Reply { ticket, outcome } => self.settle(ticket, outcome, turn),
            Effect::Local { group, input } => self.local.push_back((group, input)),
            Effect::Peer { to, life, envelope } => {
                if self.links.life(to) == Some(life) {
                    self.links.push(to, &envelope, turn.out);
                }
            }
            Effect::Compared { with, life, verdict } => {
                if self.links.life(with) == Some(life) {
                    self.tell_compared(with, verdict, turn);
                }
            }
            Effect::Rebuilt { partition, number } => {
                let group = self.groups.index(partition);
                if group.is_some_and(|group| self.groups.end_rebuild(group, number)) {
                    turn.out.push(Out::Rebuilt(partition));
                }
            }
        }
    }

    pub(crate) fn release(&mut self, durable: Lsn, turn: &mut Turn<'_>) {
        self.links.set_durable(durable);
        let mut released = std::mem::take(&mut self.released);
        self.held.release(durable, &mut released);
        for effect in released.drain(..) {
            self.carry_out(effect, turn);
        }
        self.released = released;
    }
}
