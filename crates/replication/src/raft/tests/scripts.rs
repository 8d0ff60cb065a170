//! What a group does, told step by step.

use std::time::Duration;

use kvorum_core::{
    Action, Answer, Compare, Condition, Consistency, Error, Executed, Expiry, Mono, NodeId, Op,
    Output, Refusal, Reply, Step, Txn, Want,
};

use super::world::{WALL_MS, World, stored};
use crate::Event;
use crate::raft::Mutation;

fn put(key: &str, value: &str) -> Op {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Op::Put { key, value, expiry: Expiry::Never, tag: 0 }
}

fn get(key: &str) -> Op {
    Op::Get { key: key.to_owned().into(), want: Want::Value }
}

fn step(key: &str, action: Action) -> Step {
    Step { key: key.to_owned().into(), action, previous: false }
}

fn value(world: &mut World, key: &str) -> Option<String> {
    match world.insist(get(key)) {
        Ok(Reply::Found(item)) => Some(String::from_utf8(item.value.to_vec()).unwrap()),
        Ok(Reply::Missing(_)) => None,
        other => panic!("{other:?}"),
    }
}

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

#[test]
fn a_write_is_on_a_majority_when_it_is_answered_and_soon_on_all() {
    let mut world = World::new(1, 3);
    let reply = world.insist(put("k", "v")).unwrap();
    assert!(matches!(reply, Reply::Written { acked: 2, was_live: false, .. }), "{reply:?}");
    assert_eq!(value(&mut world, "k").as_deref(), Some("v"));
    world.run(Duration::from_secs(1));
    assert_eq!(stored(&mut world, b"k"), vec![Some(b"v".to_vec()); 3]);
}

#[test]
fn the_first_member_leads_within_a_second_and_again_when_it_is_back() {
    let mut world = World::new(2, 3);
    world.run(Duration::from_secs(1));
    let asks = |world: &mut World, id| {
        let ticket = world.ask(node(id), get("k"), Duration::from_secs(1));
        world.run(Duration::from_millis(100));
        let at = world.answers.iter().position(|(_, t, _)| *t == ticket).unwrap();
        world.answers.swap_remove(at).2
    };
    assert_eq!(asks(&mut world, 1), Ok(Reply::Missing(None)));
    assert_eq!(asks(&mut world, 2), Err(Error::NotLeader { leader: Some(node(1)) }));
    world.crash(node(1));
    world.run(Duration::from_secs(2));
    assert!(matches!(asks(&mut world, 2), Ok(_) | Err(Error::NotLeader { leader: Some(_) })));
    world.restart(node(1));
    world.run(Duration::from_secs(12));
    assert_eq!(asks(&mut world, 1), Ok(Reply::Missing(None)));
}

#[test]
fn a_transaction_compares_and_changes_in_one_step() {
    let mut world = World::new(3, 3);
    let swap = |old: &str, new: &str| {
        let condition = Condition::Value(old.to_owned().into());
        let value = new.to_owned().into();
        Op::Txn(Txn {
            compare: vec![Compare { key: "k".into(), condition }],
            then: vec![step("k", Action::Put { value, expiry: None, tag: 0 })],
            otherwise: vec![Step { previous: true, ..step("k", Action::Read) }],
        })
    };
    world.insist(put("k", "1")).unwrap();
    let Ok(Reply::Txn(Answer { held: true, .. })) = world.insist(swap("1", "2")) else { panic!() };
    let Ok(Reply::Txn(refused)) = world.insist(swap("1", "3")) else { panic!() };
    assert!(!refused.held);
    assert_eq!(refused.steps[0].previous.as_ref().unwrap().value, "2");
    assert_eq!(value(&mut world, "k").as_deref(), Some("2"));
}

#[test]
fn counting_refuses_what_is_no_number_and_leaves_the_rest_of_the_transaction() {
    let mut world = World::new(4, 3);
    let add = |key, by| step(key, Action::Add(by));
    let Ok(Reply::Txn(answer)) = world.insist(Op::Txn(Txn::always(add("n", 5)))) else { panic!() };
    assert_eq!(answer.steps[0].output, Output::Integer(5));
    world.insist(put("text", "12x")).unwrap();
    world.insist(put("large", &i64::MAX.to_string())).unwrap();
    let then = vec![add("text", 1), add("large", 1), add("n", -7)];
    let Ok(Reply::Txn(answer)) = world.insist(Op::Txn(Txn { then, ..Txn::default() })) else {
        panic!()
    };
    let outputs: Vec<&Output> = answer.steps.iter().map(|done| &done.output).collect();
    let refused = [Refusal::NotAnInteger, Refusal::Overflow].map(Output::Refused);
    assert_eq!(outputs, [&refused[0], &refused[1], &Output::Integer(-2)]);
}

