//! The vocabulary of kvorum: keys and slots, versions, records, layouts, operations, errors.
//!
//! Every other crate speaks in these types, so this one stays small: a type lives here only if
//! two crates use it. Nothing here performs I/O, reads a clock or draws a random number; time is
//! an argument ([`Now`]).
//!
//! **Invariant:** a type of this crate is meaningful on every node: no pointer, no process-local
//! handle, no iteration order that differs between two runs.

mod clock;
mod consistency;
pub mod digest;
mod error;
mod identity;
mod keyspace;
pub mod layout;
pub mod limits;
mod node;
mod op;
mod record;
mod session;
mod slot;
mod store;
mod time;
mod txn;
mod version;

pub use clock::HybridClock;
pub use consistency::Consistency;
pub use error::{Error, Executed, Outcome};
pub use identity::Identity;
pub use keyspace::{Keyspace, KeyspaceId, Mode};
pub use layout::{Layout, PartitionId};
pub use node::NodeId;
pub use op::{Expiry, Item, Op, Reply, Request, Want};
pub use record::{Header, Record};
pub use session::{Attempt, IdempotencyKey};
pub use slot::{SLOTS, Slot};
pub use store::{Change, Cursor, Intent, Lsn, Page, ReadError, Refused, ScanLimit, Store, Stored};
pub use time::{Mono, Now};
pub use txn::{Action, Answer, Compare, Condition, Done, ExpiryIs, Output, Refusal, Step, Txn};
pub use version::{Hlc, Version, Writer};
