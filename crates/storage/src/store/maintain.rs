//! Background duties: which one is next, and what follows from what it did.

use std::io;

use kvorum_core::{Lsn, Mono};

use super::Store;
use super::space::WANTED;
use super::work::{Outcome, Task, Work, WorkDone};
use crate::log::record::RecordRef;

/// The state of the background duties.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    /// A [`Work`] is under way.
    busy: bool,
    /// The verdict is to be voided.
    rebuilt: bool,
    pub(super) failures: u64,
    pub(super) corrupt: u64,
}

impl Maintenance {
    /// The LSN that the newest checkpoint reaches everywhere.
    pub(super) fn covered(&self) -> Lsn {
        Lsn(0)
    }
}

impl Store {
    /// Between two turns: adds what compaction has to copy to the open frame (so seal afterwards),
    /// and hands out the next piece of background work, if any and if none is under way. `now`
    /// paces what need not be done at once.
    pub fn maintain(&mut self, _now: Mono) -> Option<Work> {
        if self.tail.failed {
            return None;
        }
        self.append_rebuilt();
        if self.maintenance.busy {
            return None;
        }
        let task = self.next_task()?;
        self.maintenance.busy = true;
        Some(Work { disk: self.disk.clone(), task })
    }

    fn next_task(&mut self) -> Option<Task> {
        self.want_spare()
    }

    fn want_spare(&mut self) -> Option<Task> {
        if self.space.spares.len() >= WANTED {
            self.space.full = false;
            return None;
        }
        let bytes = self.segment_bytes();
        if !self.may_allocate(bytes) {
            self.space.full = true;
            return None;
        }
        let name = self.space.spare_name();
        Some(Task::Spare { name, bytes })
    }

    /// The caller has copied from other nodes what damage may have taken: the verdict is to be
    /// voided. It is in effect when [`Store::damage`] says so; until then it stands across
    /// restarts.
    pub fn rebuilt(&mut self) {
        self.maintenance.rebuilt = self.verdict.is_some();
    }

    /// Appends the record that voids the verdict.
    fn append_rebuilt(&mut self) {
        if self.maintenance.rebuilt && self.append(&RecordRef::rebuilt()).is_ok() {
            self.maintenance.rebuilt = false;
            self.verdict = None;
        }
    }

    /// Takes what came of a piece of background work.
    pub fn work_done(&mut self, done: WorkDone) {
        self.maintenance.busy = false;
        match done.0 {
            Outcome::Spare(Ok(name)) => {
                self.space.spares.push(name);
                self.space.full = false;
            }
            Outcome::Spare(Err(error)) => {
                self.space.full |= error.kind() == io::ErrorKind::StorageFull;
                self.maintenance.failures += 1;
            }
        }
    }

    /// Bytes of log that a start would replay.
    pub(super) fn replay_bytes(&self) -> u64 {
        let covered = self.maintenance.covered();
        let newer = self.segments.values().filter(|segment| segment.last > covered);
        newer.map(|segment| segment.payload).sum()
    }
}
