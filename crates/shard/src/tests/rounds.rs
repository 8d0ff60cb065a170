//! Rounds of anti-entropy: what they cost, and what they lead to.

use std::time::Duration;

use kvorum_core::{KeyspaceId, PartitionId, Slot, Store};
use kvorum_replication::Report;

use super::world::{PARTITIONS, World, id, key_in, put};
use crate::rounds::Run;
use crate::wire::Envelope;
use crate::{In, Out};

/// Whether two nodes hold the same version of a key.
fn agree(world: &mut World, key: &str) -> bool {
    let slot = Slot::of(key.as_bytes());
    let mut held = |n| {
        let store = &world.node(id(n)).store;
        store.header(KeyspaceId::DEFAULT, slot, key.as_bytes()).map(|stored| stored.header.version)
    };
    let versions = [held(1), held(2), held(3)];
    versions.iter().all(|version| version.is_some() && *version == versions[0])
}

#[test]
fn a_round_of_256_equal_partitions_takes_less_than_four_kibibytes() {
    let first = PartitionId { placement: 0, number: 0 };
    let runs = vec![Run { first, hashes: vec![u64::MAX; 256] }];
    let round = u64::from(u32::MAX);
    let mut out = bytes::BytesMut::new();
    Envelope::Roots { round, layout: 1, runs }.encode(&mut out);
    Envelope::RootsCompared { round, equal: vec![true; 256] }.encode(&mut out);
    // Each in a frame of its own, and each frame acknowledged by one of its own.
    let total = out.len() + 4 * crate::frame::HEADER;
    assert!(total <= 4096, "{total} bytes");
}

#[test]
fn a_write_that_one_node_has_missed_reaches_it_without_a_read() {
    let mut world = World::new(3, |options| options.leaderless.hints = false);
    let key = key_in(0);
    world.disconnect(id(1), id(3));
    world.ask(id(1), put(&key, "value"));
    world.end_turn(id(1));
    world.settle();
    world.connect(id(1), id(3));
    assert!(!agree(&mut world, &key));
    world.live(Duration::from_secs(80));
    assert!(agree(&mut world, &key));
    let clean = |out: &Out| matches!(out, Out::Report { report: Report::Clean { .. }, .. });
    assert!(world.others.iter().any(|(_, out)| clean(out)));
}

#[test]
fn equal_nodes_compare_and_move_nothing() {
    let mut world = World::new(3, |_| {});
    world.ask(id(1), put(&key_in(0), "value"));
    world.end_turn(id(1));
    world.settle();
    world.live(Duration::from_secs(120));
    let sessions = world
        .others
        .iter()
        .filter(|(_, out)| matches!(out, Out::Report { report: Report::SessionBegun { .. }, .. }));
    assert_eq!(sessions.count(), 0);
    let comparisons = world.node(id(1)).shard.stats().comparisons;
    assert_eq!(comparisons.len(), 2);
    for comparison in comparisons {
        assert!(comparison.rounds >= 3, "{comparison:?}");
        assert_eq!(comparison.unequal, 0);
    }
    let clean = |out: &Out| matches!(out, Out::Report { report: Report::Clean { .. }, .. });
    let clean = world.others.iter().filter(|(_, out)| clean(out)).count();
    assert!(clean >= 3 * 3 * 2 * PARTITIONS, "{clean}");
}

#[test]
fn a_round_that_is_asked_for_begins_at_once_whoever_is_asked() {
    for asked in 1..=3 {
        let mut world = World::new(3, |options| {
            options.leaderless.hints = false;
            options.anti_entropy_interval = Duration::ZERO;
        });
        let key = key_in(0);
        world.disconnect(id(1), id(3));
        world.ask(id(1), put(&key, "value"));
        world.end_turn(id(1));
        world.settle();
        world.connect(id(1), id(3));
        world.live(Duration::from_secs(60));
        assert!(!agree(&mut world, &key), "nobody has asked");
        world.turn(id(asked), In::CompareNow(Vec::new()));
        world.live(Duration::from_secs(1));
        assert!(agree(&mut world, &key), "node {asked}");
    }
}

#[test]
fn a_lost_connection_drops_the_round_under_way() {
    let mut world = World::new(2, |_| {});
    world.pass(Duration::from_secs(10));
    assert!(world.node(id(1)).shard.stats().comparisons[0].under_way);
    world.disconnect(id(1), id(2));
    world.connect(id(1), id(2));
    assert!(!world.node(id(1)).shard.stats().comparisons[0].under_way);
    world.live(Duration::from_secs(10));
    assert_eq!(world.node(id(1)).shard.stats().comparisons[0].rounds, 1);
}
