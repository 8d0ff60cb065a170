//! What a node remembers for itself, as records of [`KeyspaceId::LOCAL`] in its own log.
//!
//! | key | value |
//! |---|---|
//! | `membership` | the cluster this node belongs to (`kvorum_cluster::founding`) |
//! | `watermarks` | how far the other nodes' logs were durable (the same) |
//! | `address/{id}` | what another node said last of its name and addresses (`founding::addresses`) |

use bytes::Bytes;
use kvorum_core::{Hlc, KeyspaceId, Lsn, ReadError, Record, Refused, Slot, Store, Version, Writer};

/// Reads a local record.
///
/// # Errors
/// The record is damaged.
pub(crate) fn get(store: &mut dyn Store, key: &[u8]) -> Result<Option<Bytes>, ReadError> {
    let found = store.value(KeyspaceId::LOCAL, Slot::default(), key)?;
    Ok(found.filter(|(stored, _)| !stored.header.tombstone).map(|(_, value)| value))
}

/// Writes a local record; durable with the LSN returned.
///
/// # Errors
/// The frame of this turn is full.
pub(crate) fn put(store: &mut dyn Store, key: &[u8], value: Bytes) -> Result<Lsn, Refused> {
    let slot = Slot::default();
    let stored = store.header(KeyspaceId::LOCAL, slot, key);
    // Local records have no clock: their versions only count.
    let hlc = stored.map_or(Hlc(1), |stored| stored.header.version.hlc.next());
    store.put(Record {
        keyspace: KeyspaceId::LOCAL,
        slot,
        key: Bytes::copy_from_slice(key),
        version: Version { hlc, writer: Writer::default() },
        tag: 0,
        expire_ms: 0,
        value: Some(value),
    })
}
