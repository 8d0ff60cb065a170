//! Answers by the question they belong to.

use kvorum_core::{Error, Executed, Item, Outcome, Reply, Version};

/// The answer to a read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// There is a live value.
    Found(Item),
    /// There is none; the version of the deletion or of the expired value, if any.
    Missing(Option<Version>),
}

impl TryFrom<Reply> for Lookup {
    type Error = Error;

    fn try_from(reply: Reply) -> Outcome<Lookup> {
        match reply {
            Reply::Found(item) => Ok(Lookup::Found(item)),
            Reply::Missing(version) => Ok(Lookup::Missing(version)),
            _ => Err(lost(false)),
        }
    }
}

/// The answer to a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version under which it took effect.
    pub version: Version,
    /// How many replicas had it durable by then.
    pub acked: u32,
    /// Whether the key was live before.
    pub was_live: bool,
}

impl TryFrom<Reply> for Written {
    type Error = Error;

    fn try_from(reply: Reply) -> Outcome<Written> {
        match reply {
            Reply::Written { version, acked, was_live } => {
                Ok(Written { version, acked: u32::try_from(acked).unwrap_or(u32::MAX), was_live })
            }
            _ => Err(lost(true)),
        }
    }
}

/// The error for an answer that never came or that belongs to another question.
pub const fn lost(was_write: bool) -> Error {
    let executed = if was_write { Executed::Unknown } else { Executed::No };
    Error::CoordinatorLost { executed }
}
