//! What makes copies agree, without I/O.
//!
//! A [`Group`] is one replica of one partition. It is a state machine: inputs come in through
//! [`Group::handle`] together with the present time and the node's [`Context`]; everything it
//! wants done goes out through the [`Outbox`]. It knows no socket, no disk write, no clock and no
//! random number, so the same code runs behind tokio, in the simulator and under golden scripts.
//!
//! Two rules hold for every group:
//!
//! **Invariant:** nothing that depends on a record leaves the node before that record is durable.
//! A group expresses this by naming an LSN with the effect ([`Outbox::send_after`],
//! [`Outbox::reply_after`]); the shard holds the effect until the log is durable up to it.
//!
//! **Invariant:** the local replica is a peer like the others. A coordinator sends itself the
//! same messages and counts the same answers, so there is one path to reason about.

mod group;
pub mod leaderless;
#[cfg(any(test, feature = "mutations", feature = "testing"))]
pub mod linearizability;
#[cfg(any(test, feature = "testing"))]
#[cfg_attr(not(test), allow(dead_code))]
#[allow(clippy::indexing_slicing, clippy::panic)]
mod memory_store;
mod message;
pub mod pace;
mod questions;
mod quorum;
pub mod raft;
mod report;
pub mod wire;

pub use group::{
    Context, Effect, Event, Group, Input, Leadership, Outbox, Peers, Root, Ticket, Willingness,
};
pub use message::{Found, Message, OpId, PageItem, ScannedPage, Status, WriteKind};
pub use quorum::Quorum;
pub use report::Report;
