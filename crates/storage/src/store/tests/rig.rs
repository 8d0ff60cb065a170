//! A store with its disk, and short words to drive it.

use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::{
    Hlc, KeyspaceId, Lsn, Record, Refused, Slot, Store as _, Stored, Version, Writer,
};

use crate::{Options, Recovery, Seed, SimDisk, Store};

pub(super) const KEYSPACE: KeyspaceId = KeyspaceId::DEFAULT;

pub(super) fn seed(n: u64) -> Seed {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&n.to_le_bytes());
    Seed { bytes }
}

/// How many eventful lives are tried unless the environment asks for more, as in
/// `STORAGE_SEEDS=5000 cargo test -p kvorum-storage`.
pub(super) const LIVES: u64 = 60;

/// The seeds to try: the first `few`, and more in proportion if more lives are asked for.
pub(super) fn seeds(few: u64) -> std::ops::Range<u64> {
    let asked = std::env::var("STORAGE_SEEDS").ok().and_then(|text| text.parse().ok());
    0..(few * asked.unwrap_or(LIVES)).div_ceil(LIVES)
}

pub(super) fn small() -> Options {
    Options {
        segment_bytes: 64 << 10,
        max_value: 8 << 10,
        checkpoint_min_bytes: 64 << 10,
        compaction_turn_bytes: 4 << 10,
        ..Options::default()
    }
}

pub(super) fn open(disk: &SimDisk, options: &Options, n: u64) -> (Store, Recovery) {
    Store::open(Arc::new(disk.clone()), options.clone(), seed(n)).unwrap()
}

pub(super) fn record(key: &[u8], version: u64, value: Option<&[u8]>) -> Record {
    Record {
        keyspace: KEYSPACE,
        slot: Slot::of(key),
        key: Bytes::copy_from_slice(key),
        version: Version { hlc: Hlc(version), writer: Writer(1) },
        tag: 0,
        expire_ms: 0,
        value: value.map(Bytes::copy_from_slice),
    }
}

pub(super) fn put(
    store: &mut Store,
    key: &[u8],
    version: u64,
    value: Option<&[u8]>,
) -> Result<Lsn, Refused> {
    store.put(record(key, version, value))
}

/// Seals, writes and completes the open frame.
pub(super) fn sync(store: &mut Store) -> Lsn {
    match store.seal() {
        Some(job) => store.complete(job.run()).unwrap(),
        None => store.durable(),
    }
}

pub(super) fn get(store: &mut Store, key: &[u8]) -> Option<(Stored, Bytes)> {
    store.value(KEYSPACE, Slot::of(key), key).unwrap()
}

pub(super) fn header(store: &Store, key: &[u8]) -> Option<Stored> {
    store.header(KEYSPACE, Slot::of(key), key)
}
