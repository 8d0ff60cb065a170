//! What comparing and repairing copies has come to, for the operator: gathered from the reports of
//! the replicas, shown with the status.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use kvorum_core::{Layout, Mode, NodeId, Now, PartitionId};
use kvorum_replication::Report;
use kvorum_shard::Comparison;
use metrics::{Counter, counter};

use crate::{Pair, PeerRepair, Repair, RepairEvent, RepairStep};

/// How many events are kept.
const KEPT: usize = 50;

/// The gathered reports. Lives on the shard thread; readers get copies.
pub(super) struct Repairs {
    peers: BTreeMap<NodeId, Peer>,
    /// The newest first.
    events: VecDeque<RepairEvent>,
    /// A copy of `events` for readers, made once after every change.
    shared: Option<Arc<[RepairEvent]>>,
    /// Another node was connected at the last look.
    has_peers: bool,
    rounds: Counter,
    repaired: Counter,
}

struct Peer {
    figures: PeerRepair,
    pairs: BTreeMap<PartitionId, Pair>,
    under_way: Option<UnderWay>,
    /// Rounds that were answered on the present connection.
    rounds: u64,
}

/// The sessions with a peer that overlap, told as one: there may be one for each partition.
#[derive(Default)]
struct UnderWay {
    sessions: usize,
    mismatch: bool,
    failure: bool,
    keys: u64,
}

impl Repairs {
    pub(super) fn new() -> Repairs {
        Repairs {
            peers: BTreeMap::new(),
            events: VecDeque::new(),
            shared: None,
            has_peers: false,
            rounds: counter!("kv_anti_entropy_runs_total"),
            repaired: counter!("kv_anti_entropy_keys_repaired_total"),
        }
    }

    /// Takes what the replica of a partition reports.
    pub(super) fn take(&mut self, now: Now, partition: PartitionId, report: &Report) {
        match *report {
            Report::SessionBegun { with } => {
                let peer = self.peer(with);
                peer.figures.sessions += 1;
                peer.under_way().sessions += 1;
            }
            Report::Mismatch { with, .. } => self.mismatch(now, with),
            Report::SessionFailed { with, reason } => {
                let peer = self.peer(with);
                peer.figures.failures += 1;
                peer.figures.last_failure = Some(reason);
                if !std::mem::replace(&mut peer.under_way().failure, true) {
                    self.add(now, RepairStep::Failed, with, 0);
                }
            }
            Report::SessionEnded { with, sent, received, bytes, .. } => {
                let peer = self.peer(with);
                peer.figures.sent += sent;
                peer.figures.received += received;
                peer.figures.bytes += bytes;
                // If it was clean, that is reported next.
                peer.pair(partition).compared = Some(now.mono);
                let under_way = peer.under_way();
                under_way.sessions = under_way.sessions.saturating_sub(1);
                under_way.keys += sent + received;
                self.repaired.increment(sent + received);
                self.end(now, with);
            }
            Report::Clean { with, .. } => {
                let pair = self.peer(with).pair(partition);
                (pair.compared, pair.clean) = (Some(now.mono), Some(now.mono));
            }
            _ => {}
        }
    }

    /// Tells the first difference that the sessions with a peer find.
    fn mismatch(&mut self, now: Now, with: NodeId) {
        if !std::mem::replace(&mut self.peer(with).under_way().mismatch, true) {
            self.add(now, RepairStep::Mismatch, with, 0);
            self.add(now, RepairStep::RepairBegan, with, 0);
        }
    }

    /// Tells the end of the sessions with a peer if none is left.
    fn end(&mut self, now: Now, with: NodeId) {
        let over = self.peer(with).under_way.take_if(|under_way| under_way.sessions == 0);
        let Some(UnderWay { mismatch, keys, .. }) = over else { return };
        if mismatch {
            self.add(now, RepairStep::RepairEnded, with, keys);
        }
    }

    /// Sees which rounds with other nodes were answered since the last look.
    pub(super) fn look(&mut self, now: Now, comparisons: &[Comparison]) {
        let had_peers = std::mem::replace(&mut self.has_peers, !comparisons.is_empty());
        if had_peers && !self.has_peers {
            self.add(now, RepairStep::NoPeers, None, 0);
        }
        for Comparison { with, rounds, .. } in comparisons {
            let known = std::mem::replace(&mut self.peer(*with).rounds, *rounds);
            // They count from zero on every connection.
            let new = if *rounds < known { *rounds } else { rounds - known };
            if new > 0 {
                self.rounds.increment(new);
                self.add(now, RepairStep::RoundBegan, *with, 0);
                self.add(now, RepairStep::RoundEnded, *with, 0);
            }
        }
    }

