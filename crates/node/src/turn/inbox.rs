//! What has arrived for the next turn.

use std::cell::{Cell, RefCell};
use std::time::Instant;

use bytes::Bytes;
use kvorum_core::{Lsn, NodeId, Outcome, Reply, Request};
use kvorum_storage::WorkDone;
use tokio::sync::{Notify, oneshot};
use tokio::task::yield_now;

use crate::CallId;
use crate::peer::Announcement;
use crate::turn::wal::SyncDone;

/// How often a turn lets others bring more before it begins.
const MOST_YIELDS: usize = 3;

/// Above this many bytes those who bring more wait until a turn has worked off what is there.
const ROOM_BYTES: usize = 64 << 20;

/// Bytes assumed for everything of a request that is neither key nor value: its place in the
/// inbox, and what its front end keeps until it is answered.
const REQUEST_OVERHEAD: usize = 256;

/// About how many bytes a request that waits for its turn takes.
pub(crate) fn weight(request: &Request) -> usize {
    REQUEST_OVERHEAD + request.op.weight()
}

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
    /// What this node thinks of another one has changed.
    Members,
    /// Time passes: look after everything that is not driven by an input.
    Tick,
    /// Compare what this node holds with other replicas now.
    Repair { with: Option<NodeId>, answer: oneshot::Sender<Outcome<()>> },
    /// Hand over what this node leads, and say when that is done.
    Leave { answer: oneshot::Sender<()> },
    /// Finish the pending requests and stop.
    Stop,
}

impl Arrival {
    fn weight(&self) -> usize {
        match self {
            Arrival::Call { request, .. } => weight(request),
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
    released: Notify,
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
            self.released.notified().await;
        }
    }

    /// Whether nothing has arrived.
    pub(crate) fn is_empty(&self) -> bool {
        self.arrivals.borrow().is_empty()
    }

    /// Lets connections and streams bring what they have, as long as that is more and more: while
    /// some are read, others become ready, and a turn costs less than two.
    pub(crate) async fn gather(&self) {
        let mut known = self.arrivals.borrow().len();
        for _ in 0..MOST_YIELDS {
            yield_now().await;
            let arrived = self.arrivals.borrow().len();
            if arrived == known {
                break;
            }
            known = arrived;
        }
    }

    /// Waits until something has arrived.
    pub(crate) async fn filled(&self) {
        while self.is_empty() {
            self.filled.notified().await;
        }
    }

    /// Takes everything, in the order of arrival, into the empty `into`. Returns when the oldest
    /// of it arrived. What was taken counts until it is released.
    pub(crate) fn take(&self, into: &mut Vec<Arrival>) -> Option<Instant> {
        std::mem::swap(&mut *self.arrivals.borrow_mut(), into);
        self.oldest.take()
    }

    /// So many bytes have been worked off.
    pub(crate) fn release(&self, bytes: usize) {
        let left = self.bytes.get().saturating_sub(bytes);
        if self.bytes.replace(left) > ROOM_BYTES && left <= ROOM_BYTES {
            self.released.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(bytes: usize) -> Arrival {
        let from = NodeId::new(2).unwrap();
        Arrival::Frame { from, epoch: 1, body: Bytes::from(vec![0; bytes]) }
    }

    #[test]
    fn a_request_weighs_more_than_its_key() {
        let request = Request {
            identity: kvorum_core::Identity::ANONYMOUS,
            keyspace: kvorum_core::KeyspaceId::DEFAULT,
            op: kvorum_core::Op::Delete { key: Bytes::from_static(b"k") },
            consistency: None,
            min_version: None,
            key: None,
            deadline: kvorum_core::Mono(0),
        };
        let call = Arrival::Call { connection: 1, call: CallId(1), request };
        assert!(call.weight() >= size_of::<Arrival>(), "{}", size_of::<Arrival>());
    }

    #[tokio::test]
    async fn a_full_inbox_lets_others_wait_until_it_is_worked_off() {
        let inbox = Inbox::default();
        inbox.push(frame(ROOM_BYTES));
        inbox.room().await;
        inbox.push(frame(1));
        let mut waiting = polled(inbox.room());
        assert!(!waiting.is_done());
        let mut taken = Vec::new();
        assert!(inbox.take(&mut taken).is_some());
        assert!(inbox.is_empty() && taken.len() == 2);
        assert!(!waiting.is_done());
        inbox.release(1);
        assert!(waiting.is_done());
    }

    /// A future that is polled by hand.
    struct Polled<F>(std::pin::Pin<Box<F>>);

    fn polled<F: Future>(future: F) -> Polled<F> {
        Polled(Box::pin(future))
    }

    impl<F: Future> Polled<F> {
        fn is_done(&mut self) -> bool {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            self.0.as_mut().poll(&mut context).is_ready()
        }
    }
}
