//! What the nodes of a cluster tell of repair, put together: one line for each two nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_client::{PeerRepair, RepairStatus};

/// What a node answered; nothing if it did not.
#[derive(Clone, Debug)]
pub struct Told {
    /// The node.
    pub id: u32,
    /// Its answer.
    pub status: Option<RepairStatus>,
}

impl Told {
    pub fn of(status: RepairStatus) -> Told {
        Told { id: status.node, status: Some(status) }
    }
}

/// How the copies of two nodes compare.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PairStatus {
    /// How many partitions both hold.
    pub partitions: u32,
    /// How many of them have been compared since the time that was asked about.
    pub compared: u32,
    /// How many of them were not the same when they were last compared.
    pub differing: u32,
    /// How long ago a comparison last ended.
    pub last_compared: Option<Duration>,
    /// For how long it is not known that all of them are the same.
    pub last_clean: Option<Duration>,
    /// Comparisons that were given up or could not repair all they found.
    pub failures: u64,
    /// Why the last of these failed.
    pub last_failure: String,
    /// Records that the second node took.
    pub sent: u64,
    /// Records that the first one did.
    pub received: u64,
    /// Bytes of comparisons and records, in both directions.
    pub bytes: u64,
}

/// The pairs of nodes of which at least one has answered, the lower id first.
pub fn pairs(told: &[Told]) -> BTreeMap<(u32, u32), PairStatus> {
    let mut pairs: BTreeMap<(u32, u32), PairStatus> = BTreeMap::new();
    for status in told.iter().filter_map(|told| told.status.as_ref()) {
        for peer in &status.peers {
            let names = (status.node.min(peer.node), status.node.max(peer.node));
            pairs.entry(names).or_default().add(peer, status.node < peer.node);
        }
    }
    pairs
}

impl PairStatus {
    /// Adds what one of the two tells. The one that leads comparisons knows what they come to; both
    /// learn when all is the same.
    fn add(&mut self, told: &PeerRepair, leads: bool) {
        let newer = |one: Option<Duration>, other| one.into_iter().chain(other).min();
        self.last_compared = newer(self.last_compared, told.last_compared);
        self.last_clean = newer(self.last_clean, told.last_clean);
        if leads || self.partitions == 0 {
            self.partitions = told.partitions;
            self.compared = told.compared;
            self.differing = told.differing;
        }
        if leads {
            self.failures = told.failures;
            self.last_failure.clone_from(&told.last_failure);
            self.sent = told.sent;
            self.received = told.received;
            self.bytes = told.bytes;
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A node that tells this of each peer.
    pub fn node(id: u32, peers: Option<Vec<PeerRepair>>) -> Told {
        let status = |peers| RepairStatus { node: id, peers, ..RepairStatus::default() };
        Told { id, status: peers.map(status) }
    }

    /// What is told of a peer that was compared a second ago and clean so many seconds ago.
    pub fn peer(id: u32, differing: u32, clean: u64) -> PeerRepair {
        PeerRepair {
            node: id,
            up: true,
            partitions: 256,
            compared: 256,
            differing,
            last_compared: Some(Duration::from_secs(1)),
            last_clean: Some(Duration::from_secs(clean)),
            ..PeerRepair::default()
        }
    }

    #[test]
    fn the_node_with_the_lower_id_knows_what_comparisons_came_to() {
        let leading = PeerRepair { sent: 5, received: 6, bytes: 7, ..peer(2, 3, 40) };
        let told = [node(2, Some(vec![peer(1, 0, 30)])), node(1, Some(vec![leading]))];
        let pairs = pairs(&told);
        let pair = &pairs[&(1, 2)];
        assert_eq!((pair.differing, pair.sent, pair.received, pair.bytes), (3, 5, 6, 7));
        assert_eq!(pair.last_clean, Some(Duration::from_secs(30)));
    }

    #[test]
    fn a_node_that_does_not_answer_is_known_by_the_other_one() {
        let told = [node(1, None), node(2, Some(vec![peer(1, 4, 30)]))];
        assert_eq!(pairs(&told)[&(1, 2)].differing, 4);
    }
}
