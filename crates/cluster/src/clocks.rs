//! How far this node's wall clock is from the others': a node that is wrong must not stamp.
//!
//! A replica refuses a stamp that is far ahead of its own clock, but the coordinator's own replica
//! cannot: it has the same clock. So a node compares its clock with its peers' whenever they
//! answer an echo, and leaves the stamping to others while it is wrong.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::NodeId;

/// A node whose clock is further than this from the others' stamps nothing, in milliseconds. Half
/// of what a replica refuses, so that a stamp is never refused for the error of the estimate.
const MOST_MS: i64 = 250;
/// An answer that took longer tells too little of the moment the clock was read.
const LONGEST_ROUND_TRIP: Duration = Duration::from_millis(200);

/// How far the peers' clocks are ahead of this node's, in milliseconds.
#[derive(Clone, Debug, Default)]
pub struct Clocks {
    ahead_ms: BTreeMap<NodeId, i64>,
}

impl Clocks {
    /// A peer has answered with its wall clock, `theirs_ms`; now, `round_trip` after it was asked,
    /// this node's shows `ours_ms` (both in milliseconds since 1970).
    pub fn heard(&mut self, peer: NodeId, theirs_ms: u64, ours_ms: u64, round_trip: Duration) {
        if round_trip > LONGEST_ROUND_TRIP {
            return;
        }
        let half = i64::try_from((round_trip / 2).as_millis()).unwrap_or(0);
        let theirs = i64::try_from(theirs_ms).unwrap_or(i64::MAX);
        let ours = i64::try_from(ours_ms).unwrap_or(i64::MAX);
        self.ahead_ms.insert(peer, theirs.saturating_sub(ours).saturating_add(half));
    }

    /// The connection to a peer is lost: its clock may be set before it is heard of again.
    pub fn lost(&mut self, peer: NodeId) {
        self.ahead_ms.remove(&peer);
    }

    /// How far the clocks of a majority of the `nodes` nodes are ahead of this node's, by their
    /// median; nothing as long as fewer are known. Of two clocks that differ the later one is
    /// taken for wrong: it is the one that does harm.
    #[must_use]
    pub fn majority_ahead_ms(&self, nodes: usize) -> Option<i64> {
        let mut all: Vec<i64> = self.ahead_ms.values().copied().chain([0]).collect();
        if all.len() <= nodes / 2 {
            return None;
        }
        all.sort_unstable();
        all.get((all.len() - 1) / 2).copied()
    }

    /// Whether this node's clock is too far from those of a majority to stamp anything.
    #[must_use]
    pub fn is_suspect(&self, nodes: usize) -> bool {
        self.majority_ahead_ms(nodes).is_some_and(|ahead| !(-MOST_MS..=MOST_MS).contains(&ahead))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000_000;
    const AT_ONCE: Duration = Duration::ZERO;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn clocks(ahead_ms: &[i64]) -> Clocks {
        let mut clocks = Clocks::default();
        for (n, ahead) in (2..).zip(ahead_ms) {
            clocks.heard(node(n), NOW.saturating_add_signed(*ahead), NOW, AT_ONCE);
        }
        clocks
    }

    #[test]
    fn a_clock_that_differs_from_the_majority_is_suspect_and_no_other() {
        assert!(clocks(&[-10_000, -10_000]).is_suspect(3), "this node is ahead");
        assert!(clocks(&[10_000, 10_000]).is_suspect(3), "this node is behind");
        assert!(!clocks(&[0, 10_000]).is_suspect(3), "another node is ahead");
        assert!(!clocks(&[0, -10_000]).is_suspect(3), "another node is behind");
        assert!(!clocks(&[-250, -250]).is_suspect(3));
        assert!(clocks(&[-251, -251]).is_suspect(3));
    }

    #[test]
    fn of_two_clocks_the_later_one_is_suspect() {
        assert!(clocks(&[-10_000]).is_suspect(3));
        assert!(!clocks(&[10_000]).is_suspect(3));
    }

    #[test]
    fn a_minority_suspects_nobody() {
        assert!(!Clocks::default().is_suspect(3));
        assert!(!clocks(&[-10_000]).is_suspect(5));
        assert!(!Clocks::default().is_suspect(1), "a node alone is right");
        let mut lonely = clocks(&[-10_000]);
        lonely.lost(node(2));
        assert!(!lonely.is_suspect(3));
    }

    #[test]
    fn half_of_the_round_trip_is_allowed_for_and_slow_answers_tell_nothing() {
        let mut clocks = Clocks::default();
        clocks.heard(node(2), NOW - 50, NOW, Duration::from_millis(100));
        assert_eq!(clocks.majority_ahead_ms(2), Some(0));
        clocks.heard(node(2), NOW - 10_000, NOW, Duration::from_secs(20));
        assert_eq!(clocks.majority_ahead_ms(2), Some(0), "the process was stopped meanwhile");
        clocks.heard(node(2), u64::MAX, NOW, AT_ONCE);
        assert!(!clocks.is_suspect(2), "nonsense does no harm");
    }
}
