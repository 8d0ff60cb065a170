//! A Rust client of kvorum, over gRPC.
//!
//! ```no_run
//! # async fn example() -> Result<(), kvorum_client::Error> {
//! use kvorum_client::{Client, Options};
//!
//! let client = Client::new(Options::new(["127.0.0.1:50051", "127.0.0.1:50052"]))?;
//! client.put("greeting", "hello").await?;
//! assert_eq!(client.get("greeting").await?.map(|found| found.value), Some("hello".into()));
//! # Ok(())
//! # }
//! ```
//!
//! Any node takes any request; the client spreads its requests over the endpoints it was given
//! and leaves out those that do not answer. It does not know the layout: the node it asks does.
//!
//! **Invariant:** a request is repeated only when the attempt before is known not to have been
//! executed, when it reads, or when it is a write under a name by which the keyspace knows it again.
//! Strong keyspaces do: the client gives every write an idempotency key of its own, and repeats it
//! until its outcome is known or its time is over. In an eventual keyspace a write whose outcome is
//! unknown is never repeated; the caller gets [`Error::Unknown`] and decides.

mod batch;
mod client;
mod endpoints;
mod error;
mod names;
mod options;
mod repair;
mod retry;
mod scan;
mod txn;
mod types;

pub use client::Client;
pub use error::Error;
pub use kvorum_core::limits::HARD_MAX_VALUE;
pub use kvorum_core::{Consistency, Executed, Version};
pub use options::Options;
pub use repair::{KeyspaceRepair, PeerRepair, RepairStatus};
pub use scan::Scan;
pub use txn::{Condition, Step, StepOutcome, Txn, TxnOutcome};
pub use types::{
    Found, NodeInfo, NodeStatus, Operation, OperationResult, PutOptions, Waiting, Written,
};
