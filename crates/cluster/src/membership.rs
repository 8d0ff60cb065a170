//! Who is here: gossip and failure detection, without I/O.
//!
//! Three things decide what a node thinks of another one:
//!
//! - **SWIM** (the library `foca`): every interval each node probes another one, through others if
//!   it does not answer, and what it finds spreads with the probes. It notices within about two
//!   seconds who does not answer any more, at a cost that does not grow with the cluster.
//! - **Signs of life** of this node's own: every answer to an *echo*, every frame of a stream.
//!   A node that gave one just now is alive, whatever SWIM says. So a network that lets TCP through
//!   and no UDP takes no node out of service: a node whose answers by UDP stay away, and that is
//!   connected, gets a copy of each datagram through its stream, and answers the same way.
//!   Conversely an open socket proves nothing: a node that is suspect and leaves an echo in its
//!   stream unanswered is reported as lost ([`Effect::Lost`]), and its stream is closed.
//! - **Votes**: a node that has been suspect for some seconds, and did not answer this node itself
//!   either, is voted down in this node's next *report*. It is *down* when a majority of the nodes
//!   that are alive say so, and these are a majority of all: who is cut off with a minority calls
//!   the others suspect and himself alone ([`Effect::Majority`]).
//!
//! Restarts: a node names itself by its id and its [`Incarnation`]; a later one wins at once.
//!
//! A standing steers where requests go first; a wrong one costs latency, never safety, and none
//! ever moves the ownership of a key.
//!
//! **Invariant:** a datagram that is malformed, of another cluster, not authentic or a replay
//! changes nothing but a count.
//!
//! **Invariant:** while this process does not run, no time passes: its own sleep is not held
//! against the others.

mod datagram;
mod gossip;
mod incarnation;
mod judging;
mod peer;
mod report;
mod speaking;
mod swim;
mod timing;
mod window;

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::NodeId;

pub use self::datagram::{Kind, Refusal, Secret, fingerprint};
pub use self::gossip::Gossip;
pub use self::incarnation::Incarnation;
pub use self::report::{Addresses, Pulse};

/// What a node is told about its part in the gossip.
#[derive(Clone, Debug)]
pub struct Options {
    /// This node.
    pub me: NodeId,
    /// All nodes of the cluster.
    pub nodes: Vec<NodeId>,
    /// Which cluster it is ([`fingerprint`]).
    pub cluster: u64,
    /// The first incarnation of this process.
    pub incarnation: Incarnation,
    /// Drawn at random by this process at its start; also the seed of all choices made here.
    pub process: u64,
    /// What seals the datagrams.
    pub secret: Option<Secret>,
    /// The time between two probes; all other times are multiples of it.
    pub interval: Duration,
    /// Where this node can be reached.
    pub addresses: Addresses,
}

/// What a node thinks of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Standing {
    /// It answers.
    Alive,
    /// It does not answer, or did not yet.
    Suspect,
    /// A majority of the nodes say that it does not answer.
    Down,
}

impl Standing {
    /// All of them.
    pub const ALL: [Standing; 3] = [Standing::Alive, Standing::Suspect, Standing::Down];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Standing::Alive => "alive",
            Standing::Suspect => "suspect",
            Standing::Down => "down",
        }
    }
}

/// How a datagram travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// By UDP.
    Udp,
    /// Inside the stream between the two nodes.
    Stream,
}

/// What the driver shall do, or may tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send these bytes.
    Send {
        /// To this node.
        to: NodeId,
        /// This way.
        path: Path,
        /// What they are.
        kind: Kind,
        /// The bytes.
        datagram: Bytes,
    },
    /// The standing of a node has changed.
    Changed(NodeId, Standing),
    /// The node is suspect and has left a question unanswered: end the stream with it.
    Lost(NodeId),
    /// Whether the nodes that are alive, this one included, are a majority of all.
    Majority(bool),
    /// A process of a node has answered, so long after it was asked.
    Answered {
        /// The node.
        node: NodeId,
        /// The number its process has drawn.
        process: u64,
        /// From question to answer.
        round_trip: Duration,
    },
    /// A node tells where it can be reached.
    Moved(NodeId, Addresses),
}

/// What is known of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// What this node thinks of it.
    pub standing: Standing,
    /// How many questions it has answered.
    pub heartbeat: u64,
    /// When it was last heard of, in milliseconds since 1970; zero for never.
    pub seen_ms: u64,
    /// What it says of itself; nothing before it has said anything.
    pub pulse: Option<Pulse>,
}

#[cfg(test)]
mod tests;
