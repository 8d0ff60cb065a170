//! Background work that needs no part of the store while it runs.

use std::io;
use std::sync::Arc;

use crate::checkpoint;
use crate::disk::{DirectoryLock, Disk, DiskFile};
use crate::inventory::{UNFINISHED, checkpoint_name};
use crate::log::BLOCK;
use crate::log::frame::{self, Frame};

/// How much of a segment is read at once, unless a frame is longer.
const CHUNK: usize = 256 << 10;

/// A piece of background work. It may run on any thread; a driver that waits for its disk should
/// run it on another one.
#[must_use = "the store waits for this work before it hands out more"]
pub struct Work {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) task: Task,
    /// Nobody else opens the directory while this work may still write to it.
    pub(super) lock: Arc<DirectoryLock>,
}

/// What came of a [`Work`]; to be handed to [`Store::work_done`](super::Store::work_done).
#[must_use = "the store must learn what came of the work"]
pub struct WorkDone(pub(super) Outcome);

/// What is to be done.
pub(super) enum Task {
    /// Create and sync a zero-filled spare segment.
    Spare { name: String, bytes: u64 },
    /// Rename a segment that is free to a spare, or delete it.
    Free { name: String, spare: Option<String> },
    /// Write a part of a checkpoint, the first one into a new file.
    CheckpointPart { bytes: Vec<u8>, offset: u64, remove_first: Option<u64> },
    /// Write the last part of a checkpoint, make it valid, and delete the one before.
    CheckpointEnd(CheckpointEnd),
    /// Verify a checkpoint.
    CheckpointRead { number: u64 },
    /// Read frames.
    Read(Purpose, Extent),
}

/// The last part of a checkpoint.
pub(super) struct CheckpointEnd {
    pub(super) bytes: Vec<u8>,
    pub(super) offset: u64,
    pub(super) number: u64,
    /// The checkpoint before.
    pub(super) old: Option<u64>,
    /// Leaves out that it is read back from the device.
    pub(super) keep_cache: bool,
}

/// What was done.
pub(super) enum Outcome {
    Spare(io::Result<String>),
    Free(io::Result<Option<String>>),
    CheckpointPart(io::Result<()>),
    CheckpointEnd(io::Result<()>),
    /// Whether it verified.
    CheckpointRead(io::Result<bool>),
    Read(Purpose, u32, io::Result<Chunk>),
}

/// Who reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Compaction,
    Scrub,
}

/// A part of a segment that is to be read, from a frame on.
pub(super) struct Extent {
    pub(super) file: Arc<dyn DiskFile>,
    pub(super) segment: u32,
    pub(super) seed: u32,
    pub(super) offset: u32,
    /// The end of the segment's frames.
    pub(super) end: u32,
}

/// Frames that were read.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Offset of the bytes in the segment.
    pub(super) offset: u32,
    pub(super) bytes: Vec<u8>,
    /// Where in the bytes verified records begin.
    pub(super) records: Vec<u32>,
    /// Parts of the segment without a valid frame.
    pub(super) holes: Vec<(u32, u32)>,
    /// Where to go on.
    pub(super) next: u32,
}

impl Work {
    /// Does the work.
    pub fn run(self) -> WorkDone {
        let disk = &*self.disk;
        let outcome = match self.task {
            Task::Spare { name, bytes } => Outcome::Spare(create_spare(disk, name, bytes)),
            Task::Free { name, spare } => Outcome::Free(free(disk, &name, spare)),
            Task::CheckpointPart { bytes, offset, remove_first } => {
                Outcome::CheckpointPart(write_part(disk, &bytes, offset, remove_first))
            }
            Task::CheckpointEnd(end) => Outcome::CheckpointEnd(end.write(disk)),
            Task::CheckpointRead { number } => Outcome::CheckpointRead(
                disk.open(&checkpoint_name(number))
                    .and_then(|file| checkpoint::verify(&*file, number)),
            ),
            Task::Read(purpose, extent) => Outcome::Read(purpose, extent.segment, extent.read()),
        };
        drop(self.lock);
        WorkDone(outcome)
    }
}

