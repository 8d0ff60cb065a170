//! A replica whose log is whole.
//!
//! Everything a turn brings only gathers; the end of the turn proposes it, asks for one round of
//! confirmation, and carries out what Raft wants done: one commit to the store, one batch of
//! messages. So all groups of a node share one sync and one frame to each peer.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use kvorum_core::{Change, Error, Executed, Lsn, Mono, NodeId, Store};

use super::apply::{Applied, Applying};
use super::clients::Clients;
use super::consensus::{Consensus, Ready};
use super::election::Draw;
use super::id::ReplicaId;
use super::lease::Lease;
use super::letter::Letter;
use super::log::{Damaged, Home, Log};
use super::options::Options;
use super::proposals::Proposals;
use super::reads::Reads;
use super::room::entry_bytes;
use super::snapshot::{Receiver, Sender};
use super::sweep::Sweep;
use super::timing::Reluctance;
use crate::pace::KeptLog;
use crate::{Context, Event, Input, Message};

/// A number that comes back when something is durable: in its low bits Raft's, above them
/// [`Running::life`].
const LIFE_SHIFT: u32 = 40;
const LIFE_MASK: u64 = (1 << LIFE_SHIFT) - 1;
/// Messages up to this many bytes are sent to a node whose queue is full all the same: heartbeats
/// and votes must not wait for the followers of other groups.
const SMALL: usize = 256;
/// Bytes of changes that are committed to the store at once.
const COMMIT_BYTES: usize = 1 << 20;

/// A replica whose log is whole.
pub(super) struct Running {
    pub(super) me: ReplicaId,
    /// It votes; else it has yet to become a member.
    pub(super) is_member: bool,
    pub(super) consensus: Consensus,
    pub(super) draw: Draw,
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    pub(super) todo: VecDeque<Todo>,
    pub(super) applying: Applying,
    /// The last change of this replica in the store.
    pub(super) written: Option<Lsn>,
    /// The term, and who led, when the last turn ended.
    pub(super) followed: (u64, Option<NodeId>),
    pub(super) lease: Lease,
    /// What has been applied and what followers have asked, of which nothing is said yet, because
    /// an earlier leader may have a lease.
    pub(super) unsaid: Vec<Applied>,
    pub(super) untold: BTreeMap<NodeId, (u64, u64)>,
    pub(super) reluctance: Reluctance,
    /// When it asks to lead, if nobody does by then.
    pub(super) campaign: Option<Mono>,
    pub(super) ticks: u64,
    pub(super) next_tick: Mono,
    /// The store's frame was full: go on then.
    pub(super) retry: Option<Mono>,
    /// How often the consensus has begun anew, so that nothing meant for an earlier one counts.
    pub(super) life: u64,
    /// Replicas that need a copy of the partition.
    pub(super) behind: BTreeSet<NodeId>,
    pub(super) sender: Option<Sender>,
    /// Who has taken a copy in this term and goes on behind this index, of which nothing is heard
    /// yet: it would need another copy if the entries from there on were dropped.
    pub(super) copied: Option<(NodeId, u64)>,
    pub(super) receiver: Option<Receiver>,
    /// How many copies it has begun to send.
    pub(super) attempts: u64,
    pub(super) sweep: Sweep,
    /// What this group takes of the memory for log entries that all groups share.
    pub(super) kept_log: KeptLog,
}

/// What Raft wants done, in order.
pub(super) enum Todo {
    Write(Vec<Change>),
    Promise(Vec<(NodeId, Bytes)>),
    Persisted(u64),
}

impl Running {
    /// Reads the log and goes on from it.
    ///
    /// # Errors
    /// [`Damaged`] if something of it is lost.
    pub(super) fn start(options: &Options, ctx: &mut Context<'_>) -> Result<Running, Damaged> {
        let founder = |node: &NodeId| ReplicaId::new(*node, 0).raft();
        let voters: Vec<u64> = options.members.iter().map(founder).collect();
        let mut log = Log::load(home(options), &voters, ctx.store)?;
        if options.forgets_sessions() {
            log.sessions = log.sessions.emptied();
            log.clients = Clients::default();
        }
        Running::with_log(log, options, ctx)
    }

