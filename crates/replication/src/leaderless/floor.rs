//! The floor: up to where everything is settled, so that deletions may be forgotten.
//!
//! A replica keeps two readings of the hybrid clock. Up to its *promise* it takes no new writes of
//! clients; up to its *floor*, which is never above the promise, it takes nothing new from anybody.

use kvorum_core::Hlc;

/// The floor of one replica.
#[derive(Debug, Default)]
pub(super) struct Floor {
    marks: Marks,
}

/// Two clock readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Marks {
    floor: Hlc,
    promise: Hlc,
}

impl Floor {
    /// Everything up to here is settled: all members hold the same of it.
    pub(super) const fn floor(&self) -> Hlc {
        self.marks.floor
    }

    /// This replica takes no new writes of clients up to here.
    pub(super) const fn promise(&self) -> Hlc {
        self.marks.promise
    }
}
