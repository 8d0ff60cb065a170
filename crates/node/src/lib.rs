//! Drives a shard: the only crate where sockets, disks, clocks and threads meet the pure core.
//!
//! [`Node::start`] opens the store, finds the peers, and runs the shard on a thread of its own
//! (a `current_thread` runtime, the *shard thread*) together with the connections of the wire
//! protocols that were registered as [`Protocol`]s, the streams between nodes and their gossip. Other
//! threads (gRPC, HTTP) enter through a [`Node`], which is a cheap handle.
//!
//! One *turn* of the shard thread: take everything that is ready, step the shard, send one frame
//! per peer, write once per client connection, write and sync the log once.

mod clock;
mod connections;
mod founding;
mod gossip;
mod handle;
mod incoming;
mod listener;
mod local;
mod options;
mod peer;
mod protocol;
mod repair;
mod slots;
mod start;
mod status;
mod telemetry;
mod turn;

pub use handle::{Node, StartError};
pub use kvorum_cluster::membership::{Pulse, Secret, Standing};

pub use incoming::{Connection, Incoming, Place};
pub use options::{Advertised, Convergence, Options, PeerAddress, WalSync};
pub use peer::{IntroductionService, introduction_service};
pub use protocol::{CallId, Flow, NodeView, Port, Protocol, Session};
pub use repair::{KeyspaceRepair, Pair, PeerRepair, Repair, RepairEvent, RepairStep};
pub use status::{Led, NodeStatus, Serving, Status, Waiting};
