//! A replica's part in reads: as the leader, and as one that follows.
//!
//! A follower asks the leader what must be applied, once a turn for all reads that have arrived,
//! and answers them itself. Such reads die with the term and with the leader: what a new leader
//! commits while it keeps silent must not be seen either, and followers see it first.

use kvorum_core::{Consistency, Error, NodeId};
use raft::StateRole;
use raft::eraftpb::{Message as RaftMessage, MessageType};

use super::consensus::Consensus;
use super::letter::Letter;
use super::log::Damaged;
use super::options::Options;
use super::reads::{Questions, Waiting};
use super::running::Running;
use super::serve::{NotYet, Reader};
use crate::{Context, Event, Message};

/// What a leader tells a follower that has asked how far it must have applied the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// The number of the question.
    pub(super) number: u64,
    /// The term of the one who answers.
    pub(super) term: u64,
    /// Nothing if it does not lead.
    pub(super) front: Option<Front>,
}

/// How far a leader has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Front {
    /// Everything that was acknowledged before the question lies in the log up to here.
    pub(super) index: u64,
    /// What of that the follower has, as a heartbeat would say.
    pub(super) commit: u64,
}

impl Running {
    /// Whether a replica that does not lead takes a read at this level.
    pub(super) fn may_follow(&self, level: Option<Consistency>) -> bool {
        let complete = !self.consensus.log().state.incomplete;
        complete && level.is_some_and(Consistency::by_any_replica)
    }

    /// Notices who leads. What depended on another leader, or on another term, goes no further.
    pub(super) fn notice_leader(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let (leads, leader) = (self.consensus.leads(), self.consensus.leader());
        let place = (self.consensus.term(), leader);
        let same = std::mem::replace(&mut self.followed, place) == place;
        match leads {
            true if !same => {
                ctx.out.count(Event::Elected);
                self.lease.begin(options, place.0, ctx.now.mono);
            }
            true => {}
            false => self.lease.end(),
        }
        let goes_on = same && leader.is_some() && !self.consensus.log().state.incomplete;
        if !goes_on && (leads || !options.keeps_reads_of_followers()) {
            let (reads, questions) = self.reads.take_dependent();
            for read in reads {
                ctx.out.reply(read.ticket, Err(Error::NotLeader { leader }));
            }
            self.tell(ctx, questions, None);
            for read in self.proposals.take_reads() {
                ctx.out.reply(read.ticket, Err(Error::NotLeader { leader }));
            }
        }
        if !same || !leads {
            self.proposals.deposed(options, leader, ctx.out);
        }
    }

    /// Finds out for the reads that have arrived what must be applied.
    pub(super) fn begin_reads(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let now = ctx.now;
        let committed = self.note_created(ctx);
        if !self.consensus.leads() {
            self.ask_leader(options, ctx);
            return;
        }
        if !self.consensus.can_confirm() {
            return;
        }
        if self.lease.holds(options, now, ctx.clock_suspect) {
            let questions = self.reads.grant(committed, now);
            self.tell(ctx, questions, Some(committed));
        }
        if let Some(round) = self.reads.begin_round(now) {
            self.consensus.confirm(round);
            ctx.out.count(Event::ReadRound);
            if options.reads_without_round() {
                self.confirmed(ctx, round, 0);
            }
        }
    }

    /// Notes when what is new in the log was created. Returns how much of it is committed.
    pub(super) fn note_created(&mut self, ctx: &Context<'_>) -> u64 {
        let (last, committed) = self.consensus.front();
        self.lease.note(last, committed, ctx.now);
        committed
    }

    /// A round has succeeded.
    pub(super) fn confirmed(&mut self, ctx: &mut Context<'_>, round: u64, index: u64) {
        let questions = self.reads.confirmed(round, index);
        self.tell(ctx, questions, Some(index));
    }

    /// Asks the leader for the reads of this turn.
    fn ask_leader(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let Some(leader) = self.consensus.leader().filter(|_| self.reads.wants_leader()) else {
            return;
        };
        if let Some(number) = self.reads.begin_round(ctx.now) {
            ctx.out.send(leader, Message::Raft(Letter::Ask(number).encode()));
            if options.follows_without_asking() {
                self.reads.confirmed(number, 0);
            }
        }
    }

    /// A follower asks how far it must have applied the log.
    pub(super) fn asked(&mut self, ctx: &mut Context<'_>, from: NodeId, number: u64) {
        if self.consensus.leads() {
            self.lease.want();
            self.reads.ask(from, number);
        } else {
            self.tell(ctx, Questions::from([(from, number)]), None);
        }
    }

