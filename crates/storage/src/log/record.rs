//! One record of the log: its bytes and its checksum.

use kvorum_core::{Change, Header, Hlc, KeyspaceId, Record, Slot, Version, Writer};

use super::codec::{Put, Take, set_u32};

/// Length of a record without its key and value.
pub(crate) const HEADER: usize = 44;
/// The flag of a copy made by compaction.
const MOVED: u8 = 1;

/// What a record does to the index when it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The key has this value; a moved one changes only where an entry of this version lies.
    Value,
    /// The key is deleted; a moved one changes only where an entry of this version lies.
    Tombstone,
    /// The value of this version is lost: an entry of this version is corrupt, nothing else.
    Lost,
    /// The node has copied what damage had taken; the verdict is void.
    Rebuilt,
    /// All keys from this one up to the value, which is another key and not among them, are gone.
    Removed,
}

impl Kind {
    const fn code(self) -> u8 {
        match self {
            Kind::Value => 1,
            Kind::Tombstone => 2,
            Kind::Lost => 3,
            Kind::Rebuilt => 4,
            Kind::Removed => 5,
        }
    }

    const fn from_code(code: u8) -> Option<Kind> {
        match code {
            1 => Some(Kind::Value),
            2 => Some(Kind::Tombstone),
            3 => Some(Kind::Lost),
            4 => Some(Kind::Rebuilt),
            5 => Some(Kind::Removed),
            _ => None,
        }
    }
}

/// A record as it stands in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RecordRef<'a> {
    pub(crate) kind: Kind,
    /// Whether compaction made this copy.
    pub(crate) moved: bool,
    pub(crate) keyspace: KeyspaceId,
    pub(crate) slot: Slot,
    pub(crate) version: Version,
    pub(crate) tag: u32,
    pub(crate) expire_ms: u64,
    pub(crate) key: &'a [u8],
    pub(crate) value: &'a [u8],
}

impl<'a> RecordRef<'a> {
    /// The record in the log of one that was put.
    pub(crate) fn of(record: &'a Record) -> RecordRef<'a> {
        let value = record.value.as_deref();
        RecordRef {
            kind: if value.is_some() { Kind::Value } else { Kind::Tombstone },
            moved: false,
            keyspace: record.keyspace,
            slot: record.slot,
            version: record.version,
            tag: record.tag,
            expire_ms: record.expire_ms,
            key: &record.key,
            value: value.unwrap_or_default(),
        }
    }

    /// The record in the log of a change.
    pub(crate) fn of_change(change: &'a Change) -> RecordRef<'a> {
        match change {
            Change::Put(record) => RecordRef::of(record),
            Change::Remove { keyspace, slot, from, to } => RecordRef {
                kind: Kind::Removed,
                moved: false,
                keyspace: *keyspace,
                slot: *slot,
                version: Version::default(),
                tag: 0,
                expire_ms: 0,
                key: from,
                value: to,
            },
        }
    }

    /// The record that voids a damage verdict, written in the start of this number: a verdict of
    /// a later start stands.
    pub(crate) fn rebuilt(start: u32) -> RecordRef<'static> {
        RecordRef {
            kind: Kind::Rebuilt,
            moved: false,
            keyspace: KeyspaceId::LOCAL,
            slot: Slot::default(),
            version: Version::default(),
            tag: start,
            expire_ms: 0,
            key: &[],
            value: &[],
        }
    }

    pub(crate) fn header(&self) -> Header {
        Header {
            version: self.version,
            tombstone: self.kind == Kind::Tombstone,
            tag: self.tag,
            expire_ms: self.expire_ms,
            value_len: u32::try_from(self.value.len()).unwrap_or(u32::MAX),
        }
    }

    /// Encoded length in bytes.
    pub(crate) const fn len(&self) -> usize {
        HEADER + self.key.len() + self.value.len()
    }

    /// Appends the record; `seed` is the segment's.
    pub(crate) fn encode(&self, seed: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.reserve(self.len());
        out.put_u32(0);
        out.put_u8(self.kind.code());
        out.put_u8(if self.moved { MOVED } else { 0 });
        out.put_u16(self.slot.get());
        out.put_u32(self.keyspace.0);
        out.put_u64(self.version.hlc.0);
        out.put_u32(self.version.writer.0);
        out.put_u32(self.tag);
        out.put_u64(self.expire_ms);
        out.put_u16(u16::try_from(self.key.len()).unwrap_or(u16::MAX));
        out.put_u16(0);
        out.put_u32(u32::try_from(self.value.len()).unwrap_or(u32::MAX));
        out.extend_from_slice(self.key);
        out.extend_from_slice(self.value);
        let sum = crc32c::crc32c_append(seed, out.get(start + 4..).unwrap_or_default());
        set_u32(out, start, sum);
    }

    /// Reads the record at the front of `bytes`; nothing if it is not whole and verified.
    pub(crate) fn decode(bytes: &'a [u8], seed: u32) -> Option<RecordRef<'a>> {
        let (record, sum) = RecordRef::parse(bytes)?;
        let body = bytes.get(4..record.len())?;
        (crc32c::crc32c_append(seed, body) == sum).then_some(record)
    }

    /// Reads the record at the front of `bytes` without looking at its checksum.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<(RecordRef<'a>, u32)> {
        let mut take = Take(bytes);
        let sum = take.u32()?;
        let kind = Kind::from_code(take.u8()?)?;
        let flags = take.u8()?;
        let slot = Slot::new(take.u16()?)?;
        let keyspace = KeyspaceId(take.u32()?);
        let version = Version { hlc: Hlc(take.u64()?), writer: Writer(take.u32()?) };
        let tag = take.u32()?;
        let expire_ms = take.u64()?;
        let key_len = usize::from(take.u16()?);
        let reserved = take.u16()?;
        let value_len = usize::try_from(take.u32()?).ok()?;
        if flags & !MOVED != 0 || reserved != 0 {
            return None;
        }
        let key = take.bytes(key_len)?;
        let value = take.bytes(value_len)?;
        let moved = flags & MOVED != 0;
        let record = RecordRef { kind, moved, keyspace, slot, version, tag, expire_ms, key, value };
        Some((record, sum))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_and_any_other_seed_is_noticed() {
        let record = RecordRef {
            kind: Kind::Value,
            moved: true,
            keyspace: KeyspaceId(7),
            slot: Slot::of(b"key"),
            version: Version { hlc: Hlc(9), writer: Writer(3) },
            tag: 5,
            expire_ms: 11,
            key: b"key",
            value: b"value",
        };
        let mut bytes = Vec::new();
        record.encode(42, &mut bytes);
        assert_eq!(bytes.len(), record.len());
        assert_eq!(RecordRef::decode(&bytes, 42), Some(record));
        assert_eq!(RecordRef::decode(&bytes, 43), None);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordRef::decode(&bytes, 42), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
