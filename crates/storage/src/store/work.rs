//! Background work that needs no part of the store while it runs.

use std::io;
use std::sync::Arc;

use crate::disk::Disk;

/// A piece of background work, at most a few milliseconds of disk time. It may run on any thread.
#[must_use = "the store waits for this work before it hands out more"]
pub struct Work {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) task: Task,
}

/// What came of a [`Work`]; to be handed to [`Store::work_done`](super::Store::work_done).
#[must_use = "the store must learn what came of the work"]
pub struct WorkDone(pub(super) Outcome);

/// What is to be done.
pub(super) enum Task {
    /// Create and sync a zero-filled spare segment.
    Spare { name: String, bytes: u64 },
}

/// What was done.
pub(super) enum Outcome {
    /// A spare segment is there, or why not.
    Spare(io::Result<String>),
}

impl Work {
    /// Does the work.
    pub fn run(self) -> WorkDone {
        WorkDone(match self.task {
            Task::Spare { name, bytes } => Outcome::Spare(create_spare(&*self.disk, name, bytes)),
        })
    }
}

fn create_spare(disk: &dyn Disk, name: String, bytes: u64) -> io::Result<String> {
    disk.create(&name, bytes)?.sync()?;
    disk.sync_dir()?;
    Ok(name)
}
