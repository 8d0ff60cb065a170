//! The harness of the end-to-end tests: real processes, sockets and disks.
//!
//! A [`Cluster`] starts `kvorum server` processes on ports and directories of its own, kills,
//! pauses and restarts them, and ends them with itself, also when a test panics. What a test says
//! to them goes through small clients that belong to the tests alone ([`resp`], [`http`]) or
//! through the real one ([`Rpc`]). A [`Load`] writes while things go wrong and keeps a ledger of
//! what it was told; [`Ledger::verify`] holds every node to it.
//!
//! Not in here: fault injection below the process (that is what the simulator and the disks of
//! kvorum-storage are for), and anything that reads a node's files, but for damaging them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "the caller is a test: a panic that says what failed is all it needs"
)]

mod binary;
mod cluster;
mod damage;
mod dev;
pub mod http;
mod ledger;
mod load;
mod node;
mod poll;
mod ports;
mod process;
mod pulse;
pub mod resp;
mod rpc;
mod tmpfs;

pub use binary::run;
pub use cluster::{Cluster, Plan};
pub use damage::{checkpoint, find, flip_a_byte, oldest_segment};
pub use dev::{Dev, DevNode};
pub use ledger::{Ledger, Reader};
pub use load::Load;
pub use node::{Node, Refusal};
pub use poll::{PATIENCE, until, within};
pub use ports::{NodePorts, PortBlock};
pub use process::{Process, is_running};
pub use pulse::{Pulse, Tally};
pub use rpc::{Rpc, chunk_hash, increment_named};
pub use tmpfs::Tmpfs;
