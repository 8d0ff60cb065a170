//! One replica of a leaderless partition, and the coordinator of the requests it is given.

use kvorum_core::{
    Error, Executed, Expiry, Hlc, KeyspaceId, Mono, NodeId, Op, Outcome, Reply, Request, Store,
};

use super::change::Change;
use super::coordinator::{Client, Coordinator, Progress};
use super::floor::Floor;
use super::hint::{Hints, Replay};
use super::mutation::DeadIds;
use super::options::not_here;
use super::pending::{OpIds, Pending};
use super::purge::Purge;
use super::read::{Question, Read};
use super::rebuild::{Rebuild, Rebuilding};
use super::scan::{Range, Scan};
use super::serve::{PageRequest, Server};
use super::sync::{self, At, Letter, Sync};
use super::write::Write;
use super::{FloorLetter, Options};
use crate::{
    Context, Event, Found, Group, Input, Message, OpId, Root, ScannedPage, Status, Ticket,
};

/// One replica of a leaderless partition.
#[derive(Debug)]
pub struct Replica {
    options: Options,
    ids: OpIds,
    pending: Pending<Operation>,
    rebuild: Option<Rebuild>,
    floor: Floor,
    hints: Hints,
    sync: Sync,
    purge: Purge,
    dead: DeadIds,
}

#[derive(Debug)]
enum Operation {
    Write(Write),
    Read(Read),
    Scan(Scan),
}

/// What happens to a pending operation.
enum Step {
    Written(NodeId, Status),
    Held(NodeId, Found),
    Scanned(NodeId, Option<ScannedPage>),
    Lost(NodeId),
    Wake,
}

impl Replica {
    /// A replica with nothing pending.
    #[must_use]
    pub fn new(options: Options) -> Replica {
        Replica {
            hints: Hints::new(&options),
            sync: Sync::new(&options),
            options,
            ids: OpIds::default(),
            pending: Pending::default(),
            rebuild: None,
            floor: Floor::default(),
            purge: Purge::default(),
            dead: DeadIds::default(),
        }
    }

    /// The floor, for a test that compares replicas by itself.
    #[cfg(test)]
    pub(super) const fn floor_mut(&mut self) -> &mut Floor {
        &mut self.floor
    }

    fn begin(&mut self, ctx: &mut Context<'_>, ticket: Ticket, request: Request) -> Outcome<()> {
        let Request { keyspace, op, consistency, min_version, deadline, .. } = request;
        let default = match op.is_write() {
            true => self.options.default_write(keyspace),
            false => self.options.default_read(keyspace),
        };
        let Some(consistency) = consistency.or(default) else { return Err(not_here()) };
        if deadline <= ctx.now.mono {
            let need = consistency.required(self.options.members.len());
            return Err(Error::Timeout { need, acked: 0, executed: Executed::No });
        }
        let client = Client { ticket, deadline };
        ctx.pace.allowance.begin(!op.is_write());
        let id = self.ids.next(ctx.clock.writer());
        let rebuilding = self.rebuild.is_some();
        let mut at = Coordinator { options: &self.options, rebuilding, op: id, ctx };
        let operation = match op {
            Op::Get { key, want } => {
                let slot = self.options.slot_of(keyspace, &key)?;
                let question = Question { keyspace, slot, key, want, consistency, min_version };
                Operation::Read(Read::start(&mut at, client, question)?)
            }
            Op::Put { key, value, expiry, tag } => {
                let change = Change { keyspace, key, value: Some(value), expiry, tag };
                Operation::Write(change.start(&mut at, client, consistency)?)
            }
            Op::Delete { key } => {
                let expiry = Expiry::Never;
                let change = Change { keyspace, key, value: None, expiry, tag: 0 };
                Operation::Write(change.start(&mut at, client, consistency)?)
            }
            Op::Scan { from, prefix, limit, want, .. } => {
                if !self.options.holds(keyspace, from.slot) {
                    return Err(not_here());
                }
                let range = Range { keyspace, from, prefix, limit, want, consistency };
                Operation::Scan(Scan::start(&mut at, client, range)?)
            }
            Op::Count { .. } => return self.count(ctx, ticket, keyspace),
            Op::Txn(_) => return Err(Error::NotStrong("a transaction")),
        };
        self.pending.insert(id, operation.wake(), operation);
        Ok(())
    }

