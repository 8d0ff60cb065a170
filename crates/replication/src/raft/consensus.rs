//! The consensus itself: the library `raft`, kept to what cannot make it panic.
//!
//! The library takes much for granted that a damaged disk or a broken peer can violate, and ends
//! the process then. What is checked here before it sees a message makes such a replica stop
//! instead; see [`Consensus::step`].

use bytes::Bytes;
use kvorum_core::{Change, NodeId};
use raft::eraftpb::{Entry, HardState, Message, MessageType};
use raft::{Config, Progress, RawNode, SnapshotStatus, StateRole, Storage};

use super::election::Draw;
use super::id::ReplicaId;
use super::letter::{Letter, letters};
use super::log::{Damaged, Log};
use super::options::Limits;

/// Raft's number for "nobody".
const NOBODY: u64 = 0;

/// Bytes of entries in one message.
const MESSAGE_BYTES: u64 = 256 << 10;
/// Messages with entries under way to one replica.
const MESSAGES_UNDER_WAY: usize = 256;
/// Ticks between two heartbeats.
const HEARTBEAT_TICKS: usize = 2;

/// A place in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) term: u64,
    pub(super) index: u64,
}

/// What follows from the steps since the last one.
#[derive(Debug, Default)]
pub(super) struct Ready {
    /// Its number, for [`Consensus::persisted`].
    pub(super) number: u64,
    /// Messages to send at once.
    pub(super) messages: Vec<(NodeId, Bytes)>,
    /// What to write.
    pub(super) changes: Vec<Change>,
    /// Messages to send when that is durable.
    pub(super) promises: Vec<(NodeId, Bytes)>,
    /// What to apply.
    pub(super) committed: Vec<Entry>,
    /// Rounds of reads that have succeeded, and what must be applied before each is answered.
    pub(super) reads: Vec<(u64, u64)>,
    /// Replicas that are too far behind for the log.
    pub(super) behind: Vec<NodeId>,
    /// Another replica is asked to lead at once.
    pub(super) hands_over: bool,
}

/// One replica's part in the consensus.
pub(super) struct Consensus {
    node: RawNode<Log>,
    draw: Draw,
    election_ticks: usize,
    /// Term and role at the last draw of an election timeout.
    drawn: (u64, StateRole),
}

