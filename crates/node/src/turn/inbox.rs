//! What has arrived for the next turn.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use bytes::Bytes;
use kvorum_core::{Lsn, NodeId, Outcome, Reply, Request};
use kvorum_storage::WorkDone;
use tokio::sync::{Notify, oneshot};

use crate::CallId;
use crate::introduction::Announcement;
use crate::turn::wal::SyncDone;

/// Above this many bytes those who bring more wait until a turn has taken what is there.
const ROOM_BYTES: usize = 64 << 20;

/// Something for the next turn.
pub(crate) enum Arrival {
    /// A call of a session.
    Call { connection: u64, call: CallId, request: Request },
    /// Requests of a [`Node`](crate::Node) handle, which weigh `bytes`.
    Batch { requests: Vec<Request>, bytes: usize, answer: oneshot::Sender<Vec<Outcome<Reply>>> },
    /// A frame of a peer.
    Frame { from: NodeId, epoch: u64, body: Bytes },
    /// The streams with a process of a peer are complete.
    PeerUp { peer: NodeId, epoch: u64, process: u64 },
    /// The streams with a peer are lost.
    PeerDown { peer: NodeId },
    /// The log was written and synced, or could not be.
    Synced(SyncDone),
    /// The log is durable up to here.
    Durable(Lsn),
    /// A piece of background work is done.
    Worked(WorkDone),
    /// A node introduces itself and waits for our answer.
    Greeted { announcement: Announcement, answer: oneshot::Sender<Announcement> },
    /// Something was said in an introduction that may decide the founding.
    News,
    /// Time passes: look after everything that is not driven by an input.
    Tick,
    /// Finish the pending requests and stop.
    Stop,
}

impl Arrival {
    fn weight(&self) -> usize {
        match self {
            Arrival::Call { request, .. } => request.op.weight(),
            Arrival::Batch { bytes, .. } => *bytes,
            Arrival::Frame { body, .. } => body.len(),
            _ => 0,
        }
    }
}

/// The queue in front of the turn. Lives on the shard thread.
#[derive(Default)]
pub(crate) struct Inbox {
    arrivals: RefCell<Vec<Arrival>>,
    bytes: Cell<usize>,
    oldest: Cell<Option<Instant>>,
    filled: Notify,
    taken: Notify,
}

impl Inbox {
    /// Adds an arrival for the next turn.
    pub(crate) fn push(&self, arrival: Arrival) {
        self.bytes.set(self.bytes.get() + arrival.weight());
        let mut arrivals = self.arrivals.borrow_mut();
        arrivals.push(arrival);
        if arrivals.len() == 1 {
            self.oldest.set(Some(Instant::now()));
            self.filled.notify_one();
        }
    }

    /// Waits while too much lies here already.
    pub(crate) async fn room(&self) {
        while self.bytes.get() > ROOM_BYTES {
            self.taken.notified().await;
        }
    }

    /// Whether nothing has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.borrow().is_empty()
    }

    /// Waits until something has arrived.
    pub(crate) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Takes everything, in the order of arrival, into the empty `into`. Returns when the oldest
    /// of it arrived.
    pub(crate) fn take(&self, into: &mut Vec<Arrival>) -> Option<Instant> {
        std::mem::swap(&mut *self.arrivals.borrow_mut(), into);
        if self.bytes.replace(0) > ROOM_BYTES {
            self.taken.notify_waiters();
        }
        self.oldest.take()
    }
}
