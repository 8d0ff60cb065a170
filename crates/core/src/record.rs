//! Records: what is stored, replicated and compared.

use bytes::Bytes;

use crate::{Hlc, KeyspaceId, Slot, Version};

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

    /// Whether the record may be removed from a replica whose floor is `floor`: it deletes the key
    /// or expires, and both its version and its expiry lie at or below the floor. All replicas have
    /// seen it by then, and nothing older is taken from anybody any more.
    #[must_use]
    pub const fn may_be_purged(&self, floor: Hlc) -> bool {
        let ends = self.tombstone || self.expire_ms != 0;
        // Milliseconds are compared, because not every expiry can be expressed as a reading.
        ends && self.version.hlc.0 <= floor.0 && self.expire_ms <= floor.wall_ms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    #[test]
    fn only_what_shows_nothing_any_more_may_be_purged() {
        let now = 1_700_000_000_000;
        let floor = Hlc::from_wall_ms(now);
        let version = |hlc| Version { hlc, writer: Writer(1) };
        let tombstone =
            Header { version: version(floor), tombstone: true, tag: 0, expire_ms: 0, value_len: 0 };
        let value = Header { tombstone: false, ..tombstone };
        assert!(tombstone.may_be_purged(floor));
        assert!(!Header { version: version(floor.next()), ..tombstone }.may_be_purged(floor));
        assert!(!value.may_be_purged(floor), "a value that stays");
        assert!(Header { expire_ms: now, ..value }.may_be_purged(floor));
        assert!(Header { expire_ms: 1, ..value }.may_be_purged(floor));
        assert!(!Header { expire_ms: now + 1, ..value }.may_be_purged(floor));
        assert!(!Header { expire_ms: u64::MAX, ..value }.may_be_purged(floor));
        assert!(!Header { expire_ms: 1 << 62, ..value }.may_be_purged(floor));
    }
}
