//! Sealing a turn's frame, writing it, and learning that it is durable.

use std::io;
use std::sync::Arc;

use kvorum_core::Lsn;

use super::turn::InFlight;
use super::{Seed, Store};
use crate::disk::{DirectoryLock, Disk, DiskFile};
use crate::error::Fatal;
use crate::index::Address;
use crate::log::frame;
use crate::log::segment::{self, SegmentHeader};
use crate::options::{Options, lacks};

/// A frame's buffer up to this length is used again.
const KEPT_BUFFER: usize = 1 << 20;

/// One frame to be written and synced. It may run on any thread; nothing of the store waits for it
/// but durability.
#[must_use = "the records of the frame become durable only when the job runs"]
pub struct SyncJob {
    target: Target,
    buffer: Arc<Vec<u8>>,
    offset: u32,
    skip_sync: bool,
    /// Nobody else opens the directory while this job may still write to it.
    lock: Arc<DirectoryLock>,
}

/// Where the frame goes.
enum Target {
    /// Behind the last frame of a segment.
    Segment(Arc<dyn DiskFile>),
    /// Into a segment that is to be born first.
    Birth(Birth),
}

/// How a file becomes a segment.
pub(super) struct Birth {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) header: SegmentHeader,
    /// The name of a new file to create, if one should be.
    pub(super) create: Option<String>,
    /// The spare to use if none was to be created or there was no space for it.
    pub(super) spare: Option<String>,
    pub(super) skip_directory_sync: bool,
}

/// What came of a birth.
pub(super) struct Born {
    pub(super) file: Arc<dyn DiskFile>,
    /// The spare, if it was not needed.
    pub(super) unused: Option<String>,
    /// There was no space for a new file.
    pub(super) no_space: bool,
}

/// What came of a [`SyncJob`]; to be handed to [`Store::complete`].
#[must_use = "the store must learn what came of the job"]
pub struct SyncDone(Result<Option<Born>, Fatal>);

impl SyncJob {
    /// Writes and syncs the frame.
    pub fn run(self) -> SyncDone {
        SyncDone(self.attempt())
    }

    fn attempt(self) -> Result<Option<Born>, Fatal> {
        let failed = |doing| move |source| Fatal { doing, source };
        let (file, born) = match self.target {
            Target::Segment(file) => (file, None),
            Target::Birth(birth) => {
                let born = birth.run().map_err(failed("begin a segment of"))?;
                (Arc::clone(&born.file), Some(born))
            }
        };
        file.write_at(&self.buffer, u64::from(self.offset)).map_err(failed("write"))?;
        if !self.skip_sync {
            file.sync().map_err(failed("sync"))?;
        }
        drop(self.lock);
        Ok(born)
    }
}

impl Birth {
    /// The order matters: when the name is durable, so is the header; when the first frame is
    /// written, so is the name.
    pub(super) fn run(self) -> io::Result<Born> {
        let mut created = None;
        let mut no_space = false;
        if let Some(name) = self.create {
            match self.disk.create(&name, u64::from(self.header.bytes)) {
                Ok(file) => created = Some((name, file)),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => no_space = true,
                Err(error) => return Err(error),
            }
        }
        let mut unused = self.spare;
        let (name, file) = match created {
            Some(created) => created,
            None => {
                let name = unused.take().ok_or(io::ErrorKind::StorageFull)?;
                let file = self.disk.open(&name)?;
                (name, file)
            }
        };
        self.header.write(&*file)?;
        file.sync()?;
        self.disk.rename(&name, &segment::name(self.header.number))?;
        if !self.skip_directory_sync {
            self.disk.sync_dir()?;
        }
        Ok(Born { file, unused, no_space })
    }
}

