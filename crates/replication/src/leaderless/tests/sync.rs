//! What sessions come to over random contents, and what they cost.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvorum_core::{KeyspaceId, NodeId, Record, Slot, Store, Version, Writer};
use proptest::prelude::*;

use super::world::{BEGINNING, World, id};
use crate::{Message, wire};

fn record(key: &str, at: u64, node: u32, value: Option<Bytes>) -> Record {
    let version = Version {
        hlc: kvorum_core::Hlc::from_wall_ms(BEGINNING + at),
        writer: Writer::new(NodeId::new(node).unwrap(), 1),
    };
    let key = Bytes::copy_from_slice(key.as_bytes());
    let (keyspace, slot) = (KeyspaceId::DEFAULT, Slot::of(&key));
    Record { keyspace, slot, key, version, tag: 0, expire_ms: 0, value }
}

/// Stores a record unless a newer one is there.
fn hold(world: &mut World, node: NodeId, record: Record) {
    let store = &mut world.node(node).store;
    let held = store.header(record.keyspace, record.slot, &record.key);
    if held.is_none_or(|held| held.header.version < record.version) {
        store.put(record).unwrap();
    }
}

fn version(world: &mut World, node: NodeId, key: &str) -> Option<Version> {
    let slot = Slot::of(key.as_bytes());
    let held = world.node(node).store.header(KeyspaceId::DEFAULT, slot, key.as_bytes());
    held.map(|held| held.header.version)
}

/// Compares two nodes until they are equal, at most `sessions` times. Returns what the messages took
/// that went from one to the other.
fn equalise(world: &mut World, one: NodeId, other: NodeId, sessions: usize) -> usize {
    let mut bytes = 0;
    for _ in 0..sessions {
        world.compare(one, other);
        bytes += run(world);
        world.pass(Duration::from_millis(200));
        bytes += run(world);
    }
    bytes
}

/// Delivers and syncs until nothing moves, and sometimes lets a pause go by.
fn run(world: &mut World) -> usize {
    let mut bytes = 0;
    for _ in 0..200 {
        while let Some(flight) = world.flights.first() {
            bytes += size(&flight.message);
            world.deliver(0);
        }
        for node in world.ids() {
            world.sync(node);
        }
        if world.flights.is_empty() {
            world.pass(Duration::from_millis(5));
        }
    }
    bytes
}

/// What a message takes in an envelope.
fn size(message: &Message) -> usize {
    let mut out = BytesMut::new();
    wire::encode(message, &mut out);
    out.len() + 5
}

#[test]
fn one_differing_key_among_as_many_as_a_partition_of_a_million_has_costs_little() {
    // 256 partitions of a million keys hold four thousand each; here they lie in more slots.
    let (one, other) = (id(1), id(2));
    let mut world = World::new(2, None);
    for n in 0..4000 {
        for node in [one, other] {
            hold(
                &mut world,
                node,
                record(&format!("key{n}"), 1, 1, Some(Bytes::from(vec![7; 100]))),
            );
        }
    }
    world.pass(Duration::from_secs(10));
    hold(&mut world, one, record("key77", 2, 1, Some(Bytes::from(vec![8; 100]))));
    let bytes = equalise(&mut world, one, other, 1);
    assert_eq!(version(&mut world, one, "key77"), version(&mut world, other, "key77"));
    assert!(bytes > 100 && bytes <= 16 << 10, "{bytes} bytes");
}

#[test]
fn differing_keys_among_thirty_equal_ones_each_cost_at_most_four_times_their_own_size() {
    // Buckets are as full as in a cluster of a million keys, where ten thousand differ.
    let (one, other) = (id(1), id(2));
    let mut world = World::new(2, None);
    let mut own = 0;
    let mut key = (0..).map(|n| format!("key{n}"));
    let mut differing = Vec::new();
    for n in 0..2000 {
        let tag = format!("{{{n}}}");
        for at in 0..31 {
            let key = tag.clone() + &key.next().unwrap();
            let value = || Some(Bytes::from(vec![7; 100]));
            let differs = at == 0;
            hold(&mut world, one, record(&key, 1, 1, value()));
            if differs {
                own += key.len() + 100;
                differing.push(key);
            } else {
                hold(&mut world, other, record(&key, 1, 1, value()));
            }
        }
    }
    world.pass(Duration::from_secs(10));
    let bytes = equalise(&mut world, one, other, 12);
    for key in &differing {
        assert!(version(&mut world, other, key).is_some(), "{key}");
    }
    assert!(bytes <= 4 * own, "{bytes} bytes for {own}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn replicas_of_any_contents_converge_to_the_newest_of_each_key(
        writes in prop::collection::vec((0..40u32, 1..1000u64, 1..=3u32, 0..8u8, any::<bool>()), 0..300),
    ) {
        let mut world = World::new(3, None);
        let mut newest = std::collections::BTreeMap::new();
        for (key, at, writer, holders, deleted) in writes {
            let key = format!("key{key}");
            let value = (!deleted).then(|| Bytes::from(format!("{at}/{writer}")));
            let record = record(&key, at, writer, value);
            for node in (0..3).filter(|node| holders >> node & 1 == 1) {
                let known: &mut Option<Version> = newest.entry(key.clone()).or_default();
                *known = (*known).max(Some(record.version));
                hold(&mut world, id(node + 1), record.clone());
            }
        }
        world.pass(Duration::from_secs(10));
        for (one, other) in [(1, 2), (2, 3), (1, 3), (1, 2)] {
            equalise(&mut world, id(one), id(other), 1);
        }
        for (key, newest) in newest {
            for node in world.ids() {
                prop_assert_eq!(version(&mut world, node, &key), newest);
            }
        }
    }
}
