//! Disk space and index memory: which records are still taken when they run out.
//!
//! Segments are allocated ahead, so that a frame never meets a full disk. When no more can be
//! allocated, what is left is divided up: values are refused first, tombstones when only the room
//! of compaction and of the next start is left.
//!
//! Deletes must get through, because nothing else gives space back. Each one takes a block of the
//! log and frees nothing by itself: only compaction does, once enough of some segment is dead. So
//! the room for deletes grows with the log ([`Store::reserved`]): by the time it is used up, that
//! share of the log is dead, and there is a segment that is worth compacting.
//!
//! Records of local keyspaces and commits are never refused. Some were promised room: whoever is
//! to promise something asks first, for all that is promised and not written yet, and that comes
//! on top of what values or deletes leave alone. The others (votes, hard states, notes of the
//! node) are few and small, and each of them makes the one before it dead, so that compaction
//! keeps up with them; they may use the room of compaction, and that of the next start rather than
//! fail.

use kvorum_core::{Intent, Record, Refused};

use super::Store;
use super::compaction::Compaction;
use super::work::Task;
use crate::log::segment::{self, Segment};
use crate::log::{BLOCK, RECORD_HEADER, frame};
use crate::options::lacks;
use crate::store::sync::Birth;

/// Segments that only the next start uses.
const FOR_START: u64 = 1;
/// Segments for what compaction has copied and not freed yet.
const FOR_COMPACTION: u64 = 2;
/// Segments for deletes: one fills while the other is compacted ...
const FOR_DELETES: u64 = 2;
/// ... or one for this many of the log, if that is more.
pub(super) const LOG_PER_DELETES: u64 = 32;

/// Spare segments, and whether there may be more.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// File names of zero-filled or recycled segments.
    pub(super) spares: Vec<String>,
    /// The number of the next spare file.
    pub(super) next_spare: u64,
    /// The last attempt to allocate a segment found no space, and none has succeeded since.
    pub(super) full: bool,
    /// Bytes of all checkpoint files.
    pub(super) checkpoint_bytes: u64,
    /// Files that the birth under way may use.
    pub(super) in_birth: u64,
    /// Files that background work is making or freeing.
    pub(super) in_work: u64,
    /// Bytes that compaction has won and that are not free yet.
    pub(super) returning: u64,
    /// The last checkpoint found no room on the disk.
    pub(super) checkpoint_needs_room: bool,
}

impl Space {
    /// A new name for a spare segment.
    pub(super) fn spare_name(&mut self) -> String {
        let name = segment::spare_name(self.next_spare);
        self.next_spare += 1;
        name
    }

    /// Notes what a birth left over.
    pub(super) fn born(&mut self, unused: Option<String>, no_space: bool) {
        self.spares.extend(unused);
        self.full |= no_space;
        self.in_birth = 0;
    }
}

/// What a record is for, as far as space goes; the later, the longer it is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tier {
    Value,
    Tombstone,
    Copy,
}

impl Store {
    /// Decides whether a record is taken.
    ///
    /// # Errors
    /// [`Refused::DiskFull`] and [`Refused::IndexFull`].
    pub(super) fn admit(&self, record: &Record) -> Result<(), Refused> {
        if RECORD_HEADER + record.weight() > self.options.frame_bytes() {
            // Front ends refuse such a value before; a peer with larger limits may still send one.
            return Err(Refused::TooLarge);
        }
        if record.keyspace.is_local() {
            return Ok(());
        }
        let tier = if record.value.is_some() { Tier::Value } else { Tier::Tombstone };
        if !self.has_room(tier) {
            return Err(Refused::DiskFull);
        }
        let limit = self.options.index_limit_bytes;
        // Deletes go on for a while: they may be of keys that only other nodes have.
        let limit = if tier == Tier::Tombstone { limit + limit / 8 } else { limit };
        if self.index.bytes() < limit {
            return Ok(());
        }
        match self.index.get(record.keyspace, record.slot, &record.key) {
            Some(_) => Ok(()),
            None => Err(Refused::IndexFull),
        }
    }

