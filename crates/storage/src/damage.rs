//! The verdict that something durable is missing from a store.

use kvorum_core::Lsn;

/// What was found damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Frames that were durable do not verify.
    Frames,
    /// A segment has no valid header.
    Header,
    /// A segment that the log continues from is not there.
    Segment,
    /// No complete checkpoint is left that the log reaches back to.
    Checkpoint,
    /// The checkpoint is newer than the end of the log.
    Truncated,
    /// The index points into a segment that is not there.
    Address,
}

impl Cause {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Cause::Frames => 1,
            Cause::Header => 2,
            Cause::Segment => 3,
            Cause::Checkpoint => 4,
            Cause::Truncated => 5,
            Cause::Address => 6,
        }
    }

    pub(crate) const fn from_code(code: u8) -> Option<Cause> {
        match code {
            1 => Some(Cause::Frames),
            2 => Some(Cause::Header),
            3 => Some(Cause::Segment),
            4 => Some(Cause::Checkpoint),
            5 => Some(Cause::Truncated),
            6 => Some(Cause::Address),
            _ => None,
        }
    }
}

/// The store has lost durable records: keys may be absent or older than they should be until
/// everything was copied from other nodes. The verdict stands across restarts until
/// [`Store::rebuilt`](crate::Store::rebuilt) is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Damage {
    /// What was found first.
    pub cause: Cause,
    /// The segment it was found in or missed; zero if none.
    pub segment: u32,
    /// The first LSN that may be lost.
    pub first: Lsn,
    /// The last LSN that may be lost.
    pub last: Lsn,
}

impl Damage {
    /// Both verdicts in one: the first cause, the range that covers both.
    pub(crate) fn merge(earlier: Option<Damage>, later: Damage) -> Damage {
        match earlier {
            None => later,
            Some(damage) => Damage {
                first: damage.first.min(later.first),
                last: damage.last.max(later.last),
                ..damage
            },
        }
    }
}
