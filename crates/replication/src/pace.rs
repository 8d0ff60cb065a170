//! How fast the members answer, and how much more than it must a node may ask of them.
//!
//! Both, and what the groups share of its memory, are known to the node as a whole, not to one group: a group borrows them through its
//! [`Context`](crate::Context). Nothing here is a matter of safety; a wrong estimate costs
//! latency.

mod allowance;
mod background;
mod copies;
mod hint_accounts;
mod kept_log;
mod latency;

use std::cmp::Ordering;
use std::time::Duration;

use kvorum_core::{Mono, NodeId};

pub use allowance::Allowance;
pub use background::{Background, BackgroundLimits, Grant};
pub use copies::{Copies, Permit};
pub use hint_accounts::{HintAccounts, HintShare, Lingering, PendingHints};
pub use kept_log::{KeptLog, KeptLogs};
pub use latency::Latency;

use crate::leaderless::quarantine;

/// A read never hurries earlier than this, however fast its members are: below, a second question
/// costs more than it gains.
pub const HURRY_FLOOR: Duration = Duration::from_millis(2);

/// What a node knows of the pace of the others.
#[derive(Debug, Default)]
pub struct Pace {
    /// How much may be asked beyond what operations need.
    pub allowance: Allowance,
    /// What it does without being asked by a client.
    pub background: Background,
    /// What its partitions remember for members that missed writes.
    pub hints: HintAccounts,
    /// Copies of whole partitions that leave this node.
    pub copies: Copies,
    /// How much lies in quarantine.
    pub quarantine: quarantine::Size,
    /// Log entries that the groups of this node keep in memory.
    pub kept_logs: KeptLogs,
    /// By node id. Few, so a search is cheaper than a table.
    latencies: Vec<(NodeId, Latency)>,
}

impl Pace {
    /// Nothing is known yet of anybody.
    #[must_use]
    pub fn new(background: BackgroundLimits) -> Pace {
        Pace { background: Background::new(background), ..Pace::default() }
    }

    /// A node has answered a read that it was asked at `asked`.
    pub fn answered(&mut self, node: NodeId, asked: Mono, now: Mono) {
        self.latency(node).answered(now, now.since(asked));
    }

    /// A node has not answered a read that it was asked at `asked`.
    pub fn silent(&mut self, node: NodeId, asked: Mono, now: Mono) {
        self.latency(node).silent(now, now.since(asked));
    }

    /// Forgets a node: whoever comes back under its id may be faster or slower.
    pub fn forget(&mut self, node: NodeId) {
        self.latencies.retain(|(known, _)| *known != node);
        self.background.forget(node);
    }

    /// How long a read waits for a node before it asks one more: as long as all but one in a
    /// hundred of its answers take, and at least [`HURRY_FLOOR`].
    #[must_use]
    pub fn hurry_after(&self, node: NodeId) -> Duration {
        self.known(node).unwrap_or_default().tail().max(HURRY_FLOOR)
    }

    /// Which of two nodes is to be asked first: the one with the smaller product of latency and
    /// queue. A node of which nothing is known comes first, so that something becomes known.
    #[must_use]
    pub fn compare(&self, one: (NodeId, usize), other: (NodeId, usize), now: Mono) -> Ordering {
        self.cost(one, now).cmp(&self.cost(other, now))
    }

    /// `queue` is how many bytes are under way to the node. A fixed part stands for the question
    /// itself, so that latency matters while nothing is queued.
    fn cost(&self, (node, queue): (NodeId, usize), now: Mono) -> u64 {
        const QUESTION: u64 = 4096;
        let mean = self.known(node).unwrap_or_default().mean(now);
        let mean = u64::try_from(mean.as_micros()).unwrap_or(u64::MAX);
        mean.saturating_mul(QUESTION.saturating_add(u64::try_from(queue).unwrap_or(u64::MAX)))
    }

    fn known(&self, node: NodeId) -> Option<Latency> {
        let at = self.latencies.binary_search_by_key(&node, |(known, _)| *known).ok()?;
        self.latencies.get(at).map(|(_, latency)| *latency)
    }

    fn latency(&mut self, node: NodeId) -> &mut Latency {
        let at = self.latencies.partition_point(|(known, _)| *known < node);
        if self.latencies.get(at).is_none_or(|(known, _)| *known != node) {
            self.latencies.insert(at, (node, Latency::default()));
        }
        // The entry has just been made if it was missing.
        #[allow(clippy::indexing_slicing)]
        &mut self.latencies[at].1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    /// Which of nodes 2 and 3 comes first, with these queues.
    fn first(pace: &Pace, queues: [usize; 2], now: Mono) -> u32 {
        let [two, three] = queues;
        match pace.compare((node(2), two), (node(3), three), now) {
            Ordering::Less => 2,
            Ordering::Equal => 0,
            Ordering::Greater => 3,
        }
    }

    #[test]
    fn the_faster_node_is_asked_first_until_its_queue_outweighs_that() {
        let mut pace = Pace::default();
        let now = Mono(1_000_000);
        assert_eq!(first(&pace, [0, 0], now), 0, "nothing is known");
        pace.answered(node(2), Mono(999_000), now);
        assert_eq!(first(&pace, [0, 0], now), 3, "the unknown one is tried");
        pace.answered(node(3), Mono(998_000), now);
        assert_eq!(first(&pace, [0, 0], now), 2);
        assert_eq!(first(&pace, [3000, 0], now), 2);
        assert_eq!(first(&pace, [5000, 0], now), 3, "twice as fast, but more than twice as busy");
    }

    #[test]
    fn a_silent_node_is_avoided_and_tried_again_after_a_while() {
        let mut pace = Pace::default();
        let mut now = Mono(1_000_000);
        for peer in [2, 3] {
            pace.answered(node(peer), Mono(999_000), now);
        }
        for _ in 0..4 {
            pace.silent(node(2), Mono(995_000), now);
        }
        assert_eq!(first(&pace, [0, 0], now), 3);
        for _ in 0..3 {
            now = now + Duration::from_secs(1);
            pace.answered(node(3), Mono(now.0 - 1000), now);
            assert_eq!(first(&pace, [0, 0], now), 3);
        }
        now = now + Duration::from_secs(8);
        pace.answered(node(3), Mono(now.0 - 1000), now);
        assert_eq!(first(&pace, [0, 0], now), 2);
    }

    #[test]
    fn whoever_comes_back_is_judged_anew() {
        let mut pace = Pace::default();
        for _ in 0..5000 {
            pace.answered(node(2), Mono(0), Mono(300));
        }
        assert_eq!(pace.hurry_after(node(2)), HURRY_FLOOR);
        pace.forget(node(2));
        assert_eq!(pace.hurry_after(node(2)), Latency::default().tail());
    }
}
