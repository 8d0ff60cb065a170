//! How a node keeps its copies equal to those of other nodes, as it tells its operator.

use std::sync::Arc;

use kvorum_core::{Mono, NodeId, PartitionId};

/// All that a node tells of repair.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// The other nodes, by id.
    pub peers: Vec<PeerRepair>,
    /// The eventual keyspaces, by id.
    pub keyspaces: Vec<KeyspaceRepair>,
    /// The last events, the newest first.
    pub events: Arc<[RepairEvent]>,
    /// How fast the log is read again to find damage, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
    /// When all of it had last been read; nothing while the first time since the start goes on.
    pub scrubbed: Option<Mono>,
}

/// How the copies of this node compare with those of another one. Figures count since this node's
/// start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerRepair {
    /// The other node.
    pub node: NodeId,
    /// The partitions that both hold, by id.
    pub pairs: Vec<Pair>,
    /// Comparisons that went down to single keys, begun by this node.
    pub sessions: u64,
    /// Those of them that were given up, or could not repair all they found.
    pub failures: u64,
    /// Why the last of these failed.
    pub last_failure: Option<&'static str>,
    /// Records that the other node took.
    pub sent: u64,
    /// Records that were taken from it.
    pub received: u64,
    /// Bytes of comparisons and records, in both directions.
    pub bytes: u64,
}

/// How far deletions of an eventual keyspace are settled on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceRepair {
    /// The name of the keyspace.
    pub name: String,
    /// Its placement.
    pub placement: u16,
    /// The floor, in milliseconds since 1970: deletions up to there may be forgotten. The lowest of
    /// its partitions here; nothing before the first has risen.
    pub floor_ms: Option<u64>,
    /// A sum over all records of the keyspace on this node: two nodes that hold the same partitions
    /// tell the same if they hold the same records.
    pub digest: u64,
    /// Deletions that are kept on this node because they may not be forgotten yet, or have not been.
    pub tombstones: u64,
    /// The nodes that keep the floor from rising, because they cannot be reached.
    pub held_up_by: Vec<NodeId>,
}

/// How two copies of a partition compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The partition.
    pub partition: PartitionId,
    /// When the last comparison ended.
    pub compared: Option<Mono>,
    /// When they were last found to hold the same.
    pub clean: Option<Mono>,
}

/// Something that comparing and repairing copies has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairEvent {
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// What.
    pub step: RepairStep,
    /// Which other node took part, if one did.
    pub peer: Option<NodeId>,
    /// How many keys it was about.
    pub keys: u64,
}

/// The steps of comparing and repairing copies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepairStep {
    /// This node has begun to compare its copies with a peer's; told when that is over.
    RoundBegan,
    /// That is over.
    RoundEnded,
    /// No other node can be reached, so nothing is compared.
    NoPeers,
    /// The copies of a partition are being made equal.
    RepairBegan,
    /// They differ in a slot.
    Mismatch,
    /// They are equal, or as equal as one session could make them.
    RepairEnded,
    /// Two copies could not be compared to the end, or not all be repaired.
    Failed,
}

impl PeerRepair {
    /// Before anything has happened.
    #[must_use]
    pub const fn new(node: NodeId) -> PeerRepair {
        PeerRepair {
            node,
            pairs: Vec::new(),
            sessions: 0,
            failures: 0,
            last_failure: None,
            sent: 0,
            received: 0,
            bytes: 0,
        }
    }

    /// How many partitions were not the same when they were last compared.
    #[must_use]
    pub fn differing(&self) -> usize {
        self.pairs.iter().filter(|pair| pair.differs()).count()
    }

    /// When a comparison last ended.
    #[must_use]
    pub fn compared(&self) -> Option<Mono> {
        self.pairs.iter().filter_map(|pair| pair.compared).max()
    }

    /// Since when all partitions are known to have been the same; nothing if one never was since
    /// the start.
    #[must_use]
    pub fn clean(&self) -> Option<Mono> {
        let all: Option<Vec<Mono>> = self.pairs.iter().map(|pair| pair.clean).collect();
        all.and_then(|clean| clean.into_iter().min())
    }
}

impl Pair {
    /// Whether they were not the same when they were last compared.
    #[must_use]
    pub fn differs(&self) -> bool {
        self.compared.is_some() && self.compared != self.clean
    }
}
