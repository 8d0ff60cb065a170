//! Operations: what a front end asks of a shard, and what it gets back.

use std::time::Duration;

use bytes::Bytes;

use crate::store::{Cursor, ScanLimit};
use crate::{
    Answer, Consistency, Header, IdempotencyKey, Identity, KeyspaceId, Mono, PartitionId, Txn,
    Version,
};

/// One operation on one key, or on one partition. Front ends split larger commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// Read a key.
    Get {
        /// The key.
        key: Bytes,
        /// Whether the value itself is needed.
        want: Want,
    },
    /// Store a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// When it stops being visible.
        expiry: Expiry,
        /// The client's own integer; zero when unused.
        tag: u32,
    },
    /// Store a tombstone.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Compare, read and write keys of one slot in one step; strong keyspaces only.
    Txn(Txn),
    /// One page of the live items of a partition, in (slot, key) order.
    Scan {
        /// The partition.
        partition: PartitionId,
        /// Where the page begins.
        from: Cursor,
        /// Only keys that begin with this are returned.
        prefix: Bytes,
        /// How much the page may hold.
        limit: ScanLimit,
        /// Whether values are needed.
        want: Want,
    },
    /// The number of live keys of a partition on one of its replicas (expired ones may count).
    Count {
        /// The partition.
        partition: PartitionId,
    },
}

impl Op {
    /// Whether the operation changes anything.
    #[must_use]
    pub fn is_write(&self) -> bool {
        match self {
            Op::Put { .. } | Op::Delete { .. } => true,
            Op::Txn(txn) => txn.is_write(),
            Op::Get { .. } | Op::Scan { .. } | Op::Count { .. } => false,
        }
    }

    /// Whether it makes something expire at a time that is counted from when it is done.
    #[must_use]
    pub fn counts_from_now(&self) -> bool {
        match self {
            Op::Put { expiry, .. } => matches!(expiry, Expiry::After(_)),
            Op::Txn(txn) => txn.counts_from_now(),
            Op::Get { .. } | Op::Delete { .. } | Op::Scan { .. } | Op::Count { .. } => false,
        }
    }

    /// Bytes of key and value: the measure of queues.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Op::Get { key, .. } | Op::Delete { key } => key.len(),
            Op::Put { key, value, .. } => key.len() + value.len(),
            Op::Scan { from, prefix, .. } => from.key.len() + prefix.len(),
            Op::Txn(txn) => txn.weight(),
            Op::Count { .. } => 0,
        }
    }
}

/// Whether a read needs the value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Header and value.
    Value,
    /// The header alone: existence, length, time to live.
    Header,
}

/// When a value stops being visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Never.
    Never,
    /// This long after the coordinator stamps it.
    After(Duration),
    /// At this wall-clock time, in milliseconds since 1970.
    At(u64),
}

/// An operation and how to run it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// On whose behalf.
    pub identity: Identity,
    /// In which keyspace.
    pub keyspace: KeyspaceId,
    /// What.
    pub op: Op,
    /// What the answer must promise; the keyspace's default when absent.
    pub consistency: Option<Consistency>,
    /// For reads: an answer older than this version is not accepted.
    pub min_version: Option<Version>,
    /// For writes of strong keyspaces: a name under which it is not done twice.
    pub key: Option<IdempotencyKey>,
    /// When the caller stops waiting.
    pub deadline: Mono,
}

/// A stored item as a client sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The key.
    pub key: Bytes,
    /// Version, expiry, length, tag.
    pub header: Header,
    /// The value; empty when only the header was wanted.
    pub value: Bytes,
}

/// What a successful operation answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To [`Op::Get`].
    Found(Item),
    /// To [`Op::Get`]: no live value; the version of the tombstone or expired value, if any.
    Missing(Option<Version>),
    /// To [`Op::Put`] and [`Op::Delete`].
    Written {
        /// The version under which the write took effect.
        version: Version,
        /// How many replicas had acknowledged it durable when this answer was made.
        acked: usize,
        /// Whether the key was live before, as far as those replicas knew.
        was_live: bool,
    },
    /// To [`Op::Scan`]: live items, and where to go on (nothing when the partition ends).
    Page(Vec<Item>, Option<Cursor>),
    /// To [`Op::Txn`].
    Txn(Answer),
    /// To [`Op::Count`].
    Count(u64),
}
