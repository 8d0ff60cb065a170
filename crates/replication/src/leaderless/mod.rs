//! Leaderless replication: quorum writes and reads, last write wins.

mod replica;

pub use replica::{Options, Replica};