    #[cfg(test)]
    pub(super) const fn hints(&self) -> &Hints {
        &self.hints
    }

    #[cfg(test)]
    pub(super) const fn hints_mut(&mut self) -> &mut Hints {
        &mut self.hints
    }

    fn count(&self, ctx: &mut Context<'_>, ticket: Ticket, keyspace: KeyspaceId) -> Outcome<()> {
        if self.rebuild.is_some() {
            return Err(Error::NotServing("this replica is being rebuilt".into()));
        }
        let (first, last) = (*self.options.slots.start(), *self.options.slots.end());
        let live = ctx.store.live(keyspace, first, last);
        ctx.out.reply(ticket, Ok(Reply::Count(live)));
        Ok(())
    }

    fn message(&mut self, ctx: &mut Context<'_>, from: NodeId, message: Message) {
        let rebuilding = self.rebuild.is_some();
        let blind = self.rebuild.as_ref().is_some_and(|rebuild| !rebuild.knows());
        let (options, floor) = (&self.options, &self.floor);
        let mut server = Server { options, rebuilding, blind, floor, ctx };
        match message {
            Message::Write { patience, .. }
            | Message::Read { patience, .. }
            | Message::Scan { patience, .. }
                if patience.is_zero() && !self.options.serves_too_late() =>
            {
                ctx.out.count(Event::Expired);
            }
            Message::Write { op, record, kind, .. } => server.write(from, op, record, kind),
            Message::Read { op, keyspace, slot, key, want, .. } => {
                server.read(from, op, keyspace, slot, &key, want);
            }
            Message::Scan { op, keyspace, from: start, prefix, limit, want, .. } => {
                let request = PageRequest { keyspace, from: start, prefix, limit, want };
                server.page(from, op, &request);
            }
            Message::Written { op, status } if self.hints.awaits(from, op) => {
                self.hints.on_answer(ctx, (from, op), status);
            }
            Message::Written { op, status } if self.sync.has_sent(op) => {
                self.synced(ctx, |sync, at| sync.on_written(at, from, op, status));
            }
            Message::Written { op, status } => {
                self.step(ctx, self.dead.resolve(op), Step::Written(from, status));
            }
            Message::Held { op, found } => self.step(ctx, op, Step::Held(from, found)),
            Message::Scanned { op, page } => self.scanned(ctx, from, op, page),
            Message::Sync { session, step, letter } => {
                self.letter(ctx, from, (session, step), letter);
            }
            Message::Floor { op, letter } => self.floor_letter(ctx, (from, op), letter),
            // The sender takes this partition for one of a strong keyspace.
            Message::Raft(_) => {}
        }
    }

    fn scanned(
        &mut self,
        ctx: &mut Context<'_>,
        from: NodeId,
        op: OpId,
        page: Option<ScannedPage>,
    ) {
        match &mut self.rebuild {
            Some(rebuild) if rebuild.asked(op) => {
                rebuild.on_page(&self.options, ctx, &mut self.floor, (from, op), page);
                self.advance_rebuild(ctx);
            }
            _ => self.step(ctx, op, Step::Scanned(from, page)),
        }
    }

    fn floor_letter(
        &mut self,
        ctx: &mut Context<'_>,
        (from, op): (NodeId, OpId),
        letter: FloorLetter,
    ) {
        if let Some(rebuild) = &mut self.rebuild
            && rebuild.on_floor(ctx.now.mono, &mut self.floor, (from, op), &letter)
        {
            return self.advance_rebuild(ctx);
        }
        self.floor.take(&self.options, ctx, &mut self.ids, (from, op), letter);
    }

