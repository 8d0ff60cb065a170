//! The messages between the replicas of a group.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Cursor, Header, Hlc, KeyspaceId, Record, ScanLimit, Slot, Version, Want};

use crate::leaderless::{FloorLetter, Letter};

/// Identifies a pending operation of a coordinator within its group. Never reused, not even by
/// the next life of the process, whom answers to the former one may still reach; a new version of
/// a write gets a new id, so answers to the old one are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OpId(pub u64);

impl OpId {
    /// No operation: whoever sends this wants no answer.
    pub const NONE: OpId = OpId(0);
}

/// A message between two replicas of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Store this record unless you hold a newer one.
    Write {
        /// The operation to answer.
        op: OpId,
        /// The record.
        record: Record,
        /// Whose write it is.
        kind: WriteKind,
        /// How long the coordinator still waits; expired work is dropped.
        patience: Duration,
    },
    /// The answer to [`Message::Write`].
    Written {
        /// The operation answered.
        op: OpId,
        /// What became of it.
        status: Status,
    },
    /// What do you hold for this key?
    Read {
        /// The operation to answer.
        op: OpId,
        /// The keyspace.
        keyspace: KeyspaceId,
        /// The slot of the key.
        slot: Slot,
        /// The key.
        key: Bytes,
        /// Whether the value is wanted.
        want: Want,
        /// How long the coordinator still waits.
        patience: Duration,
    },
    /// The answer to [`Message::Read`].
    Held {
        /// The operation answered.
        op: OpId,
        /// What the replica holds.
        found: Found,
    },
    /// One page of everything you hold, tombstones included.
    Scan {
        /// The operation to answer.
        op: OpId,
        /// The keyspace.
        keyspace: KeyspaceId,
        /// Where the page begins.
        from: Cursor,
        /// Only keys that begin with this.
        prefix: Bytes,
        /// How much the page may hold.
        limit: ScanLimit,
        /// Whether values are wanted.
        want: Want,
        /// How long the coordinator still waits.
        patience: Duration,
    },
    /// The answer to [`Message::Scan`].
    Scanned {
        /// The operation answered.
        op: OpId,
        /// The page, or nothing if the replica cannot answer (it is rebuilding).
        page: Option<ScannedPage>,
    },
    /// A letter of a session in which two replicas find and repair what they hold differently.
    Sync {
        /// The name of the session, given by the replica that has begun it.
        session: OpId,
        /// The number of the question, or of the one that is answered.
        step: u32,
        /// The letter.
        letter: Letter,
    },
    /// A question about floors, or the answer to one.
    Floor {
        /// What is asked or answered under this id.
        op: OpId,
        /// The question or the answer.
        letter: FloorLetter,
    },
    /// A message of a Raft group, which only such a group can read.
    Raft(Bytes),
}

impl Message {
    /// Whether the receiver must do something for the sender, and not only learn something.
    #[must_use]
    pub const fn asks(&self) -> bool {
        match self {
            Message::Write { .. } | Message::Read { .. } | Message::Scan { .. } => true,
            Message::Sync { letter, .. } => letter.asks(),
            Message::Floor { letter, .. } => letter.asks(),
            Message::Written { .. }
            | Message::Held { .. }
            | Message::Scanned { .. }
            | Message::Raft(_) => false,
        }
    }

    /// Takes the time a message has waited before it was looked at from the patience of whoever
    /// has sent it.
    pub fn age(&mut self, waited: Duration) {
        match self {
            Message::Write { patience, .. }
            | Message::Read { patience, .. }
            | Message::Scan { patience, .. } => *patience = patience.saturating_sub(waited),
            Message::Written { .. }
            | Message::Held { .. }
            | Message::Scanned { .. }
            | Message::Sync { .. }
            | Message::Floor { .. }
            | Message::Raft(_) => {}
        }
    }
}

/// Whose write it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteKind {
    /// A client's, stamped just now: refused if its version is too far in the future.
    Client,
    /// A copy of what another replica holds already: never refused for its version.
    Repair,
}

/// What became of a write on one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// The replica holds exactly this version, durably.
    Applied {
        /// Whether the key was live on the replica before.
        was_live: bool,
    },
    /// The replica durably holds this newer version.
    Superseded(Version),
    /// The replica is rebuilding: the write is stored but does not count.
    Rebuilding,
    /// Refused: the version lies at or below this reading, up to which the replica takes nothing new:
    /// its promise for a client's write, its floor for a repair.
    Late(Hlc),
    /// Refused: the version lies too far in the future of the replica's clock.
    ClockSkew,
    /// Refused: no disk space.
    DiskFull,
    /// Refused: no index memory.
    IndexFull,
    /// Refused: too much work.
    Overloaded,
    /// Refused: the receiver does not hold this partition.
    NotReplica,
}

/// What a replica holds for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing, not even a tombstone.
    Absent {
        /// The floor of the replica: whatever there was for the key up to here is deleted, and that
        /// is settled.
        floor: Hlc,
    },
    /// A record; only its header was asked for.
    Header(Header),
    /// A record with its value (empty for a tombstone).
    Record(Header, Bytes),
    /// A record whose stored bytes are damaged: it exists, but not here.
    Corrupt(Header),
    /// No answer: the replica is rebuilding.
    Rebuilding,
    /// No answer: the receiver does not hold this partition.
    NotReplica,
}

/// What a replica holds of a range of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScannedPage {
    /// The items, tombstones included, in the order of slots and keys.
    pub items: Vec<PageItem>,
    /// Where the next page begins; nothing at the end.
    pub next: Option<Cursor>,
    /// The replica's floor when it made the page: whatever it has removed lies at or below.
    pub floor: Hlc,
    /// Its promise.
    pub promise: Hlc,
}

/// An item of a [`ScannedPage`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageItem {
    /// The slot of the key.
    pub slot: Slot,
    /// The key.
    pub key: Bytes,
    /// Version, flags and sizes.
    pub header: Header,
    /// The value (empty for a tombstone), if it was wanted and could be read.
    pub value: Option<Bytes>,
}
