//! What can go wrong with a request, and whether it may have happened.

use std::borrow::Cow;
use std::fmt;

use crate::{NodeId, Refused};

/// Whether a failed request may have taken effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Executed {
    /// It did not and never will: the client may simply try again.
    No,
    /// It may have, or may yet: the client must read before it decides.
    Unknown,
}

impl fmt::Display for Executed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Executed::No => "no",
            Executed::Unknown => "unknown",
        })
    }
}

/// Why a request failed. Every variant says what the caller can do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The request itself is wrong; sending it again will not help.
    #[error("{0}")]
    Invalid(Cow<'static, str>),
    /// There is no keyspace of that name.
    #[error("there is no keyspace {0:?}")]
    NoKeyspace(String),
    /// The operation reads, modifies and writes, which only a strong keyspace can do.
    #[error("{0} needs a strong keyspace; this keyspace is eventual")]
    NotStrong(&'static str),
    /// The keys of a request that is one step lie in different slots.
    #[error("the keys of one transaction must lie in one slot; use hash tags such as {{user}}:1")]
    CrossSlot,
    /// Too few replicas are reachable: nothing was sent. Try again when more nodes are up.
    #[error("{live} of the {need} replicas needed are reachable; nothing was executed")]
    Unavailable {
        /// How many replicas the consistency level requires.
        need: usize,
        /// How many can be reached.
        live: usize,
    },
    /// The deadline passed before enough replicas answered.
    #[error("{acked} of the {need} replicas needed answered in time; {}", outcome_text(*executed))]
    Timeout {
        /// How many replicas the consistency level requires.
        need: usize,
        /// How many answered.
        acked: usize,
        /// Unknown for a write, no for a read.
        executed: Executed,
    },
    /// A queue is full; back off and try again.
    #[error("{what} is full; {}", outcome_text(*executed))]
    Overloaded {
        /// Which queue.
        what: &'static str,
        /// Whether anything may have been executed.
        executed: Executed,
    },
    /// Too few replicas have space on disk.
    #[error("too few replicas have free disk space; {}", outcome_text(*executed))]
    DiskFull {
        /// Whether a minority of replicas may hold the write.
        executed: Executed,
    },
    /// Too few replicas have memory for another key.
    #[error(
        "the index of too many replicas is full (raise index_limit or delete keys); {}",
        outcome_text(*executed)
    )]
    IndexFull {
        /// Whether a minority of replicas may hold the write.
        executed: Executed,
    },
    /// The coordinator's clock is ahead of too many replicas' clocks.
    #[error("the clock of the coordinating node is too far ahead; {}", outcome_text(*executed))]
    ClockSkew {
        /// Whether a minority of replicas may hold the write.
        executed: Executed,
    },
    /// Too many copies of the record fail their checksum; repair is under way.
    #[error("the stored copies of this record are damaged; {}", outcome_text(*executed))]
    Corrupt {
        /// Whether anything may have been executed.
        executed: Executed,
    },
    /// The node is not ready: starting, waiting for its peers, or stopping.
    #[error("the node is not serving: {0}; nothing was executed")]
    NotServing(Cow<'static, str>),
    /// This replica does not lead the group of the key. Whoever asked it asks the leader; a client
    /// sees this only if none was found in time.
    #[error("{}; nothing was executed", leader_text(*leader))]
    NotLeader {
        /// Who leads, as far as this replica knows.
        leader: Option<NodeId>,
    },
    /// The node that was handling the request was lost.
    #[error("the coordinating node was lost; {}", outcome_text(*executed))]
    CoordinatorLost {
        /// Unknown for a write, no for a read.
        executed: Executed,
    },
    /// The write was sent again, and too much has happened since its first attempt to tell whether
    /// that was done; or it was done, and its answer was too long to be remembered.
    #[error("what became of the first attempt is not remembered any more; the outcome is unknown")]
    SessionLost,
    /// The idempotency key of the request was that of another one before.
    #[error("this idempotency key was used for another request; nothing was executed")]
    KeyReused,
}

fn leader_text(leader: Option<NodeId>) -> String {
    match leader {
        Some(node) => format!("node {node} leads the partition of this key"),
        None => "the partition of this key has no leader at present".to_owned(),
    }
}

const fn outcome_text(executed: Executed) -> &'static str {
    match executed {
        Executed::No => "nothing was executed",
        Executed::Unknown => "the outcome is unknown",
    }
}

/// The result of a request.
pub type Outcome<T> = Result<T, Error>;

impl Error {
    /// An [`Error::Invalid`] with the given text.
    pub fn invalid(text: impl Into<Cow<'static, str>>) -> Error {
        Error::Invalid(text.into())
    }

    /// That the store has no room for what the request would write; nothing was executed.
    #[must_use]
    pub fn no_room(refused: Refused) -> Error {
        let executed = Executed::No;
        match refused {
            Refused::DiskFull => Error::DiskFull { executed },
            Refused::IndexFull => Error::IndexFull { executed },
            Refused::FrameFull => Error::Overloaded { what: "the frame of this turn", executed },
            Refused::TooLarge => Error::invalid("the request is larger than a frame of the log"),
        }
    }

    /// Whether the request may have taken effect.
    #[must_use]
    pub const fn executed(&self) -> Executed {
        match self {
            Error::Invalid(_)
            | Error::NoKeyspace(_)
            | Error::NotStrong(_)
            | Error::CrossSlot
            | Error::Unavailable { .. }
            | Error::NotServing(_)
            | Error::NotLeader { .. }
            | Error::KeyReused => Executed::No,
            Error::SessionLost => Executed::Unknown,
            Error::Timeout { executed, .. }
            | Error::Overloaded { executed, .. }
            | Error::DiskFull { executed }
            | Error::IndexFull { executed }
            | Error::ClockSkew { executed }
            | Error::Corrupt { executed }
            | Error::CoordinatorLost { executed } => *executed,
        }
    }

    /// The stable code of the error, the same on every front end.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Error::Invalid(_) => "INVALID",
            Error::NoKeyspace(_) => "NOKEYSPACE",
            Error::NotStrong(_) => "NOTSTRONG",
            Error::CrossSlot => "CROSSSLOT",
            Error::Unavailable { .. } => "UNAVAILABLE",
            Error::Timeout { .. } => "TIMEOUT",
            Error::Overloaded { .. } => "OVERLOAD",
            Error::DiskFull { .. } => "DISKFULL",
            Error::IndexFull { .. } => "INDEXFULL",
            Error::ClockSkew { .. } => "CLOCKSKEW",
            Error::Corrupt { .. } => "CORRUPT",
            Error::NotServing(_) => "NOTSERVING",
            Error::NotLeader { .. } => "NOTLEADER",
            Error::CoordinatorLost { .. } => "COORDINATORLOST",
            Error::SessionLost => "SESSIONLOST",
            Error::KeyReused => "KEYREUSED",
        }
    }
}
