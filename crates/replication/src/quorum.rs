//! Counting answers of a replica set.

use kvorum_core::NodeId;
use kvorum_core::layout::Placement;

/// Which members of a set have given an answer that counts, which one that does not, and which
/// will give none.
#[derive(Clone, Debug)]
pub struct Quorum {
    size: usize,
    need: usize,
    yes: MemberSet,
    no: MemberSet,
    lost: MemberSet,
}

impl Quorum {
    /// The most members a set can have; layouts enforce it.
    pub const MAX_MEMBERS: usize = Placement::MAX_REPLICAS;

    /// Nobody out of `size` members has answered yet; `need` must.
    #[must_use]
    pub const fn new(size: usize, need: usize) -> Quorum {
        let none = MemberSet::EMPTY;
        Quorum { size, need, yes: none, no: none, lost: none }
    }

    /// Notes that a member's answer counts.
    pub fn accept(&mut self, members: &[NodeId], node: NodeId) {
        self.yes.insert(members, node);
    }

    /// Notes that a member has answered, but not so that it counts.
    pub fn refuse(&mut self, members: &[NodeId], node: NodeId) {
        self.no.insert(members, node);
    }

    /// Notes that a member was not asked, or that no answer of it is to be expected any more.
    ///
    /// What it has answered counts no more: it may come back with an empty disk, and rebuild that
    /// from the others before they have stored what it acknowledged.
    pub fn lose(&mut self, members: &[NodeId], node: NodeId) {
        self.yes.remove(members, node);
        self.give_up(members, node);
    }

    /// Notes that no further answer of a member is to be expected, and nothing else.
    pub(crate) fn give_up(&mut self, members: &[NodeId], node: NodeId) {
        self.lost.insert(members, node);
    }

    /// How many answers count.
    #[must_use]
    pub const fn accepted(&self) -> usize {
        self.yes.len()
    }

    /// How many members have been asked and may still answer.
    #[must_use]
    pub const fn outstanding(&self) -> usize {
        self.size.saturating_sub(self.yes.union(self.no).union(self.lost).len())
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

    /// Whether the answers that count and those still to come are too few.
    #[must_use]
    pub const fn impossible(&self) -> bool {
        self.accepted() + self.outstanding() < self.need
    }
}

/// A set of members, by their position in the list of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct MemberSet(u8);

impl MemberSet {
    pub(crate) const EMPTY: MemberSet = MemberSet(0);

    pub(crate) fn insert(&mut self, members: &[NodeId], node: NodeId) {
        self.0 |= Self::bit(members, node);
    }

    pub(crate) fn remove(&mut self, members: &[NodeId], node: NodeId) {
        self.0 &= !Self::bit(members, node);
    }

    pub(crate) fn contains(self, members: &[NodeId], node: NodeId) -> bool {
        self.0 & Self::bit(members, node) != 0
    }

    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    const fn union(self, other: MemberSet) -> MemberSet {
        MemberSet(self.0 | other.0)
    }

    /// The bit of a member; none for a stranger, whose answers therefore never count.
    fn bit(members: &[NodeId], node: NodeId) -> u8 {
        let at = members.iter().position(|&member| member == node);
        at.and_then(|at| u32::try_from(at).ok()).and_then(|at| 1u8.checked_shl(at)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members() -> Vec<NodeId> {
        (1..=3).filter_map(NodeId::new).collect()
    }

    #[test]
    fn answers_of_strangers_and_repeated_answers_do_not_count() {
        let members = members();
        let mut quorum = Quorum::new(3, 2);
        quorum.accept(&members, members[0]);
        quorum.accept(&members, members[0]);
        quorum.accept(&members, NodeId::new(9).unwrap());
        assert_eq!(quorum.accepted(), 1);
        assert!(!quorum.reached());
        quorum.accept(&members, members[2]);
        assert!(quorum.reached());
    }

    #[test]
    fn a_quorum_is_impossible_once_too_few_members_are_left() {
        let members = members();
        let mut quorum = Quorum::new(3, 2);
        quorum.refuse(&members, members[0]);
        assert!(!quorum.impossible());
        quorum.lose(&members, members[1]);
        assert!(quorum.impossible());
        assert_eq!(quorum.outstanding(), 1);
        quorum.accept(&members, members[1]);
        assert!(!quorum.impossible(), "an answer may still come after all");
        quorum.lose(&members, members[1]);
        assert_eq!(quorum.accepted(), 0);
    }
}
