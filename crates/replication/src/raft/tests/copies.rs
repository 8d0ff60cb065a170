//! Copies for replicas that are too far behind: whole, small in their pieces, and resumed.

use std::time::Duration;

use kvorum_core::{Expiry, NodeId, Op, Reply, Want};

use super::world::{KEYSPACE, World, stored};
use crate::Event;

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn put(key: &str, value: &str) -> Op {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Op::Put { key, value, expiry: Expiry::Never, tag: 0 }
}

fn value(world: &mut World, key: &str) -> Option<String> {
    match world.insist(Op::Get { key: key.to_owned().into(), want: Want::Value }) {
        Ok(Reply::Found(item)) => Some(String::from_utf8(item.value.to_vec()).unwrap()),
        Ok(Reply::Missing(_)) => None,
        other => panic!("{other:?}"),
    }
}

/// A world in which whoever misses anything needs a copy, piece by piece.
fn forgetful(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.limits.kept_log_bytes = 0;
    world.limits.lagging_log_bytes = 0;
    world.limits.least_dropped = 1;
    world.limits.piece.items = 10;
    world.limits.aside_bytes = 500;
    world.crash_all();
    world
}

/// The third node is down and lacks so many keys.
fn behind(seed: u64, keys: usize) -> World {
    let mut world = forgetful(seed);
    leave_behind(&mut world, keys);
    world
}

fn leave_behind(world: &mut World, keys: usize) {
    world.crash(node(3));
    for n in 0..keys {
        world.insist(put(&format!("k{n}"), &n.to_string())).unwrap();
    }
    world.run(Duration::from_secs(1));
}

/// Goes on until the third node holds so many keys.
fn until_it_holds(world: &mut World, keys: u64) {
    while world.count(node(3)) < keys {
        world.run(Duration::from_millis(1));
    }
}

/// Whether all nodes hold the keys that [`behind`] wrote.
fn all_hold(world: &mut World, keys: usize) -> bool {
    (0..keys).all(|n| {
        let held = stored(world, format!("k{n}").as_bytes());
        held.iter().all(|held| *held == Some(n.to_string().into_bytes()))
    })
}

#[test]
fn a_replica_that_is_too_far_behind_gets_a_copy_while_writes_go_on() {
    let mut world = forgetful(8);
    world.insist(put("gone", "soon")).unwrap();
    world.crash(node(3));
    for n in 0..100 {
        world.insist(put(&format!("k{n}"), "old")).unwrap();
    }
    world.insist(Op::Delete { key: "gone".into() }).unwrap();
    world.run(Duration::from_secs(1));
    world.restart(node(3));
    for n in (0..100).step_by(3) {
        world.insist(put(&format!("k{n}"), "new")).unwrap();
        world.insist(Op::Delete { key: format!("k{}", n + 1).into() }).unwrap();
    }
    world.run(Duration::from_millis(500));
    for n in 0..100 {
        let expected = [Some(b"new".to_vec()), None, Some(b"old".to_vec())][n % 3].clone();
        assert_eq!(stored(&mut world, format!("k{n}").as_bytes()), vec![expected; 3], "k{n}");
    }
    assert_eq!(stored(&mut world, b"gone"), vec![None; 3]);
}

#[test]
fn a_copy_goes_on_with_another_sender_where_the_first_was_lost() {
    let mut world = behind(13, 200);
    world.restart(node(3));
    until_it_holds(&mut world, 100);
    world.crash(node(1));
    world.run(Duration::from_secs(10));
    assert_eq!(value(&mut world, "k199").as_deref(), Some("199"));
    assert_eq!(stored(&mut world, b"k0")[1..], vec![Some(b"0".to_vec()); 2]);
    assert!(world.records < 240, "{} records were sent for 200", world.records);
}

#[test]
fn who_waits_for_a_copy_votes_when_its_sender_falls_silent() {
    let mut world = behind(28, 200);
    world.restart(node(3));
    until_it_holds(&mut world, 100);
    // Nobody is told that the connections to the leader are of no use.
    world.hide_cuts = true;
    for other in [2, 3] {
        world.cut.insert((node(1), node(other)));
        world.cut.insert((node(other), node(1)));
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.leader(node(2)), Some(node(2)));
}

#[test]
fn a_copy_goes_on_when_the_connection_is_back() {
    let mut world = behind(22, 200);
    world.restart(node(3));
    until_it_holds(&mut world, 100);
    for (from, to) in [(1, 3), (3, 1)] {
        world.cut.insert((node(from), node(to)));
    }
    world.lose(node(3));
    world.run(Duration::from_secs(2));
    world.cut.clear();
    world.run(Duration::from_secs(5));
    assert!(all_hold(&mut world, 200));
    assert_eq!(world.counted(Event::CopySent), 1);
    assert!(world.records < 240, "{} records were sent for 200", world.records);
}

#[test]
fn a_piece_that_is_lost_is_sent_again() {
    let mut world = behind(23, 200);
    world.loss = 10;
    world.restart(node(3));
    world.run(Duration::from_secs(30));
    assert!(all_hold(&mut world, 200));
    assert!(world.records < 400, "{} records were sent for 200", world.records);
}

