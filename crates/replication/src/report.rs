//! What the operator of a partition wants to read.

use bytes::Bytes;
use kvorum_core::{Hlc, KeyspaceId, NodeId, Slot, Version};

use crate::WriteKind;

/// Something that happened to a replica, with all that is known of it: for the node's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Report {
    /// A write came when everything up to its version was settled, and would have brought back
    /// something that was deleted or overwritten. It was not taken.
    LateRefused {
        /// The keyspace of the key.
        keyspace: KeyspaceId,
        /// The slot of the key.
        slot: Slot,
        /// The key.
        key: Bytes,
        /// The version of the write.
        version: Version,
        /// Whose write it was. A client's is stamped again by its coordinator; a copy came from a
        /// replica that should not have had it any more.
        kind: WriteKind,
    },
    /// A record was found here that the other replicas have deleted or overwritten for good. It was
    /// taken out, and lies in quarantine.
    Quarantined {
        /// The keyspace of the key.
        keyspace: KeyspaceId,
        /// The slot of the key.
        slot: Slot,
        /// The key.
        key: Bytes,
        /// The version of the record.
        version: Version,
    },
    /// A member is back, and is sent what it has missed.
    ReplayBegan {
        /// The member.
        to: NodeId,
        /// How many keys wait for it, over all partitions.
        keys: usize,
    },
    /// Nothing that is remembered by key waits for a member any more.
    HintsReplayed {
        /// The member.
        to: NodeId,
        /// How many keys it took, over all partitions.
        keys: usize,
    },
    /// More keys wait for a member than may, or it is away for too long: of the others only the
    /// slots are remembered. Told once, until nothing waits for it any more.
    HintsOverflowed {
        /// The member.
        to: NodeId,
    },
    /// All members have seen everything up to this reading.
    FloorRaised {
        /// The new floor.
        floor: Hlc,
    },
    /// Tombstones and values that had expired were removed below the floor.
    Purged {
        /// How many.
        items: usize,
    },
    /// Another replica's floor lies above what this one has promised, so this one has lost its
    /// promise, and perhaps more: it copies everything from the others.
    LostPromise {
        /// The other replica.
        peer: NodeId,
        /// Its floor.
        floor: Hlc,
        /// What this replica remembers to have promised.
        promise: Hlc,
    },
    /// This replica has begun to compare what it holds with what another one does.
    SessionBegun {
        /// The other replica.
        with: NodeId,
    },
    /// A slot holds something else there. It is repaired.
    Mismatch {
        /// The other replica.
        with: NodeId,
        /// The keyspace.
        keyspace: KeyspaceId,
        /// The slot.
        slot: Slot,
    },
    /// A comparison was given up, or could not repair all it found.
    SessionFailed {
        /// The other replica.
        with: NodeId,
        /// Why.
        reason: &'static str,
    },
    /// The comparison is over.
    SessionEnded {
        /// The other replica.
        with: NodeId,
        /// Whether all that should be the same is the same now.
        clean: bool,
        /// Records that the other replica has taken.
        sent: u64,
        /// Records that were taken here.
        received: u64,
        /// Bytes of the comparison and of these records, in both directions.
        bytes: u64,
    },
    /// This replica and another one were found to hold the same up to a reading. Both tell.
    Clean {
        /// The other replica.
        with: NodeId,
        /// The reading.
        through: Hlc,
    },
}
