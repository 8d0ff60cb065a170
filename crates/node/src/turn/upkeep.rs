//! The store's background work, one piece at a time on a thread of its own.

use std::io;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use kvorum_storage::{Work, WorkDone};
use tokio::sync::mpsc::UnboundedSender;

use crate::turn::Signal;

/// The thread for background work.
#[derive(Debug)]
pub(crate) struct Upkeep {
    work: Option<mpsc::Sender<Work>>,
    thread: Option<JoinHandle<()>>,
}

impl Upkeep {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn new(signals: UnboundedSender<Signal>) -> io::Result<Upkeep> {
        let (work, queue) = mpsc::channel::<Work>();
        let run = move || {
            for work in queue {
                // Nobody listens any more only when the shard thread has ended.
                let _ = signals.send(Signal::Worked(work.run()));
            }
        };
        let thread = thread::Builder::new().name("kvorum-upkeep".to_owned()).spawn(run)?;
        Ok(Upkeep { work: Some(work), thread: Some(thread) })
    }

    /// Has a piece of work done; its end comes as a signal. If the thread is gone, it is done
    /// here and now.
    pub(crate) fn start(&self, work: Work) -> Option<WorkDone> {
        match &self.work {
            Some(queue) => queue.send(work).err().map(|mpsc::SendError(work)| work.run()),
            None => Some(work.run()),
        }
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            // A panic of the thread was reported by itself.
            let _ = thread.join();
        }
    }
}
