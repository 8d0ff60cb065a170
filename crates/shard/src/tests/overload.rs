//! What is refused when requests wait too long, and what is not.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Cursor, Error, Executed, Op, PartitionId, Reply, ScanLimit, Slot, Want};
use kvorum_replication::Event;

use super::world::{World, get, id, key_in, put};
use crate::wire::queue;
use crate::{In, Out};

/// Requests at node 1 wait for so long in every turn of ten seconds.
fn wait(world: &mut World, waited: Duration) {
    for _ in 0..100 {
        world.now = world.now + Duration::from_millis(100);
        world.turn(id(1), In::Waited(waited));
    }
}

#[test]
fn clients_are_refused_while_requests_wait_too_long_and_replicas_are_not() {
    let mut world = World::new(3, |_| {});
    wait(&mut world, Duration::from_millis(250));
    let tickets: Vec<_> = (0..100).map(|_| world.ask(id(1), put("k", "v"))).collect();
    world.end_turn(id(1));
    world.settle();
    let refused = Error::Overloaded { what: queue::TURN, executed: Executed::No };
    let refused = |ticket: &_| world.answer(*ticket) == Some(Err(refused.clone()));
    let count = tickets.iter().filter(|ticket| refused(ticket)).count();
    assert!((70..100).contains(&count), "{count}");
    let counted = (id(1), Out::Count(Event::Refused));
    assert_eq!(world.others.iter().filter(|other| **other == counted).count(), count);

    // What node 2 coordinates is stored and acknowledged by node 1 as before.
    world.disconnect(id(2), id(3));
    for n in 0..100 {
        let write = world.ask(id(2), put(&format!("k{n}"), "v"));
        let read = world.ask(id(2), get(&format!("k{n}")));
        world.end_turn(id(2));
        world.settle();
        assert!(matches!(world.answer(write), Some(Ok(Reply::Written { acked: 2, .. }))));
        assert!(matches!(world.answer(read), Some(Ok(_))));
    }
}

#[test]
fn nobody_is_refused_after_the_queue_has_drained() {
    let mut world = World::new(3, |_| {});
    wait(&mut world, Duration::from_millis(250));
    wait(&mut world, Duration::from_millis(10));
    let tickets: Vec<_> = (0..100).map(|_| world.ask(id(1), put("k", "v"))).collect();
    world.end_turn(id(1));
    world.settle();
    for ticket in tickets {
        assert!(matches!(world.answer(ticket), Some(Ok(_))));
    }
}

#[test]
fn the_pages_of_all_scans_together_are_bounded() {
    let mut world = World::new(3, |options| options.max_pending_bytes = 20_000);
    let scan = |partition: u16| Op::Scan {
        partition: PartitionId { placement: 0, number: partition },
        from: Cursor::start_of(Slot::new(partition * 1024).unwrap()),
        prefix: Bytes::new(),
        limit: ScanLimit { items: 100, bytes: 4000 },
        want: Want::Value,
    };
    // Pages of empty partitions hold nothing.
    let tickets: Vec<_> = (0..16).map(|partition| world.ask(id(1), scan(partition))).collect();
    world.end_turn(id(1));
    world.settle();
    for ticket in tickets {
        assert!(matches!(world.answer(ticket), Some(Ok(Reply::Page(..)))));
    }
    for partition in 0..16 {
        world.ask(id(1), put(&key_in(partition), "v"));
        world.end_turn(id(1));
        world.settle();
    }
    let tickets: Vec<_> = (0..16).map(|partition| world.ask(id(1), scan(partition))).collect();
    let refused = Error::Overloaded { what: queue::PENDING, executed: Executed::No };
    let refused = |ticket: &_| world.answer(*ticket) == Some(Err(refused.clone()));
    // Two pages of 4000 bytes each, and what is kept beside them.
    assert_eq!(tickets.iter().filter(|ticket| !refused(ticket)).count(), 2);
}
