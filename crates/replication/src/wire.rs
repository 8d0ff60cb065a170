//! The compact encoding of messages inside a frame; little endian throughout.
//!
//! A message is `kind u8 | operation u64 | fields`; one of a Raft group has no operation. *Varint* is LEB128 of a u64; *bytes* are a
//! varint length and that many bytes; a floor, a promise and any other reading of the hybrid clock is a
//! u64, a version is `hlc u64 | writer u32`; a patience is a varint
//! of microseconds; *place* is `keyspace u32 | slot u16`.
//!
//! | kind | message | fields |
//! |---|---|---|
//! | 1 | Write | write kind u8 (0 client, 1 repair), patience, place, head, key bytes, value bytes unless a tombstone |
//! | 2 | Written | status u8, for Superseded the version, for Late a reading |
//! | 3 | Read | want u8, patience, place, key bytes |
//! | 4 | Held | found u8, for Absent the floor, header as it applies, for Record as many bytes of value as the header says |
//! | 5 | Scan | want u8, patience, place, from bytes, prefix bytes, items varint, bytes varint |
//! | 6 | Scanned | 0; or 1, next (0; or 1, slot u16, key bytes), floor, promise, count varint, items |
//! | 7 | Raft | bytes |
//! | 8 | Sync | step varint, letter (`sync`) |
//! | 9 | Floor | letter (`floor`) |
//!
//! A head is `flags u8 | version | [tag u32] | [expiry u64]` with the flags 1 tombstone, 2 tag
//! present, 4 expiry present. A header is a head and the varint length of the value. An item is
//! `slot u16 | key bytes | header`, and 0, or 1 and as many bytes of value as the header says.
//!
//! [`primitive`] has these pieces, which the shard's envelopes are made of as well.

mod decode;
mod encode;
mod floor;
pub mod primitive;
mod sync;
#[cfg(test)]
mod tests;
pub mod txn;

pub use decode::decode;
pub use encode::encode;

/// Bytes that are not a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed message: {0}")]
pub struct WireError(pub &'static str);

/// The first byte of each message.
mod kind {
    pub(super) const WRITE: u8 = 1;
    pub(super) const WRITTEN: u8 = 2;
    pub(super) const READ: u8 = 3;
    pub(super) const HELD: u8 = 4;
    pub(super) const SCAN: u8 = 5;
    pub(super) const SCANNED: u8 = 6;
    pub(super) const RAFT: u8 = 7;
    pub(super) const SYNC: u8 = 8;
    pub(super) const FLOOR: u8 = 9;
}

/// What became of a write.
mod status {
    pub(super) const APPLIED: u8 = 0;
    pub(super) const APPLIED_OVER_LIVE: u8 = 1;
    pub(super) const SUPERSEDED: u8 = 2;
    pub(super) const REBUILDING: u8 = 3;
    pub(super) const CLOCK_SKEW: u8 = 4;
    pub(super) const DISK_FULL: u8 = 5;
    pub(super) const INDEX_FULL: u8 = 6;
    pub(super) const OVERLOADED: u8 = 7;
    pub(super) const NOT_REPLICA: u8 = 8;
    pub(super) const LATE: u8 = 9;
}

/// What a replica holds.
mod found {
    pub(super) const ABSENT: u8 = 0;
    pub(super) const HEADER: u8 = 1;
    pub(super) const RECORD: u8 = 2;
    pub(super) const CORRUPT: u8 = 3;
    pub(super) const REBUILDING: u8 = 4;
    pub(super) const NOT_REPLICA: u8 = 5;
}
