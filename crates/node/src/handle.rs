//! The handle by which front ends reach a node from any thread.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use kvorum_core::{Error, Executed, Layout, NodeId, Now, Outcome, Reply, Request};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::peer::Announcement;
use crate::turn::inbox;
use crate::{Options, Protocol, Repair, Serving, Status, start};

/// How many batches may wait to be taken by the shard thread.
pub(crate) const QUEUED_BATCHES: usize = 4096;
/// How many bytes of requests may wait to be taken by the shard thread.
const QUEUED_BYTES: usize = 64 << 20;

/// A running node. Clones share it.
#[derive(Clone)]
pub struct Node {
    shared: Arc<Shared>,
}

/// What the handle and the shard thread have in common.
pub(crate) struct Shared {
    pub(crate) clock: Clock,
    pub(crate) commands: mpsc::Sender<Command>,
    /// Bytes of requests in `commands`.
    pub(crate) queued_bytes: AtomicUsize,
    pub(crate) status: RwLock<Arc<Status>>,
    pub(crate) layout: RwLock<Option<Arc<Layout>>>,
    pub(crate) max_value: usize,
    pub(crate) peer_address: SocketAddr,
    /// Why the shard thread has ended, once it has.
    pub(crate) ended: watch::Receiver<Option<Ending>>,
}

/// How a node ended: because it was told to, or because it found out that it must not serve.
pub(crate) type Ending = Result<(), StartError>;

/// What a handle asks of the shard thread.
pub(crate) enum Command {
    /// Run these requests; they weigh that many bytes.
    Run { requests: Vec<Request>, bytes: usize, answer: oneshot::Sender<Vec<Outcome<Reply>>> },
    /// Another node introduces itself.
    Greet { announcement: Announcement, answer: oneshot::Sender<Announcement> },
    /// Compare what this node holds with other replicas now; answers when that has begun.
    Repair { with: Option<NodeId>, answer: oneshot::Sender<Outcome<()>> },
    /// Hand over what this node leads, and say when that is done.
    Leave { answer: oneshot::Sender<()> },
    /// Stop.
    Stop,
}

/// Why a node did not start, or ended before it served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// Starting again will not help: wrong configuration, another node's data. Exit code 78.
    #[error("{0}")]
    Refused(String),
    /// Something failed that may work next time.
    #[error("{0}")]
    Failed(String),
}

impl Node {
    /// Starts a node: opens its store, binds its listeners, looks for its peers. Returns when
    /// the listeners are bound; [`Node::status`] tells when it serves.
    ///
    /// # Errors
    /// [`StartError`] in one sentence.
    pub async fn start(
        options: Options,
        protocols: Vec<(SocketAddr, Box<dyn Protocol>)>,
    ) -> Result<Node, StartError> {
        start::start(options, protocols).await
    }

    pub(crate) fn new(shared: Arc<Shared>) -> Node {
        Node { shared }
    }

    /// Runs one request.
    ///
    /// # Errors
    /// Those of the operation; a full queue is [`Error::Overloaded`].
    pub async fn run(&self, request: Request) -> Outcome<Reply> {
        let stopped = || Err(Error::NotServing("stopping".into()));
        self.run_all(vec![request]).await.pop().unwrap_or_else(stopped)
    }

    /// Runs several requests at once, entering the shard together. Answers are in the order of
    /// the requests.
    pub async fn run_all(&self, requests: Vec<Request>) -> Vec<Outcome<Reply>> {
        if requests.is_empty() {
            return Vec::new();
        }
        let lost: Vec<Error> = requests.iter().map(lost).collect();
        let count = requests.len();
        let bytes = requests.iter().map(inbox::weight).sum();
        let (answer, answered) = oneshot::channel();
        if let Err(error) = self.enqueue(requests, bytes, answer) {
            return vec![Err(error); count];
        }
        match answered.await {
            Ok(outcomes) => outcomes,
            Err(_) => lost.into_iter().map(Err).collect(),
        }
    }

    fn enqueue(
        &self,
        requests: Vec<Request>,
        bytes: usize,
        answer: oneshot::Sender<Vec<Outcome<Reply>>>,
    ) -> Result<(), Error> {
        let full = Error::Overloaded { what: "the node's queue", executed: Executed::No };
        let queued = &self.shared.queued_bytes;
        if queued.fetch_add(bytes, Ordering::Relaxed).saturating_add(bytes) > QUEUED_BYTES {
            queued.fetch_sub(bytes, Ordering::Relaxed);
            return Err(full);
        }
        self.shared.commands.try_send(Command::Run { requests, bytes, answer }).map_err(|refused| {
            queued.fetch_sub(bytes, Ordering::Relaxed);
            match refused {
                mpsc::error::TrySendError::Full(_) => full,
                mpsc::error::TrySendError::Closed(_) => Error::NotServing("stopped".into()),
            }
        })
    }

