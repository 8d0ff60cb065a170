//! What a node tells about itself and its cluster.

use kvorum_core::{NodeId, PartitionId};

use crate::{Advertised, Pulse, Repair, Standing};

/// Whether a node serves requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Not yet, or no longer; the text says what it waits for.
    No(String),
    /// Yes, but this many partitions are still copied from other nodes.
    Rebuilding(usize),
    /// Yes.
    Yes,
}

/// A node as this node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub id: NodeId,
    /// Its name.
    pub name: String,
    /// Where it can be reached.
    pub advertised: Advertised,
    /// Whether it is connected (this node itself always is).
    pub up: bool,
    /// What this node thinks of it (it thinks well of itself).
    pub standing: Standing,
    /// What it says of itself by gossip; nothing before it has said anything.
    pub pulse: Option<Pulse>,
    /// How often it has answered this node since that started.
    pub heartbeat: u64,
    /// When it was last heard of, in seconds since 1970.
    pub last_seen_s: u64,
    /// The partitions of strong keyspaces that it leads, as far as this node knows: it knows of
    /// those that it holds itself.
    pub leads: Vec<Led>,
    /// What waits for it on this node, because it has missed writes.
    pub waiting: Waiting,
}

/// What waits on one node for another that has missed writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Keys of eventual keyspaces that are remembered for it, and will be sent to it.
    pub keys: usize,
    /// Bytes of memory that these take.
    pub bytes: usize,
    /// Slots in which it may have missed more than that.
    pub dirty_slots: usize,
}

/// How many partitions of a strong keyspace a node leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// The name of the keyspace.
    pub keyspace: String,
    /// How many.
    pub partitions: usize,
}

/// A snapshot of a node's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// This node.
    pub id: NodeId,
    /// Whether it serves.
    pub serving: Serving,
    /// All nodes of the cluster, by id.
    pub nodes: Vec<NodeStatus>,
    /// The replication factor.
    pub replication_factor: usize,
    /// When this node's process started, in seconds since 1970.
    pub started_s: u64,
    /// Live keys on this node (all replicas it holds).
    pub keys: u64,
    /// Bytes of disk space used.
    pub disk_bytes: u64,
    /// Bytes of index memory used.
    pub index_bytes: u64,
    /// The limit of index memory in bytes.
    pub index_limit_bytes: u64,
    /// Client requests pending.
    pub pending_requests: usize,
    /// Who leads the partitions of strong keyspaces that this node holds, as far as it knows.
    pub leaders: Vec<(PartitionId, NodeId)>,
    /// How its copies of eventual keyspaces are kept equal to those of other nodes.
    pub repair: Repair,
}

impl Status {
    /// Who leads a partition, if it is one of a strong keyspace and this node knows.
    #[must_use]
    pub fn leader_of(&self, partition: PartitionId) -> Option<NodeId> {
        let mut leaders = self.leaders.iter();
        leaders.find(|(id, _)| *id == partition).map(|(_, leader)| *leader)
    }

    /// The partitions of strong keyspaces that this node leads.
    #[must_use]
    pub fn leads(&self) -> &[Led] {
        let own = self.nodes.iter().find(|node| node.id == self.id);
        own.map_or(&[], |node| &node.leads)
    }
}
