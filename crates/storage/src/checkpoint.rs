//! Checkpoints: what they say, and their bytes.
//!
//! A checkpoint is a list of blocks, each an exact copy of the index for a range of slots at an
//! LSN of its own, and a footer that tells how many there must be.

mod format;

use std::collections::BTreeMap;
use std::io;

use kvorum_core::{Hlc, KeyspaceId, Lsn, Slot};

use crate::disk::DiskFile;
use crate::index::Index;
pub(crate) use format::{BLOCK_TARGET, BlockWriter, Footer, file_header};
use format::{FileHeader, Reader};

/// A slot of a keyspace: the smallest part that a block can hold.
pub(crate) type Unit = (KeyspaceId, Slot);

/// Where recovery begins: the newest checkpoint, or nothing.
#[derive(Debug, Default)]
pub(crate) struct Base {
    pub(crate) index: Index,
    /// The first unit of each block, and the LSN up to which it is in the index. Sorted.
    pub(crate) ranges: Vec<(Unit, Lsn)>,
    pub(crate) highest: Hlc,
    pub(crate) store_id: Option<u128>,
    /// The start number of the process that wrote it.
    pub(crate) start: u32,
    /// The segments there were, with their ends.
    pub(crate) segments: BTreeMap<u32, SegmentEnd>,
    /// Length of the file.
    pub(crate) bytes: u64,
}

/// Where a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentEnd {
    pub(crate) end: u32,
    pub(crate) last: Lsn,
}

impl Base {
    /// Reads a checkpoint; nothing if any part of it does not verify.
    ///
    /// # Errors
    /// Those of the operating system.
    pub(crate) fn load(file: &dyn DiskFile, number: u64) -> io::Result<Option<Base>> {
        let mut base = Base { bytes: file.size()?, ..Base::default() };
        let whole = read(file, number, |unit, lsn, entries| {
            base.ranges.push((unit, lsn));
            entries.add_to(&mut base.index)
        })?;
        Ok(whole.map(|(header, footer)| Base {
            highest: footer.highest,
            store_id: Some(header.store_id),
            start: header.start,
            segments: footer.segments,
            ..base
        }))
    }

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

/// Whether every part of a checkpoint verifies.
///
/// # Errors
/// Those of the operating system.
pub(crate) fn verify(file: &dyn DiskFile, number: u64) -> io::Result<bool> {
    Ok(read(file, number, |_, _, _| Some(()))?.is_some())
}

/// Reads all blocks and the footer, and checks that they belong together.
fn read(
    file: &dyn DiskFile,
    number: u64,
    mut block: impl FnMut(Unit, Lsn, format::Entries<'_>) -> Option<()>,
) -> io::Result<Option<(FileHeader, Footer)>> {
    let Some(mut reader) = Reader::open(file, number)? else { return Ok(None) };
    let mut blocks = 0;
    let mut previous = None;
    loop {
        match reader.next()? {
            Some(format::Part::Block(unit, lsn, entries)) => {
                blocks += 1;
                // The first block begins where everything begins, and each one behind the last.
                let in_order = match previous.replace(unit) {
                    None => unit == (KeyspaceId(0), Slot::default()),
                    Some(previous) => previous < unit,
                };
                if !in_order || block(unit, lsn, entries).is_none() {
                    return Ok(None);
                }
            }
            Some(format::Part::Footer(footer)) => {
                let whole = footer.blocks == blocks && blocks > 0 && reader.at_end();
                return Ok(whole.then_some((reader.header, footer)));
            }
            None => return Ok(None),
        }
    }
}
