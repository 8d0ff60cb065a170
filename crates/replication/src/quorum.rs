//! Counting answers of a replica set.

use kvorum_core::NodeId;

/// Which of a set's members have given an answer that counts, and which have given one that
/// does not.
#[derive(Clone, Debug)]
pub struct Quorum {
    size: usize,
    need: usize,
    yes: u8,
    no: u8,
}

impl Quorum {
    /// The most members a set can have.
    pub const MAX_MEMBERS: usize = 8;

    /// Nobody out of `size` members has answered yet; `need` must.
    #[must_use]
    pub const fn new(size: usize, need: usize) -> Quorum {
        Quorum { size, need, yes: 0, no: 0 }
    }

    /// Notes that a member's answer counts.
    pub fn accept(&mut self, members: &[NodeId], node: NodeId) {
        self.yes |= bit(members, node);
    }

    /// Notes that a member has refused or cannot answer.
    pub fn refuse(&mut self, members: &[NodeId], node: NodeId) {
        self.no |= bit(members, node) & !self.yes;
    }

    /// How many answers count.
    #[must_use]
    pub const fn accepted(&self) -> usize {
        self.yes.count_ones() as usize
    }

    /// How many members have answered at all.
    #[must_use]
    pub const fn answered(&self) -> usize {
        (self.yes | self.no).count_ones() as usize
    }

    /// How many answers are needed.
    #[must_use]
    pub const fn need(&self) -> usize {
        self.need
    }

    /// Whether enough answers count.
    #[must_use]
    pub const fn reached(&self) -> bool {
        self.accepted() >= self.need
    }

    /// Whether the members that have not refused are too few.
    #[must_use]
    pub const fn impossible(&self) -> bool {
        self.size - ((self.no & !self.yes).count_ones() as usize) < self.need
    }

    /// Whether a member's answer counts already.
    #[must_use]
    pub fn has(&self, members: &[NodeId], node: NodeId) -> bool {
        self.yes & bit(members, node) != 0
    }
}

fn bit(members: &[NodeId], node: NodeId) -> u8 {
    members.iter().position(|&member| member == node).map_or(0, |at| 1u8 << (at % 8))
}
