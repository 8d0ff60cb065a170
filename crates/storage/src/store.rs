//! The store: one log, one index, and what the driver of a node does with them.

mod checkpoint;
mod commit;
mod compaction;
mod maintain;
mod open;
mod read;
mod scrub;
mod space;
mod sync;
mod turn;
mod work;

use std::collections::BTreeMap;
use std::sync::Arc;

use kvorum_core::{Hlc, Lsn, Mono};

use crate::damage::Damage;
use crate::disk::{DirectoryLock, Disk};
use crate::index::Index;
use crate::log::segment::Segment;
use crate::options::Options;
use maintain::Maintenance;
use space::Space;
use turn::Tail;

pub use sync::{SyncDone, SyncJob};
pub use work::{Work, WorkDone};

/// Randomness from the caller, new at every start: the store draws none itself.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Bytes that no one can guess and that never were used before.
    pub bytes: [u8; 32],
}

/// What was found when a store was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Recovery {
    /// Identifies this life of the log: new whenever the store was blank or lost something.
    pub log_id: u128,
    /// Counts the starts of this store, from one; durable before anybody sees it.
    pub start: u32,
    /// Everything up to here is durable now.
    pub recovered: Lsn,
    /// The store did not exist before.
    pub blank: bool,
    /// Durable records are missing, since this start or an earlier one.
    pub damage: Option<Damage>,
    /// The largest clock reading of any version in the store.
    pub highest: Hlc,
}

/// The store of one node over one [`Disk`].
pub struct Store {
    disk: Arc<dyn Disk>,
    /// The directory is ours as long as the store or one of its jobs lives.
    lock: Arc<DirectoryLock>,
    options: Options,
    seed: Seed,
    store_id: u128,
    log_id: u128,
    start: u32,
    verdict: Option<Damage>,
    highest: Hlc,
    index: Index,
    segments: BTreeMap<u32, Segment>,
    tail: Tail,
    space: Space,
    maintenance: Maintenance,
    syncs: u64,
}

/// What a store is doing, for operators and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all files: segments, spares, checkpoints.
    pub disk_bytes: u64,
    /// The configured limit of those; zero for none.
    pub disk_limit_bytes: u64,
    /// Bytes that can still be allocated on the disk.
    pub free_bytes: u64,
    /// No segment can be allocated: values are or will soon be refused.
    pub disk_full: bool,
    /// Segments that hold a part of the log.
    pub segments: u64,
    /// Segments ready to be used.
    pub spares: u64,
    /// Bytes of records that the index points to.
    pub live_bytes: u64,
    /// Bytes of frames that it does not point to: dead records, headers, padding.
    pub dead_bytes: u64,
    /// Keys, tombstones included.
    pub keys: u64,
    /// Memory of the index, estimated.
    pub index_bytes: u64,
    /// The configured limit of it.
    pub index_limit_bytes: u64,
    /// The LSN that the newest checkpoint reaches everywhere; zero without one.
    pub checkpoint: Lsn,
    /// Bytes of log that a start would replay.
    pub replay_bytes: u64,
    /// Frames synced since the start.
    pub syncs: u64,
    /// Background work that failed since the start.
    pub failures: u64,
    /// Records found corrupt since the start.
    pub corrupt: u64,
    /// Slots whose sums scrub has found wrong, and put right, since the start.
    pub wrong_sums: u64,
    /// How fast scrub may read, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
    /// When scrub had last read and hashed everything; nothing while its first round goes on.
    pub scrubbed: Option<Mono>,
}

impl Store {
    /// The verdict that stands, if any; see [`Store::rebuilt`].
    #[must_use]
    pub const fn damage(&self) -> Option<Damage> {
        self.verdict
    }

    /// What the store is doing now. Asks the disk for its free space.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let live_bytes = self.segments.values().map(|segment| segment.live_bytes).sum();
        let used: u64 = self.segments.values().map(Segment::used).sum();
        Stats {
            disk_bytes: self.used_bytes(),
            disk_limit_bytes: self.options.max_disk_bytes,
            free_bytes: self.disk.free_bytes().unwrap_or(0),
            disk_full: self.space.full,
            segments: self.segments.len() as u64,
            spares: self.space.spares.len() as u64,
            live_bytes,
            dead_bytes: used.saturating_sub(live_bytes),
            keys: self.index.keys(),
            index_bytes: self.index.bytes(),
            index_limit_bytes: self.options.index_limit_bytes,
            checkpoint: self.maintenance.checkpoints.covered(),
            replay_bytes: self.replay_bytes(),
            syncs: self.syncs,
            failures: self.maintenance.failures,
            corrupt: self.maintenance.corrupt,
            wrong_sums: self.maintenance.wrong_sums,
            scrub_bytes_per_second: self.options.scrub_bytes_per_second,
            scrubbed: self.maintenance.scrub.done_at(),
        }
    }
}

#[cfg(test)]
mod tests;
