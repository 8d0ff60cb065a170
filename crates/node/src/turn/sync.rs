//! When the log is written and synced, and what follows.

use kvorum_storage::{Fatal, SyncJob};

use super::Turn;
use super::inbox::Arrival;
use super::wal::SyncDone;
use crate::telemetry::seconds;

/// How many turns in a row may put off their sync because more has arrived.
const MOST_PUT_OFF: u32 = 2;

impl Turn {
    /// Has the open frame of the log written and synced, if somebody waits for that and no job is
    /// on its way.
    pub(super) fn sync(&mut self) -> Result<(), Fatal> {
        let gathers = self.parts.store.is_unawaited() && !self.backlog.waits();
        if self.syncing || gathers {
            return Ok(());
        }
        // What has arrived while the frames left is likely to want a sync too: both share one.
        if self.put_off < MOST_PUT_OFF && !self.parts.inbox.is_empty() {
            self.put_off += 1;
            return Ok(());
        }
        self.put_off = 0;
        self.backlog.sealed();
        let Some(job) = self.parts.store.seal() else { return Ok(()) };
        self.start(job)
    }

    pub(super) fn start(&mut self, job: SyncJob) -> Result<(), Fatal> {
        match self.parts.wal.start(job) {
            Some(done) => self.synced(done),
            None => {
                self.syncing = true;
                self.disk_pace.begun(self.parts.clock.mono());
                Ok(())
            }
        }
    }

    pub(super) fn synced(&mut self, SyncDone { done, took }: SyncDone) -> Result<(), Fatal> {
        let durable = self.parts.store.complete(done)?;
        self.metrics.sync.record(seconds(took));
        self.disk_pace.synced(took);
        self.metrics.sync_records.record(durable.0.saturating_sub(self.durable.0) as f64);
        self.durable = durable;
        self.became_durable();
        self.parts.inbox.push(Arrival::Durable(durable));
        Ok(())
    }
}
