//! Where the log is written and synced: on the shard thread, or on a thread of its own.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use kvorum_storage::SyncJob;
use tokio::sync::mpsc::UnboundedSender;

use crate::WalSync;
use crate::turn::Signal;

/// What came of a sync, and how long it took.
pub(crate) struct SyncDone {
    pub(crate) done: kvorum_storage::SyncDone,
    pub(crate) took: Duration,
}

/// Runs sync jobs.
#[derive(Debug)]
pub(crate) enum Wal {
    /// At once, on the shard thread.
    Inline,
    /// On a thread, which signals the end.
    Thread {
        /// Where the jobs go; none once the thread was told to end.
        jobs: Option<mpsc::Sender<SyncJob>>,
        thread: Option<JoinHandle<()>>,
    },
}

impl Wal {
    /// Starts the thread if there shall be one. On few cores the hand-over costs more than the
    /// sync, and requests gather meanwhile anyway.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn new(choice: WalSync, signals: UnboundedSender<Signal>) -> io::Result<Wal> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let inline = match choice {
            WalSync::Inline => true,
            WalSync::Thread => false,
            WalSync::Auto => cores < 4,
        };
        if inline {
            return Ok(Wal::Inline);
        }
        let (jobs, queue) = mpsc::channel::<SyncJob>();
        let work = move || {
            for job in queue {
                // Nobody listens any more only when the shard thread has ended.
                let _ = signals.send(Signal::Synced(run(job)));
            }
        };
        let thread = thread::Builder::new().name("kvorum-wal".to_owned()).spawn(work)?;
        Ok(Wal::Thread { jobs: Some(jobs), thread: Some(thread) })
    }

    /// Runs a job, or has it run: then its end comes as a signal.
    pub(crate) fn start(&self, job: SyncJob) -> Option<SyncDone> {
        match self {
            Wal::Thread { jobs: Some(jobs), .. } => match jobs.send(job) {
                Ok(()) => None,
                // The thread is gone: the job comes back and is run here.
                Err(mpsc::SendError(job)) => Some(run(job)),
            },
            Wal::Inline | Wal::Thread { jobs: None, .. } => Some(run(job)),
        }
    }
}

impl Drop for Wal {
    fn drop(&mut self) {
        if let Wal::Thread { jobs, thread } = self {
            drop(jobs.take());
            if let Some(thread) = thread.take() {
                // A panic of the thread was reported by itself.
                let _ = thread.join();
            }
        }
    }
}

fn run(job: SyncJob) -> SyncDone {
    let begun = Instant::now();
    let done = job.run();
    SyncDone { done, took: begun.elapsed() }
}

impl std::fmt::Debug for SyncDone {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SyncDone").field("took", &self.took).finish_non_exhaustive()
    }
}
