//! Writing checkpoints, block by block between turns.
//!
//! Each block is an exact copy of its slots at the LSN of the moment it was made; replay adds what
//! came later, block by block. So the foreground waits for one block at a time and nothing is
//! pinned. The checkpoint becomes valid when the log is durable up to the newest of those LSNs.

use kvorum_core::{KeyspaceId, Lsn, Mono, Slot};

use super::Store;
use super::maintain::RETRY;
use super::work::{CheckpointEnd, Task};
use crate::checkpoint::{BLOCK_TARGET, Base, BlockWriter, Footer, SegmentEnd, Unit, file_header};
use crate::options::lacks;

/// The newest checkpoint, and the one being written.
#[derive(Debug, Default)]
pub(super) struct Checkpoints {
    newest: Option<Newest>,
    run: Option<Run>,
    /// One is to be written soon, however little was logged.
    wanted: bool,
    /// Bytes of log since the newest one was begun.
    pub(super) logged: u64,
    /// The number of the next one.
    next: u64,
    /// After a failure: not before this time.
    not_before: Mono,
}

#[derive(Clone, Copy, Debug)]
struct Newest {
    number: u64,
    bytes: u64,
    /// The LSN up to which all of it reaches.
    covered: Lsn,
}

/// A checkpoint that is being written.
#[derive(Debug)]
struct Run {
    number: u64,
    /// The first unit of the next block; nothing when all are written.
    next: Option<Unit>,
    offset: u64,
    blocks: u32,
    /// The LSNs of the first and of the last block.
    min: Lsn,
    max: Lsn,
}

impl Checkpoints {
    /// Where a start left off. `numbers` are those of all files there were.
    pub(super) fn after(base: &Base, used: Option<u64>, numbers: &[u64]) -> Checkpoints {
        let newest = used.map(|number| Newest { number, bytes: base.bytes, covered: base.min() });
        let next = numbers.iter().max().map_or(1, |number| number + 1);
        Checkpoints { newest, next, ..Checkpoints::default() }
    }

    /// The LSN that the newest one reaches everywhere.
    pub(super) fn covered(&self) -> Lsn {
        self.newest.map_or(Lsn(0), |newest| newest.covered)
    }

    /// Asks for one soon.
    pub(super) fn want(&mut self) {
        self.wanted |= self.run.is_none();
    }

    /// The number of the newest one.
    pub(super) fn newest(&self) -> Option<u64> {
        self.newest.map(|newest| newest.number)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.newest.map_or(0, |newest| newest.bytes) + self.run.as_ref().map_or(0, |run| run.offset)
    }

    fn due(&self, least: u64, now: Mono) -> bool {
        let enough = self.logged > least.max(self.newest.map_or(0, |newest| newest.bytes));
        (enough || self.wanted) && now >= self.not_before
    }

    /// A part is written, or the run is over.
    pub(super) fn part_done(&mut self, written: bool, now: Mono) {
        if !written {
            self.failed(now);
        }
    }

    /// The new one is valid, or the old one remains.
    pub(super) fn end_done(&mut self, valid: bool, now: Mono) {
        match self.run.take() {
            Some(run) if valid => {
                let Run { number, offset, min, .. } = run;
                self.newest = Some(Newest { number, bytes: offset, covered: min });
            }
            _ => self.failed(now),
        }
    }

    fn failed(&mut self, now: Mono) {
        self.run = None;
        self.wanted = true;
        self.not_before = now + RETRY;
    }
}

impl Store {
    /// The next step of the checkpoint under way, or the first of a new one that is due.
    pub(super) fn checkpoint_task(&mut self, now: Mono) -> Option<Task> {
        let checkpoints = &mut self.maintenance.checkpoints;
        let mut run = match checkpoints.run.take() {
            Some(run) => run,
            None if checkpoints.due(self.options.checkpoint_min_bytes, now) => {
                checkpoints.wanted = false;
                checkpoints.logged = 0;
                checkpoints.next += 1;
                Run::new(checkpoints.next - 1)
            }
            None => return None,
        };
        let task = match run.next {
            Some(first) => Some(self.checkpoint_block(&mut run, first)),
            None => self.checkpoint_end(&mut run),
        };
        self.maintenance.checkpoints.run = Some(run);
        task
    }

    fn checkpoint_block(&self, run: &mut Run, first: Unit) -> Task {
        let mut block = BlockWriter::new();
        let mut slots = self.index.slots(first).filter(|(_, _, keys)| !keys.is_empty());
        run.next = slots.find_map(|(keyspace, slot, keys)| {
            let full = block.len() > BLOCK_TARGET;
            if !full {
                block.add((keyspace, slot), keys);
            }
            full.then_some((keyspace, slot))
        });
        let lsn = self.tail.last();
        if run.blocks == 0 {
            run.min = lsn;
        }
        run.max = lsn;
        run.blocks += 1;
        let offset = run.offset;
        let mut bytes = Vec::new();
        if offset == 0 {
            bytes = file_header(run.number, self.store_id, self.start);
        }
        bytes.extend_from_slice(&block.finish(first, lsn, run.number, self.store_id));
        run.offset += bytes.len() as u64;
        let removes = lacks!(self.options, DropCheckpointFirst) && offset == 0;
        let newest = self.maintenance.checkpoints.newest();
        Task::CheckpointPart { bytes, offset, remove_first: newest.filter(|_| removes) }
    }

    /// The end of the checkpoint, as soon as the log is durable up to it: a checkpoint never
    /// knows what the log may still lose.
    fn checkpoint_end(&self, run: &mut Run) -> Option<Task> {
        if run.max > self.tail.durable && !lacks!(self.options, CheckpointAheadOfLog) {
            return None;
        }
        let born = self.segments.iter().filter(|(_, segment)| segment.file.is_some());
        let end = |segment: &crate::log::segment::Segment| SegmentEnd {
            end: segment.end,
            last: segment.last,
        };
        let footer = Footer {
            blocks: run.blocks,
            highest: self.highest,
            segments: born.map(|(number, segment)| (*number, end(segment))).collect(),
        };
        let bytes = footer.encode(run.number, self.store_id);
        let offset = run.offset;
        run.offset += bytes.len() as u64;
        let removed_already = lacks!(self.options, DropCheckpointFirst);
        let old = self.maintenance.checkpoints.newest().filter(|_| !removed_already);
        let keep_cache = lacks!(self.options, ReadBackCache);
        Some(Task::CheckpointEnd(CheckpointEnd {
            bytes,
            offset,
            number: run.number,
            old,
            keep_cache,
        }))
    }
}

impl Run {
    fn new(number: u64) -> Run {
        let next = Some((KeyspaceId(0), Slot::default()));
        Run { number, next, offset: 0, blocks: 0, min: Lsn(0), max: Lsn(0) }
    }
}
