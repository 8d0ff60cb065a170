//! What a replica remembers of its floor, as a record of its own.
//!
//! The key is `floor/{placement}/{number}` of the partition; the value is little endian:
//!
//! | offset | length | what |
//! |---|---|---|
//! | 0 | 1 | format version, 1 |
//! | 1 | 1 | flags: bit 0, what the replica holds is incomplete |
//! | 2 | 8 | floor |
//! | 10 | 8 | promise |
//! | 18 | 12 | life: the version under which the record was begun |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    Hlc, KeyspaceId, Lsn, PartitionId, ReadError, Record, Refused, Slot, Store, Version, Writer,
};

use crate::wire::primitive::{get_hlc, get_version, put_hlc, put_version};

const FORMAT: u8 = 1;
const INCOMPLETE: u8 = 1;

/// What a replica has promised and knows to be settled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    /// Everything up to here is settled.
    pub(super) floor: Hlc,
    /// No new writes of clients are taken up to here. Not below the floor.
    pub(super) promise: Hlc,
    /// Tells what is stored here from what was stored here before something of it was lost.
    pub(super) life: Version,
    /// Something was lost that is not made good yet.
    pub(super) incomplete: bool,
}

/// A record that tells nothing: it is damaged, or of a format this node does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

impl Marks {
    /// What is stored; nothing before the first start.
    ///
    /// # Errors
    /// The record is there, and tells nothing.
    pub(super) fn read(
        store: &mut dyn Store,
        partition: PartitionId,
    ) -> Result<Option<Marks>, Unreadable> {
        match store.value(KeyspaceId::LOCAL, Slot::default(), &key(partition)) {
            Ok(None) => Ok(None),
            Ok(Some((_, value))) => Marks::decode(value).map(Some).ok_or(Unreadable),
            Err(ReadError::Corrupt(_)) => Err(Unreadable),
        }
    }

    /// Writes the record; durable with the LSN.
    ///
    /// # Errors
    /// The frame of this turn is full.
    pub(super) fn write(
        &self,
        store: &mut dyn Store,
        partition: PartitionId,
    ) -> Result<Lsn, Refused> {
        let (keyspace, slot, key) = (KeyspaceId::LOCAL, Slot::default(), key(partition));
        let stored = store.header(keyspace, slot, &key);
        // Versions of local records only count.
        let hlc = stored.map_or(Hlc(1), |stored| stored.header.version.hlc.next());
        let version = Version { hlc, writer: Writer::default() };
        let value = Some(self.encode());
        store.put(Record { keyspace, slot, key, version, tag: 0, expire_ms: 0, value })
    }

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_u8(if self.incomplete { INCOMPLETE } else { 0 });
        put_hlc(&mut out, self.floor);
        put_hlc(&mut out, self.promise);
        put_version(&mut out, self.life);
        out.freeze()
    }

    fn decode(mut input: Bytes) -> Option<Marks> {
        let (format, flags) = (input.try_get_u8().ok()?, input.try_get_u8().ok()?);
        if format != FORMAT || flags & !INCOMPLETE != 0 {
            return None;
        }
        let incomplete = flags & INCOMPLETE != 0;
        let (floor, promise) = (get_hlc(&mut input).ok()?, get_hlc(&mut input).ok()?);
        let life = get_version(&mut input).ok()?;
        let sound = input.is_empty() && floor <= promise;
        sound.then_some(Marks { floor, promise, life, incomplete })
    }
}

fn key(partition: PartitionId) -> Bytes {
    let PartitionId { placement, number } = partition;
    format!("floor/{placement}/{number}").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let life = Version { hlc: Hlc(7), writer: Writer(9) };
        let marks = Marks { floor: Hlc(3), promise: Hlc(5), life, incomplete: true };
        let bytes = marks.encode();
        assert_eq!(bytes.len(), 30);
        assert_eq!(Marks::decode(bytes.clone()), Some(marks));
        for len in 0..bytes.len() {
            assert_eq!(Marks::decode(bytes.slice(..len)), None);
        }
        let upside_down = Marks { floor: Hlc(6), ..marks };
        assert_eq!(Marks::decode(upside_down.encode()), None);
        let mut other = bytes.to_vec();
        other[0] = 2;
        assert_eq!(Marks::decode(other.into()), None, "another format");
    }
}
