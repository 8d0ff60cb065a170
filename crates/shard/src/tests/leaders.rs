//! Requests of a strong keyspace on their way to whoever leads.

use std::time::Duration;

use kvorum_core::{Action, Error, Executed, Op, Outcome, Reply, Step, Txn};

use super::world::{PATIENCE, World, get, id, key_in, put};

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
    let read = world.ask(id(4), get(&key));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    assert_eq!(count(world.answer(read)), 20);
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
fn what_has_left_is_not_sent_again_if_it_changes_something() {
    let (mut world, key) = four();
    // Node 4 knows who leads.
    world.ask(id(4), put(&key, "1"));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    let left = [world.ask(id(4), add(&key)), world.ask(id(4), get(&key))];
    world.end_turn(id(4));
    // These are in the frame that is being filled.
    let stayed = world.ask(id(4), add(&key));
    world.disconnect(id(4), id(1));
    let unknown = Some(Err(Error::CoordinatorLost { executed: Executed::Unknown }));
    assert_eq!(world.answer(left[0]), unknown);
    assert_eq!(world.answer(stayed), None);
    world.connect(id(4), id(1));
    world.live(Duration::from_secs(1));
    assert!(matches!(world.answer(stayed), Some(Ok(Reply::Txn(_)))));
    // The read found the value with the one addition that did not leave, or without it.
    assert!((1..=2).contains(&count(world.answer(left[1]))));
    let read = world.ask(id(4), get(&key));
    world.end_turn(id(4));
    world.live(Duration::from_millis(50));
    assert_eq!(count(world.answer(read)), 2);
}
