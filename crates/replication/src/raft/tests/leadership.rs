//! Who leads, where some had better not.

use std::time::Duration;

use kvorum_core::{Error, Expiry, NodeId, Op};

use super::world::World;
use crate::{Event, Ticket, Willingness};

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn put(key: &str) -> Op {
    Op::Put { key: key.to_owned().into(), value: "v".into(), expiry: Expiry::Never, tag: 0 }
}

/// Three members, of which the first leads.
fn led(seed: u64) -> World {
    let mut world = World::new(seed, 3);
    world.run(Duration::from_secs(1));
    assert_eq!(world.leader(node(1)), Some(node(1)));
    world
}

/// Asks a node every millisecond for a while.
fn load(world: &mut World, on: NodeId, millis: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for _ in 0..millis {
        tickets.push(world.ask(on, put("k"), Duration::from_secs(2)));
        world.run(Duration::from_millis(1));
    }
    tickets
}

#[test]
fn a_leader_that_leaves_hands_over_under_load_and_every_write_is_answered() {
    for seed in 100..110 {
        let mut world = led(seed);
        let mut tickets = load(&mut world, node(1), 50);
        world.unwilling.insert(node(1), Willingness::Leaving);
        tickets.extend(load(&mut world, node(1), 300));
        assert_ne!(world.leader(node(1)), Some(node(1)), "seed {seed}");
        let mut done = 0;
        for ticket in tickets {
            match world.answers_to(ticket)[..] {
                [Ok(_)] => done += 1,
                [Err(Error::NotLeader { .. })] => {}
                ref other => panic!("seed {seed}: {other:?}"),
            }
        }
        assert!(done >= 50, "seed {seed}: {done}");
        world.run(Duration::from_secs(20));
        assert_ne!(world.leader(node(1)), Some(node(1)), "seed {seed}: it is not handed back");
        assert_eq!(world.counted(Event::HandedOver), 1, "seed {seed}");
    }
}

#[test]
fn members_that_all_leave_do_not_hand_over_to_each_other() {
    let mut world = led(120);
    world.unwilling.extend((1..=3).map(|id| (node(id), Willingness::Leaving)));
    let tickets = load(&mut world, node(1), 500);
    world.run(Duration::from_millis(50));
    assert!(tickets.iter().all(|ticket| world.answers_to(*ticket)[0].is_ok()));
    assert_eq!(world.counted(Event::HandedOver), 0);
}

#[test]
fn a_member_that_is_reluctant_leads_again_only_when_it_is_willing() {
    let mut world = led(121);
    world.unwilling.insert(node(1), Willingness::Reluctant);
    world.run(Duration::from_secs(30));
    assert_eq!(world.leader(node(1)), Some(node(2)));
    assert_eq!(world.counted(Event::HandedOver), 1);
    world.unwilling.clear();
    world.run(Duration::from_secs(6));
    assert_eq!(world.leader(node(3)), Some(node(1)));
}

#[test]
fn a_member_that_is_reluctant_leads_where_nobody_else_can() {
    let mut world = led(122);
    world.unwilling.insert(node(3), Willingness::Reluctant);
    world.crash(node(1));
    world.run(Duration::from_millis(100));
    assert_eq!(world.leader(node(3)), Some(node(2)), "the other one comes first");
    world.crash(node(2));
    world.restart(node(1));
    world.unwilling.insert(node(1), Willingness::Leaving);
    world.run(Duration::from_secs(4));
    assert_eq!(world.leader(node(1)), Some(node(3)));
    world.insist(put("k")).unwrap();
}

#[test]
fn a_hand_over_to_a_member_that_is_lost_holds_writes_up_only_until_that_is_known() {
    let mut world = led(123);
    // Node 2 hears nothing more, and nobody knows yet.
    world.hide_cuts = true;
    world.cut.insert((node(1), node(2)));
    world.unwilling.insert(node(1), Willingness::Leaving);
    world.run(Duration::from_millis(60));
    assert_eq!(world.counted(Event::HandedOver), 1);
    let refused = world.ask(node(1), put("k"), Duration::from_secs(2));
    world.run(Duration::from_millis(20));
    assert!(matches!(world.answers_to(refused)[0], Err(Error::NotLeader { .. })));
    world.unwilling.clear();
    world.crash(node(2));
    let taken = world.ask(node(1), put("k"), Duration::from_secs(2));
    world.run(Duration::from_millis(20));
    assert!(world.answers_to(taken)[0].is_ok(), "{:?}", world.answers_to(taken));
}

#[test]
fn an_idle_group_is_handed_over_to_members_that_were_gone_meanwhile() {
    let mut world = led(124);
    world.insist(put("k")).unwrap();
    world.run(Duration::from_secs(1));
    for id in [2, 3] {
        world.crash(node(id));
        world.restart(node(id));
        world.run(Duration::from_secs(1));
    }
    assert_eq!(world.leader(node(1)), Some(node(1)));
    world.unwilling.insert(node(1), Willingness::Leaving);
    world.run(Duration::from_millis(200));
    assert_eq!(world.leader(node(1)), Some(node(2)));
}
