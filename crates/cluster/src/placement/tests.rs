//! Sizes, balance and stability of placements.

use std::collections::BTreeMap;

use kvorum_core::PartitionId;
use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

use super::*;

fn nodes(ids: impl IntoIterator<Item = u32>) -> Vec<NodeId> {
    ids.into_iter().filter_map(NodeId::new).collect()
}

fn spread<'a>(all: &[NodeId], held: impl Iterator<Item = &'a NodeId>) -> (usize, usize) {
    let mut counts: BTreeMap<NodeId, usize> = all.iter().map(|&node| (node, 0)).collect();
    for node in held {
        *counts.get_mut(node).unwrap() += 1;
    }
    (*counts.values().min().unwrap(), *counts.values().max().unwrap())
}

/// How many replicas are on a node that did not hold that partition before.
fn moved(before: &[Vec<NodeId>], after: &[Vec<NodeId>]) -> usize {
    let new = |(old, new): (&Vec<NodeId>, &Vec<NodeId>)| {
        new.iter().filter(|node| !old.contains(node)).count()
    };
    before.iter().zip(after).map(new).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn placements_are_complete_balanced_and_the_same_in_any_order(
        ids in proptest::collection::btree_set(1u32..100_000, 1..24),
        replication in 1usize..6,
    ) {
        let all = nodes(ids);
        let replication = replication.min(all.len());
        let lists = place(&all, 256, replication);
        prop_assert_eq!(lists.len(), 256);
        for list in &lists {
            prop_assert_eq!(distinct(list).len(), replication);
        }
        let (least, most) = spread(&all, lists.iter().flatten());
        prop_assert!(most - least <= 1, "replicas: {least} to {most}");
        let (least, most) = spread(&all, lists.iter().filter_map(|list| list.first()));
        prop_assert!(most - least <= 2, "primaries: {least} to {most}");
        let reversed: Vec<NodeId> = all.into_iter().rev().collect();
        prop_assert_eq!(place(&reversed, 256, replication), lists);
    }

    #[test]
    fn a_new_node_moves_little_more_than_its_own_share(
        ids in proptest::collection::btree_set(1u32..100_000, 4..24),
        newcomer in 100_000u32..200_000,
        replication in 1usize..4,
    ) {
        let old = nodes(ids);
        let new: Vec<NodeId> = old.iter().copied().chain(NodeId::new(newcomer)).collect();
        let moved = moved(&place(&old, 1024, replication), &place(&new, 1024, replication));
        let share = 1024 * replication / new.len();
        prop_assert!(moved <= share * 2, "{moved} replicas moved; the new node's share is {share}");
    }
}

#[test]
fn the_number_of_partitions_follows_the_number_of_nodes() {
    let nodes = [1, 3, 8, 9, 16, 17, 100, 128, 129, 100_000];
    let of = |mode| nodes.map(|nodes| partitions(mode, nodes));
    assert_eq!(of(Mode::Eventual), [256, 256, 256, 512, 512, 1024, 4096, 4096, 4096, 4096]);
    assert_eq!(of(Mode::Strong), [16, 16, 32, 64, 64, 128, 512, 512, 1024, 4096]);
}

#[test]
fn a_new_cluster_has_sensible_defaults() {
    let factor = |layout: &Layout| {
        let partition = PartitionId { placement: 0, number: 0 };
        (layout.replicas(partition).len(), layout.keyspaces().first().unwrap().write)
    };
    let layout = |count, replication| {
        let default_mode = Some(Mode::Eventual);
        let wishes = Wishes { replication, default_mode, showcase: false };
        initial_layout(&nodes(1..=count), &wishes)
    };
    assert_eq!(factor(&layout(1, None).unwrap()), (1, Consistency::Quorum));
    assert_eq!(factor(&layout(2, None).unwrap()), (2, Consistency::One));
    let strong = initial_layout(&nodes(1..=2), &Wishes::default()).unwrap();
    assert_eq!(factor(&strong), (2, Consistency::Quorum));
    assert_eq!(factor(&layout(5, None).unwrap()), (3, Consistency::Quorum));
    assert_eq!(factor(&layout(5, Some(5)).unwrap()), (5, Consistency::Quorum));
    assert_eq!(layout(0, None), Err(PlacementError::NoNodes));
    assert_eq!(layout(3, Some(4)), Err(PlacementError::Replication { asked: 4, max: 3 }));
    assert_eq!(layout(9, Some(8)), Err(PlacementError::Replication { asked: 8, max: 7 }));
    assert_eq!(layout(3, Some(0)), Err(PlacementError::Replication { asked: 0, max: 3 }));
}

#[test]
fn the_default_keyspace_is_strong_unless_wished_otherwise_and_a_showcase_adds_an_eventual_one() {
    let keyspaces = |default_mode, showcase| {
        let wishes = Wishes { replication: None, default_mode, showcase };
        let layout = initial_layout(&nodes(1..=3), &wishes).unwrap();
        let keyspaces = layout.keyspaces().iter().map(|keyspace| {
            let partitions = layout.partitions(keyspace.id).count();
            (keyspace.name.clone(), keyspace.mode, keyspace.placement, partitions)
        });
        keyspaces.collect::<Vec<_>>()
    };
    let named =
        |name: &str, mode, placement, partitions| (name.to_owned(), mode, placement, partitions);
    let strong = named("default", Mode::Strong, 0, 16);
    assert_eq!(keyspaces(None, false), std::slice::from_ref(&strong));
    let eventual = named("eventual", Mode::Eventual, 1, 256);
    assert_eq!(keyspaces(Some(Mode::Strong), true), [strong, eventual]);
    let (default, other) =
        (named("default", Mode::Eventual, 0, 256), named("eventual", Mode::Eventual, 0, 256));
    assert_eq!(keyspaces(Some(Mode::Eventual), false), std::slice::from_ref(&default));
    assert_eq!(keyspaces(Some(Mode::Eventual), true), [default, other]);
}

#[test]
fn a_placement_never_changes() {
    // Nodes of two releases may found a cluster together and must find the same lists.
    let lists = place(&nodes(1..=5), 256, 3);
    let text: String = lists.iter().flatten().map(ToString::to_string).collect();
    assert_eq!(xxh3_64(text.as_bytes()), 2_965_462_465_273_363_844, "{}", &text[..30]);
}
