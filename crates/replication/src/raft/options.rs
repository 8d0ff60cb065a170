//! What a replica is and how long it waits.

use std::ops::RangeInclusive;
use std::time::Duration;

use kvorum_core::{KeyspaceId, NodeId, PartitionId, ScanLimit, Slot};

use super::Mutation;

/// What a replica of a Raft group is.
#[derive(Clone, Debug)]
pub struct Options {
    /// The partition.
    pub partition: PartitionId,
    /// Its slots.
    pub slots: RangeInclusive<Slot>,
    /// The keyspaces whose keys it holds.
    pub keyspaces: Vec<KeyspaceId>,
    /// The nodes that hold it; the first one leads if it can.
    pub members: Vec<NodeId>,
    /// Randomness for election timeouts, different on each node.
    pub seed: u64,
    /// How long and how much a replica waits and keeps.
    pub limits: Limits,
    /// A deliberate fault, to prove that tests notice it; nothing in a server.
    pub mutation: Option<Mutation>,
}

/// How long a replica waits, and how much it keeps. Lengths of values must be the same on all
/// nodes, because every replica must refuse the same.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How often time is looked at; heartbeats are sent every second time.
    pub tick: Duration,
    /// A replica that has not heard of a leader for this many ticks, or at random up to twice as
    /// many, wants to lead.
    pub election_ticks: usize,
    /// How long after it created an entry a leader may answer reads by itself. The same on all
    /// nodes, because a new leader is silent for so long; at most the shortest election timeout.
    pub lease: Duration,
    /// Bytes of values that one command may write. Part of the state machine, because every replica
    /// must refuse the same: no setting changes it. Commands that build on a value may write as
    /// much, so a store whose commits are too small for that refuses them.
    pub max_write_bytes: usize,
    /// Commands of one turn of more bytes than this are several entries.
    pub entry_bytes: usize,
    /// Bytes of entries that may wait to be committed; more are refused.
    pub max_uncommitted_bytes: u64,
    /// Bytes of applied entries that are kept for replicas that fell behind. Whoever is further
    /// behind gets a copy of the partition.
    pub kept_log_bytes: usize,
    /// Bytes of applied entries that a leader keeps for a replica that is up and has not got them,
    /// or is getting a copy. In memory, so this is the price of a follower that lags.
    pub lagging_log_bytes: usize,
    /// Bytes of entries that all groups of a node keep together before each keeps no more than
    /// [`Limits::kept_log_bytes`], whoever lags.
    pub node_log_bytes: usize,
    /// How many entries are dropped at once, at least: each time costs a write.
    pub least_dropped: u64,
    /// Bytes that are set aside in memory while a copy is sent, because a command changed them; more
    /// go to the store.
    pub aside_bytes: usize,
    /// How much a piece of a copy holds.
    pub piece: ScanLimit,
}

impl Limits {
    /// Those of a server.
    pub const SERVER: Limits = Limits {
        tick: Duration::from_millis(50),
        election_ticks: 15,
        lease: Duration::from_millis(500),
        max_write_bytes: 8 << 20,
        entry_bytes: 256 << 10,
        max_uncommitted_bytes: 16 << 20,
        kept_log_bytes: 1 << 20,
        lagging_log_bytes: 32 << 20,
        node_log_bytes: 256 << 20,
        least_dropped: 64,
        aside_bytes: 16 << 20,
        piece: ScanLimit { items: 2048, bytes: 256 << 10 },
    };
}
