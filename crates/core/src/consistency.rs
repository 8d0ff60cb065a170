//! What an answer promises.

use std::fmt;
use std::str::FromStr;

use crate::{Error, Mode, Op};

/// What an answer promises: in an eventual keyspace how many replicas have taken part in it, in a
/// strong one how a read is made. What has no meaning for a keyspace is refused there
/// ([`Consistency::check`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// Eventual keyspaces: one replica.
    One,
    /// A majority of the assigned replicas, whether they are alive or not. Writes of strong
    /// keyspaces always have it; a read of one is [`Consistency::Safe`] by it.
    Quorum,
    /// Eventual keyspaces: every assigned replica.
    All,
    /// Reads of strong keyspaces: linearizable. The leader answers by itself while it has a lease,
    /// which rests on clocks that measure half a second alike.
    Lease,
    /// Reads of strong keyspaces: linearizable whatever clocks do. The leader asks a majority
    /// whether it still leads.
    Safe,
    /// Reads of strong keyspaces: linearizable. Any replica answers when it has what the leader
    /// had committed.
    Follower,
    /// Reads of strong keyspaces: any replica answers with what was true at some moment at most so
    /// long before the read began, or later.
    Stale {
        /// How long, in milliseconds.
        max_ms: u32,
    },
}

/// Those that are only a word.
const WORDS: [Consistency; 6] = [
    Consistency::One,
    Consistency::Quorum,
    Consistency::All,
    Consistency::Lease,
    Consistency::Safe,
    Consistency::Follower,
];

/// The word before the milliseconds of [`Consistency::Stale`].
const STALE: &str = "stale:";

impl Consistency {
    /// The number of replicas required out of `assigned`.
    #[must_use]
    pub const fn required(self, assigned: usize) -> usize {
        match self {
            Consistency::One | Consistency::Stale { .. } => 1,
            Consistency::Quorum
            | Consistency::Lease
            | Consistency::Safe
            | Consistency::Follower => assigned / 2 + 1,
            Consistency::All => assigned,
        }
    }

    /// Whether any replica of a strong partition may answer.
    #[must_use]
    pub const fn by_any_replica(self) -> bool {
        matches!(self, Consistency::Follower | Consistency::Stale { .. })
    }

    /// Whether it only says how to read.
    #[must_use]
    pub const fn is_of_reads(self) -> bool {
        matches!(self, Consistency::Lease | Consistency::Safe) || self.by_any_replica()
    }

    /// Checks whether it means something for an operation in a keyspace of a mode.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names what does.
    pub fn check(self, mode: Mode, op: &Op) -> Result<(), Error> {
        let (fits, known) = match (mode, op.is_write()) {
            (Mode::Eventual, _) => (
                matches!(self, Consistency::One | Consistency::Quorum | Consistency::All),
                "in an eventual keyspace the consistency levels are one, quorum and all",
            ),
            (Mode::Strong, false) => (
                !matches!(self, Consistency::One | Consistency::All),
                "in a strong keyspace the consistency levels of reads are lease, safe (or \
                 quorum), follower and stale:MILLISECONDS",
            ),
            (Mode::Strong, true) => (
                self == Consistency::Quorum,
                "in a strong keyspace the consistency level of every write is quorum",
            ),
        };
        if fits { Ok(()) } else { Err(Error::invalid(format!("{known}; {self} is none of them"))) }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::One => "one",
            Consistency::Quorum => "quorum",
            Consistency::All => "all",
            Consistency::Lease => "lease",
            Consistency::Safe => "safe",
            Consistency::Follower => "follower",
            Consistency::Stale { max_ms } => return write!(f, "{STALE}{max_ms}"),
        })
    }
}

/// Reads the name of a level in any case; `stale` is followed by milliseconds: `stale:500`.
impl FromStr for Consistency {
    type Err = UnknownConsistency;

    fn from_str(text: &str) -> Result<Consistency, UnknownConsistency> {
        let text = text.to_ascii_lowercase();
        if let Some(max_ms) = text.strip_prefix(STALE) {
            let max_ms = max_ms.parse().map_err(|_| UnknownConsistency)?;
            return Ok(Consistency::Stale { max_ms });
        }
        WORDS.into_iter().find(|level| level.to_string() == text).ok_or(UnknownConsistency)
    }
}

/// A text that names no consistency level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the consistency levels are one, quorum and all, and for reads of strong keyspaces lease, \
     safe, follower and stale:MILLISECONDS (up to 4294967295)"
)]
pub struct UnknownConsistency;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Want;

    fn all() -> impl Iterator<Item = Consistency> {
        WORDS.into_iter().chain([Consistency::Stale { max_ms: 500 }])
    }

    #[test]
    fn every_level_is_read_as_it_is_written() {
        for level in all() {
            assert_eq!(level.to_string().parse(), Ok(level));
            assert_eq!(level.to_string().to_uppercase().parse(), Ok(level));
        }
        for text in ["", "most", "stale", "stale:", "stale:-1", "stale:1s"] {
            assert_eq!(text.parse::<Consistency>(), Err(UnknownConsistency), "{text}");
        }
    }

    #[test]
    fn a_level_without_meaning_is_refused_with_those_that_have_one() {
        let read = Op::Get { key: "k".into(), want: Want::Value };
        let write = Op::Delete { key: "k".into() };
        let known = |mode, op: &Op| {
            let known = all().filter(|level| level.check(mode, op).is_ok());
            known.map(|level| level.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(known(Mode::Eventual, &read), ["one", "quorum", "all"]);
        assert_eq!(known(Mode::Eventual, &write), ["one", "quorum", "all"]);
        let reads = ["quorum", "lease", "safe", "follower", "stale:500"];
        assert_eq!(known(Mode::Strong, &read), reads);
        assert_eq!(known(Mode::Strong, &write), ["quorum"]);
        let error = Consistency::One.check(Mode::Strong, &read).unwrap_err();
        assert!(error.to_string().contains("lease, safe (or quorum), follower"), "{error}");
    }
}
