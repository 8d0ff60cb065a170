//! Who may answer a read, and when: leases, followers, and answers that may be old.

use std::time::Duration;

use kvorum_core::{Consistency, Error, Executed, Expiry, Mono, NodeId, Op, Outcome, Reply, Want};

use super::super::letter::Letter;
use super::super::reading::{Front, Told};
use super::world::World;
use crate::raft::{Limits, Mutation};
use crate::{Input, Ticket};

const LEASE: Duration = Limits::SERVER.lease;
/// What elections and messages take here.
const SOON: Duration = Duration::from_millis(200);

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn put(value: &str) -> Op {
    let (key, value) = ("k".into(), value.to_owned().into());
    Op::Put { key, value, expiry: Expiry::Never, tag: 0 }
}

fn get() -> Op {
    Op::Get { key: "k".into(), want: Want::Value }
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A world of three in which node 1 leads and has just written.
fn written(seed: u64, value: &str, mutation: Option<Mutation>) -> World {
    let mut world = World::without_rule(seed, 3, mutation);
    world.run(Duration::from_secs(2));
    world.insist(put(value)).unwrap();
    world
}

/// Cuts a node off; `lose`: and its connections break.
fn cut_off(world: &mut World, id: u32, lose: bool) {
    for other in (1..=3).filter(|other| *other != id) {
        world.cut.insert((node(id), node(other)));
        world.cut.insert((node(other), node(id)));
    }
    if lose {
        world.lose(node(id));
        for other in (1..=3).filter(|other| *other != id) {
            world.turn(node(id), vec![Input::PeerLost(node(other))]);
        }
    }
}

/// The answer to a request, if there is one by now.
fn answer(world: &World, ticket: Ticket) -> Option<Outcome<Reply>> {
    world.answers_to(ticket).first().map(|outcome| (*outcome).clone())
}

fn value(outcome: &Outcome<Reply>) -> &str {
    match outcome {
        Ok(Reply::Found(item)) => std::str::from_utf8(&item.value).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Asks a node and gives it some time to answer.
fn ask(
    world: &mut World,
    id: u32,
    level: Consistency,
    op: Op,
    time: Duration,
) -> Option<Outcome<Reply>> {
    let ticket = world.ask_at(Some(level), node(id), op, Duration::from_secs(5));
    world.run(time);
    answer(world, ticket)
}

fn read(world: &mut World, id: u32, level: Consistency) -> Option<Outcome<Reply>> {
    ask(world, id, level, get(), ms(10))
}

/// Asks all nodes but the first to write until one has, and returns when that was.
fn write_elsewhere(world: &mut World, value: &str) -> Mono {
    let until = world.now + Duration::from_secs(5);
    let others: Vec<u32> = world.nodes.keys().map(|id| id.get()).filter(|id| *id > 1).collect();
    while world.now < until {
        for &id in &others {
            let answer = ask(world, id, Consistency::Quorum, put(value), ms(2));
            if matches!(answer, Some(Err(Error::NotLeader { .. }))) {
                continue;
            }
            while world.now < until {
                let last = world.answers.last();
                let written = |o: &Outcome<Reply>| matches!(o, Ok(Reply::Written { .. }));
                if last.is_some_and(|(by, _, o)| *by != node(1) && written(o)) {
                    return world.now;
                }
                world.step(world.now + ms(1));
            }
        }
    }
    panic!("nobody takes the write");
}

#[test]
fn a_lease_is_no_longer_than_the_shortest_election_timeout() {
    let Limits { tick, election_ticks, lease, .. } = Limits::SERVER;
    assert!(lease <= tick * u32::try_from(election_ticks).unwrap());
}

#[test]
fn a_leader_answers_by_itself_while_it_has_a_lease_and_no_longer() {
    let mut world = written(1, "v", None);
    cut_off(&mut world, 1, false);
    world.run(LEASE - ms(100));
    assert_eq!(value(&read(&mut world, 1, Consistency::Lease).unwrap()), "v");
    assert_eq!(read(&mut world, 1, Consistency::Safe), None);
    world.run(ms(100));
    assert_eq!(read(&mut world, 1, Consistency::Lease), None);
}

#[test]
fn a_lease_is_void_when_a_clock_is_not_to_be_trusted() {
    let mut world = written(2, "v", None);
    cut_off(&mut world, 1, false);
    // The machine may have stood still, and its monotonic clock with it.
    world.skew_ms.insert(node(1), 1000);
    assert_eq!(read(&mut world, 1, Consistency::Lease), None);
    world.skew_ms.clear();
    assert!(read(&mut world, 1, Consistency::Lease).is_some());
    world.suspect.insert(node(1));
    assert_eq!(read(&mut world, 1, Consistency::Lease), None);
}

#[test]
fn a_pause_is_not_taken_off_a_lease() {
    let mut world = written(3, "old", None);
    world.pause(node(1));
    world.lose(node(1));
    let asked = world.ask_at(Some(Consistency::Lease), node(1), get(), Duration::from_secs(5));
    write_elsewhere(&mut world, "new");
    world.resume();
    assert!(answer(&world, asked).is_none_or(|answer| answer.is_err()));
}

#[test]
fn an_entry_that_the_library_appends_is_noted_before_it_leaves() {
    let mut world = World::without_rule(17, 5, None);
    world.run(Duration::from_secs(2));
    world.insist(put("old")).unwrap();
    world.wipe(node(5));
    // The second entry of the exchange is appended when the first is applied. If the disk is busy
    // no turn follows at once, and the process may hang before there is one.
    while world.changes_of_members(node(1)) < 2 {
        assert!(world.now < Mono(20_000_000), "nobody is exchanged");
        if world.changes_of_members(node(1)) == 1 {
            world.ask(node(1), put("new"), Duration::from_secs(5));
        }
        world.step(Mono(20_000_000));
    }
    assert!(world.notes_all(node(1)));
}

/// What a leader that has been cut off says when its successor has acknowledged another write:
/// something old, or nothing.
fn says_what_is_old(mutation: Option<Mutation>, disturb: impl Fn(&mut World)) -> bool {
    let mut world = written(4, "old", mutation);
    cut_off(&mut world, 1, true);
    disturb(&mut world);
    write_elsewhere(&mut world, "new");
    read(&mut world, 1, Consistency::Lease).is_some_and(|answer| answer.is_ok())
}

#[test]
fn a_new_leader_answers_when_the_lease_before_is_over() {
    assert!(!says_what_is_old(None, |_| ()));
    assert!(says_what_is_old(Some(Mutation::NoWaitForLease), |_| ()));
}

#[test]
fn a_clock_that_goes_back_does_not_lengthen_a_lease() {
    let back = |world: &mut World| {
        world.skew_ms.insert(node(1), -60_000);
    };
    assert!(!says_what_is_old(None, back));
    assert!(says_what_is_old(Some(Mutation::LeaseByWallClock), back));
}

#[test]
fn writes_go_on_when_the_newest_entry_is_as_old_as_a_lease() {
    let mut world = written(5, "v", None);
    let begun = world.now;
    world.crash(node(1));
    let busy = write_elsewhere(&mut world, "w").since(begun);
    assert!(busy >= LEASE - ms(10) && busy < LEASE + SOON, "{busy:?}");
    // In a group without writes nobody can have a lease.
    let mut world = written(6, "v", None);
    world.run(LEASE);
    let begun = world.now;
    world.crash(node(1));
    let idle = write_elsewhere(&mut world, "w").since(begun);
    assert!(idle < SOON, "{idle:?}");
}

#[test]
fn what_a_silent_leader_has_committed_is_unknown_to_who_does_not_wait() {
    let mut world = written(7, "v", None);
    world.crash(node(1));
    world.run(ms(150));
    let leader = [2, 3].into_iter().find(|id| {
        let asked = world.ask(node(*id), put("w"), ms(100));
        world.run(ms(20));
        answer(&world, asked).is_none()
    });
    let reading = world.ask(node(leader.unwrap()), get(), ms(80));
    world.run(ms(150));
    let ended: Vec<_> = world.answers.iter().rev().take(2).map(|(_, t, o)| (*t, o)).collect();
    assert_eq!(ended.len(), 2);
    for (ticket, outcome) in ended {
        let executed = outcome.as_ref().unwrap_err().executed();
        let expected = if ticket == reading { Executed::No } else { Executed::Unknown };
        assert_eq!(executed, expected, "{outcome:?}");
    }
}

#[test]
fn a_replica_that_has_started_again_counts_from_its_start() {
    let mut world = written(8, "old", None);
    cut_off(&mut world, 1, false);
    for id in [2, 3] {
        world.crash(node(id));
        world.restart(node(id));
    }
    let begun = world.now;
    let over = write_elsewhere(&mut world, "new").since(begun);
    assert!(over >= LEASE, "{over:?}");
    assert!(read(&mut world, 1, Consistency::Lease).is_none_or(|answer| answer.is_err()));
}

#[test]
fn nobody_waits_for_a_leader_that_has_handed_over() {
    let mut world = written(9, "v", None);
    world.run(ms(20));
    let begun = world.now;
    world.hand_over(node(1), node(2));
    let over = write_elsewhere(&mut world, "w").since(begun);
    assert!(over < ms(100), "{over:?}");
}

/// Whether a leader that has handed over, and does not hear what came of it, answers by itself.
fn answers_after_handing_over(mutation: Option<Mutation>, arrives: bool) -> bool {
    let mut world = written(10, "old", mutation);
    world.run(ms(20));
    for other in [2, 3] {
        world.cut.insert((node(other), node(1)));
        if !arrives {
            world.cut.insert((node(1), node(other)));
        }
    }
    world.hand_over(node(1), node(2));
    if arrives {
        write_elsewhere(&mut world, "new");
    }
    read(&mut world, 1, Consistency::Lease).is_some_and(|answer| answer.is_ok())
}

#[test]
fn a_leader_that_has_handed_over_has_no_lease_whatever_comes_of_it() {
    for arrives in [true, false] {
        assert!(!answers_after_handing_over(None, arrives));
        assert!(answers_after_handing_over(Some(Mutation::LeaseAfterTransfer), arrives));
    }
}

#[test]
fn reads_that_keep_arriving_keep_the_lease_up_and_single_ones_do_not() {
    let mut world = written(11, "v", None);
    let entries = |world: &mut World, pause: Duration| {
        let (_, before) = world.last(node(1));
        let until = world.now + Duration::from_secs(5);
        while world.now < until {
            assert_eq!(value(&read(world, 1, Consistency::Lease).unwrap()), "v");
            world.run(pause);
        }
        world.last(node(1)).1 - before
    };
    let busy = entries(&mut world, ms(20));
    assert!((16..=21).contains(&busy), "{busy}");
    cut_off(&mut world, 1, false);
    assert!(read(&mut world, 1, Consistency::Lease).is_some());
    world.cut.clear();
    world.run(Duration::from_secs(10));
    assert_eq!(entries(&mut world, ms(400)), 0);
}

#[test]
fn a_follower_answers_with_what_was_acknowledged_before() {
    let mut world = written(12, "1", None);
    for n in 2..50 {
        world.insist(put(&n.to_string())).unwrap();
        let id = 2 + n % 2;
        let answer = ask(&mut world, id, Consistency::Follower, get(), ms(150)).unwrap();
        assert_eq!(value(&answer), n.to_string());
    }
    let refused = read(&mut world, 2, Consistency::Lease).unwrap();
    assert_eq!(refused, Err(Error::NotLeader { leader: Some(node(1)) }));
    // Without a leader there is nobody to ask.
    cut_off(&mut world, 1, true);
    cut_off(&mut world, 2, true);
    let refused = read(&mut world, 2, Consistency::Follower).unwrap();
    assert_eq!(refused, Err(Error::NotLeader { leader: None }));
}

#[test]
fn a_follower_that_does_not_ask_is_behind() {
    let mutation = Some(Mutation::FollowerReadWithoutIndex);
    let behind = |mutation| {
        let mut world = written(13, "old", mutation);
        world.run(ms(300));
        world.cut.insert((node(1), node(2)));
        world.insist(put("new")).unwrap();
        let answer = read(&mut world, 2, Consistency::Follower);
        answer.is_some_and(|answer| value(&answer) == "old")
    };
    assert!(!behind(None));
    assert!(behind(mutation));
}

/// Whether a follower shows what a silent leader has committed, while the leader before still
/// answers without it.
fn shows_what_is_not_settled(mutation: Option<Mutation>) -> bool {
    let mut world = written(14, "old", mutation);
    world.run(ms(100));
    // Node 3 has the leader's word of an index that it has not applied.
    world.cut.insert((node(3), node(1)));
    let reading = world.ask_at(Some(Consistency::Follower), node(3), get(), Duration::from_secs(5));
    let (term, last) = world.last(node(1));
    let number = world.asked.last().copied().unwrap();
    let front = Some(Front { index: last + 2, commit: last });
    world.deliver(node(1), node(3), &Letter::Told(Told { number, term, front }));
    assert_eq!(answer(&world, reading), None);
    cut_off(&mut world, 1, true);
    world.run(ms(150));
    for id in [2, 3] {
        world.ask(node(id), put("new"), Duration::from_secs(5));
    }
    world.run(ms(50));
    let seen = answer(&world, reading).filter(|answer| answer.is_ok());
    let before = read(&mut world, 1, Consistency::Lease).unwrap();
    assert_eq!(value(&before), "old");
    seen.is_some_and(|seen| value(&seen) == "new")
}

#[test]
fn what_a_follower_reads_dies_with_the_term() {
    assert!(!shows_what_is_not_settled(None));
    assert!(shows_what_is_not_settled(Some(Mutation::FollowerReadSurvivesTerm)));
}

/// What a follower that is cut off answers when it may be so old.
fn old(mutation: Option<Mutation>, away: Duration, max_ms: u32) -> Option<Outcome<Reply>> {
    let mut world = written(15, "v", mutation);
    let stale = Consistency::Stale { max_ms };
    assert_eq!(value(&read(&mut world, 2, stale).unwrap()), "v");
    cut_off(&mut world, 2, true);
    world.run(away);
    read(&mut world, 2, stale)
}

#[test]
fn an_answer_is_never_older_than_it_may_be() {
    assert_eq!(value(&old(None, ms(900), 1000).unwrap()), "v");
    assert_eq!(old(None, ms(1000), 1000).unwrap(), Err(Error::NotLeader { leader: None }));
    assert_eq!(old(None, ms(1), 0).unwrap(), Err(Error::NotLeader { leader: None }));
    let unbound = old(Some(Mutation::StaleWithoutBound), Duration::from_secs(60), 1000);
    assert_eq!(value(&unbound.unwrap()), "v");
}

#[test]
fn a_machine_that_stood_still_with_its_clock_knows_that_what_it_knows_is_old() {
    let mut world = written(18, "v", None);
    let stale = Consistency::Stale { max_ms: 1000 };
    assert_eq!(value(&read(&mut world, 2, stale).unwrap()), "v");
    cut_off(&mut world, 2, true);
    assert_eq!(value(&read(&mut world, 2, stale).unwrap()), "v");
    world.skew_ms.insert(node(2), 2000);
    let refused = read(&mut world, 2, stale).unwrap();
    assert_eq!(refused, Err(Error::NotLeader { leader: None }));
}

#[test]
fn what_is_asked_for_again_and_again_is_asked_of_the_leader_before_it_is_too_old() {
    let mut world = written(16, "v", None);
    let stale = Consistency::Stale { max_ms: 1000 };
    for _ in 0..20 {
        assert!(read(&mut world, 2, stale).is_some());
        world.run(ms(90));
    }
    cut_off(&mut world, 2, true);
    world.run(ms(380));
    assert_eq!(value(&read(&mut world, 2, stale).unwrap()), "v");
}
