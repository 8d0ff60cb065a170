//! The handle by which front ends reach a node from any thread.

use std::net::SocketAddr;
use std::sync::Arc;

use kvorum_core::{Error, Layout, Now, Outcome, Reply, Request};

use crate::{Options, Protocol, Status};

/// A running node. Clones share it.
#[derive(Clone, Debug)]
pub struct Node {
    _shared: Arc<()>,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
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
        let _ = (options, protocols);
        Err(StartError::Failed("not built yet".to_owned()))
    }

    /// Runs one request.
    ///
    /// # Errors
    /// Those of the operation; a full queue is [`Error::Overloaded`].
    pub async fn run(&self, request: Request) -> Outcome<Reply> {
        let _ = request;
        Err(Error::NotServing("starting".into()))
    }

    /// Runs several requests at once, entering the shard together. Answers are in the order of
    /// the requests.
    pub async fn run_all(&self, requests: Vec<Request>) -> Vec<Outcome<Reply>> {
        let _ = requests;
        Vec::new()
    }

    /// The present time: deadlines of requests are counted from it.
    #[must_use]
    pub fn now(&self) -> Now {
        Now::default()
    }

    /// The layout in force; nothing before the node knows its cluster.
    #[must_use]
    pub fn layout(&self) -> Option<Arc<Layout>> {
        None
    }

    /// A snapshot of the node's state, at most a second old.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::new(Status {
            id: kvorum_core::NodeId::new(1).unwrap_or_else(|| unreachable!()),
            serving: crate::Serving::No("starting".to_owned()),
            nodes: Vec::new(),
            replication_factor: 0,
            started_s: 0,
            keys: 0,
            disk_bytes: 0,
            index_bytes: 0,
            index_limit_bytes: 0,
            pending_requests: 0,
        })
    }

    /// The longest value this node takes, in bytes.
    #[must_use]
    pub fn max_value(&self) -> usize {
        kvorum_core::limits::DEFAULT_MAX_VALUE
    }

    /// Stops the node: takes no more requests, finishes the pending ones, syncs the log.
    pub async fn stop(&self) {}
}
