//! What goes into a shard and what comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Hlc, Layout, Lsn, Mono, NodeId, Outcome, PartitionId, Reply, Request};
use kvorum_replication::pace::{BackgroundLimits, PendingHints};
use kvorum_replication::{Event, Report, Ticket, leaderless, raft};

use crate::{Comparison, Mutation};

/// Limits of a shard. All are per node.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// Bytes of client requests that may be pending; more are refused (`OVERLOAD`).
    pub max_pending_bytes: usize,
    /// Client requests that may be pending; more are refused (`OVERLOAD`).
    pub max_pending_requests: usize,
    /// Bytes that may be under way to one peer without its acknowledgement.
    pub max_peer_bytes: usize,
    /// Where a frame is closed and the next one begun, in bytes.
    pub frame_bytes: usize,
    /// Messages of more bytes than this travel in the bulk class.
    pub bulk_bytes: usize,
    /// How long requests may wait for their turn; if it is longer in every turn for
    /// `overload_interval`, a growing share of new ones is refused (`OVERLOAD`).
    pub max_wait: Duration,
    /// How long that must last.
    pub overload_interval: Duration,
    /// Decides which requests these are, and how long replicas wait for a leader. Another one on
    /// each node, and at each start.
    pub seed: u64,
    /// How often the replicas of eventual keyspaces are compared with those of each other node; zero
    /// for never unless that is asked for.
    pub anti_entropy_interval: Duration,
    /// A deliberate fault of the groups, to prove that tests notice it; nothing in a server.
    pub mutation: Option<leaderless::Mutation>,
    /// A deliberate fault of the shard itself; nothing in a server.
    pub shard_mutation: Option<Mutation>,
    /// How much the node does without being asked by a client.
    pub background: BackgroundLimits,
    /// How long replicas of eventual keyspaces wait and what they keep.
    pub leaderless: leaderless::Limits,
    /// How long replicas of strong keyspaces wait and what they keep.
    pub raft: raft::Limits,
    /// A deliberate fault of those; nothing in a server.
    pub raft_mutation: Option<raft::Mutation>,
}

impl Options {
    /// The limits of a server, for node `me`.
    #[must_use]
    pub const fn new(me: NodeId) -> Options {
        Options {
            me,
            max_pending_bytes: 64 << 20,
            max_pending_requests: 1 << 16,
            max_peer_bytes: 8 << 20,
            frame_bytes: 256 << 10,
            bulk_bytes: 64 << 10,
            max_wait: Duration::from_millis(200),
            overload_interval: Duration::from_secs(1),
            seed: 0,
            anti_entropy_interval: Duration::from_secs(30),
            mutation: None,
            shard_mutation: None,
            background: BackgroundLimits::SERVER,
            leaderless: leaderless::Limits::SERVER,
            raft: raft::Limits::SERVER,
            raft_mutation: None,
        }
    }
}

/// What happens to a shard.
#[derive(Clone, Debug)]
pub enum In {
    /// A client's request. The answer is an [`Out::Reply`] with the same ticket, exactly once.
    Request {
        /// The driver's name for the request.
        ticket: Ticket,
        /// The request.
        request: Request,
    },
    /// A frame of a peer whose handshake is complete.
    Frame {
        /// The peer.
        from: NodeId,
        /// The frame.
        body: Bytes,
        /// When this node received it: what has waited here too long is not done any more.
        arrived: Mono,
    },
    /// The requests of this turn have waited up to so long for it. Not wanted for turns without
    /// requests, and without the time a sync took before they could be read.
    Waited(Duration),
    /// The log is durable up to this LSN.
    Durable(Lsn),
    /// A connection to a peer is complete, handshake included; counting of frames starts anew.
    PeerUp(NodeId),
    /// The connection to a peer is lost.
    PeerDown(NodeId),
    /// The time of [`Shard::next_deadline`](crate::Shard::next_deadline) has come.
    Deadline,
    /// A new layout.
    Layout(Arc<Layout>),
    /// Whether this node's clock is too far from the other nodes'. While it is, other replicas
    /// coordinate the writes that come here, because the versions this one would stamp could win
    /// for as long as it is ahead.
    ClockSuspect(bool),
    /// Whether this node's disk is too slow for a leader. While it is, other replicas lead strong
    /// partitions where they can.
    SlowDisk(bool),
    /// This node is about to stop: it hands over the strong partitions it leads, and goes on
    /// answering. How many are left tells [`Shard::to_hand_over`](crate::Shard::to_hand_over).
    Leave,
    /// Compare what this node holds with these nodes at once; with all if none is named. What comes of
    /// it shows in [`Stats::comparisons`].
    CompareNow(Vec<NodeId>),
    /// The data of these partitions is incomplete here: rebuild them from the other replicas.
    Rebuild(Vec<PartitionId>),
}

/// What a shard wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Out {
    /// Answer a client. What it reveals is durable.
    Reply {
        /// The request's ticket.
        ticket: Ticket,
        /// The answer.
        outcome: Outcome<Reply>,
    },
    /// Send a frame to a peer. Frames of one class arrive in order or not at all.
    Send {
        /// The receiver.
        to: NodeId,
        /// The stream it belongs to.
        class: Class,
        /// The frame.
        frame: Bytes,
    },
    /// A partition has been rebuilt, durably.
    Rebuilt(PartitionId),
    /// The replica here has lost something it may have promised: it gives up what it holds and
    /// begins anew, with a copy from the others.
    GaveUp {
        /// The partition.
        partition: PartitionId,
        /// What was found.
        reason: &'static str,
    },
    /// Something happened to the replica here that the operator wants to read.
    Report {
        /// The partition.
        partition: PartitionId,
        /// What happened.
        report: Report,
    },
    /// Something worth counting happened.
    Count(Event),
    /// A peer sent a frame that is damaged or makes no sense: close the connection.
    BadFrame {
        /// The peer.
        from: NodeId,
        /// What was wrong.
        reason: &'static str,
    },
}

/// The streams between two nodes: a large value must not hold up small messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small messages.
    Data,
    /// Large messages.
    Bulk,
}

/// Figures for metrics and status.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Client requests pending.
    pub pending_requests: usize,
    /// Their bytes.
    pub pending_bytes: usize,
    /// Effects that wait for the log.
    pub waiting_for_log: usize,
    /// Bytes under way to each peer, by id.
    pub peer_bytes: Vec<(NodeId, usize)>,
    /// What has come of comparing this node with each connected one, by id.
    pub comparisons: Vec<Comparison>,
    /// Records that were sent to other leaderless replicas since the start.
    pub sent_records: u64,
    /// Partitions being rebuilt.
    pub rebuilding: usize,
    /// The lowest floor of the eventual partitions of each placement that this node holds.
    pub floors: BTreeMap<u16, Hlc>,
    /// The strong partitions that this node holds and who leads each, as far as it knows.
    pub leaders: Vec<(PartitionId, Option<NodeId>)>,
    /// Bytes of entries of strong partitions that are kept in memory.
    pub log_bytes: usize,
    /// What waits here for replicas on other nodes that have missed writes, by node id.
    pub hints: Vec<PendingHints>,
}
