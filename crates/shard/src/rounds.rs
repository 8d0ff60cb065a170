//! Rounds: two nodes compare one number per partition that both hold.
//!
//! From time to time a node sends another one the roots of its replicas, once everything in its store
//! is durable. The receiver computes its own at that moment, waits until they are durable as well,
//! tells its replicas whether they are equal, and answers with one bit for each. Of two nodes the one
//! with the lower id sends. A number per partition costs eight bytes, so a round of equal replicas of
//! 256 partitions takes two kibibytes.
//!
//! **Invariant:** a verdict belongs to one life of a connection, one layout, and replicas that have
//! held what they held all the time: whatever ends one of these drops it.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{Hlc, Mode, Mono, NodeId, PartitionId};
use kvorum_replication::{Input, Peers, Root};

use crate::held::Effect;
use crate::links::Life;
use crate::shard::{Shard, Turn};
use crate::wire::Envelope;

/// How many roots one envelope holds.
const ROOTS: usize = 4096;
/// A node that has just come back is compared with after this time, if that is sooner.
const AFTER_RETURN: Duration = Duration::from_secs(5);
/// How long to wait when the log takes nothing or the node has no room.
const LATER: Duration = Duration::from_millis(200);
/// Stands for a replica that has no root. No hash is this.
pub(crate) const NO_ROOT: u64 = 0;

/// The rounds of a node.
#[derive(Debug)]
pub(crate) struct Rounds {
    me: NodeId,
    /// Zero: none unless they are asked for.
    interval: Duration,
    seed: u64,
    peers: BTreeMap<NodeId, Peer>,
    /// Changes whenever a verdict under way must be dropped.
    epoch: u64,
    begun: u64,
}

#[derive(Debug, Default)]
struct Peer {
    next: Option<Mono>,
    /// What was sent and is not answered, by number.
    asked: BTreeMap<u64, Vec<Option<(PartitionId, Root)>>>,
    rounds: u64,
    /// Partitions whose roots were unequal in the last round.
    unequal: usize,
}

/// What has come of the rounds with one node, for metrics and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The node.
    pub with: NodeId,
    /// How many rounds were answered on this connection.
    pub rounds: u64,
    /// How many partitions differed, or changed just then, in the last one.
    pub unequal: usize,
    /// A round is under way.
    pub under_way: bool,
}

/// Roots of consecutive partitions of a placement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// The first partition.
    pub(crate) first: PartitionId,
    /// The hashes; [`NO_ROOT`] of a replica without.
    pub(crate) hashes: Vec<u64>,
}

/// A verdict that waits for the log.
#[derive(Debug)]
pub(crate) struct Verdict {
    epoch: u64,
    /// For each partition the promise under which the roots were equal, if they were.
    equal: Vec<(PartitionId, Option<Hlc>)>,
}

impl Rounds {
    pub(crate) const fn new(me: NodeId, interval: Duration, seed: u64) -> Rounds {
        Rounds { me, interval, seed, peers: BTreeMap::new(), epoch: 0, begun: 0 }
    }

    /// A node is connected.
    pub(crate) fn up(&mut self, node: NodeId, now: Mono) {
        let next = self.after(now, node, self.interval.min(AFTER_RETURN));
        self.peers.insert(node, Peer { next, ..Peer::default() });
    }

    /// The connection to a node is lost.
    pub(crate) fn down(&mut self, node: NodeId) {
        self.peers.remove(&node);
    }

    /// Whatever is under way must not be taken for what is there from now on.
    pub(crate) fn forget(&mut self) {
        self.epoch += 1;
        self.peers.values_mut().for_each(|peer| peer.asked.clear());
    }

    /// Rounds with these nodes begin at once.
    pub(crate) fn hasten(&mut self, nodes: &[NodeId], now: Mono) {
        for (node, peer) in &mut self.peers {
            if nodes.is_empty() || nodes.contains(node) {
                peer.next = Some(now);
            }
        }
    }

    /// When the next round begins.
    pub(crate) fn next(&self) -> Option<Mono> {
        self.peers.values().filter_map(|peer| peer.next).min()
    }

    pub(crate) fn comparisons(&self) -> Vec<Comparison> {
        let comparison = |(with, peer): (&NodeId, &Peer)| Comparison {
            with: *with,
            rounds: peer.rounds,
            unequal: peer.unequal,
            under_way: !peer.asked.is_empty(),
        };
        self.peers.iter().map(comparison).collect()
    }

    /// A time about `span` from now; none if there are no rounds, or the other node begins them. Not
    /// all should meet at the same time for ever, so it is up to an eighth more or less.
    fn after(&self, now: Mono, node: NodeId, span: Duration) -> Option<Mono> {
        let dice = (self.seed ^ now.0).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
        let eighth = span / 8;
        let jitter = eighth * u32::try_from(dice).unwrap_or(0) / 128;
        (!span.is_zero() && self.me < node).then(|| now + (span - eighth + jitter))
    }
}

impl Shard {
    /// Begins the rounds whose time has come.
    pub(crate) fn begin_rounds(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        let due =
            self.rounds.peers.iter().filter(|(_, peer)| peer.next.is_some_and(|at| at <= now));
        let due: Vec<NodeId> = due.map(|(node, _)| *node).collect();
        for node in due {
            let next = match self.begin_round(node, turn) {
                true => self.rounds.after(now, node, self.rounds.interval),
                false => Some(now + LATER),
            };
            if let Some(peer) = self.rounds.peers.get_mut(&node) {
                peer.next = next;
            }
        }
    }

