//! What replicas say to each other about their floors.

use kvorum_core::{Hlc, NodeId, Version};

/// A question about floors, or the answer to one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FloorLetter {
    /// Take no new writes of clients up to this reading.
    Propose(Hlc),
    /// The answer to [`FloorLetter::Propose`]: promised, durably.
    Promised {
        /// The life of the replica's data.
        life: Version,
    },
    /// With whom are you clean, and up to which promise?
    Ask,
    /// The answer to [`FloorLetter::Ask`].
    Clean {
        /// The life of the replica's data.
        life: Version,
        /// Its promise.
        promise: Hlc,
        /// The other members with which a comparison was clean, and the smaller of both promises
        /// when it was made. No more than there are members.
        with: Vec<(NodeId, Hlc)>,
    },
    /// Everything up to `floor` is settled, if you are still the one who promised.
    Commit {
        /// The new floor.
        floor: Hlc,
        /// The lives of the replicas that have promised it.
        lives: Vec<(NodeId, Version)>,
    },
    /// My floor is this; which are your floor and your promise?
    Compare(Hlc),
    /// The answer to [`FloorLetter::Compare`].
    Told {
        /// The replica's floor.
        floor: Hlc,
        /// Its promise.
        promise: Hlc,
    },
    /// The answer to any question of a replica that cannot say yes: it is being rebuilt, its clock
    /// is wrong, or it has promised more.
    Declined,
}

impl FloorLetter {
    /// Whether the receiver is to do something.
    pub(crate) const fn asks(&self) -> bool {
        matches!(
            self,
            FloorLetter::Propose(_)
                | FloorLetter::Ask
                | FloorLetter::Commit { .. }
                | FloorLetter::Compare(_)
        )
    }
}
