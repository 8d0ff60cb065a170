//! Compaction: copying what is live out of mostly dead segments, so that they can be freed.
//!
//! Copies are records of the log like all others, marked as moved. A segment is free when nothing
//! points to it, the records that took the last pointers away are durable, and its newest record
//! lies below the newest checkpoint (replay needs none of it then).

use bytes::Bytes;
use kvorum_core::{KeyspaceId, Slot};

use super::Store;
use super::space::{LOG_PER_DELETES, Tier};
use super::work::{Chunk, Extent, Purpose, Task};
use crate::index::{Address, Entry};
use crate::log::record::{Kind, RecordRef};
use crate::log::segment::{self, Segment, SegmentHeader};
use crate::options::lacks;

/// A segment is not worth copying if less than one part of it in this many would be won, unless
/// deletes have no room.
const LEAST_GAIN: u64 = 10;

/// A segment that is freed becomes a spare unless there are this many more than are kept ready.
const KEPT_SPARES: usize = 4;

/// A segment that is being emptied.
#[derive(Debug)]
pub(super) struct Compaction {
    victim: u32,
    /// Where to read on.
    next: u32,
    /// Records read and not looked at yet.
    chunk: Option<(Chunk, usize)>,
    /// Keys that still point to the victim after all of it was read: their frames do not verify.
    leftovers: Option<Vec<(KeyspaceId, Slot, Bytes)>>,
    /// Bytes of records copied so far.
    copied: usize,
}

impl Compaction {
    fn of(victim: u32) -> Compaction {
        let next = segment::DATA as u32;
        Compaction { victim, next, chunk: None, leftovers: None, copied: 0 }
    }

    /// Bytes of copies that take room until the segment is free.
    pub(super) fn copied(&self) -> u64 {
        self.copied as u64
    }
}

/// Whether more copies fit into this turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    Copied(usize),
    Skipped,
    NoRoom,
}

impl Store {
    /// Appends copies to the open frame, as many as one turn may take.
    pub(super) fn copy(&mut self) {
        let owed = std::mem::take(&mut self.maintenance.owed);
        let Some(mut compaction) = self.maintenance.compaction.take() else { return };
        // The turn's own records need room in the frame as well.
        let most = self.options.frame_bytes() / 4;
        // When nothing gets through, nobody has to wait for the copies; and the fewer frames they
        // are in, the less of what is won goes into padding.
        let urgent = !self.has_room(Tier::Tombstone);
        let owed = if urgent { most } else { owed };
        let mut budget = (self.options.compaction_turn_bytes as usize + owed).min(most);
        while budget > 0 && self.has_room(Tier::Copy) {
            match self.copy_next(&mut compaction) {
                Some(Progress::Copied(bytes)) => {
                    compaction.copied += bytes;
                    budget = budget.saturating_sub(bytes);
                }
                Some(Progress::Skipped) => {}
                Some(Progress::NoRoom) | None => break,
            }
        }
        self.maintenance.compaction = Some(compaction);
    }

    fn copy_next(&mut self, compaction: &mut Compaction) -> Option<Progress> {
        if let Some((chunk, at)) = &mut compaction.chunk {
            let Some(offset) = chunk.records.get(*at).copied() else {
                compaction.chunk = None;
                return None;
            };
            let progress = self.copy_record(compaction.victim, chunk, offset);
            *at += usize::from(progress != Progress::NoRoom);
            return Some(progress);
        }
        let leftovers = compaction.leftovers.as_mut()?;
        let (keyspace, slot, key) = leftovers.pop()?;
        let progress = self.copy_leftover(compaction.victim, keyspace, slot, &key);
        if progress == Progress::NoRoom {
            leftovers.push((keyspace, slot, key));
        }
        Some(progress)
    }

