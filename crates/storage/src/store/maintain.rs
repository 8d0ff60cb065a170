//! Background duties: which one is next, and what follows from what it did.

use std::collections::BTreeSet;
use std::io;
use std::time::Duration;

use kvorum_core::{KeyspaceId, Lsn, Mono, Slot};

use super::Store;
use super::checkpoint::Checkpoints;
use super::compaction::Compaction;
use super::scrub::Scrub;
use super::work::{Outcome, Purpose, Task, Work, WorkDone};
use crate::log::record::RecordRef;
use crate::options::lacks;

/// After a failure, how long to wait before another attempt; and the pause between two spares.
pub(super) const RETRY: Duration = Duration::from_secs(1);
/// How often to look for duties that are not under way already.
const LOOK: Duration = Duration::from_millis(10);

/// The state of the background duties.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    /// A [`Work`] is under way.
    busy: bool,
    /// When to look again for a segment to free, a spare to make, a victim to compact.
    look_at: Mono,
    now: Mono,
    /// No spare is made before this time unless it is needed soon.
    spare_not_before: Mono,
    pub(super) checkpoints: Checkpoints,
    pub(super) compaction: Option<Compaction>,
    /// How many bytes of copies the log's growth has bought since the last ones.
    pub(super) owed: usize,
    pub(super) scrub: Scrub,
    /// The verdict is to be voided.
    rebuilt: bool,
    /// The log as this start found it ends here.
    opened_at: Lsn,
    pub(super) failures: u64,
    pub(super) corrupt: u64,
    /// Slots with records found corrupt that nobody has asked for yet.
    corrupt_slots: BTreeSet<(KeyspaceId, Slot)>,
    pub(super) wrong_sums: u64,
    /// Slots whose sums were wrong that nobody has asked for yet.
    pub(super) wrongly_summed: BTreeSet<(KeyspaceId, Slot)>,
}

impl Maintenance {
    pub(super) fn new(checkpoints: Checkpoints, opened_at: Lsn, replayed: u64) -> Maintenance {
        let mut checkpoints = checkpoints;
        checkpoints.logged = replayed;
        Maintenance { checkpoints, opened_at, ..Maintenance::default() }
    }

    /// Notes how much was added to the log.
    pub(super) fn logged(&mut self, bytes: u64) {
        self.checkpoints.logged += bytes;
        self.owed += usize::try_from(bytes).unwrap_or(0) * 2;
    }

    pub(super) fn found_corrupt(&mut self, keyspace: KeyspaceId, slot: Slot) {
        self.corrupt += 1;
        self.corrupt_slots.insert((keyspace, slot));
    }
}

impl Store {
    /// Between two turns: adds what compaction has to copy to the open frame (so seal afterwards),
    /// and hands out the next piece of background work, if any and if none is under way. `now`
    /// paces what need not be done at once.
    pub fn maintain(&mut self, now: Mono) -> Option<Work> {
        if self.tail.failed {
            return None;
        }
        self.maintenance.now = now;
        self.append_rebuilt();
        self.copy();
        self.count_returning();
        if self.maintenance.busy {
            return None;
        }
        let task = self.next_task(now)?;
        self.maintenance.busy = true;
        self.space.in_work = u64::from(matches!(task, Task::Spare { .. } | Task::Free { .. }));
        self.space.checkpoint_bytes = self.maintenance.checkpoints.bytes();
        Some(Work { disk: self.disk.clone(), task, lock: self.lock.clone() })
    }

    /// What gives space back comes first, then what keeps starts short, then scrub.
    fn next_task(&mut self, now: Mono) -> Option<Task> {
        let look = now >= self.maintenance.look_at;
        // While the disk is full, what compaction has won is used in the very next turn.
        if look || self.space.full {
            let task = self.free_task();
            let task = task.or_else(|| if look { self.spare_task(now) } else { None });
            if task.is_some() {
                return task;
            }
            self.choose_victim();
        }
        if look {
            self.maintenance.look_at = now + LOOK;
        }
        self.room_for_checkpoint()
            .or_else(|| self.checkpoint_task(now))
            .or_else(|| self.compaction_task())
            .or_else(|| self.scrub_task(now))
    }

