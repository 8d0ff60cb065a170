//! Leaderless replication: quorum writes and reads, last write wins.
//!
//! Any replica coordinates ([`Replica`]). A write is stamped by the coordinator's hybrid clock,
//! sent to all replicas and answered when enough of them hold it durably (`write`). A read
//! compares the versions of enough replicas, and before it shows a value it makes sure that later
//! reads will find it too (`read`). Each replica keeps, of every key, the record with the largest
//! version (`serve`), so replicas that have seen the same records hold the same data, in whatever
//! order they came.
//!
//! What this gives, with reads and writes at QUORUM: a read returns a version not older than any
//! write acknowledged, and any read finished, before it began; a write that begins after another
//! was acknowledged has the larger version, whatever the clocks do. It is not linearizable: a
//! write that was stamped twice may be seen at its first version, be overwritten, and win again.
//!
//! **Invariant:** a replica never answers from, and never counts, a record that a power cut could
//! still take away.
//!
//! **Invariant:** a rebuilding replica answers no reads and counts in no quorum.
//!
//! **Invariant:** everything pending belongs to a client's request, which the shard bounds, or to
//! the one rebuild; nothing a peer sends makes a replica keep state.

mod answers;
mod change;
mod coordinator;
mod floor;
mod hint;
mod leftovers;
mod limits;
mod mutation;
mod options;
mod pending;
mod purge;
pub mod quarantine;
mod read;
mod rebuild;
mod repair;
mod replica;
mod scan;
mod serve;
pub(crate) mod sync;
mod write;

#[cfg(test)]
mod tests;

pub use floor::FloorLetter;
pub use limits::Limits;
pub use mutation::Mutation;
pub use options::Options;
pub use replica::Replica;
pub use serve::PAGE;
pub use sync::Letter;