#[test]
fn a_copy_goes_on_after_each_crash_of_its_receiver() {
    let mut world = behind(9, 200);
    for _ in 0..20 {
        world.restart(node(3));
        world.run(Duration::from_millis(110));
        world.crash(node(3));
    }
    world.restart(node(3));
    world.run(Duration::from_secs(3));
    assert!(all_hold(&mut world, 200));
    assert!(world.records < 500, "{} records were sent for 200", world.records);
    // It can stand in for another one.
    world.crash(node(2));
    for n in 0..200 {
        assert_eq!(value(&mut world, &format!("k{n}")), Some(n.to_string()));
    }
}

#[test]
fn a_replica_that_lags_gets_only_what_has_changed() {
    let mut world = behind(24, 200);
    world.restart(node(3));
    world.run(Duration::from_secs(3));
    world.crash(node(3));
    world.insist(put("k5", "new")).unwrap();
    world.insist(Op::Delete { key: "k6".into() }).unwrap();
    world.run(Duration::from_secs(1));
    world.records = 0;
    world.restart(node(3));
    world.run(Duration::from_secs(3));
    assert_eq!(stored(&mut world, b"k5"), vec![Some(b"new".to_vec()); 3]);
    assert_eq!(stored(&mut world, b"k6"), vec![None; 3]);
    assert_eq!(world.counted(Event::CopySent), 2);
    assert!(world.records < 40, "{} records were sent for two", world.records);
}

#[test]
fn a_value_that_is_damaged_comes_again_though_its_version_is_the_same() {
    let mut world = World::new(25, 3);
    for n in 0..50 {
        world.insist(put(&format!("k{n}"), &n.to_string())).unwrap();
    }
    world.run(Duration::from_secs(1));
    world.crash(node(3));
    let store = &mut world.nodes.get_mut(&node(3)).unwrap().store;
    assert!(store.damage(KEYSPACE, b"k7"));
    world.damage_log(node(3));
    world.restart(node(3));
    world.run(Duration::from_secs(5));
    assert!(all_hold(&mut world, 50));
}

#[test]
fn a_piece_of_a_copy_stays_small_whatever_is_deleted_meanwhile() {
    let mut world = forgetful(15);
    world.crash(node(3));
    for n in 0..300 {
        world.insist(put(&format!("k{n}"), "old")).unwrap();
    }
    world.run(Duration::from_secs(1));
    world.restart(node(3));
    while world.count(node(3)) < 20 {
        world.run(Duration::from_millis(1));
    }
    // Everything that has not been sent is set aside at once, and deleted.
    for n in 0..300 {
        world.ask(node(1), Op::Delete { key: format!("k{n}").into() }, Duration::from_secs(1));
    }
    world.run(Duration::from_secs(5));
    assert_eq!(world.largest_piece, 10);
    assert!((1..=3).all(|id| world.count(node(id)) == 0));
}

/// Changes a third of the keys, deletes a third and adds some while a copy is sent.
fn change_meanwhile(world: &mut World) {
    world.restart(node(3));
    until_it_holds(world, 20);
    let patience = Duration::from_secs(1);
    for n in 0..300 {
        match n % 3 {
            0 => world.ask(node(1), put(&format!("k{n}"), "new"), patience),
            1 => world.ask(node(1), Op::Delete { key: format!("k{n}").into() }, patience),
            _ => world.ask(node(1), put(&format!("other{n}"), "new"), patience),
        };
    }
    while !world.has_aside(node(1)) {
        world.run(Duration::from_millis(1));
        assert_eq!(world.counted(Event::CopySent), 0, "nothing was set aside in the store");
    }
}

#[test]
fn what_is_set_aside_has_room_in_the_store() {
    let mut world = forgetful(26);
    // Whoever has got a copy gets the entries behind it, not another copy.
    world.limits.lagging_log_bytes = 1 << 20;
    world.crash_all();
    leave_behind(&mut world, 300);
    change_meanwhile(&mut world);
    world.run(Duration::from_secs(5));
    assert_eq!(world.counted(Event::CopySent), 1);
    assert!(!world.has_aside(node(1)));
    assert_eq!(world.largest_piece, 10);
    for n in 0..300 {
        let expected =
            [Some(b"new".to_vec()), None, Some(n.to_string().into_bytes())][n % 3].clone();
        assert_eq!(stored(&mut world, format!("k{n}").as_bytes()), vec![expected; 3], "k{n}");
    }
    assert!((1..=3).all(|id| world.count(node(id)) == 300));
}

#[test]
fn what_is_set_aside_is_gone_when_its_node_starts_anew() {
    let mut world = behind(27, 300);
    change_meanwhile(&mut world);
    // Until it is durable.
    world.run(Duration::from_millis(10));
    world.crash(node(1));
    assert!(world.has_aside(node(1)));
    world.restart(node(1));
    world.run(Duration::from_secs(15));
    assert!(!world.has_aside(node(1)));
}
