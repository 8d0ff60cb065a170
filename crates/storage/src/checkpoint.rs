//! What a checkpoint says: the state of the store up to an LSN of its own for each range of slots.

use std::collections::BTreeMap;

use kvorum_core::{Hlc, KeyspaceId, Lsn, Slot};

use crate::index::Index;

/// Where recovery begins: the newest checkpoint, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) index: Index,
    /// The first unit of each range, and the LSN up to which the range is in the index. Sorted.
    pub(crate) ranges: Vec<((KeyspaceId, Slot), Lsn)>,
    pub(crate) highest: Hlc,
    pub(crate) store_id: Option<u128>,
    /// The start number of the process that wrote it.
    pub(crate) start: u32,
    /// The segments there were, with their ends.
    pub(crate) segments: BTreeMap<u32, SegmentEnd>,
}

/// Where a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    pub(crate) end: u32,
    pub(crate) last: Lsn,
}

impl Base {
    /// The LSN up to which the keys of a slot are in the index.
    pub(crate) fn covers(&self, keyspace: KeyspaceId, slot: Slot) -> Lsn {
        let behind = self.ranges.partition_point(|(first, _)| *first <= (keyspace, slot));
        behind.checked_sub(1).and_then(|at| self.ranges.get(at)).map_or(Lsn(0), |(_, lsn)| *lsn)
    }

    /// The LSN up to which everything is in the index: nothing before it is replayed.
    pub(crate) fn min(&self) -> Lsn {
        self.ranges.iter().map(|(_, lsn)| *lsn).min().unwrap_or_default()
    }

    /// The newest LSN that is in the index.
    pub(crate) fn max(&self) -> Lsn {
        self.ranges.iter().map(|(_, lsn)| *lsn).max().unwrap_or_default()
    }
}