/// A file that nobody counts would take space until the next start, so a failed one is removed.
fn create_spare(disk: &dyn Disk, name: String, bytes: u64) -> io::Result<String> {
    let file = disk.create(&name, bytes)?;
    if let Err(error) = file.sync().and_then(|()| disk.sync_dir()) {
        // If not even that works the next start finds it.
        let _ = disk.remove(&name);
        return Err(error);
    }
    Ok(name)
}

/// The new name is durable before the file is used under yet another one.
fn free(disk: &dyn Disk, name: &str, spare: Option<String>) -> io::Result<Option<String>> {
    match &spare {
        Some(spare) => disk.rename(name, spare)?,
        None => disk.remove(name)?,
    }
    disk.sync_dir()?;
    Ok(spare)
}

fn write_part(
    disk: &dyn Disk,
    bytes: &[u8],
    offset: u64,
    remove_first: Option<u64>,
) -> io::Result<()> {
    if let Some(number) = remove_first {
        disk.remove(&checkpoint_name(number))?;
        disk.sync_dir()?;
    }
    let file = if offset == 0 { disk.create(UNFINISHED, 0)? } else { disk.open(UNFINISHED)? };
    let written = file.write_at(bytes, offset);
    if written.is_err() {
        // The next attempt begins anew, and until then the log may need the space.
        let _ = disk.remove(UNFINISHED);
    }
    written
}

impl CheckpointEnd {
    fn write(self, disk: &dyn Disk) -> io::Result<()> {
        let number = self.number;
        let valid = self.make_valid(disk);
        if valid.is_err() {
            // Under either name it takes space that the next attempt, or the log, may need.
            let _ = disk.remove(UNFINISHED).or_else(|_| disk.remove(&checkpoint_name(number)));
        }
        valid
    }

    /// A checkpoint is valid when it has its name; it gets it when it was read back from the
    /// device.
    fn make_valid(self, disk: &dyn Disk) -> io::Result<()> {
        let file = disk.open(UNFINISHED)?;
        file.write_at(&self.bytes, self.offset)?;
        file.sync()?;
        if !self.keep_cache {
            file.drop_cache();
        }
        if !checkpoint::verify(&*file, self.number)? {
            return Err(io::ErrorKind::InvalidData.into());
        }
        disk.rename(UNFINISHED, &checkpoint_name(self.number))?;
        disk.sync_dir()?;
        // The new one is valid whatever becomes of the old one, which the next start deletes
        // anyway.
        if let Some(old) = self.old {
            let _ = disk.remove(&checkpoint_name(old)).and_then(|()| disk.sync_dir());
        }
        Ok(())
    }
}

impl Extent {
    fn read(&self) -> io::Result<Chunk> {
        let left = (self.end - self.offset) as usize;
        let mut bytes = vec![0; left.min(CHUNK)];
        self.file.read_at(&mut bytes, u64::from(self.offset))?;
        // Only the first frame may be longer than what was read; a later one is left for the next
        // chunk.
        let first = frame::length(&bytes, self.offset as usize, self.seed).unwrap_or(0);
        if first > bytes.len() && first <= left {
            bytes.resize(first, 0);
            self.file.read_at(&mut bytes, u64::from(self.offset))?;
        }
        Ok(self.split(bytes))
    }

    fn split(&self, bytes: Vec<u8>) -> Chunk {
        let start = self.offset as usize;
        let (mut at, mut records, mut holes) = (0, Vec::new(), Vec::new());
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            let offset = start + at;
            if let Some(frame) = Frame::at(rest, offset, self.seed) {
                let within = |(_, record_at, _): (_, usize, _)| offset_u32(record_at - start);
                records.extend(frame.records().map(within));
                at = frame.end() - start;
                continue;
            }
            let cut = frame::length(rest, offset, self.seed)
                .is_some_and(|len| len > rest.len() && offset + len <= self.end as usize);
            if cut {
                break;
            }
            holes.push((offset_u32(offset), offset_u32(offset + BLOCK)));
            at += BLOCK;
        }
        let next = offset_u32(start + at).min(self.end);
        Chunk { offset: self.offset, bytes, records, holes, next }
    }
}

fn offset_u32(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