    /// Copies a record if it is still what the index points to, in this very turn.
    fn copy_record(&mut self, victim: u32, chunk: &Chunk, offset: u32) -> Progress {
        let bytes = chunk.bytes.get(offset as usize..).unwrap_or_default();
        let Some((record, _)) = RecordRef::parse(bytes) else { return Progress::Skipped };
        let RecordRef { keyspace, slot, key, .. } = record;
        let address = Address { segment: victim, offset: chunk.offset + offset };
        let Some(entry) = self.index.get(keyspace, slot, key).copied() else {
            return Progress::Skipped;
        };
        if entry.address() != address && !lacks!(self.options, CopyDead) {
            return Progress::Skipped;
        }
        self.append_copy(&RecordRef { moved: true, ..record }, entry)
    }

    /// Copies a record whose frame does not verify: the record itself may. If it does not, the log
    /// says that it is lost, so that its key is never taken for absent.
    fn copy_leftover(
        &mut self,
        victim: u32,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Progress {
        let Some(entry) = self.index.get(keyspace, slot, key).copied() else {
            return Progress::Skipped;
        };
        if entry.address().segment != victim {
            return Progress::Skipped;
        }
        let value = self.read(&entry, key);
        let header = entry.header();
        let kind = match (&value, entry.tombstone()) {
            (None, _) => Kind::Lost,
            (Some(_), true) => Kind::Tombstone,
            (Some(_), false) => Kind::Value,
        };
        let record = RecordRef {
            kind,
            moved: true,
            keyspace,
            slot,
            version: header.version,
            tag: header.tag,
            expire_ms: header.expire_ms,
            key,
            value: value.as_deref().unwrap_or_default(),
        };
        if kind == Kind::Lost {
            self.mark_corrupt(keyspace, slot, key);
        }
        self.append_copy(&record, entry)
    }

    fn append_copy(&mut self, record: &RecordRef<'_>, old: Entry) -> Progress {
        let Ok((_, address)) = self.append(record) else { return Progress::NoRoom };
        let RecordRef { keyspace, slot, key, .. } = *record;
        self.count_dead(&old, key.len());
        let mut entry = old;
        if record.kind == Kind::Lost {
            entry.lose(address);
        } else {
            entry.move_to(address);
        }
        entry.mark_copied();
        self.count_live(&entry, key.len());
        if let Some(place) = self.index.get_mut(keyspace, slot, key) {
            *place = entry;
        }
        Progress::Copied(record.len())
    }

    /// The next read of the segment that is being emptied.
    pub(super) fn compaction_task(&mut self) -> Option<Task> {
        let mut compaction = self.maintenance.compaction.take()?;
        if compaction.chunk.is_some() {
            self.maintenance.compaction = Some(compaction);
            return None;
        }
        let segment = self.segments.get(&compaction.victim)?;
        if compaction.next < segment.end {
            let extent = extent(compaction.victim, segment, compaction.next)?;
            self.maintenance.compaction = Some(compaction);
            return Some(Task::Read(Purpose::Compaction, extent));
        }
        match &compaction.leftovers {
            None if segment.live > 0 && !lacks!(self.options, DropCorrupt) => {
                compaction.leftovers = Some(self.keys_in(compaction.victim, 0, u32::MAX));
                self.maintenance.compaction = Some(compaction);
            }
            Some(keys) if !keys.is_empty() => self.maintenance.compaction = Some(compaction),
            _ => {
                if lacks!(self.options, DropCorrupt) {
                    self.forget_live(compaction.victim);
                }
            }
        }
        None
    }

    fn forget_live(&mut self, victim: u32) {
        if let Some(segment) = self.segments.get_mut(&victim) {
            segment.live = 0;
        }
    }

    /// Takes what was read for compaction.
    pub(super) fn compaction_read(&mut self, segment: u32, chunk: Chunk) {
        let compaction = self.maintenance.compaction.as_mut();
        if let Some(compaction) = compaction.filter(|compaction| compaction.victim == segment) {
            compaction.next = chunk.next;
            compaction.chunk = Some((chunk, 0));
        }
    }

    /// The keys whose records lie in a part of a segment.
    pub(super) fn keys_in(
        &self,
        segment: u32,
        from: u32,
        to: u32,
    ) -> Vec<(KeyspaceId, Slot, Bytes)> {
        let mut keys = Vec::new();
        for (keyspace, slot, entries) in self.index.slots((KeyspaceId(0), Slot::default())) {
            for (key, entry) in entries.iter() {
                let Address { segment: at, offset } = entry.address();
                if at == segment && (from..to).contains(&offset) {
                    keys.push((keyspace, slot, Bytes::copy_from_slice(key.as_slice())));
                }
            }
        }
        keys
    }

    /// Begins with another segment if enough is dead or space is short.
    pub(super) fn choose_victim(&mut self) {
        if self.maintenance.compaction.is_some() {
            return;
        }
        let used: u64 = self.segments.values().map(Segment::used).sum();
        let live: u64 = self.segments.values().map(|segment| segment.live_bytes).sum();
        let percent = u64::from(self.options.compaction_dead_percent);
        let mostly_dead = used.saturating_sub(live) * 100 > used * percent;
        if !mostly_dead && !self.space.full {
            return;
        }
        let least = if self.has_room(Tier::Tombstone) { LEAST_GAIN } else { LOG_PER_DELETES };
        let worth = |segment: &&Segment| {
            segment.used().saturating_sub(segment.live_bytes) * least >= segment.used()
        };
        let covered = self.maintenance.checkpoints.covered();
        let closed = self.segments.range(..self.tail.segment).map(|(_, segment)| segment);
        let (ready, blocked): (Vec<_>, Vec<_>) =
            closed.filter(worth).partition(|segment| segment.last <= covered);
        let least_live = |segments: Vec<&Segment>| {
            let filled = segments.into_iter().map(|it| (it.live_bytes, it.header.number));
            filled.min()
        };
        let victim = least_live(ready.into_iter().filter(|it| it.live > 0).collect());
        let blocked = least_live(blocked);
        self.maintenance.compaction = victim.map(|(_, number)| Compaction::of(number));
        // What no checkpoint covers cannot be freed. The next one comes with the log's growth,
        // unless there is no space to wait for it and nothing as good to be done meanwhile.
        let better = blocked.is_some_and(|blocked| victim.is_none_or(|victim| blocked < victim));
        if better && self.space.full {
            self.maintenance.checkpoints.want();
        }
    }

    /// The segments that nothing in the index points to and that replay needs no more.
    pub(super) fn emptied(&self) -> impl Iterator<Item = &Segment> {
        let covered = self.maintenance.checkpoints.covered();
        let below_checkpoint = !lacks!(self.options, FreeAboveCheckpoint);
        let closed = self.segments.range(..self.tail.segment).map(|(_, segment)| segment);
        closed.filter(move |segment| {
            segment.live == 0 && (segment.last <= covered || !below_checkpoint)
        })
    }

    /// A segment that nothing needs any more, to be made a spare: it is empty, durably.
    pub(super) fn free_task(&mut self) -> Option<Task> {
        let copies_first = !lacks!(self.options, FreeBeforeCopies);
        let durable = self.tail.durable;
        let free = self.emptied().find(|segment| segment.left_at <= durable || !copies_first);
        let SegmentHeader { number, bytes, .. } = free?.header;
        self.segments.remove(&number);
        let keep = bytes == self.options.segment_bytes
            && self.space.spares.len() < self.wanted_spares() + KEPT_SPARES;
        let spare = keep.then(|| self.space.spare_name());
        Some(Task::Free { name: segment::name(number), spare })
    }
}

/// The part of a segment from `offset` on.
pub(super) fn extent(number: u32, segment: &Segment, offset: u32) -> Option<Extent> {
    Some(Extent {
        file: segment.file.clone()?,
        segment: number,
        seed: segment.seed,
        offset,
        end: segment.end,
    })
}
