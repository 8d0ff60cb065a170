//! Strong keyspaces: one Raft group per partition (Ongaro and Ousterhout, "In Search of an
//! Understandable Consensus Algorithm", 2014), linearizable.
//!
//! A [`Replica`] is one replica of one group. What clients ask in one turn becomes one entry of
//! the log (or few, if it is much), so that a majority has it after one frame to each peer and one
//! sync on each node. The leader answers reads by itself while it has a lease; else they wait for one
//! round that confirms that it still leads, which all reads of a turn share.
//!
//! | module | what |
//! |---|---|
//! | `replica` | the group as the shard sees it |
//! | `running` | a replica whose log is whole: a turn of it |
//! | `timing` | what a replica does because time has passed |
//! | `requests` | what becomes of a request when it arrives |
//! | `proposals` | writes on their way into the log, and back as answers |
//! | `room` | what is refused because it could not be applied |
//! | `consensus` | the library `raft`, with everything that could make it panic kept away |
//! | `log` | entries, term, vote and applied index, as records of the node's store |
//! | `sessions` | what the last entries answered, so that nothing is done twice |
//! | `clients` | what clients were answered that name their writes themselves |
//! | `kept` | what is kept of an answer |
//! | `ring` | all that, as records of the node's store |
//! | `retention` | which entries are kept |
//! | `state` | how far the log is applied, and who is a member |
//! | `payload` | what an entry says |
//! | `machine` | what it does to keys |
//! | `action` | what one action makes of one value |
//! | `decimal` | sums of decimal numbers |
//! | `apply` | committed entries on their way through the machine into the store |
//! | `reads` | reads that wait until it is known what they must see |
//! | `reading` | how a leader and a follower find that out |
//! | `lease` | when a leader may answer by itself, and when a new one must not answer yet |
//! | `serve` | their answers |
//! | `snapshot` | a copy of the partition for a replica that is too far behind, in pieces |
//! | `aside` | what is set aside meanwhile, as it was |
//! | `piece` | its pieces on the wire |
//! | `stretch` | how two replicas find out that they hold the same, so that it is not sent |
//! | `copying` | how a replica sends and receives one |
//! | `solo` | for tests of other crates: the state machine without a group |
//! | `letter` | the encoding of Raft's messages |
//! | `membership` | how a replica that lost something is replaced |
//! | `id` | what Raft calls a replica |
//! | `transfer` | the lead on its way to another replica |
//! | `election` | election timeouts from a seed |
//!
//! **Invariant:** nothing of the library leaves this module, and nothing it sends leaves the node
//! before what it promises is durable.

mod action;
mod apply;
mod aside;
mod clients;
mod consensus;
mod copying;
mod decimal;
mod election;
mod id;
mod kept;
mod lease;
mod letter;
mod log;
mod machine;
mod membership;
mod mutation;
mod options;
mod payload;
mod piece;
mod proposals;
mod reading;
mod reads;
mod replica;
mod requests;
mod retention;
mod ring;
mod room;
mod running;
mod serve;
mod sessions;
mod snapshot;
#[cfg(any(test, feature = "testing"))]
mod solo;
mod state;
mod stretch;
mod sweep;
#[cfg(test)]
mod tests;
mod timing;
mod transfer;

pub use mutation::Mutation;
pub use options::{Limits, Options};
pub use replica::Replica;
#[cfg(feature = "testing")]
pub use solo::Solo;