impl Consensus {
    /// Goes on from a log.
    ///
    /// # Errors
    /// [`Damaged`] if the library refuses it.
    pub(super) fn new(
        me: ReplicaId,
        log: Log,
        limits: &Limits,
        draw: Draw,
    ) -> Result<Consensus, Damaged> {
        let config = Config {
            id: me.raft(),
            election_tick: limits.election_ticks,
            heartbeat_tick: HEARTBEAT_TICKS,
            applied: log.state.applied,
            // The library wants a message to fit into what may be uncommitted.
            max_size_per_msg: MESSAGE_BYTES.min(limits.max_uncommitted_bytes),
            max_inflight_msgs: MESSAGES_UNDER_WAY,
            check_quorum: true,
            pre_vote: true,
            // To tell followers at once what is committed would double the messages.
            skip_bcast_commit: true,
            max_uncommitted_size: limits.max_uncommitted_bytes,
            max_committed_size_per_ready: limits.max_write_bytes as u64,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node = RawNode::new(&config, log, &logger);
        let node = node.map_err(|_| Damaged("the log does not fit its configuration"))?;
        let election_ticks = limits.election_ticks;
        let drawn = (u64::MAX, StateRole::Follower);
        let mut consensus = Consensus { node, draw, election_ticks, drawn };
        consensus.draw_timeout();
        Ok(consensus)
    }

    /// Takes a message of another replica.
    ///
    /// # Errors
    /// [`Damaged`] if it shows that this replica has lost what it had promised to keep.
    pub(super) fn step(&mut self, message: Message) -> Result<(), Damaged> {
        if message.to != self.node.raft.id {
            // It was meant for a replica that this node had, or is to have.
            return Ok(());
        }
        if message.term < self.node.raft.term {
            // Of a leader that is none any more, whose log may have been anything. The library
            // tells it so.
            let _ = self.node.step(message);
            return Ok(());
        }
        let log = &self.node.raft.raft_log;
        let last = log.last_index();
        match message.get_msg_type() {
            // A leader tells a follower to commit only what the follower has acknowledged.
            MessageType::MsgHeartbeat if message.commit > last => {
                return Err(Damaged("the leader has seen entries here that are gone"));
            }
            MessageType::MsgAppend if self.contradicts(&message.entries) => {
                return Err(Damaged("the leader's log contradicts what was committed here"));
            }
            // No replica has more than its leader has sent.
            MessageType::MsgAppendResponse
                if message.index.max(message.request_snapshot) > last =>
            {
                return Ok(());
            }
            // Nobody can have been asked yet: that is done when the log is durable.
            MessageType::MsgRequestVoteResponse if log.persisted < last => return Ok(()),
            // Whoever lacks the data cannot lead.
            MessageType::MsgTimeoutNow if self.log().state.incomplete => return Ok(()),
            _ => {}
        }
        // What the library refuses, an old message or one it has no use for, changes nothing.
        let _ = self.node.step(message);
        self.draw_timeout();
        Ok(())
    }

    /// Whether entries differ from what was committed here.
    fn contradicts(&self, entries: &[Entry]) -> bool {
        let log = &self.node.raft.raft_log;
        let here = |entry: &Entry| log.term(entry.index).ok().filter(|term| *term != 0);
        let committed = entries.iter().take_while(|entry| entry.index <= log.committed);
        committed.into_iter().any(|entry| here(entry).is_some_and(|term| term != entry.term))
    }

    /// Time has passed.
    pub(super) fn tick(&mut self) {
        if !self.log().state.incomplete {
            if self.may_campaign() || self.leads() {
                self.node.tick();
            }
        } else {
            // Without its data it waits for a copy and does not want to lead. But it must not wait
            // for a leader that is silent: who believes in one votes for nobody else.
            let raft = &mut self.node.raft;
            raft.election_elapsed = raft.election_elapsed.saturating_add(1);
            if raft.pending_request_snapshot == 0 {
                let _ = self.node.request_snapshot();
            }
        }
        self.draw_timeout();
    }

    /// Asks the others whether this replica may lead; harmless while they hear of a leader.
    pub(super) fn campaign(&mut self) {
        // One that waits for votes goes on waiting: to begin anew would make them worthless, and
        // with disks that need longer than its caller waits, nobody would ever be elected.
        let raft = &self.node.raft;
        let waits = raft.state == StateRole::Candidate;
        // Others vote for one that has no vote itself if the library is told to campaign. It would
        // lead for good and never get a vote, because that is for another leader to give.
        let votes = raft.promotable();
        if votes && !waits && !self.log().state.incomplete && self.may_campaign() {
            let _ = self.node.campaign();
        }
        self.draw_timeout();
    }

    /// A replica that needs nobody's vote but its own leads at once, which the library allows only
    /// when all of its log is durable.
    fn may_campaign(&self) -> bool {
        let log = &self.node.raft.raft_log;
        log.persisted == log.last_index() || !self.node.raft.prs().is_singleton()
    }

    /// The connection to a node is lost. Tells whether it led.
    pub(super) fn lost(&mut self, node: NodeId) -> bool {
        self.unsent(node);
        self.take_back(node);
        let led = !self.leads() && self.leader() == Some(node);
        if led {
            // A follower that waits for its leader votes for nobody else. This one knows better.
            let term = self.node.raft.term;
            self.node.raft.become_follower(term, NOBODY);
            self.set_timeout();
        }
        led
    }

    /// What was to be sent to a node may not have left.
    pub(super) fn unsent(&mut self, node: NodeId) {
        for replica in self.replicas_on(node) {
            self.node.report_unreachable(replica);
        }
    }

    /// Appends an entry. Nothing if this replica does not lead or too much waits to be committed.
    pub(super) fn propose(&mut self, payload: Vec<u8>) -> Option<Place> {
        if !self.takes_proposals() {
            // The library would say that it has sent it to the leader.
            return None;
        }
        self.node.propose(Vec::new(), payload).ok()?;
        let raft = &self.node.raft;
        Some(Place { term: raft.term, index: raft.raft_log.last_index() })
    }

    /// Begins a round that confirms that this replica leads. Nothing happens if it does not.
    pub(super) fn confirm(&mut self, round: u64) {
        self.node.read_index(round.to_be_bytes().to_vec());
    }

    /// Whether this replica believes that it leads.
    pub(super) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader
    }

    /// Whether it leads and knows what is committed.
    pub(super) fn can_confirm(&self) -> bool {
        self.leads() && self.node.raft.commit_to_current_term()
    }

    /// The index of the last entry, and of the last one that is known to be committed.
    pub(super) fn front(&self) -> (u64, u64) {
        let log = &self.node.raft.raft_log;
        (log.last_index(), log.committed)
    }

    /// Who leads, as far as is known.
    pub(super) fn leader(&self) -> Option<NodeId> {
        ReplicaId::from_raft(self.node.raft.leader_id).map(ReplicaId::node)
    }

    /// The present term.
    pub(super) fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// Term and vote.
    pub(super) fn hard(&self) -> HardState {
        self.node.raft.hard_state()
    }

    /// How many replicas are a majority.
    pub(super) fn majority(&self) -> usize {
        self.log().state.conf.voters.len() / 2 + 1
    }

    /// Whether a proposal would be taken if there were room.
    pub(super) fn takes_proposals(&self) -> bool {
        self.leads() && self.node.raft.lead_transferee.is_none()
    }

