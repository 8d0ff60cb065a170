//! Requests of a strong keyspace on their way to whoever leads.

use std::time::Duration;

use kvorum_core::{Action, Error, Executed, Op, Outcome, Reply, Step, Txn};

use super::world::{PATIENCE, World, get, id, key_in, put};
use crate::{Class, In, Out};

fn add(key: &str) -> Op {
    let (key, action) = (key.to_owned().into(), Action::Add(1));
    Op::Txn(Txn::always(Step { key, action, previous: false }))
}

fn count(outcome: Option<Outcome<Reply>>) -> i64 {
    match outcome {
        Some(Ok(Reply::Found(item))) => std::str::from_utf8(&item.value).unwrap().parse().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Asks a node for a number, and waits for the answer.
fn read_count(world: &mut World, node: usize, key: &str) -> i64 {
    let read = world.ask(id(node), get(key));
    world.end_turn(id(node));
    world.live(Duration::from_millis(50));
    count(world.answer(read))
}

/// Four nodes; partition 0 lies on the first three, of which the first leads.
fn four() -> (World, String) {
    let mut world = World::strong(4, |_| {});
    world.live(Duration::from_secs(1));
    (world, key_in(0))
}

#[test]
fn a_leader_is_there_before_anybody_asks_for_it() {
    let (mut world, key) = four();
    let ticket = world.ask(id(1), get(&key));
    world.end_turn(id(1));
    world.settle();
    assert_eq!(world.answer(ticket), Some(Ok(Reply::Missing(None))));
}

#[test]
fn every_node_finds_the_leader_and_nothing_is_executed_twice() {
    let (mut world, key) = four();
    for _ in 0..5 {
        for node in 1..=4 {
            let ticket = world.ask(id(node), add(&key));
            world.end_turn(id(node));
            world.live(Duration::from_millis(20));
            let answer = world.answer(ticket);
            assert!(matches!(answer, Some(Ok(Reply::Txn(_)))), "node {node}: {answer:?}");
        }
    }
    assert_eq!(read_count(&mut world, 4, &key), 20);
}

#[test]
fn a_request_waits_for_a_leader_as_long_as_its_client_does_and_is_answered_once() {
    let (mut world, key) = four();
    for other in [1, 2, 3] {
        world.disconnect(id(4), id(other));
    }
    let tickets = [world.ask(id(4), put(&key, "v")), world.ask(id(4), get(&key))];
    world.end_turn(id(4));
    world.live(PATIENCE / 2);
    assert!(tickets.iter().all(|ticket| world.answer(*ticket).is_none()));
    world.live(PATIENCE);
    let refused = Some(Err(Error::NotLeader { leader: None }));
    assert!(tickets.iter().all(|ticket| world.answer(*ticket) == refused));
    assert_eq!(world.node(id(4)).shard.stats().pending_requests, 0);
    assert_eq!(world.node(id(4)).shard.stats().pending_bytes, 0);
}

#[test]
fn a_request_is_answered_when_another_leads_that_was_not_known_before() {
    let (mut world, key) = four();
    for other in [2, 3, 4] {
        world.disconnect(id(1), id(other));
    }
    let write = world.ask(id(4), add(&key));
    world.end_turn(id(4));
    world.live(PATIENCE);
    let answer = world.answer(write);
    assert!(matches!(answer, Some(Ok(Reply::Txn(_)))), "{answer:?}");
}

#[test]
fn what_has_left_is_sent_again_under_its_name_and_done_once() {
    let (mut world, key) = four();
    // Node 4 knows who leads.
    world.ask(id(4), put(&key, "1"));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    let left = [world.ask(id(4), add(&key)), world.ask(id(4), get(&key))];
    world.end_turn(id(4));
    // The leader takes them, and its answers are lost.
    world.deliver((id(4), id(1), Class::Data));
    // This one is in the frame that is being filled.
    let stayed = world.ask(id(4), add(&key));
    world.disconnect(id(4), id(1));
    assert!([left[0], left[1], stayed].iter().all(|ticket| world.answer(*ticket).is_none()));
    world.connect(id(4), id(1));
    world.live(Duration::from_secs(1));
    assert!(matches!(world.answer(left[0]), Some(Ok(Reply::Txn(_)))));
    assert!(matches!(world.answer(stayed), Some(Ok(Reply::Txn(_)))));
    assert!((1..=3).contains(&count(world.answer(left[1]))));
    assert_eq!(read_count(&mut world, 4, &key), 3);
}

#[test]
fn what_may_have_been_done_is_unknown_when_nobody_could_say_in_time() {
    let (mut world, key) = four();
    world.ask(id(4), put(&key, "1"));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    let write = world.ask(id(4), add(&key));
    world.end_turn(id(4));
    for other in 1..=3 {
        world.disconnect(id(4), id(other));
    }
    world.live(2 * PATIENCE);
    let unknown = Some(Err(Error::CoordinatorLost { executed: Executed::Unknown }));
    assert_eq!(world.answer(write), unknown);
    assert_eq!(world.node(id(4)).shard.stats().pending_requests, 0);
}

#[test]
fn a_write_of_a_lost_leader_is_answered_by_the_next_one() {
    let (mut world, key) = four();
    world.ask(id(4), put(&key, "1"));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    let write = world.ask(id(4), add(&key));
    world.end_turn(id(4));
    // The leader has logged it and told the others when it is lost, before it answers.
    world.deliver((id(4), id(1), Class::Data));
    for other in [2, 3] {
        world.deliver((id(1), id(other), Class::Data));
    }
    for other in [2, 3, 4] {
        world.disconnect(id(1), id(other));
    }
    world.live(PATIENCE);
    let answer = world.answer(write);
    assert!(matches!(answer, Some(Ok(Reply::Txn(_)))), "{answer:?}");
    assert_eq!(read_count(&mut world, 4, &key), 2);
}

/// How many of the sixteen partitions a node leads, as it believes.
fn led_by(world: &mut World, node: usize) -> usize {
    let leaders = world.node(id(node)).shard.stats().leaders;
    leaders.iter().filter(|(_, leader)| *leader == Some(id(node))).count()
}

#[test]
fn a_node_that_leaves_hands_over_everything_and_goes_on_answering() {
    let (mut world, key) = four();
    assert_eq!((led_by(&mut world, 1), world.node(id(1)).shard.to_hand_over()), (4, 4));
    world.turn(id(1), In::Leave);
    let mut tickets = Vec::new();
    for _ in 0..100 {
        for node in [1, 4] {
            tickets.push(world.ask(id(node), add(&key)));
            world.end_turn(id(node));
        }
        world.live(Duration::from_millis(5));
    }
    assert_eq!((led_by(&mut world, 1), world.node(id(1)).shard.to_hand_over()), (0, 0));
    world.live(Duration::from_secs(1));
    for ticket in tickets {
        let answer = world.answer(ticket);
        assert!(matches!(answer, Some(Ok(Reply::Txn(_)))), "{answer:?}");
    }
    assert_eq!(read_count(&mut world, 1, &key), 200);
    world.live(Duration::from_secs(10));
    assert_eq!(led_by(&mut world, 1), 0, "nothing is handed back to it");
}

#[test]
fn nodes_that_all_leave_have_nothing_to_hand_over_to_each_other() {
    let (mut world, _) = four();
    for node in 1..=4 {
        world.turn(id(node), In::Leave);
    }
    world.live(Duration::from_millis(200));
    for node in 1..=4 {
        assert_eq!(world.node(id(node)).shard.to_hand_over(), 0, "node {node}");
    }
}

#[test]
fn a_node_whose_disk_is_slow_leads_nothing_until_it_is_well() {
    let (mut world, _) = four();
    world.turn(id(1), In::SlowDisk(true));
    world.live(Duration::from_secs(8));
    assert_eq!(led_by(&mut world, 1), 0);
    world.turn(id(1), In::SlowDisk(false));
    world.live(Duration::from_secs(8));
    assert_eq!(led_by(&mut world, 1), 4);
}

#[test]
fn a_strong_partition_that_is_given_up_counts_as_rebuilding_until_it_is_whole() {
    let mut world = World::strong(3, |_| {});
    world.live(Duration::from_secs(1));
    let ticket = world.ask(id(1), put(&key_in(0), "v"));
    world.end_turn(id(1));
    world.live(Duration::from_millis(200));
    assert!(matches!(world.answer(ticket), Some(Ok(Reply::Written { .. }))));
    world.restart_blank(id(3));
    let rebuilding = |world: &World| world.nodes[2].shard.stats().rebuilding;
    let mut most = 0;
    for _ in 0..100 {
        world.live(Duration::from_millis(50));
        most = most.max(rebuilding(&world));
    }
    let given_up = |other: &&(_, Out)| matches!(other.1, Out::GaveUp { .. });
    let times = world.others.iter().filter(given_up).count();
    assert!(times > 0 && most == times, "{times} were given up, {most} rebuilt at once");
    let rebuilt = |other: &&(_, Out)| matches!(other.1, Out::Rebuilt(_));
    assert_eq!(world.others.iter().filter(rebuilt).count(), times);
    assert_eq!(rebuilding(&world), 0);
}
