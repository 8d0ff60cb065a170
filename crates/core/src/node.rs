//! The short id of a node.

use std::fmt;

/// Identifies a node inside its cluster: 1 to [`NodeId::MAX`].
///
/// Twenty bits, because a version's [`Writer`](crate::Writer) carries it beside a start number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u32);

impl NodeId {
    /// The largest id.
    pub const MAX: u32 = (1 << 20) - 1;

    /// The smallest id.
    pub const FIRST: NodeId = NodeId(1);

    /// The id `n`, if it lies in 1..=[`NodeId::MAX`].
    #[must_use]
    pub const fn new(n: u32) -> Option<NodeId> {
        if n == 0 || n > Self::MAX { None } else { Some(NodeId(n)) }
    }

    /// The number behind the id.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
