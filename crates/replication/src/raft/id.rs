//! What Raft calls a replica.

use kvorum_core::NodeId;

/// A replica: its node, and which of the replicas of the group that this node has had.
///
/// **Invariant:** no replica ever has the id of one that lost what it had promised. A replica that
/// cannot keep its promises is replaced by one of another generation, which has promised nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct ReplicaId {
    node: NodeId,
    generation: u32,
}

impl ReplicaId {
    /// The replica of generation `generation` on a node; zero is the one the group began with.
    pub(super) const fn new(node: NodeId, generation: u32) -> ReplicaId {
        ReplicaId { node, generation }
    }

    /// The replica that Raft calls `raft`; nothing if that is none.
    pub(super) fn from_raft(raft: u64) -> Option<ReplicaId> {
        let node = u32::try_from(raft & u64::from(u32::MAX)).ok().and_then(NodeId::new)?;
        Some(ReplicaId { node, generation: u32::try_from(raft >> 32).ok()? })
    }

    /// What Raft calls it; never zero.
    pub(super) fn raft(self) -> u64 {
        u64::from(self.generation) << 32 | u64::from(self.node.get())
    }

    /// Its node.
    pub(super) const fn node(self) -> NodeId {
        self.node
    }

    /// Its generation.
    pub(super) const fn generation(self) -> u32 {
        self.generation
    }
}
