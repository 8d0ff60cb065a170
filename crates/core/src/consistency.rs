//! How many copies must answer.

use std::fmt;
use std::str::FromStr;

/// How many replicas of a partition must acknowledge a write or answer a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Consistency {
    /// One replica.
    One,
    /// A majority of the assigned replicas, whether they are alive or not.
    Quorum,
    /// Every assigned replica.
    All,
}

impl Consistency {
    /// The number of replicas required out of `assigned`.
    #[must_use]
    pub const fn required(self, assigned: usize) -> usize {
        match self {
            Consistency::One => 1,
            Consistency::Quorum => assigned / 2 + 1,
            Consistency::All => assigned,
        }
    }
}

impl fmt::Display for Consistency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Consistency::One => "one",
            Consistency::Quorum => "quorum",
            Consistency::All => "all",
        })
    }
}

/// Reads `one`, `quorum` or `all` in any case.
impl FromStr for Consistency {
    type Err = UnknownConsistency;

    fn from_str(text: &str) -> Result<Consistency, UnknownConsistency> {
        [Consistency::One, Consistency::Quorum, Consistency::All]
            .into_iter()
            .find(|level| level.to_string().eq_ignore_ascii_case(text))
            .ok_or(UnknownConsistency)
    }
}

/// A text that names no consistency level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the consistency levels are one, quorum and all")]
pub struct UnknownConsistency;