    /// All of it, of the partitions and nodes that `layout` has.
    pub(super) fn snapshot(&mut self, me: NodeId, layout: Option<&Layout>) -> Repair {
        let events = &self.events;
        let shared = self.shared.get_or_insert_with(|| events.iter().cloned().collect());
        let (events, peers) = (Arc::clone(shared), self.peers(me, layout));
        Repair { peers, events, ..Repair::default() }
    }

    fn peers(&self, me: NodeId, layout: Option<&Layout>) -> Vec<PeerRepair> {
        let mut peers: BTreeMap<NodeId, PeerRepair> = BTreeMap::new();
        for (partition, node) in layout.into_iter().flat_map(|layout| pairs(layout, me)) {
            let known = self.peers.get(&node);
            let figures = || known.map_or(PeerRepair::new(node), |peer| peer.figures.clone());
            let pair = known.and_then(|peer| peer.pairs.get(&partition).copied());
            let pair = pair.unwrap_or(Pair { partition, compared: None, clean: None });
            peers.entry(node).or_insert_with(figures).pairs.push(pair);
        }
        peers.into_values().collect()
    }

    fn peer(&mut self, node: NodeId) -> &mut Peer {
        let new = || Peer {
            figures: PeerRepair::new(node),
            pairs: BTreeMap::new(),
            under_way: None,
            rounds: 0,
        };
        self.peers.entry(node).or_insert_with(new)
    }

    fn add(&mut self, now: Now, step: RepairStep, peer: impl Into<Option<NodeId>>, keys: u64) {
        let peer = peer.into();
        self.events.truncate(KEPT - 1);
        self.events.push_front(RepairEvent { at_ms: now.wall_ms, step, peer, keys });
        self.shared = None;
    }
}

impl Peer {
    fn pair(&mut self, partition: PartitionId) -> &mut Pair {
        let new = || Pair { partition, compared: None, clean: None };
        self.pairs.entry(partition).or_insert_with(new)
    }

    fn under_way(&mut self) -> &mut UnderWay {
        self.under_way.get_or_insert_default()
    }
}

