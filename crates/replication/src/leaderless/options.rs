//! What a replica is told about itself.

use std::ops::RangeInclusive;

use kvorum_core::{Consistency, Error, Hlc, KeyspaceId, NodeId, Outcome, PartitionId, Slot, Store};

use super::{Limits, Mutation};

/// What a replica is and how it behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The partition.
    pub partition: PartitionId,
    /// Its slots.
    pub slots: RangeInclusive<Slot>,
    /// The replicas, preferred first; this node is one of them. A layout allows at most
    /// [`Quorum::MAX_MEMBERS`](crate::Quorum::MAX_MEMBERS).
    pub members: Vec<NodeId>,
    /// The keyspaces of the placement, with their default consistency of reads and writes.
    pub keyspaces: Vec<(KeyspaceId, Consistency, Consistency)>,
    /// How long it waits and what it keeps.
    pub limits: Limits,
    /// A deliberate fault, to prove that tests notice it; nothing in a server.
    pub mutation: Option<Mutation>,
}

impl Options {
    /// How many members are more than half.
    pub(super) const fn majority(&self) -> usize {
        Consistency::Quorum.required(self.members.len())
    }

    /// Whether the partition holds a keyspace's slot.
    pub(super) fn holds(&self, keyspace: KeyspaceId, slot: Slot) -> bool {
        self.slots.contains(&slot) && self.keyspaces.iter().any(|&(id, ..)| id == keyspace)
    }

    /// The slot of a key.
    ///
    /// # Errors
    /// [`Error::NotServing`] if the partition does not hold it.
    pub(super) fn slot_of(&self, keyspace: KeyspaceId, key: &[u8]) -> Outcome<Slot> {
        let slot = Slot::of(key);
        if self.holds(keyspace, slot) { Ok(slot) } else { Err(not_here()) }
    }

    /// The reading so long before a wall-clock time that no request of then is under way any more.
    pub(super) fn lagging(&self, wall_ms: u64) -> Hlc {
        let lag = u64::try_from(self.limits.gc_lag.as_millis()).unwrap_or(u64::MAX);
        Hlc::from_wall_ms(wall_ms.saturating_sub(lag))
    }

    /// Whether the replica holds anything that may be purged some day.
    pub(super) fn holds_mortal(&self, store: &dyn Store) -> bool {
        let (first, last): (Slot, Slot) = (*self.slots.start(), *self.slots.end());
        let mut keyspaces = self.keyspaces.iter();
        keyspaces.any(|&(keyspace, ..)| store.next_mortal(keyspace, first, last).is_some())
    }

    /// The consistency of a read that names none.
    pub(super) fn default_read(&self, keyspace: KeyspaceId) -> Option<Consistency> {
        self.keyspaces.iter().find(|&&(id, ..)| id == keyspace).map(|&(_, read, _)| read)
    }

    /// The consistency of a write that names none.
    pub(super) fn default_write(&self, keyspace: KeyspaceId) -> Option<Consistency> {
        self.keyspaces.iter().find(|&&(id, ..)| id == keyspace).map(|&(.., write)| write)
    }
}

/// The request belongs to another group.
pub(super) fn not_here() -> Error {
    Error::NotServing("this node does not hold the partition".into())
}
