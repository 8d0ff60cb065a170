//! Which nodes hold which partition: bounded rendezvous hashing over a list of nodes.
//!
//! Every (partition, node) pair has a score (Thaler and Ravishankar, "Using name-based mappings to
//! increase hit rates", 1998), and pairs are taken from the best score down, as long as the
//! partition wants another replica and the node has capacity left. Capacities are equal to within
//! one, so the balance is; and since a new node changes neither the scores of the others nor,
//! much, their capacities, few replicas move to another node than the new one.
//!
//! The result is stored with the founding of a cluster, never computed again for the same cluster.

use kvorum_core::layout::{InvalidLayout, Placement};
use kvorum_core::{Consistency, Keyspace, KeyspaceId, Layout, Mode, NodeId};
use xxhash_rust::xxh3::xxh3_64;

/// The most replicas a partition can have.
pub const MAX_REPLICATION: usize = 7;
/// The replication factor of a cluster that does not choose one, if it has that many nodes.
pub const DEFAULT_REPLICATION: usize = 3;

/// The most partitions of a placement.
const MAX_PARTITIONS: usize = 4096;

/// The keyspace of a showcase beside `default`.
const EVENTUAL: KeyspaceId = KeyspaceId(2);

/// What a new cluster is to be like. The nodes that found it together must agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// How many replicas each partition has; three, or as many as there are nodes, when absent.
    pub replication: Option<usize>,
    /// How the copies of the keyspace `default` agree; strong when absent.
    pub default_mode: Option<Mode>,
    /// Whether there is a keyspace `eventual` beside `default`.
    pub showcase: bool,
}

/// Why nodes and a replication factor make no layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// There are no nodes.
    #[error("a cluster has at least one node")]
    NoNodes,
    /// The replication factor is impossible.
    #[error("the replication factor must be between 1 and {max} here, not {asked}")]
    Replication {
        /// What was asked for.
        asked: usize,
        /// The number of nodes, or the most a partition can have.
        max: usize,
    },
    /// The parts contradict each other.
    #[error(transparent)]
    Layout(#[from] InvalidLayout),
}

/// The layout of a new cluster: the keyspace `default`, perhaps `eventual`, and a placement for
/// each mode that they have. With two replicas a quorum would be all of them, so that the level of
/// an eventual keyspace is ONE there and QUORUM otherwise.
///
/// # Errors
/// [`PlacementError`] if there are no nodes or the replication factor is impossible.
pub fn initial_layout(nodes: &[NodeId], wishes: &Wishes) -> Result<Layout, PlacementError> {
    let nodes = distinct(nodes);
    if nodes.is_empty() {
        return Err(PlacementError::NoNodes);
    }
    let max = nodes.len().min(MAX_REPLICATION);
    let asked = wishes.replication.unwrap_or(DEFAULT_REPLICATION.min(max));
    if asked == 0 || asked > max {
        return Err(PlacementError::Replication { asked, max });
    }
    let mut modes = Vec::new();
    let mut keyspace = |id, name: &str, mode| {
        let known = modes.iter().position(|placed| *placed == mode);
        let placement = known.unwrap_or_else(|| {
            modes.push(mode);
            modes.len() - 1
        });
        let (read, write) = match mode {
            Mode::Strong => (Consistency::Lease, Consistency::Quorum),
            Mode::Eventual if asked == 2 => (Consistency::One, Consistency::One),
            Mode::Eventual => (Consistency::Quorum, Consistency::Quorum),
        };
        let placement = u16::try_from(placement).unwrap_or(u16::MAX);
        Keyspace { id, name: name.to_owned(), mode, placement, read, write }
    };
    let mode = wishes.default_mode.unwrap_or(Mode::Strong);
    let mut keyspaces = vec![keyspace(KeyspaceId::DEFAULT, "default", mode)];
    if wishes.showcase {
        keyspaces.push(keyspace(EVENTUAL, "eventual", Mode::Eventual));
    }
    let placements = modes
        .into_iter()
        .map(|mode| Placement::new(place(&nodes, partitions(mode, nodes.len()), asked)));
    let placements = placements.collect::<Result<_, _>>()?;
    Ok(Layout::new(1, nodes, keyspaces, placements)?)
}

/// How many partitions a placement over `nodes` nodes has: a power of two.
///
/// Eventual ones have about 32 per node, and 256 at least, so that one replica more or less is a
/// small part of what a node holds. Strong ones have about 4 per node, and 16 at least: each is a
/// Raft group, and what a turn brings costs less the fewer groups share it.
#[must_use]
pub fn partitions(mode: Mode, nodes: usize) -> usize {
    let (per_node, least) = match mode {
        Mode::Eventual => (32, 256),
        Mode::Strong => (4, 16),
    };
    (nodes.min(MAX_PARTITIONS) * per_node).next_power_of_two().clamp(least, MAX_PARTITIONS)
}

/// The replicas of `partitions` partitions, primary first. Every list has `replication` distinct
/// nodes; of replicas, and of primaries, the nodes' shares differ by at most one or two.
///
/// `replication` is at most the number of distinct nodes; the same arguments, in any order of the
/// nodes, give the same lists.
#[must_use]
pub fn place(nodes: &[NodeId], partitions: usize, replication: usize) -> Vec<Vec<NodeId>> {
    let nodes = distinct(nodes);
    let replication = replication.min(nodes.len());
    let everywhere: Vec<Vec<usize>> = vec![(0..nodes.len()).collect(); partitions];
    let mut replicas = assign(&nodes, &everywhere, replication, 0);
    let primaries = assign(&nodes, &replicas, 1, 1);
    let mut lists = Vec::with_capacity(partitions);
    for (partition, (members, primary)) in replicas.iter_mut().zip(primaries).enumerate() {
        let named = |index: &usize| nodes.get(*index).copied();
        let rank = |index: &usize| {
            let score = named(index).map_or(0, |node| score(partition, node, 0));
            (!primary.contains(index), std::cmp::Reverse(score))
        };
        members.sort_by_key(rank);
        lists.push(members.iter().filter_map(named).collect());
    }
    lists
}