/// The partitions of eventual keyspaces that `me` holds, each with every other node that does.
fn pairs(layout: &Layout, me: NodeId) -> impl Iterator<Item = (PartitionId, NodeId)> {
    let eventual = move |partition: &PartitionId| {
        let here = layout.keyspaces().iter().filter(|one| one.placement == partition.placement);
        here.map(|keyspace| keyspace.mode).any(|mode| mode == Mode::Eventual)
    };
    layout.partitions_on(me).filter(eventual).flat_map(move |partition| {
        let others = layout.replicas(partition).iter().filter(move |node| **node != me);
        others.map(move |node| (partition, *node))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvorum_core::layout::Placement;
    use kvorum_core::{Consistency, Hlc, Keyspace, KeyspaceId, Mono, Slot};

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn at(second: u64) -> Now {
        Now { mono: Mono(second * 1_000_000), wall_ms: second * 1000 }
    }

    fn partition(number: u16) -> PartitionId {
        PartitionId { placement: 0, number }
    }

    /// Two partitions of an eventual keyspace on nodes 1 to 3, the second not on node 3; and one of
    /// a strong keyspace.
    fn layout() -> Layout {
        let [one, two, three] = [1, 2, 3].map(node);
        let eventual = Placement::new(vec![vec![one, two, three], vec![two, one]]).unwrap();
        let strong = Placement::new(vec![vec![one, two, three]]).unwrap();
        let keyspace = |id, mode, placement| Keyspace {
            id,
            name: format!("{mode}"),
            mode,
            placement,
            read: Consistency::Quorum,
            write: Consistency::Quorum,
        };
        let keyspaces = vec![
            keyspace(KeyspaceId::DEFAULT, Mode::Eventual, 0),
            keyspace(KeyspaceId(2), Mode::Strong, 1),
        ];
        Layout::new(1, vec![one, two, three], keyspaces, vec![eventual, strong]).unwrap()
    }

    #[test]
    fn every_partition_of_an_eventual_keyspace_is_paired_with_its_other_replicas() {
        let repair = Repairs::new().snapshot(node(1), Some(&layout()));
        let pairs = repair.peers.iter().map(|peer| (peer.node.get(), peer.pairs.len()));
        assert_eq!(pairs.collect::<Vec<_>>(), [(2, 2), (3, 1)]);
        assert!(repair.peers.iter().all(|peer| peer.clean().is_none() && peer.differing() == 0));
        assert!(Repairs::new().snapshot(node(1), None).peers.is_empty());
    }

    #[test]
    fn a_peer_is_as_clean_as_its_partition_that_was_clean_longest_ago() {
        let mut repairs = Repairs::new();
        let clean = Report::Clean { with: node(2), through: Hlc(5) };
        repairs.take(at(1), partition(0), &clean);
        repairs.take(at(2), partition(1), &clean);
        repairs.take(at(3), partition(1), &clean);
        let peer = &repairs.snapshot(node(1), Some(&layout())).peers[0];
        assert_eq!(peer.clean(), Some(at(1).mono));
        assert_eq!(peer.compared(), Some(at(3).mono));
    }

    #[test]
    fn a_session_that_repairs_is_counted_and_its_partition_differs_until_it_is_clean() {
        let mut repairs = Repairs::new();
        let with = node(2);
        let ended = |clean| Report::SessionEnded { with, clean, sent: 3, received: 2, bytes: 700 };
        let slot = Slot::of(b"k");
        let mismatch = Report::Mismatch { with, keyspace: KeyspaceId::DEFAULT, slot };
        let mut all = |second, reports: &[Report]| {
            for report in reports {
                repairs.take(at(second), partition(0), report);
            }
            repairs.snapshot(node(1), Some(&layout()))
        };
        let begun = [
            Report::SessionBegun { with },
            mismatch.clone(),
            mismatch,
            Report::SessionFailed { with, reason: "too much" },
            ended(false),
        ];
        let repair = all(1, &begun);
        assert_eq!(repair.peers[0].differing(), 1);
        assert_eq!(repair.peers[0].last_failure, Some("too much"));
        let steps: Vec<RepairStep> = repair.events.iter().map(|event| event.step).collect();
        let expected = [
            RepairStep::RepairEnded,
            RepairStep::Failed,
            RepairStep::RepairBegan,
            RepairStep::Mismatch,
        ];
        assert_eq!(steps, expected);
        assert_eq!((repair.events[0].keys, repair.events[0].at_ms), (5, 1000));
        let clean = Report::Clean { with, through: Hlc(5) };
        let repair = all(2, &[Report::SessionBegun { with }, ended(true), clean]);
        let peer = &repair.peers[0];
        assert_eq!(peer.differing(), 0);
        assert_eq!((peer.sessions, peer.failures), (2, 1));
        assert_eq!((peer.sent, peer.received, peer.bytes), (6, 4, 1400));
    }

    #[test]
    fn sessions_that_overlap_are_told_as_one() {
        let mut repairs = Repairs::new();
        let with = node(2);
        let ended = Report::SessionEnded { with, clean: true, sent: 3, received: 0, bytes: 9 };
        let (keyspace, slot) = (KeyspaceId::DEFAULT, Slot::of(b"k"));
        for number in [0, 1] {
            repairs.take(at(1), partition(number), &Report::SessionBegun { with });
            repairs.take(at(1), partition(number), &Report::Mismatch { with, keyspace, slot });
        }
        for number in [0, 1] {
            repairs.take(at(2), partition(number), &ended);
        }
        let events = repairs.snapshot(node(1), None).events;
        let told: Vec<_> = events.iter().map(|event| (event.step, event.keys)).collect();
        let expected =
            [(RepairStep::RepairEnded, 6), (RepairStep::RepairBegan, 0), (RepairStep::Mismatch, 0)];
        assert_eq!(told, expected);
    }

    #[test]
    fn rounds_are_told_when_they_are_answered_on_whatever_connection() {
        let mut repairs = Repairs::new();
        let mut steps = |rounds| {
            let with = node(2);
            repairs.look(at(1), &[Comparison { with, rounds, unequal: 0, under_way: false }]);
            repairs.snapshot(node(1), None).events.len()
        };
        assert_eq!([0, 1, 1, 3, 1].map(&mut steps), [0, 2, 2, 4, 6]);
        for _ in 0..2 {
            repairs.look(at(2), &[]);
            let events = repairs.snapshot(node(1), None).events;
            assert_eq!((events.len(), events[0].step), (7, RepairStep::NoPeers));
        }
    }

    #[test]
    fn the_last_events_are_kept_and_copied_once() {
        let mut repairs = Repairs::new();
        for second in 0..120 {
            let with = node(second as u32 + 2);
            let (keyspace, slot) = (KeyspaceId::DEFAULT, Slot::of(b"k"));
            repairs.take(at(second), partition(0), &Report::Mismatch { with, keyspace, slot });
        }
        let events = repairs.snapshot(node(1), None).events;
        let times: Vec<u64> = events.iter().map(|event| event.at_ms / 1000).collect();
        // Each is told with the repair that it begins.
        assert_eq!(times, (190..240).rev().map(|half| half / 2).collect::<Vec<u64>>());
        assert!(Arc::ptr_eq(&events, &repairs.snapshot(node(1), None).events));
    }
}