    /// Decides whether something may be promised that will be written later.
    ///
    /// # Errors
    /// [`Refused::DiskFull`] and [`Refused::IndexFull`].
    pub(super) fn admit_later(
        &self,
        intent: Intent,
        commits: usize,
        bytes: usize,
    ) -> Result<(), Refused> {
        let limit = self.options.index_limit_bytes;
        let (tier, limit) = match intent {
            Intent::NewKey => (Tier::Value, limit),
            Intent::Value => (Tier::Value, limit + limit / 8),
            Intent::Delete => (Tier::Tombstone, limit + limit / 8),
            // What is in the entries was admitted by the leader, and they do not stay.
            Intent::Append => (Tier::Tombstone, limit + limit / 4),
        };
        // Each commit may be alone in a frame, and the end of a segment stays empty when the next
        // frame does not fit: of the segment, less than a third.
        let padding = commits.saturating_mul(BLOCK + frame::HEADER + frame::OPENING);
        let need = bytes.saturating_add(bytes / 2).saturating_add(padding) as u64;
        if !self.has_room_beside(tier, need) {
            return Err(Refused::DiskFull);
        }
        if self.index.bytes() < limit { Ok(()) } else { Err(Refused::IndexFull) }
    }

    /// Whether records of a tier are taken.
    pub(super) fn has_room(&self, tier: Tier) -> bool {
        if !self.space.full || lacks!(self.options, IgnoreSpace) {
            return true;
        }
        self.room_of(tier) >= self.left_alone(tier)
    }

    /// Whether `bytes` more can be written and records of a tier are still taken then.
    fn has_room_beside(&self, tier: Tier, bytes: u64) -> bool {
        let needed = self.left_alone(tier).saturating_add(bytes);
        let missing = needed.saturating_sub(self.room_of(tier)).div_ceil(self.usable_bytes());
        let allocatable = |segments: u64| {
            !self.space.full && self.may_allocate(segments.saturating_mul(self.segment_bytes()))
        };
        missing == 0 || allocatable(missing) || lacks!(self.options, IgnoreSpace)
    }

    /// What counts as room for records of a tier, in bytes.
    fn room_of(&self, tier: Tier) -> u64 {
        match tier {
            // What compaction has taken for its copies and gives back soon takes nothing away
            // from deletes.
            Tier::Tombstone if self.space.full => {
                self.room() + self.space.returning.min(FOR_COMPACTION * self.usable_bytes())
            }
            Tier::Value | Tier::Tombstone | Tier::Copy => self.room(),
        }
    }

    /// How many bytes of it records of a tier leave alone.
    fn left_alone(&self, tier: Tier) -> u64 {
        let segment = self.usable_bytes();
        match tier {
            Tier::Value => self.reserved() * segment,
            Tier::Tombstone => (FOR_START + FOR_COMPACTION) * segment,
            Tier::Copy => FOR_START * segment + segment / 4,
        }
    }

    /// A spare to be deleted: something else has filled the disk, and without a checkpoint
    /// nothing that was deleted comes back. The next start and compaction keep one each.
    pub(super) fn room_for_checkpoint(&mut self) -> Option<Task> {
        let spares = self.space.spares.len() as u64;
        if !self.space.checkpoint_needs_room || spares <= FOR_START + 1 {
            return None;
        }
        self.space.checkpoint_needs_room = false;
        Some(Task::Free { name: self.space.spares.pop()?, spare: None })
    }

    /// How many spare segments values leave alone.
    fn reserved(&self) -> u64 {
        let for_deletes = FOR_DELETES.max(self.segments.len() as u64 / LOG_PER_DELETES);
        let for_deletes = if lacks!(self.options, NoRoomForDeletes) { 0 } else { for_deletes };
        FOR_START + FOR_COMPACTION + for_deletes
    }

