//! What files a data directory holds, and whether they are one store.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::log::FORMAT;
use crate::log::segment::{self, NotAHeader, SegmentHeader};

const CHECKPOINT: &str = "checkpoint-";
/// The file that a checkpoint is written to before it is complete.
pub(crate) const UNFINISHED: &str = "checkpoint.tmp";

/// The file name of a checkpoint.
pub(crate) fn checkpoint_name(number: u64) -> String {
    format!("{CHECKPOINT}{number:010}")
}

fn checkpoint_number(file: &str) -> Option<u64> {
    let number = file.strip_prefix(CHECKPOINT)?.parse().ok()?;
    (checkpoint_name(number) == file).then_some(number)
}

/// A segment file with a valid header.
pub(crate) struct Found {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: SegmentHeader,
}

/// The files of a data directory.
#[derive(Default)]
pub(crate) struct Inventory {
    pub(crate) segments: BTreeMap<u32, Found>,
    /// Segments without a valid header: damage, never free.
    pub(crate) broken: Vec<u32>,
    /// Spare segments of the configured length.
    pub(crate) spares: Vec<String>,
    /// The number of the next spare file.
    pub(crate) next_spare: u64,
    /// The numbers of the checkpoints, sorted.
    pub(crate) checkpoints: Vec<u64>,
    /// Files of ours that are of no use.
    pub(crate) scraps: Vec<String>,
    pub(crate) store_id: Option<u128>,
}

impl Inventory {
    /// Looks at every file.
    ///
    /// # Errors
    /// [`OpenError::Foreign`] if this is not one store, [`OpenError::Format`] if it is of another
    /// format, [`OpenError::Io`].
    pub(crate) fn read(disk: &dyn Disk, segment_bytes: u32) -> Result<Inventory, OpenError> {
        let mut inventory = Inventory::default();
        let mut stranger = None;
        for name in disk.list().map_err(OpenError::io("list the data directory"))? {
            if let Some(number) = segment::number(&name) {
                inventory.add_segment(disk, number, &name)?;
            } else if let Some(number) = segment::spare_number(&name) {
                inventory.next_spare = inventory.next_spare.max(number + 1);
                let size = disk.open(&name).and_then(|file| file.size());
                let size = size.map_err(OpenError::io(format!("open {name}")))?;
                let fits = size == u64::from(segment_bytes);
                if fits { &mut inventory.spares } else { &mut inventory.scraps }.push(name);
            } else if let Some(number) = checkpoint_number(&name) {
                inventory.checkpoints.push(number);
            } else if name == UNFINISHED {
                inventory.scraps.push(name);
            } else if !name.starts_with('.') && name != "lost+found" {
                stranger = Some(name);
            }
        }
        inventory.check(stranger)?;
        Ok(inventory)
    }

    fn add_segment(&mut self, disk: &dyn Disk, number: u32, name: &str) -> Result<(), OpenError> {
        let file = disk.open(name).map_err(OpenError::io(format!("open {name}")))?;
        let header = SegmentHeader::read(&*file).map_err(OpenError::io(format!("read {name}")))?;
        match header {
            Err(NotAHeader::Format(found)) => {
                return Err(OpenError::Format { found, supported: FORMAT });
            }
            Ok(header) if header.number == number => {
                if *self.store_id.get_or_insert(header.store_id) != header.store_id {
                    let text = format!("{name} belongs to another store than the segments before");
                    return Err(OpenError::Foreign(text));
                }
                self.segments.insert(number, Found { file, header });
            }
            _ => self.broken.push(number),
        }
        Ok(())
    }

    fn check(&self, stranger: Option<String>) -> Result<(), OpenError> {
        let no_log = self.segments.is_empty() && self.checkpoints.is_empty();
        if let Some(number) = self.broken.first().filter(|_| no_log) {
            let name = segment::name(*number);
            return Err(OpenError::Foreign(format!("no segment can be read, {name} for one")));
        }
        match stranger.filter(|_| no_log && self.next_spare == 0) {
            Some(name) => Err(OpenError::Foreign(format!("it contains {name}"))),
            None => Ok(()),
        }
    }

    /// The highest number any segment has.
    pub(crate) fn highest(&self) -> u32 {
        let readable = self.segments.keys().next_back().copied().unwrap_or(0);
        readable.max(self.broken.iter().copied().max().unwrap_or(0))
    }

    /// Nothing was ever stored here.
    pub(crate) fn is_blank(&self) -> bool {
        self.segments.is_empty() && self.broken.is_empty() && self.checkpoints.is_empty()
    }
}