    /// The present time: deadlines of requests are counted from it.
    #[must_use]
    pub fn now(&self) -> Now {
        self.shared.clock.now()
    }

    /// The layout in force; nothing before the node knows its cluster.
    #[must_use]
    pub fn layout(&self) -> Option<Arc<Layout>> {
        self.shared.layout.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A snapshot of the node's state, at most a second old.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        self.shared.status()
    }

    /// The longest value this node takes, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        self.shared.max_value
    }

    /// Where the streams between nodes arrive.
    #[must_use]
    pub fn peer_address(&self) -> SocketAddr {
        self.shared.peer_address
    }

    /// Compares what this node holds of eventual keyspaces with the other replicas now, and repairs
    /// what differs: with one node, or with all. Returns when that has begun; the [`Status`] tells what
    /// it comes to.
    ///
    /// # Errors
    /// [`Error::NotServing`] if the node does not know its cluster, or stops.
    pub async fn repair(&self, with: Option<NodeId>) -> Outcome<()> {
        let stopped = || Error::NotServing("stopped".into());
        let (answer, begun) = oneshot::channel();
        let command = Command::Repair { with, answer };
        self.shared.commands.send(command).await.map_err(|_| stopped())?;
        begun.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Hands over the partitions of strong keyspaces that this node leads, because it will stop.
    /// Meanwhile it goes on answering. Returns when nothing is left that another node would take,
    /// after a few seconds at the latest.
    pub async fn leave(&self) {
        let (answer, done) = oneshot::channel();
        if self.shared.commands.send(Command::Leave { answer }).await.is_ok() {
            // A node that has ended meanwhile leads nothing.
            let _ = done.await;
        }
    }

    /// Stops the node: takes no more requests, finishes the pending ones, syncs the log.
    pub async fn stop(&self) {
        // A full queue or an ended thread: waiting for the end is all that is left to do.
        let _ = self.shared.commands.send(Command::Stop).await;
        // How it ends makes no difference to whoever wanted it to.
        let _ = self.ended().await;
    }

    /// Waits until the node has ended: because it was told to, or because it found out, while it
    /// was waiting for its peers, that it must not serve.
    ///
    /// # Errors
    /// [`StartError::Refused`] if its peers and its configuration contradict each other.
    pub async fn ended(&self) -> Result<(), StartError> {
        let mut ended = self.shared.ended.clone();
        match ended.wait_for(Option::is_some).await {
            Ok(ending) => ending.clone().unwrap_or(Ok(())),
            Err(_) => Err(StartError::Failed("the shard thread ended unexpectedly".to_owned())),
        }
    }

    pub(crate) async fn greet(&self, announcement: Announcement) -> Result<Announcement, String> {
        let gone = |_| "the node is stopping".to_owned();
        let (answer, answered) = oneshot::channel();
        let command = Command::Greet { announcement, answer };
        self.shared.commands.send(command).await.map_err(|_| "the node is stopping".to_owned())?;
        answered.await.map_err(gone)
    }
}

impl Shared {
    /// The status published last.
    pub(crate) fn status(&self) -> Arc<Status> {
        Arc::clone(&self.status.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Replaces the status.
    pub(crate) fn publish(&self, status: Status) {
        *self.status.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(status);
    }

    /// Replaces the layout.
    pub(crate) fn publish_layout(&self, layout: Arc<Layout>) {
        *self.layout.write().unwrap_or_else(PoisonError::into_inner) = Some(layout);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status();
        f.debug_struct("Node").field("id", &status.id).field("serving", &status.serving).finish()
    }
}

/// What to say if the shard thread ends before it answers a request.
fn lost(request: &Request) -> Error {
    let executed = if request.op.is_write() { Executed::Unknown } else { Executed::No };
    Error::CoordinatorLost { executed }
}

/// The status of a node that has only just begun.
pub(crate) fn first_status(options: &Options, started_s: u64) -> Status {
    Status {
        id: options.id,
        serving: Serving::No("starting".to_owned()),
        nodes: Vec::new(),
        replication_factor: 0,
        started_s,
        keys: 0,
        disk_bytes: 0,
        index_bytes: 0,
        index_limit_bytes: options.index_limit_bytes,
        pending_requests: 0,
        leaders: Vec::new(),
        repair: Repair::default(),
    }
}
