//! Records: what is stored, replicated and compared.

use bytes::Bytes;

use crate::{KeyspaceId, Slot, Version};

/// One mutation of one key: a value or a tombstone. The unit of the log and of replication.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The keyspace of the key.
    pub keyspace: KeyspaceId,
    /// The slot of the key.
    pub slot: Slot,
    /// The key.
    pub key: Bytes,
    /// The version; of two records for a key the one with the larger version wins.
    pub version: Version,
    /// A client's own integer (`version` of the `/kv` interface); zero when unused.
    pub tag: u32,
    /// When the record stops being visible, in milliseconds since 1970; zero means never.
    pub expire_ms: u64,
    /// The value, or nothing for a tombstone.
    pub value: Option<Bytes>,
}

impl Record {
    /// What the index knows of the record without its value.
    #[must_use]
    pub fn header(&self) -> Header {
        Header {
            version: self.version,
            tombstone: self.value.is_none(),
            tag: self.tag,
            expire_ms: self.expire_ms,
            value_len: u32::try_from(self.value.as_ref().map_or(0, Bytes::len)).unwrap_or(u32::MAX),
        }
    }

    /// Bytes of key and value: the measure of queues and budgets.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// A record without key and value: enough to compare, to expire and to answer EXISTS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The version.
    pub version: Version,
    /// Whether the record is a deletion.
    pub tombstone: bool,
    /// The client's own integer.
    pub tag: u32,
    /// When the record stops being visible, in milliseconds since 1970; zero means never.
    pub expire_ms: u64,
    /// Length of the value in bytes.
    pub value_len: u32,
}

impl Header {
    /// Whether a reader at wall-clock time `wall_ms` sees a value: neither deleted nor expired.
    #[must_use]
    pub const fn live_at(&self, wall_ms: u64) -> bool {
        !self.tombstone && (self.expire_ms == 0 || self.expire_ms > wall_ms)
    }
}