fn distinct(nodes: &[NodeId]) -> Vec<NodeId> {
    let mut nodes = nodes.to_vec();
    nodes.sort_unstable();
    nodes.dedup();
    nodes
}

/// How much a partition wants a node; `purpose` keeps replicas and primaries independent.
fn score(partition: usize, node: NodeId, purpose: u8) -> u64 {
    let mut input = [0u8; 13];
    let (place, rest) = input.split_at_mut(8);
    place.copy_from_slice(&(partition as u64).to_le_bytes());
    let (place, rest) = rest.split_at_mut(4);
    place.copy_from_slice(&node.get().to_le_bytes());
    rest.copy_from_slice(&[purpose]);
    xxh3_64(&input)
}

/// Gives each partition `wanted` of its candidates (indices of nodes), best scores first, so that
/// the nodes' loads differ by one, or little more where the candidates leave no choice.
fn assign(
    nodes: &[NodeId],
    candidates: &[Vec<usize>],
    wanted: usize,
    purpose: u8,
) -> Vec<Vec<usize>> {
    let mut pairs: Vec<(u64, usize, usize)> = Vec::new();
    for (partition, list) in candidates.iter().enumerate() {
        for &index in list {
            let Some(&node) = nodes.get(index) else { continue };
            pairs.push((score(partition, node, purpose), partition, index));
        }
    }
    pairs.sort_unstable_by(|a, b| b.cmp(a));
    let mut plan = Plan {
        candidates,
        room: capacities(nodes, candidates.len() * wanted),
        chosen: vec![Vec::new(); candidates.len()],
    };
    for (_, partition, index) in pairs {
        plan.take_if_free(partition, index, wanted);
    }
    for partition in 0..candidates.len() {
        while plan.chosen.get(partition).is_some_and(|list| list.len() < wanted) {
            if !plan.make_room(partition) {
                break;
            }
        }
    }
    plan.chosen
}

/// Shares of `total` that differ by at most one; who gets the larger ones is up to the hash, so
/// that a new node does not shift them all.
fn capacities(nodes: &[NodeId], total: usize) -> Vec<usize> {
    let count = nodes.len().max(1);
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by_key(|&index| nodes.get(index).map(|&node| score(0, node, 2)));
    let mut shares = vec![total / count; nodes.len()];
    for index in order.into_iter().take(total % count) {
        if let Some(share) = shares.get_mut(index) {
            *share += 1;
        }
    }
    shares
}

/// An assignment in the making.
struct Plan<'a> {
    candidates: &'a [Vec<usize>],
    /// What each node can still take.
    room: Vec<usize>,
    /// The nodes of each partition so far.
    chosen: Vec<Vec<usize>>,
}

impl Plan<'_> {
    fn take_if_free(&mut self, partition: usize, index: usize, wanted: usize) {
        let (Some(list), Some(room)) = (self.chosen.get_mut(partition), self.room.get_mut(index))
        else {
            return;
        };
        if *room > 0 && list.len() < wanted && !list.contains(&index) {
            *room -= 1;
            list.push(index);
        }
    }

    /// Gives a partition one more node: along the shortest chain of "this node takes my place
    /// there, so that I can come here" that ends at a node with room; if there is none, by
    /// overloading the candidate that has the fewest. False if it has no candidate left.
    fn make_room(&mut self, partition: usize) -> bool {
        // For each node reached: the partition in which it would take over, and from whom.
        let mut reached: Vec<Option<(usize, usize)>> = vec![None; self.room.len()];
        let mut queue: Vec<usize> = self.free_candidates(partition);
        let entries = queue.clone();
        let Some(&fallback) = entries.first() else { return false };
        let mut at = 0;
        let mut end = None;
        while let Some(&index) = queue.get(at) {
            at += 1;
            if self.room.get(index).is_some_and(|&room| room > 0) {
                end = Some(index);
                break;
            }
            for other in 0..self.chosen.len() {
                if other == partition || !self.chosen.get(other).is_some_and(|l| l.contains(&index))
                {
                    continue;
                }
                for next in self.free_candidates(other) {
                    if entries.contains(&next) || reached.get(next).is_none_or(Option::is_some) {
                        continue;
                    }
                    if let Some(place) = reached.get_mut(next) {
                        *place = Some((other, index));
                    }
                    queue.push(next);
                }
            }
        }
        let mut index = end.unwrap_or(fallback);
        if let Some(room) = self.room.get_mut(index) {
            *room = room.saturating_sub(1);
        }
        while let Some(Some((other, replaced))) = reached.get(index).copied() {
            for member in self.chosen.get_mut(other).into_iter().flatten() {
                if *member == replaced {
                    *member = index;
                }
            }
            index = replaced;
        }
        if let Some(list) = self.chosen.get_mut(partition) {
            list.push(index);
        }
        true
    }

    /// The candidates of a partition that it has not got.
    fn free_candidates(&self, partition: usize) -> Vec<usize> {
        let chosen = self.chosen.get(partition).map_or(&[][..], Vec::as_slice);
        let candidates = self.candidates.get(partition).map_or(&[][..], Vec::as_slice);
        candidates.iter().copied().filter(|index| !chosen.contains(index)).collect()
    }
}

#[cfg(test)]
mod tests;
