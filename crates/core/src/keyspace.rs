//! Keyspaces: named sets of keys that share a mode and defaults.

use std::fmt;

use crate::Consistency;

/// Identifies a keyspace; never reused within a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub u32);

impl KeyspaceId {
    /// Records that belong to one node alone (verdicts, watermarks, the founding set): durable
    /// with everything else in its log, never replicated, never served to a client.
    pub const LOCAL: KeyspaceId = KeyspaceId(0);
    /// The keyspace `default`.
    pub const DEFAULT: KeyspaceId = KeyspaceId(1);
    /// Log entries and state of this node's Raft groups: local as well. The key is the group and
    /// the index of the entry; the slot follows from the group, so that no slot holds many groups.
    pub const RAFT: KeyspaceId = KeyspaceId(u32::MAX);

    /// Records that replicas of this node refused or gave up because everything up to them is
    /// settled, kept for the operator: local as well.
    pub const QUARANTINE: KeyspaceId = KeyspaceId(u32::MAX - 1);

    /// Whether the keyspace belongs to one node alone. Its records are never replicated as records
    /// and never served to a client, no layout names it, and their versions only tell them apart:
    /// they are no clock readings.
    #[must_use]
    pub const fn is_local(self) -> bool {
        self.0 == Self::LOCAL.0 || self.0 >= Self::QUARANTINE.0
    }
}

/// How the copies of a keyspace agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Leaderless quorums, last write wins by server-side versions.
    Eventual,
    /// One Raft group per partition, linearizable.
    Strong,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Mode::Eventual => "eventual",
            Mode::Strong => "strong",
        })
    }
}

/// A keyspace and its defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyspace {
    /// Its id.
    pub id: KeyspaceId,
    /// Its name, as clients say it.
    pub name: String,
    /// How its copies agree.
    pub mode: Mode,
    /// The index of its placement in the layout.
    pub placement: u16,
    /// Consistency of a read that does not name one.
    pub read: Consistency,
    /// Consistency of a write that does not name one.
    pub write: Consistency,
}