    /// Goes on from a log.
    ///
    /// # Errors
    /// [`Damaged`] if the library refuses it.
    pub(super) fn with_log(
        log: Log,
        options: &Options,
        ctx: &mut Context<'_>,
    ) -> Result<Running, Damaged> {
        let mut draw = Draw::new(options.seed);
        let me = ReplicaId::new(ctx.me, log.state.generation);
        let is_member = log.state.conf.voters.contains(&me.raft());
        let lease = Lease::new(log.last() > 0, ctx.now.mono);
        let consensus = Consensus::new(me, log, &options.limits, draw.fork())?;
        // The seed is new at every start, so these numbers have not been used before.
        let first = Draw::new(options.seed ^ ctx.now.mono.0).between(1, 1 << 31);
        let reads = Reads::new((first as u64) << 24);
        let mut running = Running {
            me,
            is_member,
            consensus,
            draw,
            proposals: Proposals::default(),
            reads,
            todo: VecDeque::new(),
            applying: Applying::default(),
            written: None,
            followed: (0, None),
            lease,
            unsaid: Vec::new(),
            untold: BTreeMap::new(),
            reluctance: Reluctance::default(),
            campaign: None,
            ticks: 0,
            next_tick: Mono(0),
            retry: None,
            life: 0,
            behind: BTreeSet::new(),
            sender: None,
            copied: None,
            receiver: None,
            attempts: 0,
            sweep: Sweep::default(),
            kept_log: ctx.pace.kept_logs.group(),
        };
        if home(options).has_aside(ctx.store) {
            running.todo.push_back(Todo::Write(vec![home(options).aside_removal()]));
        }
        running.schedule(options, ctx.now.mono);
        Ok(running)
    }

    /// When time is to be looked at next.
    pub(super) fn wake(&self) -> Mono {
        let others = [self.retry, self.campaign, self.lease.silent_until()];
        others.into_iter().flatten().fold(self.next_tick, Mono::min)
    }

    /// Takes an input of the present turn.
    ///
    /// # Errors
    /// [`Damaged`] if it shows that something is lost here.
    pub(super) fn handle(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        input: Input,
    ) -> Result<(), Damaged> {
        match input {
            Input::Request { ticket, request, attempt } => {
                self.request(options, ctx, ticket, request, attempt);
            }
            Input::Message { from, message: Message::Raft(letter) } => {
                return self.letter(options, ctx, from, letter);
            }
            Input::Durable(number) if number >> LIFE_SHIFT == self.life => {
                self.consensus.persisted(number & LIFE_MASK);
            }
            Input::PeerLost(node) => {
                if self.consensus.lost(node) {
                    self.succeed(options, ctx);
                }
            }
            Input::Deadline => return self.time(options, ctx),
            // What leaderless groups are told, and a rebuild, which the replica has dealt with.
            Input::Message { .. } | Input::Compared { .. } | Input::Rebuild | Input::Durable(_) => {
            }
        }
        Ok(())
    }

    fn letter(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        from: NodeId,
        letter: Bytes,
    ) -> Result<(), Damaged> {
        let to = ctx.me;
        match Letter::decode(letter, from, to) {
            // While a copy arrives, the log it replaces must not move.
            Ok(Letter::Raft(message)) if self.receiver.is_some() && is_append(&message) => Ok(()),
            Ok(Letter::Raft(message)) if !self.has_room_for(&message, ctx.store) => {
                ctx.out.count(Event::Shed);
                Ok(())
            }
            Ok(Letter::Raft(message)) => {
                if Letter::releases(&message) {
                    self.lease.is_released(message.term);
                }
                if !message.entries.is_empty() {
                    self.lease.received(ctx.now.mono);
                }
                self.consensus.step(message)
            }
            Ok(Letter::Ask(number)) => {
                self.asked(ctx, from, number);
                Ok(())
            }
            Ok(Letter::Told(told)) => self.told(ctx, from, told),
            Ok(Letter::Piece(piece)) => self.piece(options, ctx, from, piece),
            Ok(Letter::Taken(taken)) => self.taken(ctx, from, taken),
            Ok(Letter::Join(join)) => {
                self.consensus.admit(from, join);
                Ok(())
            }
            Err(_) => {
                ctx.out.count(Event::Malformed);
                Ok(())
            }
        }
    }

    /// Proposes what has arrived and does what Raft wants done.
    ///
    /// # Errors
    /// [`Damaged`] if something is lost here.
    pub(super) fn end_of_turn(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
    ) -> Result<(), Damaged> {
        if options.commits_by_count() {
            self.consensus.commit_by_count();
        }
        self.reads.grant_known(ctx.now, options.forgets_how_old());
        self.notice_leader(options, ctx);
        let time_ms = self.clock_ms(ctx);
        let entry_bytes = entry_bytes(&options.limits, ctx.store);
        self.proposals.propose(&mut self.consensus, time_ms, entry_bytes, ctx.out);
        self.begin_reads(options, ctx);
        loop {
            self.do_what_is_due(options, ctx)?;
            let blocked = !self.applying.is_done() && !self.consensus.log().state.incomplete;
            if !self.todo.is_empty() || blocked {
                self.retry = Some(ctx.now.mono + std::time::Duration::from_millis(1));
                break;
            }
            // To apply a change of members may append an entry, which leaves with what is next.
            self.note_created(ctx);
            let releases = !self.lease.is_silent(ctx.now.mono);
            let Some(ready) = self.consensus.ready(releases) else { break };
            self.carry_out(ready, options, ctx);
        }
        self.begin_copy(options, ctx)?;
        self.check_membership(ctx);
        Ok(())
    }

