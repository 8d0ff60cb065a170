//! One replica of a leaderless partition, and the coordinator of the requests it is given.

use std::ops::RangeInclusive;

use kvorum_core::{Consistency, KeyspaceId, Mono, NodeId, PartitionId, Slot};

use crate::{Context, Group, Input};

/// What a replica is and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The partition.
    pub partition: PartitionId,
    /// Its slots.
    pub slots: RangeInclusive<Slot>,
    /// The replicas, preferred first; this node is one of them.
    pub members: Vec<NodeId>,
    /// The keyspaces of the placement, with their default consistency of reads and writes.
    pub keyspaces: Vec<(KeyspaceId, Consistency, Consistency)>,
}

/// One replica of a leaderless partition.
#[derive(Debug)]
pub struct Replica {
    options: Options,
}

impl Replica {
    /// A replica with nothing pending.
    #[must_use]
    pub fn new(options: Options) -> Replica {
        Replica { options }
    }
}

impl Group for Replica {
    fn handle(&mut self, ctx: &mut Context<'_>, input: Input) {
        let _ = (ctx, input, &self.options);
    }

    fn next_deadline(&self) -> Option<Mono> {
        None
    }
}
