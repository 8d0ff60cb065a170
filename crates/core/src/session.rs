//! Names for writes, by which a strong keyspace knows one that it has done already.

use crate::{Hlc, Writer};

/// A name that a client gives to a write of a strong keyspace: sent again under the same name it is
/// not done twice, whichever node it is sent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// The session: a number of its own for each user and key.
    pub client: u128,
    /// The number of the write in the session; the last 16 numbers are remembered.
    pub seq: u64,
}

/// A write of a strong keyspace, as the node that took it from its client names it. Sent again
/// under the same name it is not done twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// The node that took it, in one of its lives.
    pub session: Writer,
    /// The number the node gave it; never used twice in one life.
    pub seq: u64,
    /// Nothing unless it is sent again although an earlier attempt may have been executed: then a
    /// reading that the clock of the partition's log had before the first attempt was sent.
    pub since: Option<Hlc>,
}
