//! Which life of a node: what lets a restarted node replace its former self at once.

use std::fmt;

use kvorum_core::NodeId;

/// A life of a node. A later one wins over an earlier one, without anybody waiting for the earlier
/// one to be forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incarnation {
    /// The start number of the process; raised durably before anything is said.
    pub start: u32,
    /// How often the process has had to come back because the others held it for down.
    pub renewal: u32,
}

impl Incarnation {
    /// The first one of a process.
    #[must_use]
    pub const fn of_start(start: u32) -> Incarnation {
        Incarnation { start, renewal: 0 }
    }

    /// The next one of the same process; none after four billion.
    #[must_use]
    pub fn renewed(self) -> Option<Incarnation> {
        Some(Incarnation { start: self.start, renewal: self.renewal.checked_add(1)? })
    }
}

/// Writes it as logs show it: `5.0`.
impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.start, self.renewal)
    }
}

/// How the SWIM library names a member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id {
    pub(super) node: NodeId,
    pub(super) incarnation: Incarnation,
}

impl foca::Identity for Id {
    type Addr = NodeId;

    fn renew(&self) -> Option<Id> {
        Some(Id { incarnation: self.incarnation.renewed()?, ..*self })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Id) -> bool {
        self.incarnation > adversary.incarnation
    }
}