    /// Answers followers: up to where they must have applied the log; nothing if another leads. A
    /// leader that must be silent tells them later.
    pub(super) fn tell(&mut self, ctx: &mut Context<'_>, questions: Questions, index: Option<u64>) {
        if let Some(index) = index.filter(|_| self.lease.is_silent(ctx.now.mono)) {
            // The newest answer is also one to what was asked before.
            let late = questions.into_iter().map(|(node, number)| (node, (number, index)));
            self.untold.extend(late);
            return;
        }
        for (node, number) in questions {
            self.tell_one(ctx, node, number, index);
        }
    }

    fn tell_one(&mut self, ctx: &mut Context<'_>, to: NodeId, number: u64, index: Option<u64>) {
        let commit = self.consensus.committed_at(to);
        let told = Told {
            number,
            term: self.consensus.term(),
            front: index.map(|index| Front { index, commit }),
        };
        ctx.out.send(to, Message::Raft(Letter::Told(told).encode()));
    }

    /// Says what it had to keep to itself.
    pub(super) fn tell_late(&mut self, ctx: &mut Context<'_>) {
        for (node, (number, index)) in std::mem::take(&mut self.untold) {
            self.tell_one(ctx, node, number, Some(index).filter(|_| self.consensus.leads()));
        }
    }

    /// The leader has answered.
    ///
    /// # Errors
    /// [`Damaged`] if it shows that something is lost here.
    pub(super) fn told(
        &mut self,
        ctx: &mut Context<'_>,
        from: NodeId,
        told: Told,
    ) -> Result<(), Damaged> {
        let leader = self.consensus.leader();
        let follows = leader == Some(from) && !self.consensus.leads();
        // What an earlier replica of this node asked concerns this one as little as an earlier term.
        let expected = told.term == self.consensus.term() && self.reads.waits_for(told.number);
        if !follows || !expected {
            return Ok(());
        }
        let Some(Front { index, commit }) = told.front else {
            let (reads, _) = self.reads.take_dependent();
            for read in reads {
                ctx.out.reply(read.ticket, Err(Error::NotLeader { leader: None }));
            }
            return Ok(());
        };
        self.reads.confirmed(told.number, index);
        self.consensus.may_commit(commit)
    }

    /// Answers what can be answered now.
    pub(super) fn answer_ready(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
    ) -> Result<(), Damaged> {
        if !self.applying.is_done() || self.consensus.log().state.incomplete {
            return Ok(());
        }
        let ready = self.reads.take_ready(self.consensus.log().state.applied);
        self.answer_all(options, ctx, ready)
    }

    pub(super) fn answer_all(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        reads: Vec<Waiting>,
    ) -> Result<(), Damaged> {
        let log_ms = self.consensus.log().state.time_ms();
        let leader = self.consensus.leader();
        let mut result = Ok(());
        for read in reads {
            let wall_ms = read.arrived_ms;
            let time_ms = if options.expires_by_own_clock() { ctx.now.wall_ms } else { log_ms };
            let mut reader = Reader { store: ctx.store, slots: &options.slots, time_ms, wall_ms };
            match reader.answer(&read.request) {
                Ok(outcome) => ctx.out.reply(read.ticket, outcome),
                Err(NotYet::TimeMustPass) if self.consensus.leads() => {
                    self.proposals.push_time(read);
                    self.retry = Some(ctx.now.mono);
                }
                // Only the leader can let it pass.
                Err(NotYet::TimeMustPass) => {
                    ctx.out.reply(read.ticket, Err(Error::NotLeader { leader }));
                }
                Err(NotYet::Damaged(damaged)) => {
                    result = Err(damaged);
                    ctx.out.reply(read.ticket, Err(Error::NotLeader { leader: None }));
                }
            }
        }
        result
    }
}

impl Consensus {
    /// What a heartbeat to a node would say is committed.
    pub(super) fn committed_at(&mut self, node: NodeId) -> u64 {
        let (_, committed) = self.front();
        let replicas = self.replicas_on(node);
        let members = self.library().raft.prs();
        let has = replicas.into_iter().filter_map(|id| members.get(id)).map(|p| p.matched);
        has.min().unwrap_or(0).min(committed)
    }

    /// Commits what a majority has, of whichever term: a fault (Ongaro and Ousterhout, figure 8).
    pub(super) fn commit_by_count(&mut self) {
        let raft = &mut self.library().raft;
        if raft.state == StateRole::Leader {
            let (index, _) = raft.mut_prs().maximal_committed_index();
            raft.raft_log.commit_to(index);
        }
    }

    /// The leader has said, as a heartbeat would, that this much is committed.
    ///
    /// # Errors
    /// [`Damaged`] if that shows that something is lost here.
    pub(super) fn may_commit(&mut self, commit: u64) -> Result<(), Damaged> {
        if commit <= self.front().1 {
            return Ok(());
        }
        let raft = &self.library().raft;
        let (from, to, term) = (raft.leader_id, raft.id, raft.term);
        let mut message = RaftMessage { from, to, term, commit, ..RaftMessage::default() };
        message.set_msg_type(MessageType::MsgHeartbeat);
        self.step(message)
    }
}