    fn carry_out(&mut self, ready: Ready, options: &Options, ctx: &mut Context<'_>) {
        if ready.hands_over {
            self.lease.release(options);
        }
        for (to, letter) in ready.messages {
            if letter.len() > SMALL && !ctx.peers.has_room(to) {
                // Raft sends it again when the follower has answered what is under way.
                self.consensus.unsent(to);
            } else {
                ctx.out.send(to, Message::Raft(letter));
            }
        }
        self.write(ready.changes, ctx.store);
        self.todo.push_back(Todo::Promise(ready.promises));
        self.todo.push_back(Todo::Persisted(self.life << LIFE_SHIFT | ready.number));
        self.applying.push(ready.committed);
        self.behind.extend(ready.behind);
        for (round, index) in ready.reads {
            self.confirmed(ctx, round, index);
        }
    }

    /// Writes changes of which any first part makes sense by itself.
    pub(super) fn write(&mut self, all: Vec<Change>, store: &dyn Store) {
        let most = COMMIT_BYTES.min(store.max_commit_bytes());
        let mut changes: Vec<Change> = Vec::new();
        let mut bytes = 0;
        for change in all {
            bytes += change.weight();
            if bytes > most && !changes.is_empty() {
                self.todo.push_back(Todo::Write(std::mem::take(&mut changes)));
                bytes = change.weight();
            }
            changes.push(change);
        }
        if !changes.is_empty() {
            self.todo.push_back(Todo::Write(changes));
        }
    }

    /// Goes on from another log.
    pub(super) fn restart(&mut self, log: Log, options: &Options) -> Result<(), Damaged> {
        self.consensus = Consensus::new(self.me, log, &options.limits, self.draw.fork())?;
        self.applying = Applying::default();
        self.life += 1;
        Ok(())
    }

    /// Does as much as the present frame of the store has room for.
    fn do_what_is_due(&mut self, options: &Options, ctx: &mut Context<'_>) -> Result<(), Damaged> {
        while let Some(todo) = self.todo.pop_front() {
            let after = self.written.filter(|_| !options.promises_before_durable());
            match todo {
                Todo::Write(changes) => match ctx.store.commit(&changes) {
                    Ok(lsn) => self.written = Some(lsn),
                    Err(_) => {
                        self.todo.push_front(Todo::Write(changes));
                        return Ok(());
                    }
                },
                Todo::Promise(letters) => {
                    for (to, letter) in letters {
                        ctx.out.send_after(after, to, Message::Raft(letter));
                    }
                }
                Todo::Persisted(number) => ctx.out.notify(after, number),
            }
        }
        let consensus = &mut self.consensus;
        let sender = &mut self.sender;
        if !consensus.log().state.incomplete {
            self.applying.run(consensus, sender, ctx.store, options, &mut self.unsaid)?;
        }
        if self.sender.as_ref().is_some_and(|copy| copy.no_room) {
            self.end_copy(false);
        }
        self.say(options, ctx)
    }

    /// Answers what is applied, unless an earlier leader may still have a lease.
    fn say(&mut self, options: &Options, ctx: &mut Context<'_>) -> Result<(), Damaged> {
        if self.lease.is_silent(ctx.now.mono) {
            if self.proposals.entries() == 0 {
                // Nobody waits for it.
                self.unsaid.clear();
            }
            return Ok(());
        }
        let applied = std::mem::take(&mut self.unsaid);
        let reads = self.proposals.settle(applied, ctx.out);
        self.answer_all(options, ctx, reads)?;
        self.tell_late(ctx);
        self.answer_ready(options, ctx)
    }

    /// This replica goes no further: whoever waits for it must ask another.
    pub(super) fn abandon(&mut self, ctx: &mut Context<'_>) {
        let (reads, questions) = self.reads.take_all();
        for read in reads {
            ctx.out.reply(read.ticket, Err(Error::NotLeader { leader: None }));
        }
        self.tell(ctx, questions, None);
        for (ticket, executed) in self.proposals.take_all() {
            let error = match executed {
                Executed::No => Error::NotLeader { leader: None },
                Executed::Unknown => Error::CoordinatorLost { executed },
            };
            ctx.out.reply(ticket, Err(error));
        }
    }
}

/// Where the records of a replica lie.
pub(super) fn home(options: &Options) -> Home {
    Home { slot: *options.slots.start(), partition: options.partition }
}

/// Whether a message could change the log.
fn is_append(message: &raft::eraftpb::Message) -> bool {
    message.get_msg_type() == raft::eraftpb::MessageType::MsgAppend
}