#[test]
fn a_value_expires_for_all_at_one_place_in_the_log() {
    let mut world = World::new(5, 3);
    let expiry = Expiry::After(Duration::from_millis(500));
    world.insist(Op::Put { key: "k".into(), value: "v".into(), expiry, tag: 0 }).unwrap();
    assert_eq!(value(&mut world, "k").as_deref(), Some("v"));
    world.run(Duration::from_millis(600));
    assert_eq!(value(&mut world, "k"), None);
    world.crash(node(1));
    world.run(Duration::from_millis(50));
    assert_eq!(value(&mut world, "k"), None);
}

#[test]
fn every_replica_removes_what_has_expired_though_nobody_asks_for_it() {
    let mut world = World::new(9, 3);
    for n in 0..300_u64 {
        let expiry = if n % 100 == 0 { Expiry::Never } else { Expiry::At(WALL_MS + 5000 + n) };
        let key = format!("k{n}").into();
        world.insist(Op::Put { key, value: "v".into(), expiry, tag: 0 }).unwrap();
    }
    world.run(Duration::from_secs(20));
    for node in 1..=3 {
        assert_eq!(world.count(NodeId::new(node).unwrap()), 3, "node {node}");
    }
}

/// Whether a value that has expired for one client is there for the next one, whom a leader whose
/// clock is behind answers.
fn an_expired_value_comes_back(mutation: Option<Mutation>) -> bool {
    let mut world = World::without_rule(12, 3, mutation);
    world.skew_ms.extend([(node(2), -10_000), (node(3), -10_000)]);
    let expiry = Expiry::After(Duration::from_millis(500));
    world.insist(Op::Put { key: "k".into(), value: "v".into(), expiry, tag: 0 }).unwrap();
    world.run(Duration::from_millis(600));
    assert_eq!(value(&mut world, "k"), None);
    world.crash(node(1));
    value(&mut world, "k").is_some()
}

#[test]
fn what_has_expired_stays_expired_whoever_leads() {
    assert!(!an_expired_value_comes_back(None));
    assert!(an_expired_value_comes_back(Some(Mutation::ExpireByOwnClock)));
}

#[test]
fn a_leader_without_a_majority_answers_nothing_as_if_it_led() {
    let mut world = World::new(6, 3);
    world.insist(put("k", "old")).unwrap();
    for other in [node(2), node(3)] {
        world.cut.insert((node(1), other));
        world.cut.insert((other, node(1)));
    }
    let safe = Some(Consistency::Safe);
    let read = world.ask_at(safe, node(1), get("k"), Duration::from_secs(3));
    let write = world.ask(node(1), put("k", "lost"), Duration::from_secs(3));
    world.run(Duration::from_secs(4));
    let outcome = |world: &World, ticket| {
        world.answers.iter().find(|(_, t, _)| *t == ticket).unwrap().2.clone()
    };
    let refused = outcome(&world, read).unwrap_err();
    assert_eq!(refused.executed(), Executed::No, "{refused}");
    let unknown = outcome(&world, write).unwrap_err();
    assert_eq!(unknown.executed(), Executed::Unknown, "{unknown}");
    world.cut.clear();
    world.insist(put("k", "new")).unwrap();
    assert_eq!(value(&mut world, "k").as_deref(), Some("new"));
}

#[test]
fn everything_acknowledged_survives_a_power_cut_of_all() {
    let mut world = World::new(7, 3);
    for n in 0..50 {
        world.insist(put(&format!("k{n}"), &n.to_string())).unwrap();
    }
    for id in 1..=3 {
        world.crash(node(id));
    }
    for id in 1..=3 {
        world.restart(node(id));
    }
    for n in 0..50 {
        assert_eq!(value(&mut world, &format!("k{n}")), Some(n.to_string()));
    }
}

#[test]
fn a_replica_whose_disk_was_wiped_is_replaced_by_one_that_votes_when_it_has_everything() {
    let mut world = World::new(10, 3);
    for n in 0..50 {
        world.insist(put(&format!("k{n}"), &n.to_string())).unwrap();
    }
    world.crash(node(3));
    world.wipe(node(3));
    assert!(world.rebuilding.contains(&node(3)));
    world.run(Duration::from_secs(3));
    assert!(world.rebuilding.is_empty());
    // It stands in for one that has been there all the time, even the leader.
    world.crash(node(1));
    for n in 0..50 {
        assert_eq!(value(&mut world, &format!("k{n}")), Some(n.to_string()));
    }
    world.insist(put("k0", "new")).unwrap();
    // And it knows its place after a restart.
    world.crash(node(3));
    world.restart(node(3));
    assert_eq!(value(&mut world, "k0").as_deref(), Some("new"));
}