    /// Lets a pending operation take a step, and sees to what follows.
    fn step(&mut self, ctx: &mut Context<'_>, id: OpId, step: Step) {
        let Some(operation) = self.pending.get_mut(id) else {
            ctx.out.count(Event::LateAck);
            return;
        };
        let rebuilding = self.rebuild.is_some();
        let mut at = Coordinator { options: &self.options, rebuilding, op: id, ctx };
        let progress = operation.step(&mut at, step);
        let wake = operation.wake();
        match progress {
            Progress::Wait => self.pending.wake_at(id, wake),
            Progress::Done => self.finish(ctx, id),
            Progress::SendAgain => self.send_again(ctx, id),
        }
    }

    /// Ends an operation, and remembers who has missed what it wrote.
    fn finish(&mut self, ctx: &mut Context<'_>, id: OpId) {
        let Some(Operation::Write(write)) = self.pending.remove(id) else { return };
        if let Some(missed) = write.missed(&self.options) {
            self.hints.missed(&self.options, ctx, &missed);
        }
    }

    /// The hints, and what they may use.
    fn replay<'a, 'c>(&'a mut self, ctx: &'a mut Context<'c>) -> (&'a mut Hints, Replay<'a, 'c>) {
        let Replica { options, hints, ids, rebuild, .. } = self;
        (hints, Replay { options, rebuilding: rebuild.is_some(), ids, ctx })
    }

    /// Sends a write under a new id, so that answers to the former attempt count no more.
    fn send_again(&mut self, ctx: &mut Context<'_>, former: OpId) {
        let Some(mut operation) = self.pending.remove(former) else { return };
        let id = self.ids.next(ctx.clock.writer());
        self.dead.bury(&self.options, former, id);
        if let Operation::Write(write) = &mut operation {
            let rebuilding = self.rebuild.is_some();
            write.send(&mut Coordinator { options: &self.options, rebuilding, op: id, ctx });
        }
        self.pending.insert(id, operation.wake(), operation);
    }

    /// Takes a letter of a session with another replica.
    fn letter(&mut self, ctx: &mut Context<'_>, from: NodeId, place: (OpId, u32), letter: Letter) {
        if self.rebuild.is_none() {
            self.synced(ctx, |sync, at| sync.on_letter(at, from, place, letter));
        } else if letter.asks() {
            sync::decline(ctx, from, place);
        }
    }

    fn synced(&mut self, ctx: &mut Context<'_>, act: impl FnOnce(&mut Sync, &mut At<'_, '_>)) {
        let Replica { options, floor, hints, ids, .. } = self;
        act(&mut self.sync, &mut At { options, floor, hints, ids, ctx });
    }

    fn peer_lost(&mut self, ctx: &mut Context<'_>, node: NodeId) {
        self.floor.peer_lost(node);
        for id in self.pending.ids() {
            self.step(ctx, id, Step::Lost(node));
        }
        self.hints.on_lost(node, ctx);
        if let Some(rebuild) = &mut self.rebuild {
            rebuild.on_lost(node);
        }
        self.synced(ctx, |sync, at| sync.lost(at, node));
        self.advance_rebuild(ctx);
    }

    fn wake(&mut self, ctx: &mut Context<'_>) {
        while let Some(id) = self.pending.due(ctx.now.mono) {
            self.step(ctx, id, Step::Wake);
        }
        let (hints, mut replay) = self.replay(ctx);
        hints.advance(&mut replay);
        self.synced(ctx, Sync::on_wake);
        self.advance_rebuild(ctx);
        self.floor.advance(&self.options, ctx, &mut self.ids);
        self.purge.advance(&self.options, ctx, self.floor.floor());
    }

    /// Something stored here was lost: everything is copied from the others.
    fn begin_rebuild(&mut self, ctx: &mut Context<'_>) {
        self.floor.begin_rebuild(ctx);
        self.purge.stop();
        self.synced(ctx, Sync::abandon);
        self.rebuild = Some(Rebuild::new(&self.options, ctx.me));
        self.advance_rebuild(ctx);
    }