impl Store {
    /// Closes the open frame. Nothing if there is nothing to write or a job is in flight already;
    /// call again after [`Store::complete`].
    pub fn seal(&mut self) -> Option<SyncJob> {
        if self.tail.in_flight.is_some() || self.tail.failed {
            return None;
        }
        let (number, opens) = self.tail.open.as_ref().map(|open| (open.at.segment, open.opens))?;
        let target = if opens {
            Target::Birth(self.birth(number)?)
        } else {
            Target::Segment(Arc::clone(self.segments.get(&number)?.file.as_ref()?))
        };
        let mut open = self.tail.open.take()?;
        let opening = opens.then(|| self.opening());
        let summary = open.summary(self.tail.durable);
        let offset = open.at.offset;
        frame::finish(&mut open.buffer, summary, opening.as_ref(), offset, open.seed);
        let buffer = Arc::new(open.buffer);
        self.tail.segment = open.at.segment;
        self.tail.offset = offset + u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        self.tail.in_flight = Some(InFlight {
            buffer: Arc::clone(&buffer),
            at: open.at,
            last: summary.last(),
            count: summary.count,
            opens: open.opens,
        });
        let skip_sync = lacks!(self.options, SkipSync);
        let lock = Arc::clone(&self.lock);
        Some(SyncJob { target, buffer, offset, skip_sync, lock })
    }

    /// When the log was idle for a while, and at a clean stop: closes an empty frame that proves
    /// the last one durable, so that no later damage to it can pass for a torn tail. Nothing if
    /// that is proved already or other work is under way.
    pub fn settle(&mut self) -> Option<SyncJob> {
        if !self.tail.unproved || self.tail.open.is_some() || self.tail.in_flight.is_some() {
            return None;
        }
        let frame = match self.empty_frame() {
            Some(frame) => frame,
            // The segment is full to the last block; the next one is needed soon anyway.
            None if self.space.full => return None,
            None => self.begin_frame(0),
        };
        self.tail.open = Some(frame);
        self.seal()
    }

    /// Takes what came of a job and returns the LSN up to which the log is durable now.
    ///
    /// # Errors
    /// [`Fatal`] if the frame could not be written or synced; the store takes nothing more.
    pub fn complete(&mut self, done: SyncDone) -> Result<Lsn, Fatal> {
        let Some(in_flight) = self.tail.in_flight.take() else { return Ok(self.tail.durable) };
        let born = match done.0 {
            Ok(born) => born,
            Err(fatal) => {
                self.tail.failed = true;
                self.tail.in_flight = Some(in_flight);
                return Err(fatal);
            }
        };
        self.syncs += 1;
        self.maintenance.logged(in_flight.buffer.len() as u64);
        let end = in_flight.at.offset + u32::try_from(in_flight.buffer.len()).unwrap_or(u32::MAX);
        if let Some(segment) = self.segments.get_mut(&in_flight.at.segment) {
            segment.end = end;
            segment.last = in_flight.last;
            if let Some(born) = &born {
                segment.file = Some(Arc::clone(&born.file));
            }
        }
        if let Some(born) = born {
            self.space.born(born.unused, born.no_space);
        }
        self.tail.durable = in_flight.last;
        self.tail.durable_end = Address { segment: in_flight.at.segment, offset: end };
        self.tail.unproved = in_flight.count > 0 || in_flight.opens;
        let buffer = Arc::try_unwrap(in_flight.buffer).unwrap_or_default();
        if buffer.capacity() <= KEPT_BUFFER {
            self.tail.buffer = buffer;
        }
        Ok(self.tail.durable)
    }

    /// Everything up to here is durable.
    #[must_use]
    pub const fn durable(&self) -> Lsn {
        self.tail.durable
    }
}

impl Seed {
    /// The epoch of a segment that this process begins.
    pub(super) fn epoch(&self, number: u32, options: &Options) -> u128 {
        if lacks!(options, ConstantEpoch) {
            return 0;
        }
        self.derive(u64::from(number))
    }

    /// A number that nobody can guess, another one for each purpose.
    pub(super) fn derive(&self, purpose: u64) -> u128 {
        let mut bytes = self.bytes.to_vec();
        bytes.extend_from_slice(&purpose.to_le_bytes());
        xxhash_rust::xxh3::xxh3_128(&bytes)
    }
}
