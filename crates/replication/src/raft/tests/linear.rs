//! What operations on one key do, and what their clients were told.

use crate::linearizability::{self, Act};

/// What an operation did, as its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// Read this value.
    Read(Option<u64>),
    /// Stored this value; without an answer it may have, then or later, or not.
    Wrote(u64),
    /// Deleted.
    Deleted,
    /// Stored the second value if the first one was there; whether it was.
    Swapped(Option<u64>, u64, Option<bool>),
    /// Added one to a number, which absent is zero; the sum.
    Added(Option<u64>),
}

/// One operation.
pub(super) type Operation = linearizability::Operation<Did>;

impl Act for Did {
    type State = Option<u64>;

    fn act(&self, before: &Option<u64>) -> Option<Option<u64>> {
        let value = *before;
        match self {
            Did::Read(read) => (*read == value).then_some(value),
            Did::Wrote(new) => Some(Some(*new)),
            Did::Deleted => Some(None),
            Did::Swapped(old, new, told) => {
                let swaps = *old == value;
                let fits = told.is_none_or(|told| told == swaps);
                fits.then_some(if swaps { Some(*new) } else { value })
            }
            Did::Added(told) => {
                let sum = value.unwrap_or(0) + 1;
                told.is_none_or(|told| told == sum).then_some(Some(sum))
            }
        }
    }
    fn only_reads(&self) -> bool {
        matches!(self, Did::Read(_))
    }
}