    /// Up to where the log is applied.
    pub(super) fn applied_place(&self) -> Option<Place> {
        let index = self.log().state.applied;
        let term = self.log().term(index).ok().filter(|_| index > 0)?;
        Some(Place { term, index })
    }

    /// Whether the log has this entry.
    pub(super) fn has(&self, place: Place) -> bool {
        let log = &self.node.raft.raft_log;
        place.index <= log.committed || log.term(place.index) == Ok(place.term)
    }

    /// Whether log and data may be replaced by a copy that ends at `place`, which the leader of
    /// the present term sends. Not if entries behind it would be lost that this replica may have
    /// acknowledged.
    pub(super) fn may_be_replaced_at(&self, place: Place) -> bool {
        let log = &self.node.raft.raft_log;
        let agrees = log.term(place.index) == Ok(place.term);
        place.index >= log.committed && (place.index >= log.last_index() || !agrees)
    }

    /// A copy has arrived, or will not.
    pub(super) fn report_copy(&mut self, to: NodeId, complete: bool) {
        let status = if complete { SnapshotStatus::Finish } else { SnapshotStatus::Failure };
        for replica in self.replicas_on(to) {
            self.node.report_snapshot(replica, status);
        }
    }

    /// What follows, if anything does. Whoever is asked to lead at once is told that it need not
    /// wait for this replica's lease, if `releases`.
    pub(super) fn ready(&mut self, releases: bool) -> Option<Ready> {
        if !self.node.has_ready() {
            return None;
        }
        let mut found = self.node.ready();
        let mut ready = Ready { number: found.number(), ..Ready::default() };
        let mut behind = Vec::new();
        let mut messages = found.take_messages();
        let last_words =
            messages.iter_mut().filter(|m| m.get_msg_type() == MessageType::MsgTimeoutNow);
        for message in last_words {
            ready.hands_over = true;
            if releases {
                Letter::release(message);
            }
        }
        ready.messages = letters(messages, &mut behind);
        ready.promises = letters(found.take_persisted_messages(), &mut behind);
        ready.behind = behind;
        ready.committed = found.take_committed_entries();
        let number = |context: &[u8]| context.try_into().map(u64::from_be_bytes).ok();
        let reads = found.take_read_states().into_iter();
        ready.reads = reads.filter_map(|r| Some((number(&r.request_ctx)?, r.index))).collect();
        let hard = found.hs().cloned();
        let log = self.node.mut_store();
        if let Some(hard) = hard {
            log.set_hard(&hard, &mut ready.changes);
        }
        log.append(found.entries(), &mut ready.changes);
        self.node.advance_append_async(found);
        Some(ready)
    }

    /// What the step with this number wrote is durable, and everything before it.
    pub(super) fn persisted(&mut self, number: u64) {
        self.node.on_persist_ready(number);
        self.draw_timeout();
    }

    /// The log's state says how far it is applied: tells the library.
    pub(super) fn applied(&mut self) {
        let applied = self.log().state.applied;
        self.node.advance_apply_to(applied);
    }

    /// The other members, and up to which index each has the log for certain.
    pub(super) fn others(&self) -> Vec<(NodeId, u64)> {
        let others = self.node.raft.prs().iter().filter(|(id, _)| **id != self.node.raft.id);
        let node = |id: u64| ReplicaId::from_raft(id).map(ReplicaId::node);
        others.filter_map(|(id, progress)| Some((node(*id)?, progress.matched))).collect()
    }

    /// What the leader knows of a replica.
    pub(super) fn progress(&self, replica: u64) -> Option<&Progress> {
        self.node.raft.prs().get(replica)
    }

    /// What Raft calls the replicas of a node that are members.
    pub(super) fn replicas_on(&self, node: NodeId) -> Vec<u64> {
        let members = self.node.raft.prs().iter().map(|(id, _)| *id);
        let here = |id: &u64| ReplicaId::from_raft(*id).is_some_and(|id| id.node() == node);
        let mut replicas: Vec<u64> = members.filter(here).collect();
        replicas.sort_unstable();
        replicas
    }

    /// The library, for changes of membership.
    pub(super) fn library(&mut self) -> &mut RawNode<Log> {
        &mut self.node
    }

    /// The log.
    pub(super) fn log(&self) -> &Log {
        self.node.store()
    }

    /// The log, to note what is applied and what is dropped.
    pub(super) fn log_mut(&mut self) -> &mut Log {
        self.node.mut_store()
    }

    /// The library draws an election timeout whenever term or role change, from randomness of
    /// its own: this replaces it by one that the seed decides.
    fn draw_timeout(&mut self) {
        if self.drawn != (self.node.raft.term, self.node.raft.state) {
            self.set_timeout();
        }
    }

    fn set_timeout(&mut self) {
        let ticks = self.draw.between(self.election_ticks, 2 * self.election_ticks);
        self.node.raft.set_randomized_election_timeout(ticks);
        self.drawn = (self.node.raft.term, self.node.raft.state);
    }
}
