//! The rules of the shard itself, each kept, and each broken by its mutation.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Action, Error, Executed, Op, Reply, Step, Txn, Writer};
use kvorum_replication::Ticket;

use super::world::{PATIENCE, World, get, id, key_in, put};
use crate::links::{Links, Received};
use crate::wire::Envelope;
use crate::{Class, In, Mutation, Options, Out};

/// Whether the rule that a mutation breaks is kept.
fn keeps(rule: Mutation, broken: Option<Mutation>) -> bool {
    match rule {
        Mutation::TrustSuspectClock => leaves_stamping_to_others(broken),
        Mutation::OverfillFrames => seals_frames_its_header_can_count(broken),
        Mutation::IgnoreWaiting => does_nothing_that_waited_too_long(broken),
        Mutation::ResendAsNew => executes_nothing_twice(broken),
    }
}

#[test]
fn every_rule_is_kept() {
    for rule in Mutation::ALL {
        assert!(keeps(rule, None), "{rule:?}");
    }
}

#[test]
fn every_mutation_is_noticed() {
    for rule in Mutation::ALL {
        assert!(!keeps(rule, Some(rule)), "{rule:?} goes unnoticed");
    }
}

fn leaves_stamping_to_others(broken: Option<Mutation>) -> bool {
    let mut world = World::new(3, |options| options.shard_mutation = broken);
    world.turn(id(1), In::ClockSuspect(true));
    let write = world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    world.settle();
    match world.answer(write) {
        Some(Ok(Reply::Written { version, .. })) => version.writer != Writer::new(id(1), 1),
        other => panic!("{other:?}"),
    }
}

fn executes_nothing_twice(broken: Option<Mutation>) -> bool {
    let mut world = World::strong(4, |options| options.shard_mutation = broken);
    let key = key_in(0);
    let ask = |world: &mut World, op| {
        let ticket = world.ask(id(4), op);
        world.end_turn(id(4));
        ticket
    };
    ask(&mut world, put(&key, "0"));
    world.live(Duration::from_secs(1));
    let add = Step { key: key.clone().into(), action: Action::Add(1), previous: false };
    ask(&mut world, Op::Txn(Txn::always(add)));
    // The leader takes it, and its answer is lost.
    world.deliver((id(4), id(1), Class::Data));
    world.disconnect(id(4), id(1));
    world.connect(id(4), id(1));
    world.live(Duration::from_secs(1));
    let read = ask(&mut world, get(&key));
    world.live(Duration::from_millis(100));
    match world.answer(read) {
        Some(Ok(Reply::Found(item))) => item.value == "1",
        other => panic!("{other:?}"),
    }
}

fn seals_frames_its_header_can_count(broken: Option<Mutation>) -> bool {
    let large = |me| Options {
        frame_bytes: 64 << 20,
        max_peer_bytes: 64 << 20,
        shard_mutation: broken,
        ..Options::new(id(me))
    };
    let (mut from, mut to) = (Links::new(&large(1), 1), Links::new(&large(2), 1));
    from.up(id(2));
    to.up(id(1));
    let mut out = Vec::new();
    let many = u64::from(u16::MAX) + 10;
    for n in 0..many {
        let error = Error::Unavailable { need: 2, live: 0 };
        let envelope = Envelope::Forwarded { id: Ticket(n), outcome: Err(error) };
        from.push(id(2), &envelope, &mut out);
    }
    from.flush(&mut out);
    let mut envelopes = Vec::new();
    let frames = out.into_iter().map(|out| match out {
        Out::Send { frame, .. } => frame,
        other => panic!("{other:?}"),
    });
    let received: Vec<Received> =
        frames.map(|frame: Bytes| to.receive(id(1), frame, &mut envelopes)).collect();
    received.iter().all(|received| *received == Received::Fresh) && envelopes.len() as u64 == many
}

fn does_nothing_that_waited_too_long(broken: Option<Mutation>) -> bool {
    let mut world = World::new(3, |options| options.shard_mutation = broken);
    let write = world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    let frame = world.streams.get_mut(&(id(1), id(2), Class::Data)).unwrap().pop_front().unwrap();
    let arrived = world.now;
    // The receiver is busy until the coordinator has given up.
    world.pass(PATIENCE + Duration::from_millis(1));
    let given_up = Error::Timeout { need: 2, acked: 0, executed: Executed::Unknown };
    assert_eq!(world.answer(write), Some(Err(given_up)));
    world.turn(id(2), In::Frame { from: id(1), body: frame, arrived });
    world.node(id(2)).store.records() == 0
}
