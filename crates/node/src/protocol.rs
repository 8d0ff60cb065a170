//! Wire protocols that run on the shard thread.
//!
//! A protocol (RESP) is implemented in the `server` crate and driven here, so that its commands
//! enter the turn without crossing a thread: bytes in, calls to the shard, bytes out. Sessions do
//! no I/O themselves.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::BytesMut;
use kvorum_core::{Layout, Now, Outcome, Reply, Request};

use crate::{Node, Status};

/// A wire protocol with a listener of its own.
pub trait Protocol: Send + 'static {
    /// Its name in metrics and logs.
    fn name(&self) -> &'static str;

    /// What a client is told that connects when too many are connected.
    fn refusal(&self) -> &'static [u8];

    /// A session for a new connection.
    fn open(&mut self, client: SocketAddr) -> Box<dyn Session>;
}

/// The state of one connection.
pub trait Session {
    /// Takes what has arrived so far, consumes the complete commands of it, and submits their
    /// calls. What is left in `input` is offered again together with the next bytes; a session
    /// that holds complete commands back keeps them itself and goes on in [`Session::complete`].
    fn receive(&mut self, input: &mut BytesMut, port: &mut Port<'_>) -> Flow;

    /// Takes the answer to a call submitted earlier; may submit further calls.
    fn complete(&mut self, call: CallId, outcome: Outcome<Reply>, port: &mut Port<'_>) -> Flow;

    /// The bytes to be written; the driver drains it at the end of each turn, with one write.
    /// What the socket does not take stays in it.
    fn output(&mut self) -> &mut BytesMut;

    /// Tells that output has been written, so that a session that held commands back until its
    /// client reads goes on; may submit further calls.
    fn written(&mut self, port: &mut Port<'_>) -> Flow;

    /// Bytes of requests that wait for answers: above one mebibyte the driver stops reading.
    fn pending_bytes(&self) -> usize;
}

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It is closed as soon as the output has been written.
    Close,
}

/// Identifies a call within its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// What a session may ask of the node it runs on. It is a trait so that sessions can be tested
/// without a running node.
pub trait NodeView {
    /// The present time: deadlines of requests are counted from it.
    fn now(&self) -> Now;

    /// The layout in force; nothing before the node knows its cluster.
    fn layout(&self) -> Option<Arc<Layout>>;

    /// A snapshot of the node's state, at most a second old.
    fn status(&self) -> Arc<Status>;

    /// The longest value the node takes, in bytes.
    fn max_value(&self) -> usize;
}

impl NodeView for Node {
    fn now(&self) -> Now {
        Node::now(self)
    }

    fn layout(&self) -> Option<Arc<Layout>> {
        Node::layout(self)
    }

    fn status(&self) -> Arc<Status> {
        Node::status(self)
    }

    fn max_value(&self) -> usize {
        Node::max_value(self)
    }
}

/// What a session may use while it runs.
pub struct Port<'a> {
    pub(crate) node: &'a dyn NodeView,
    pub(crate) next_call: &'a mut u64,
    pub(crate) calls: &'a mut Vec<(CallId, Request)>,
}

impl<'a> Port<'a> {
    /// A port that collects calls in `calls`, numbered from `next_call` on; numbers only rise
    /// within a session.
    pub fn new(
        node: &'a dyn NodeView,
        next_call: &'a mut u64,
        calls: &'a mut Vec<(CallId, Request)>,
    ) -> Port<'a> {
        Port { node, next_call, calls }
    }

    /// Submits a request; [`Session::complete`] gets its answer, exactly once.
    pub fn submit(&mut self, request: Request) -> CallId {
        let call = CallId(*self.next_call);
        *self.next_call += 1;
        self.calls.push((call, request));
        call
    }

    /// The node, for time, layout and status.
    #[must_use]
    pub fn node(&self) -> &'a dyn NodeView {
        self.node
    }
}