#[test]
fn a_replica_that_has_not_everything_yet_does_not_count() {
    let mut world = World::new(11, 3);
    world.insist(put("k", "v")).unwrap();
    world.crash(node(3));
    world.crash(node(2));
    world.wipe(node(3));
    world.run(Duration::from_secs(5));
    // One of three has it, which is no majority whatever the blank one says.
    assert!(world.rebuilding.contains(&node(3)));
    let ticket = world.ask(node(1), put("k", "w"), Duration::from_secs(1));
    world.run(Duration::from_secs(2));
    let answer = world.answers.iter().find(|(_, t, _)| *t == ticket).unwrap();
    assert!(answer.2.is_err());
    world.restart(node(2));
    world.run(Duration::from_secs(5));
    assert!(world.rebuilding.is_empty());
    assert_eq!(value(&mut world, "k").as_deref(), Some("v"));
}

#[test]
fn a_replica_that_does_not_vote_yet_does_not_lead_and_soon_votes() {
    for seed in 30..40 {
        let mut world = World::new(seed, 3);
        world.insist(put("k", "v")).unwrap();
        // The first member, which asks to lead as soon as nobody does.
        world.crash(node(1));
        world.run(Duration::from_secs(2));
        let leader = world.some_leader().unwrap();
        world.wipe(node(1));
        while world.counted(Event::CopyTaken) == 0 {
            world.run(Duration::from_millis(1));
        }
        assert!(world.rebuilding.contains(&node(1)), "seed {seed}: it votes already");
        // Its wish to vote is for the leader to hear.
        world.crash(leader);
        world.restart(leader);
        while world.rebuilding.contains(&node(1)) {
            assert!(world.now < Mono(30_000_000), "seed {seed}: it never votes");
            assert_ne!(world.some_leader(), Some(node(1)), "seed {seed}");
            world.run(Duration::from_millis(1));
        }
    }
}

#[test]
fn what_a_deposed_leader_has_sent_long_ago_harms_nobody() {
    let mut world = World::new(14, 3);
    world.insist(put("k", "before")).unwrap();
    // It goes on believing that it leads, and what it sends stays in its buffers.
    world.hung.insert(node(1));
    for n in 0..5 {
        world.ask(node(1), put("k", &format!("lost{n}")), Duration::from_secs(1));
        world.run(Duration::from_millis(10));
    }
    for other in [node(2), node(3)] {
        world.cut.insert((other, node(1)));
    }
    world.lose(node(1));
    world.run(Duration::from_millis(500));
    for n in 0..10 {
        let ask = |world: &mut World, id| {
            world.ask(node(id), put("k", &format!("new{n}")), Duration::from_secs(1))
        };
        ask(&mut world, 2);
        ask(&mut world, 3);
        world.run(Duration::from_millis(50));
    }
    world.cut.clear();
    world.unhang(node(1));
    world.run(Duration::from_secs(2));
    assert_eq!(world.rebuilding.len(), 0);
    assert_eq!(value(&mut world, "k").as_deref(), Some("new9"));
    world.crash(node(1));
    assert_eq!(value(&mut world, "k").as_deref(), Some("new9"));
}

#[test]
fn another_leads_within_a_fraction_of_a_second_when_the_connection_to_the_leader_breaks() {
    for seed in 0..20 {
        let mut world = World::new(seed, 3);
        world.insist(put("k", "v")).unwrap();
        // So long it could have a lease.
        world.run(world.limits.lease);
        world.crash(node(1));
        world.run(Duration::from_millis(200));
        let leads = |world: &mut World, id| {
            let ticket = world.ask(node(id), get("k"), Duration::from_secs(1));
            world.run(Duration::from_millis(20));
            let answer = world.answers.iter().find(|(_, t, _)| *t == ticket).unwrap();
            matches!(answer.2, Ok(Reply::Found(_)))
        };
        assert!(leads(&mut world, 2) || leads(&mut world, 3), "seed {seed}");
    }
}

#[test]
fn a_leader_that_does_not_know_the_time_takes_nothing_that_counts_from_now() {
    let mut world = World::new(21, 3);
    world.insist(put("k", "v")).unwrap();
    world.run(Duration::from_secs(60));
    world.suspect.insert(node(1));
    let put_for = |expiry| Op::Put { key: "k".into(), value: "w".into(), expiry, tag: 0 };
    let ask = |world: &mut World, op| {
        let ticket = world.ask(node(1), op, Duration::from_secs(1));
        world.run(Duration::from_millis(50));
        world.answers.iter().find(|(_, t, _)| *t == ticket).unwrap().2.clone()
    };
    let refused = ask(&mut world, put_for(Expiry::After(Duration::from_secs(30)))).unwrap_err();
    assert_eq!(refused, Error::ClockSkew { executed: Executed::No });
    assert!(ask(&mut world, put_for(Expiry::Never)).is_ok());
}