    fn advance_rebuild(&mut self, ctx: &mut Context<'_>) {
        let Some(rebuild) = &mut self.rebuild else { return };
        let settled = self.floor.refused();
        let rebuilding = rebuild.advance(&self.options, ctx, settled, &mut self.ids);
        if let Rebuilding::Over(after) = rebuilding
            && let Some(said) = self.floor.end_rebuild(&self.options, ctx)
        {
            self.rebuild = None;
            self.purge.begin(&self.options, ctx.now.mono);
            ctx.out.rebuilt(after.max(Some(said)));
        }
    }
}

impl Group for Replica {
    fn handle(&mut self, ctx: &mut Context<'_>, input: Input) {
        self.hints.open(&self.options, ctx);
        if self.floor.load(&self.options, ctx) {
            self.begin_rebuild(ctx);
        }
        match input {
            Input::Request { ticket, request, .. } => {
                if let Err(error) = self.begin(ctx, ticket, request) {
                    ctx.out.reply(ticket, Err(error));
                }
            }
            Input::Message { from, message } => self.message(ctx, from, message),
            Input::PeerLost(node) => self.peer_lost(ctx, node),
            Input::Deadline => self.wake(ctx),
            Input::Durable(number) => {
                if self.floor.became_durable(ctx, number) && self.rebuild.is_none() {
                    self.purge.begin(&self.options, ctx.now.mono);
                }
            }
            Input::Compared { with, equal } if self.rebuild.is_none() => {
                self.synced(ctx, |sync, at| sync.compared(at, with, equal));
            }
            Input::Compared { .. } => {}
            Input::Rebuild => self.begin_rebuild(ctx),
        }
        if self.floor.is_lost() {
            self.begin_rebuild(ctx);
        }
        self.floor.keep(&self.options, ctx);
    }

    fn next_deadline(&self) -> Option<Mono> {
        let rebuild = self.rebuild.as_ref().and_then(Rebuild::wake);
        let floor = Some(self.floor.wake());
        let own = [self.pending.next_wake(), self.hints.wake(), self.sync.wake()];
        let others = [rebuild, floor, self.purge.wake()];
        own.into_iter().chain(others).flatten().min()
    }

    fn floor(&self) -> Option<Hlc> {
        self.floor.known()
    }

    fn root(&self, store: &dyn Store) -> Option<Root> {
        // What is remembered as dirty must be compared, whatever the sums say.
        let whole = self.rebuild.is_none() && !self.hints.any_dirty();
        whole.then(|| sync::root(&self.options, &self.floor, store))
    }
}

impl Operation {
    fn wake(&self) -> Mono {
        match self {
            Operation::Write(write) => write.wake(),
            Operation::Read(read) => read.wake(),
            Operation::Scan(scan) => scan.wake(),
        }
    }

    fn step(&mut self, at: &mut Coordinator<'_, '_>, step: Step) -> Progress {
        match (self, step) {
            (Operation::Write(write), Step::Written(from, status)) => {
                write.on_answer(at, from, status)
            }
            (Operation::Write(write), Step::Lost(node)) => write.on_lost(at, node),
            (Operation::Write(write), Step::Wake) => write.on_wake(at),
            (Operation::Read(read), Step::Held(from, found)) => read.on_held(at, from, found),
            (Operation::Read(read), Step::Written(from, status)) => {
                read.on_repaired(at, from, status)
            }
            (Operation::Read(read), Step::Lost(node)) => read.on_lost(at, node),
            (Operation::Read(read), Step::Wake) => read.on_wake(at),
            (Operation::Scan(scan), Step::Scanned(from, page)) => scan.on_page(at, from, page),
            (Operation::Scan(scan), Step::Lost(node)) => scan.on_lost(at, node),
            (Operation::Scan(scan), Step::Wake) => scan.on_wake(at),
            // Only a faulty peer answers a question with the answer to another.
            (Operation::Write(_), Step::Held(..) | Step::Scanned(..))
            | (Operation::Read(_), Step::Scanned(..))
            | (Operation::Scan(_), Step::Written(..) | Step::Held(..)) => Progress::Wait,
        }
    }
}