    /// How many spare segments are kept ready.
    pub(super) fn wanted_spares(&self) -> usize {
        usize::try_from(self.reserved() + 1).unwrap_or(usize::MAX)
    }

    /// Bytes of a segment that frames can lie in.
    fn usable_bytes(&self) -> u64 {
        self.segment_bytes() - 2 * BLOCK as u64
    }

    /// Looks again at what compaction has won: the segments it has emptied, and what it has copied
    /// out of the one it is at.
    pub(super) fn count_returning(&mut self) {
        if self.space.full {
            let emptied = self.emptied().count() as u64 + self.space.in_work;
            let copied = self.maintenance.compaction.as_ref().map_or(0, Compaction::copied);
            self.space.returning = emptied * self.usable_bytes() + copied;
        }
    }

    /// Bytes that can be written without allocating anything.
    fn room(&self) -> u64 {
        let spares = self.space.spares.len() as u64;
        let spare_bytes = self.usable_bytes();
        let left = |segment: Option<&Segment>, used: usize| {
            segment.map_or(0, |segment| segment.header.data_end().saturating_sub(used) as u64)
        };
        match &self.tail.open {
            Some(open) if open.opens => {
                let used = open.at.offset as usize + open.buffer.len();
                let current = left(self.segments.get(&open.at.segment), used);
                current + spares.saturating_sub(1) * spare_bytes
            }
            open => {
                let pending = open.as_ref().map_or(0, |open| open.buffer.len());
                let used = self.tail.offset as usize + pending;
                left(self.segments.get(&self.tail.segment), used) + spares * spare_bytes
            }
        }
    }

    /// How the next segment is born: from a spare if there are more than the reserve, else from
    /// a new file as long as the disk has room.
    pub(super) fn birth(&mut self, number: u32) -> Option<Birth> {
        let header = self.segments.get(&number)?.header;
        let plenty = self.space.spares.len() as u64 > self.reserved();
        if !plenty && !self.may_allocate(self.segment_bytes()) {
            // From here on the reserve is used. The background would notice too, but perhaps only
            // when it is used up and even deletes have no room.
            self.space.full = true;
        }
        let create = (!plenty && !self.space.full).then(|| self.space.spare_name());
        let spare = self.space.spares.pop();
        // Without a spare the attempt must be made, whatever the limits say.
        let create = match (&create, &spare) {
            (None, None) => Some(self.space.spare_name()),
            _ => create,
        };
        self.space.in_birth = u64::from(create.is_some()) + u64::from(spare.is_some());
        Some(Birth {
            disk: self.disk.clone(),
            header,
            create,
            spare,
            skip_directory_sync: lacks!(self.options, SkipDirectorySync),
        })
    }

    pub(super) fn segment_bytes(&self) -> u64 {
        u64::from(self.options.segment_bytes)
    }

    /// Bytes of all files of the store.
    pub(super) fn used_bytes(&self) -> u64 {
        let born = self.segments.values().filter(|segment| segment.file.is_some());
        let segments: u64 = born.map(|segment| u64::from(segment.header.bytes)).sum();
        let others = self.space.spares.len() as u64 + self.space.in_birth + self.space.in_work;
        segments + others * self.segment_bytes() + self.space.checkpoint_bytes
    }

    /// Whether the limit and the disk have room for `bytes` more, and for a checkpoint.
    pub(super) fn may_allocate(&self, bytes: u64) -> bool {
        let needed = bytes.saturating_add(self.checkpoint_reserve());
        let limit = self.options.max_disk_bytes;
        let allowed = limit == 0 || self.used_bytes().saturating_add(needed) <= limit;
        // A disk that cannot say how much is free may still have it.
        allowed && self.disk.free_bytes().map_or(true, |free| needed <= free)
    }

    /// Room to be left for the next checkpoint: a quarter more than it would take now.
    fn checkpoint_reserve(&self) -> u64 {
        let size = self.index.keys() * 48 + self.index.key_bytes();
        size + size / 4 + BLOCK as u64
    }
}
