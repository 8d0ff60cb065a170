//! One situation per test.

use kvorum_core::layout::Placement;
use kvorum_core::{
    Cursor, Error, Executed, Keyspace, KeyspaceId, Layout, Op, Outcome, PartitionId, Reply,
    Request, ScanLimit, Slot, Want, Writer,
};
use kvorum_replication::{Event, Message, OpId};

use super::world::{PATIENCE, World, get, id, key_in, layout, put, request};
use crate::links::Links;
use crate::wire::{Envelope, queue};
use crate::{Class, In, Options, Out};

fn value(outcome: Option<Outcome<Reply>>) -> String {
    match outcome {
        Some(Ok(Reply::Found(item))) => String::from_utf8(item.value.to_vec()).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Node 4 of four does not hold partition 0.
fn four() -> (World, String) {
    (World::new(4, |_| {}), key_in(0))
}

#[test]
fn nothing_is_acknowledged_before_it_is_durable() {
    let mut world = World::new(1, |_| {});
    let write = world.ask(id(1), put("a", "1"));
    let read = world.ask(id(1), get("a"));
    world.end_turn(id(1));
    assert_eq!((world.answer(write), world.answer(read)), (None, None));
    world.sync(id(1));
    assert!(matches!(world.answer(write), Some(Ok(Reply::Written { acked: 1, .. }))));
    assert_eq!(value(world.answer(read)), "1");
}

#[test]
fn any_node_takes_any_request() {
    let mut world = World::new(5, |_| {});
    for partition in 0..16 {
        let key = key_in(partition);
        let write = world.ask(id(1), put(&key, "v"));
        world.end_turn(id(1));
        world.settle();
        assert!(matches!(world.answer(write), Some(Ok(Reply::Written { .. }))), "{partition}");
        let read = world.ask(id(3), get(&key));
        world.end_turn(id(3));
        world.settle();
        assert_eq!(value(world.answer(read)), "v");
    }
}

#[test]
fn all_requests_of_a_turn_share_one_frame_per_peer() {
    let mut world = World::new(3, |_| {});
    for n in 0..50 {
        world.ask(id(1), put(&format!("k{n}"), "v"));
    }
    assert!(world.streams.values().all(|stream| stream.is_empty()));
    world.end_turn(id(1));
    for peer in [2, 3] {
        assert_eq!(world.streams[&(id(1), id(peer), Class::Data)].len(), 1);
    }
}

#[test]
fn requests_that_make_no_sense_are_answered_at_once() {
    let mut world = World::new(3, |_| {});
    let deadline = world.now + PATIENCE;
    let scan = |partition, slot, items| Op::Scan {
        partition: PartitionId { placement: 0, number: partition },
        from: Cursor::start_of(Slot::new(slot).unwrap()),
        prefix: bytes::Bytes::new(),
        limit: ScanLimit { items, bytes: 1000 },
        want: Want::Value,
    };
    let partition = PartitionId { placement: 1, number: 0 };
    let long = "k".repeat(4097);
    let big = "v".repeat((16 << 20) + 1);
    for op in [
        get(""),
        get(&long),
        put("k", &big),
        scan(16, 0, 1),
        scan(1, 0, 1),
        scan(0, 0, 0),
        Op::Count { partition },
    ] {
        let ticket = world.submit(id(1), request(op, deadline));
        assert!(matches!(world.answer(ticket), Some(Err(Error::Invalid(_)))));
    }
    for keyspace in [KeyspaceId::LOCAL, KeyspaceId(9)] {
        let ticket = world.submit(id(1), Request { keyspace, ..request(get("k"), deadline) });
        assert!(matches!(world.answer(ticket), Some(Err(Error::NoKeyspace(_)))));
    }
    let late = world.submit(id(1), request(put("k", "v"), world.now));
    let expired = Error::Timeout { need: 2, acked: 0, executed: Executed::No };
    assert_eq!(world.answer(late), Some(Err(expired)));
}

#[test]
fn a_lost_coordinator_leaves_writes_unknown_and_reads_unexecuted() {
    let (mut world, key) = four();
    let write = world.ask(id(4), put(&key, "v"));
    let read = world.ask(id(4), get(&key));
    world.end_turn(id(4));
    world.disconnect(id(4), id(1));
    let lost = |executed| Some(Err(Error::CoordinatorLost { executed }));
    assert_eq!(world.answer(write), lost(Executed::Unknown));
    assert_eq!(world.answer(read), lost(Executed::No));
    assert_eq!(world.nodes[3].shard.stats().pending_requests, 0);
}

#[test]
fn what_never_left_was_not_executed() {
    let (mut world, key) = four();
    let write = world.ask(id(4), put(&key, "v"));
    world.disconnect(id(4), id(1));
    let error = Error::Unavailable { need: 2, live: 0 };
    assert_eq!(world.answer(write), Some(Err(error)));
}

#[test]
fn requests_go_to_the_next_replica_that_is_up() {
    let (mut world, key) = four();
    world.disconnect(id(4), id(1));
    let write = world.ask(id(4), put(&key, "v"));
    world.end_turn(id(4));
    world.settle();
    assert!(matches!(world.answer(write), Some(Ok(Reply::Written { acked: 2.., .. }))));
    world.disconnect(id(4), id(2));
    world.disconnect(id(4), id(3));
    let write = world.ask(id(4), put(&key, "v"));
    assert_eq!(world.answer(write), Some(Err(Error::Unavailable { need: 2, live: 0 })));
}

#[test]
fn a_forwarded_request_times_out_here_even_if_its_coordinator_is_silent() {
    let (mut world, key) = four();
    let write = world.ask(id(4), put(&key, "v"));
    let read = world.ask(id(4), get(&key));
    world.end_turn(id(4));
    world.pass(PATIENCE);
    let late = |executed| Some(Err(Error::Timeout { need: 2, acked: 0, executed }));
    assert_eq!(world.answer(write), late(Executed::Unknown));
    assert_eq!(world.answer(read), late(Executed::No));
    world.settle();
    assert_eq!(world.replies.len(), 2, "the answers that come later are dropped");
}

#[test]
fn a_request_is_forwarded_once_at_most() {
    let (mut world, key) = four();
    // Node 1 believes that it holds nothing any more; node 4 does not know.
    let all = layout(4, 2);
    let others = vec![vec![id(2), id(3), id(4)]; 16];
    let keyspaces: Vec<Keyspace> = all.keyspaces().to_vec();
    let placement = Placement::new(others).unwrap();
    let newer = Layout::new(2, all.nodes().to_vec(), keyspaces, vec![placement]).unwrap();
    world.turn(id(1), In::Layout(newer.into()));
    let write = world.ask(id(4), put(&key, "v"));
    world.end_turn(id(4));
    world.settle();
    assert!(matches!(world.answer(write), Some(Err(Error::NotServing(_)))));
}

#[test]
fn a_layout_that_takes_a_partition_away_fails_what_is_pending_there() {
    let mut world = World::new(3, |_| {});
    let write = world.ask(id(1), put(&key_in(0), "v"));
    let read = world.ask(id(1), get(&key_in(0)));
    let all = layout(3, 2);
    let others = vec![vec![id(2), id(3)]; 16];
    let placement = Placement::new(others).unwrap();
    let keyspaces = all.keyspaces().to_vec();
    let newer = Layout::new(2, all.nodes().to_vec(), keyspaces, vec![placement]).unwrap();
    world.turn(id(1), In::Layout(newer.into()));
    let lost = |executed| Some(Err(Error::CoordinatorLost { executed }));
    assert_eq!(world.answer(write), lost(Executed::Unknown));
    assert_eq!(world.answer(read), lost(Executed::No));
    assert_eq!(world.nodes[0].shard.layout().version(), 2);
    world.settle();
    assert_eq!(world.replies.len(), 2);
}

#[test]
fn more_than_may_be_pending_is_refused() {
    let overloaded = Some(Err(Error::Overloaded { what: queue::PENDING, executed: Executed::No }));
    let mut world = World::new(3, |options| options.max_pending_requests = 2);
    let tickets = [1, 2, 3].map(|_| world.ask(id(1), put("k", "v")));
    assert_eq!(tickets.map(|ticket| world.answer(ticket)), [None, None, overloaded.clone()]);
    world.end_turn(id(1));
    world.settle();
    let again = world.ask(id(1), put("k", "v"));
    assert_eq!(world.answer(again), None);

    let mut world = World::new(3, |options| options.max_pending_bytes = 1200);
    let tickets = [100, 100, 10].map(|bytes| world.ask(id(1), put("k", &"v".repeat(bytes))));
    assert_eq!(tickets.map(|ticket| world.answer(ticket)), [None, overloaded.clone(), None]);
    world.end_turn(id(1));
    world.settle();
    // A read counts with the value it will hold.
    let tickets = [1, 2].map(|_| world.ask(id(1), get("k")));
    let tickets = tickets.map(|ticket| world.answer(ticket));
    assert_eq!(tickets, [None, None], "the last value has ten bytes");
    world.end_turn(id(1));
    world.settle();
    let stored = world.ask(id(1), put("k", &"v".repeat(200)));
    world.end_turn(id(1));
    world.settle();
    assert!(matches!(world.answer(stored), Some(Ok(_))));
    let tickets = [1, 2].map(|_| world.ask(id(1), get("k")));
    assert_eq!(tickets.map(|ticket| world.answer(ticket)), [None, overloaded]);
}

#[test]
fn a_slow_log_refuses_what_peers_want_stored() {
    let mut world = World::new(3, |options| {
        options.max_pending_bytes = 2000;
        options.max_pending_requests = 1000;
    });
    let mut tickets = Vec::new();
    for round in 0..4 {
        tickets.push(world.ask(id(1), put(&format!("k{round}"), &"v".repeat(400))));
        world.end_turn(id(1));
        let to_2 = (id(1), id(2), Class::Data);
        world.deliver(to_2);
        // The third node is fast, so that writes end and their coordinator can go on.
        world.deliver((id(1), id(3), Class::Data));
        world.sync(id(1));
        world.sync(id(3));
        world.deliver((id(3), id(1), Class::Data));
    }
    let shed = (id(2), Out::Count(Event::Shed));
    assert!(!world.others.contains(&shed), "there was room for that");
    for round in 4..12 {
        tickets.push(world.ask(id(1), put(&format!("k{round}"), &"v".repeat(400))));
        world.end_turn(id(1));
        world.deliver((id(1), id(2), Class::Data));
        world.deliver((id(1), id(3), Class::Data));
        world.sync(id(1));
        world.sync(id(3));
        world.deliver((id(3), id(1), Class::Data));
    }
    assert!(world.others.contains(&shed));
    assert!(world.nodes[1].shard.stats().waiting_for_log < 8);
    world.settle();
    for ticket in tickets {
        assert!(matches!(world.answer(ticket), Some(Ok(Reply::Written { .. }))));
    }
}

#[test]
fn acknowledgements_of_a_former_connection_are_not_sent_on_the_next() {
    let mut world = World::new(3, |_| {});
    world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    assert!(world.deliver((id(1), id(2), Class::Data)));
    assert_eq!(world.nodes[1].shard.stats().waiting_for_log, 1);
    world.disconnect(id(1), id(2));
    world.connect(id(1), id(2));
    world.sync(id(2));
    assert!(!world.deliver((id(2), id(1), Class::Data)));
}

#[test]
fn a_damaged_frame_is_reported_once_and_not_applied() {
    let mut world = World::new(3, |_| {});
    let write = world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    let stream = (id(1), id(2), Class::Data);
    let frame = world.streams.get_mut(&stream).unwrap().pop_front().unwrap();
    let mut damaged = bytes::BytesMut::from(&frame[..]);
    damaged[50] ^= 4;
    let arrived = world.now;
    world.turn(id(2), In::Frame { from: id(1), body: damaged.freeze(), arrived });
    world.turn(id(2), In::Frame { from: id(1), body: frame, arrived });
    let reported = world.others.iter().filter(|(_, out)| matches!(out, Out::BadFrame { .. }));
    assert_eq!(reported.count(), 1);
    assert_eq!(world.nodes[1].shard.stats().waiting_for_log, 0);
    assert!(!world.nodes[1].shard.is_up(id(1)));
    world.disconnect(id(1), id(2));
    world.connect(id(1), id(2));
    world.settle();
    assert!(matches!(world.answer(write), Some(Ok(Reply::Written { acked: 2, .. }))));
}

#[test]
fn a_rebuilt_partition_is_reported_when_it_is_durable() {
    let mut world = World::new(3, |_| {});
    let key = key_in(0);
    world.ask(id(1), put(&key, "v"));
    world.end_turn(id(1));
    world.settle();
    world.node(id(3)).store.forget();
    let partition = PartitionId { placement: 0, number: 0 };
    world.turn(id(3), In::Rebuild(vec![partition]));
    assert_eq!(world.nodes[2].shard.stats().rebuilding, 1);
    let rebuilt = (id(3), Out::Rebuilt(partition));
    let peers = [(1, 3), (3, 1), (2, 3), (3, 2)];
    for _ in 0..4 {
        for (from, to) in peers {
            world.deliver((id(from), id(to), Class::Data));
        }
    }
    assert!(world.nodes[2].shard.stats().waiting_for_log > 0);
    assert!(!world.others.contains(&rebuilt), "everything is copied and nothing durable");
    world.sync(id(3));
    assert!(world.others.contains(&rebuilt));
    assert_eq!(world.nodes[2].shard.stats().rebuilding, 0);
}

#[test]
fn a_rebuild_ordered_again_is_not_ended_by_the_one_before() {
    let mut world = World::new(3, |_| {});
    let key = key_in(0);
    world.ask(id(1), put(&key, "v"));
    world.end_turn(id(1));
    world.settle();
    world.node(id(3)).store.forget();
    let partition = PartitionId { placement: 0, number: 0 };
    world.turn(id(3), In::Rebuild(vec![partition]));
    for _ in 0..4 {
        for (from, to) in [(1, 3), (3, 1), (2, 3), (3, 2)] {
            world.deliver((id(from), id(to), Class::Data));
        }
    }
    assert!(world.nodes[2].shard.stats().waiting_for_log > 0);
    world.turn(id(3), In::Rebuild(vec![partition]));
    world.sync(id(3));
    let rebuilt = (id(3), Out::Rebuilt(partition));
    assert!(!world.others.contains(&rebuilt), "the second rebuild has copied nothing yet");
    assert_eq!(world.nodes[2].shard.stats().rebuilding, 1);
    world.settle();
    assert_eq!(world.others.iter().filter(|other| **other == rebuilt).count(), 1);
    assert_eq!(world.nodes[2].shard.stats().rebuilding, 0);
}

#[test]
fn a_later_request_may_have_an_earlier_deadline() {
    let mut world = World::new(3, |options| {
        options.leaderless.hints = false;
        options.anti_entropy_interval = std::time::Duration::ZERO;
    });
    let now = world.now;
    let slow = world.submit(id(1), request(put("k", "v"), now + PATIENCE));
    let fast = world.submit(id(1), request(put("k", "v"), now + PATIENCE / 10));
    world.end_turn(id(1));
    world.pass(PATIENCE / 10);
    assert!(matches!(world.answer(fast), Some(Err(Error::Timeout { .. }))));
    assert_eq!(world.answer(slow), None);
    world.pass(PATIENCE);
    assert!(matches!(world.answer(slow), Some(Err(Error::Timeout { .. }))));
    world.settle();
    let next = world.nodes[0].shard.next_deadline();
    assert!(next.is_none_or(|at| at > world.now + PATIENCE), "nothing is left to wait for");
}

#[test]
fn groups_learn_of_a_lost_peer() {
    let mut world = World::new(3, |_| {});
    world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    world.settle();
    let read = world.ask(id(1), get("k"));
    world.end_turn(id(1));
    for peer in [2, 3] {
        world.disconnect(id(1), id(peer));
    }
    let answer = world.answer(read);
    assert!(
        matches!(answer, Some(Err(Error::Unavailable { .. }))),
        "without a deadline: {answer:?}"
    );
}

#[test]
fn a_peer_that_takes_no_answers_gets_none_made() {
    let mut world = World::new(3, |options| options.max_peer_bytes = 4000);
    let value = "v".repeat(1000);
    world.ask(id(2), put("k", &value));
    world.end_turn(id(2));
    world.settle();
    // In the place of node 1: somebody who reads and reads, and acknowledges nothing.
    let mut rogue = Links::new(&Options::new(id(1)), 1);
    rogue.up(id(2));
    world.connect(id(1), id(2));
    let partition = layout(3, 1).partition_of(KeyspaceId::DEFAULT, Slot::of(b"k")).unwrap();
    let read = Message::Read {
        op: OpId(1),
        keyspace: KeyspaceId::DEFAULT,
        slot: Slot::of(b"k"),
        key: bytes::Bytes::from_static(b"k"),
        want: Want::Value,
        patience: PATIENCE,
    };
    for _ in 0..40 {
        let mut out = Vec::new();
        rogue.push(id(2), &Envelope::Group { partition, message: read.clone() }, &mut out);
        rogue.flush(&mut out);
        let Some(Out::Send { frame, .. }) = out.pop() else { panic!("no frame") };
        let arrived = world.now;
        world.turn(id(2), In::Frame { from: id(1), body: frame, arrived });
    }
    assert!(world.others.contains(&(id(2), Out::Count(Event::Shed))));
    let peer_bytes = world.nodes[1].shard.stats().peer_bytes;
    assert!(peer_bytes.iter().all(|(_, bytes)| *bytes < 4000 * 2 + 2000), "{peer_bytes:?}");
}

#[test]
fn a_frame_is_sealed_when_the_layout_changes() {
    let mut world = World::new(3, |_| {});
    world.ask(id(1), put("k", "v"));
    world.step(id(1), In::Layout(layout(3, 2)));
    let frame = world.streams[&(id(1), id(2), Class::Data)].front().cloned().unwrap();
    assert_eq!(crate::frame::open(frame).unwrap().0.layout, 1);
}

#[test]
fn a_node_with_a_suspect_clock_stamps_nothing() {
    let mut world = World::new(3, |_| {});
    world.turn(id(1), In::ClockSuspect(true));
    let write = world.ask(id(1), put("k", "v"));
    world.end_turn(id(1));
    assert_eq!(world.node(id(1)).store.records(), 0);
    world.settle();
    let by_another = |outcome| match outcome {
        Some(Ok(Reply::Written { version, .. })) => version.writer != Writer::new(id(1), 1),
        other => panic!("{other:?}"),
    };
    assert!(by_another(world.answer(write)), "another replica coordinates");
    let read = world.ask(id(1), get("k"));
    world.end_turn(id(1));
    world.settle();
    assert_eq!(value(world.answer(read)), "v", "reads need no stamp");

    world.turn(id(2), In::ClockSuspect(true));
    world.disconnect(id(1), id(3));
    let twice = world.ask(id(1), put("k", "w"));
    world.end_turn(id(1));
    world.settle();
    let skewed = Some(Err(Error::ClockSkew { executed: Executed::No }));
    assert_eq!(world.answer(twice), skewed, "it is forwarded once at most");
    world.disconnect(id(1), id(2));
    let alone = world.ask(id(1), put("k", "w"));
    assert_eq!(world.answer(alone), skewed);

    world.turn(id(1), In::ClockSuspect(false));
    world.connect(id(1), id(2));
    let again = world.ask(id(1), put("k", "w"));
    world.end_turn(id(1));
    world.settle();
    assert!(!by_another(world.answer(again)));
}
