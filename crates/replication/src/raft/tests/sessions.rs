//! A write that is sent again is done once, whatever became of the replicas meanwhile.

use std::time::Duration;

use kvorum_core::{
    Action, Answer, Attempt, Error, Hlc, IdempotencyKey, NodeId, Op, Outcome, Output, Reply, Step,
    Txn, Want, Writer,
};

use super::world::{World, stored};
use crate::raft::Mutation;
use crate::{Input, Ticket};

const COUNTER: &str = "counter";

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn add_one() -> Op {
    Op::Txn(Txn::always(Step::new(COUNTER.into(), Action::Add(1))))
}

fn name(seq: u64, since: Option<Hlc>) -> Attempt {
    Attempt { session: Writer(77), seq, since }
}

fn insist(world: &mut World, name: Attempt) -> Outcome<i64> {
    insist_by(world, |world, id| world.ask_as(id, add_one(), name, Duration::from_secs(5)))
}

/// The same, with a name that a client has given.
fn insist_as(world: &mut World, by: i64, seq: u64) -> Outcome<i64> {
    insist_by(world, |world, id| {
        let op = Op::Txn(Txn::always(Step::new(COUNTER.into(), Action::Add(by))));
        let (ticket, mut input) = world.request(op, Duration::from_secs(5));
        if let Input::Request { request, .. } = &mut input {
            request.key = Some(IdempotencyKey { client: 99, seq });
        }
        world.turn(id, vec![input]);
        ticket
    })
}

/// Asks one node after the other until one that leads answers.
fn insist_by(world: &mut World, ask: impl Fn(&mut World, NodeId) -> Ticket) -> Outcome<i64> {
    for attempt in 0..600 {
        let id = node(attempt % 3 + 1);
        if !world.is_alive(id) {
            continue;
        }
        let ticket = ask(world, id);
        let until = world.now + Duration::from_secs(6);
        // It is another write if it is sent before that is known not to be done.
        while world.answers_to(ticket).is_empty() && world.step(until) {}
        let at = world.answers.iter().position(|(_, t, _)| *t == ticket).unwrap();
        match world.answers.swap_remove(at).2 {
            Ok(Reply::Txn(Answer { steps, .. })) => match steps[0].output {
                Output::Integer(sum) => return Ok(sum),
                ref other => panic!("{other:?}"),
            },
            Err(Error::NotLeader { .. }) => world.run(Duration::from_millis(20)),
            other => return Err(other.unwrap_err()),
        }
    }
    panic!("nobody leads");
}

/// What is counted if one write is sent before and after `happens`, and what the second attempt was
/// told.
fn counted(mutation: Option<Mutation>, happens: fn(&mut World)) -> (Outcome<i64>, Vec<u8>) {
    let mut world = World::without_rule(1, 3, mutation);
    world.limits.kept_log_bytes = 0;
    world.limits.lagging_log_bytes = 0;
    world.limits.least_dropped = 1;
    world.crash_all();
    assert_eq!(insist(&mut world, name(1, None)), Ok(1));
    let known = world.reached(node(1));
    world.crash(node(1));
    // Its answer is lost on the way, so it will be sent again.
    assert_eq!(insist(&mut world, name(2, None)), Ok(2));
    happens(&mut world);
    let told = insist(&mut world, name(2, Some(known)));
    if !world.is_alive(node(1)) {
        world.restart(node(1));
    }
    world.run(Duration::from_secs(3));
    let held = stored(&mut world, COUNTER.as_bytes());
    // Replicas that do not remember the same do not do the same.
    let equal = held.iter().all(|value| *value == held[0]);
    assert!(equal || mutation.is_some(), "{held:?}");
    (told, held[0].clone().unwrap())
}

fn nothing(_: &mut World) {}

/// All nodes start anew.
fn starts(world: &mut World) {
    world.run(Duration::from_secs(1));
    world.crash_all();
}

/// The first member gets a copy, for the log is gone, and then it leads.
fn copies(world: &mut World) {
    let before = world.pieces;
    world.run(Duration::from_secs(1));
    world.restart(node(1));
    world.run(Duration::from_secs(10));
    assert!(world.pieces > before, "it needs no copy");
    let read = Op::Get { key: COUNTER.into(), want: Want::Value };
    let ticket = world.ask(node(1), read, Duration::from_secs(5));
    world.run(Duration::from_secs(1));
    let found = world.answers_to(ticket).into_iter().any(Result::is_ok);
    assert!(found, "it does not lead");
}

#[test]
fn a_write_that_is_sent_again_is_done_once_and_told_the_same() {
    assert_eq!(counted(None, nothing), (Ok(2), b"2".to_vec()));
    assert_eq!(counted(Some(Mutation::ApplyTwice), nothing).1, b"3");
}

#[test]
fn what_was_done_is_remembered_by_nodes_that_start_anew() {
    assert_eq!(counted(None, starts), (Ok(2), b"2".to_vec()));
    assert_eq!(counted(Some(Mutation::ForgetSessions), starts).1, b"3");
}

#[test]
fn what_was_done_is_remembered_by_a_replica_that_got_a_copy() {
    let (told, held) = counted(None, copies);
    assert_eq!(told, Ok(2));
    let (_, without) = counted(Some(Mutation::LoseSessionsInCopy), copies);
    assert_ne!(held, without, "a copy without what is remembered lets it be done twice");
}

#[test]
fn a_write_whose_entry_would_be_forgotten_is_not_done_but_said_to_be_unknown() {
    let mut world = World::new(4, 3);
    assert_eq!(insist(&mut world, name(1, None)), Ok(1));
    for seq in 2..600 {
        insist(&mut world, name(seq, None)).unwrap();
    }
    assert_eq!(insist(&mut world, name(1, Some(Hlc::default()))), Err(Error::SessionLost));
    assert_eq!(insist(&mut world, name(999, Some(Hlc::default()))), Err(Error::SessionLost));
    let known = world.reached(node(1));
    assert_eq!(insist(&mut world, name(999, Some(known))), Ok(600));
}

#[test]
fn a_write_that_its_client_names_is_done_once_whatever_becomes_of_the_nodes() {
    let mut world = World::new(5, 3);
    world.limits.kept_log_bytes = 0;
    world.limits.lagging_log_bytes = 0;
    world.limits.least_dropped = 1;
    world.crash_all();
    world.run(Duration::from_secs(1));
    world.crash(node(1));
    assert_eq!(insist_as(&mut world, 1, 7), Ok(1));
    assert_eq!(insist_as(&mut world, 1, 7), Ok(1));
    assert_eq!(insist_as(&mut world, 2, 7), Err(Error::KeyReused));
    copies(&mut world);
    assert_eq!(insist_as(&mut world, 1, 7), Ok(1));
    world.crash_all();
    assert_eq!(insist_as(&mut world, 1, 7), Ok(1));
    for seq in 8..30 {
        insist_as(&mut world, 1, seq).unwrap();
    }
    assert_eq!(insist_as(&mut world, 1, 7), Err(Error::SessionLost));
    assert_eq!(insist_as(&mut world, 1, 29), Ok(23));
    assert_eq!(insist_as(&mut world, 1, 30), Ok(24));
}