    fn spare_task(&mut self, now: Mono) -> Option<Task> {
        if self.space.spares.len() >= self.wanted_spares() {
            self.space.full = false;
            return None;
        }
        // A spare is a burst of writing. As long as the next one is not needed soon, there is a
        // pause between two.
        let soon = self.space.full || self.tail.offset > self.options.segment_bytes / 2;
        if !soon && now < self.maintenance.spare_not_before {
            return None;
        }
        let bytes = self.segment_bytes();
        if !self.may_allocate(bytes) {
            self.space.full = true;
            return None;
        }
        self.maintenance.spare_not_before = now + RETRY;
        let name = self.space.spare_name();
        Some(Task::Spare { name, bytes })
    }

    /// Takes what came of a piece of background work.
    pub fn work_done(&mut self, done: WorkDone) {
        let now = self.maintenance.now;
        self.maintenance.busy = false;
        self.space.in_work = 0;
        let failed = match done.0 {
            Outcome::Spare(Ok(name)) => {
                self.space.spares.push(name);
                false
            }
            Outcome::Spare(Err(error)) => {
                self.space.full |= error.kind() == io::ErrorKind::StorageFull;
                self.maintenance.look_at = now + RETRY;
                true
            }
            Outcome::Free(freed) => {
                let failed = freed.is_err();
                self.space.spares.extend(freed.ok().flatten());
                failed
            }
            Outcome::CheckpointPart(written) => {
                self.space.checkpoint_needs_room |= found_no_room(&written);
                self.maintenance.checkpoints.part_done(written.is_ok(), now);
                written.is_err()
            }
            Outcome::CheckpointEnd(valid) => {
                self.space.checkpoint_needs_room |= found_no_room(&valid);
                self.maintenance.checkpoints.end_done(valid.is_ok(), now);
                self.maintenance.look_at = now;
                valid.is_err()
            }
            Outcome::CheckpointRead(verified) => {
                let failed = !verified.unwrap_or(false);
                if failed && !lacks!(self.options, KeepBadCheckpoint) {
                    self.maintenance.checkpoints.want();
                }
                failed
            }
            Outcome::Read(purpose, segment, chunk) => {
                let failed = chunk.is_err();
                match (purpose, chunk) {
                    (Purpose::Compaction, Ok(chunk)) => self.compaction_read(segment, chunk),
                    (Purpose::Scrub, Ok(chunk)) => self.scrubbed(segment, &chunk, now),
                    // Begun again later, from the beginning.
                    (Purpose::Compaction, Err(_)) => self.maintenance.compaction = None,
                    (Purpose::Scrub, Err(_)) => self.maintenance.scrub.postpone(now),
                }
                failed
            }
        };
        self.maintenance.failures += u64::from(failed);
        self.space.checkpoint_bytes = self.maintenance.checkpoints.bytes();
    }

    /// The caller has copied from other nodes what damage may have taken: the verdict is to be
    /// voided. It is as soon as a checkpoint makes the damaged part of the log needless;
    /// [`Store::damage`] tells. Until then it stands across restarts.
    pub fn rebuilt(&mut self) {
        self.maintenance.rebuilt = self.verdict.is_some();
    }

    /// Appends the record that voids the verdict, behind a checkpoint that no longer needs what
    /// is damaged: otherwise the next start would find the same damage again.
    fn append_rebuilt(&mut self) {
        if !self.maintenance.rebuilt {
            return;
        }
        let needed = self.maintenance.checkpoints.covered() < self.maintenance.opened_at;
        if needed && !lacks!(self.options, VoidVerdictEarly) {
            self.maintenance.checkpoints.want();
        } else if self.append(&RecordRef::rebuilt(self.start)).is_ok() {
            self.maintenance.rebuilt = false;
            self.verdict = None;
        }
    }

    /// The slots in which records were found corrupt since the last call: other nodes have them.
    pub fn take_corrupt(&mut self) -> Vec<(KeyspaceId, Slot)> {
        std::mem::take(&mut self.maintenance.corrupt_slots).into_iter().collect()
    }

    /// The slots whose sums ([`kvorum_core::Store::sum`]) scrub has found wrong since the last
    /// call. They were put right, but the store must not have come to this.
    pub fn take_wrongly_summed(&mut self) -> Vec<(KeyspaceId, Slot)> {
        std::mem::take(&mut self.maintenance.wrongly_summed).into_iter().collect()
    }

    /// Bytes of log that a start would replay.
    pub(super) fn replay_bytes(&self) -> u64 {
        let covered = self.maintenance.checkpoints.covered();
        let newer = self.segments.values().filter(|segment| segment.last > covered);
        newer.map(|segment| segment.used()).sum()
    }
}

fn found_no_room(written: &io::Result<()>) -> bool {
    written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull)
}
