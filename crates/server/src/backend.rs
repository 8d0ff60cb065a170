//! What the gRPC and HTTP front ends need of a node: a seam, so that they are tested without one.

use std::fmt;
use std::pin::Pin;

use kvorum_core::{NodeId, Outcome, Reply, Request};
use kvorum_node::{Node, NodeView};

#[cfg(test)]
pub mod memory;

/// An answer that is on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A node, as seen from the API threads.
pub trait Backend: NodeView + Send + Sync {
    /// Runs one request.
    fn run(&self, request: Request) -> Pending<'_, Outcome<Reply>>;

    /// Runs several requests at once; the answers are in the order of the requests.
    fn run_all(&self, requests: Vec<Request>) -> Pending<'_, Vec<Outcome<Reply>>>;

    /// Compares what the node holds with other replicas now, as [`Node::repair`] does.
    fn repair(&self, with: Option<NodeId>) -> Pending<'_, Outcome<()>>;
}

impl fmt::Debug for dyn Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Backend")
    }
}

impl Backend for Node {
    fn run(&self, request: Request) -> Pending<'_, Outcome<Reply>> {
        Box::pin(Node::run(self, request))
    }

    fn run_all(&self, requests: Vec<Request>) -> Pending<'_, Vec<Outcome<Reply>>> {
        Box::pin(Node::run_all(self, requests))
    }

    fn repair(&self, with: Option<NodeId>) -> Pending<'_, Outcome<()>> {
        Box::pin(Node::repair(self, with))
    }
}