    /// Sends the roots of all partitions held here and there. False if that cannot be done now.
    fn begin_round(&mut self, node: NodeId, turn: &mut Turn<'_>) -> bool {
        let Some(life) = self.links.life(node).filter(|_| self.links.has_room(node)) else {
            return false;
        };
        let Ok(after) = turn.store.commit(&[]) else { return false };
        let layout = self.layout().version();
        let roots = self.roots_with(node, turn);
        if let Some(peer) = self.rounds.peers.get_mut(&node) {
            peer.asked.clear();
            peer.unequal = 0;
        }
        for roots in roots.chunks(ROOTS) {
            self.rounds.begun += 1;
            let round = self.rounds.begun;
            let envelope = Envelope::Roots { round, layout, runs: runs(roots) };
            let asked = roots.iter().map(|(partition, root)| Some((*partition, (*root)?)));
            let asked = asked.collect();
            if let Some(peer) = self.rounds.peers.get_mut(&node) {
                peer.asked.insert(round, asked);
            }
            self.when_durable(Some(after), 0, Effect::Peer { to: node, life, envelope }, turn);
        }
        true
    }

    /// The leaderless partitions that this node and another one hold, and their roots.
    fn roots_with(&self, node: NodeId, turn: &Turn<'_>) -> Vec<(PartitionId, Option<Root>)> {
        let layout = self.layout();
        let shared = layout.partitions_on(self.options.me);
        let shared = shared.filter(|partition| layout.replicas(*partition).contains(&node));
        let strong = layout.keyspaces().iter().filter(|ks| ks.mode == Mode::Strong);
        let strong: Vec<u16> = strong.map(|keyspace| keyspace.placement).collect();
        let shared = shared.filter(|partition| !strong.contains(&partition.placement));
        shared.map(|partition| (partition, self.root(partition, turn))).collect()
    }

    fn root(&self, partition: PartitionId, turn: &Turn<'_>) -> Option<Root> {
        self.groups.root(self.groups.index(partition)?, turn.store)
    }

    /// Takes the roots of another node.
    pub(crate) fn on_roots(
        &mut self,
        from: NodeId,
        life: Life,
        (round, layout): (u64, u64),
        runs: &[Run],
        turn: &mut Turn<'_>,
    ) {
        // Who holds what must be the same, or the numbers mean something else.
        if layout != self.layout().version() {
            return;
        }
        let Ok(after) = turn.store.commit(&[]) else { return };
        let mut equal = Vec::new();
        for run in runs {
            for (number, hash) in (u32::from(run.first.number)..).zip(&run.hashes) {
                let Ok(number) = u16::try_from(number) else { return };
                let partition = PartitionId { number, ..run.first };
                if !self.layout().replicas(partition).contains(&from) {
                    return;
                }
                let root = self.root(partition, turn).filter(|root| hash_of(Some(*root)) == *hash);
                equal.push((partition, root.map(|root| root.promise)));
            }
        }
        let bits = equal.iter().map(|(_, promise)| promise.is_some()).collect();
        let verdict = Verdict { epoch: self.rounds.epoch, equal };
        self.when_durable(Some(after), 0, Effect::Compared { with: from, life, verdict }, turn);
        let envelope = Envelope::RootsCompared { round, equal: bits };
        self.when_durable(Some(after), 0, Effect::Peer { to: from, life, envelope }, turn);
    }

    /// Takes the answer to roots that were sent.
    pub(crate) fn on_roots_compared(
        &mut self,
        from: NodeId,
        round: u64,
        equal: &[bool],
        turn: &mut Turn<'_>,
    ) {
        let Some(peer) = self.rounds.peers.get_mut(&from) else { return };
        let Some(asked) = peer.asked.remove(&round) else { return };
        peer.rounds += u64::from(peer.asked.is_empty());
        peer.unequal += equal.iter().filter(|equal| !**equal).count();
        let equal = asked.into_iter().zip(equal).filter_map(|(asked, equal)| {
            let (partition, root) = asked?;
            Some((partition, equal.then_some(root.promise)))
        });
        let verdict = Verdict { epoch: self.rounds.epoch, equal: equal.collect() };
        self.tell_compared(from, verdict, turn);
    }

    /// Tells the replicas here what a round has shown.
    pub(crate) fn tell_compared(&mut self, with: NodeId, verdict: Verdict, turn: &mut Turn<'_>) {
        if verdict.epoch != self.rounds.epoch {
            return;
        }
        for (partition, equal) in verdict.equal {
            if let Some(group) = self.groups.index(partition) {
                self.handle(group, Input::Compared { with, equal }, 0, turn);
            }
        }
    }
}

fn hash_of(root: Option<Root>) -> u64 {
    root.map_or(NO_ROOT, |root| root.hash.max(1))
}

/// Consecutive partitions next to each other.
fn runs(roots: &[(PartitionId, Option<Root>)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for &(partition, root) in roots {
        let hash = hash_of(root);
        let follows = |run: &&mut Run| {
            let next = usize::from(run.first.number) + run.hashes.len();
            run.first.placement == partition.placement && next == usize::from(partition.number)
        };
        match runs.last_mut().filter(follows) {
            Some(run) => run.hashes.push(hash),
            None => runs.push(Run { first: partition, hashes: vec![hash] }),
        }
    }
    runs
}
