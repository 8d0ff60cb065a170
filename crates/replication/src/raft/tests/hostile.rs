//! Late messages, broken peers, bad disks and bad luck: what none of them can do.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Cursor, Error, Executed, Expiry, Mono, NodeId, Op, Reply, ScanLimit, Slot, Want,
};
use raft::eraftpb::{Entry, Message as RaftMessage, MessageType};

use super::super::id::ReplicaId;
use super::super::letter::Letter;
use super::super::membership::Join;
use super::super::payload::Payload;
use super::world::{PARTITION, WALL_MS, World, stored};
use crate::raft::Mutation;
use crate::{Event, Input, Message};

fn node(id: u32) -> NodeId {
    NodeId::new(id).unwrap()
}

fn put(key: &str, value: &str) -> Op {
    let (key, value) = (key.to_owned().into(), value.to_owned().into());
    Op::Put { key, value, expiry: Expiry::Never, tag: 0 }
}

fn message(kind: MessageType, from: u32, to: u32, term: u64) -> RaftMessage {
    let raft = |id| ReplicaId::new(node(id), 0).raft();
    let mut message = RaftMessage { from: raft(from), to: raft(to), term, ..Default::default() };
    message.set_msg_type(kind);
    message
}

fn entry(term: u64, index: u64) -> Entry {
    let payload = Payload { time_ms: 1, commands: Vec::new() };
    Entry { term, index, data: payload.encode().into(), ..Entry::default() }
}

/// A world in which node 1 leads in some term and everybody has a few entries.
fn led() -> World {
    let mut world = World::new(21, 3);
    for n in 0..5 {
        world.insist(put(&format!("k{n}"), "v")).unwrap();
    }
    world.run(Duration::from_secs(1));
    world
}

#[test]
fn what_a_former_leader_said_arrives_late_and_proves_nothing() {
    let mut world = World::new(20, 3);
    world.insist(put("k", "1")).unwrap();
    // Another term, another leader, other entries.
    world.crash(node(1));
    world.insist(put("k", "2")).unwrap();
    world.insist(put("k", "3")).unwrap();
    world.run(Duration::from_secs(1));
    let mut late = message(MessageType::MsgAppend, 1, 2, 1);
    late.entries = (1..=5).map(|index| entry(1, index)).collect::<Vec<_>>().into();
    world.deliver(node(1), node(2), &Letter::Raft(late));
    let mut late = message(MessageType::MsgHeartbeat, 1, 3, 1);
    late.commit = 1000;
    world.deliver(node(1), node(3), &Letter::Raft(late));
    assert_eq!(world.counted(Event::Corrupt), 0);
    world.insist(put("k", "4")).unwrap();
}

#[test]
fn a_write_that_arrives_with_the_end_of_leadership_is_answered_once_and_not_as_done() {
    let mut world = led();
    let (ticket, request) = world.request(put("k", "lost"), Duration::from_secs(2));
    // The next leader has the whole log and one entry more, by which it begins its term.
    let last = world.last(node(1));
    let mut append = message(MessageType::MsgAppend, 2, 1, last.0 + 5);
    (append.log_term, append.index) = last;
    append.entries = vec![entry(last.0 + 5, last.1 + 1)].into();
    append.commit = last.1 + 1;
    let append = Message::Raft(Letter::Raft(append).encode());
    world.turn(node(1), vec![request, Input::Message { from: node(2), message: append }]);
    world.run(Duration::from_millis(100));
    let answers = world.answers_to(ticket);
    assert_eq!(answers, [&Err(Error::NotLeader { leader: Some(node(2)) })]);
}

#[test]
fn no_message_ends_the_process() {
    let nonsense: [fn(&mut RaftMessage); 8] = [
        |m| m.set_msg_type(MessageType::MsgTransferLeader),
        |m| (m.index, m.log_term) = (1 << 20, 0),
        |m| (m.index, m.commit) = (1 << 20, 1 << 20),
        |m| m.term = 0,
        |m| m.term = u64::MAX,
        |m| (m.reject, m.reject_hint) = (true, u64::MAX),
        |m| m.request_snapshot = 1 << 40,
        |m| m.entries = vec![entry(0, 1 << 20)].into(),
    ];
    let kinds = [
        MessageType::MsgAppend,
        MessageType::MsgAppendResponse,
        MessageType::MsgRequestVote,
        MessageType::MsgRequestVoteResponse,
        MessageType::MsgHeartbeatResponse,
        MessageType::MsgTimeoutNow,
        MessageType::MsgRequestPreVote,
        MessageType::MsgRequestPreVoteResponse,
    ];
    for kind in kinds {
        for spoil in nonsense {
            let mut world = led();
            for to in [1, 2] {
                let term = world.last(node(to)).0;
                for term in [term, term + 1] {
                    let mut sent = message(kind, 3, to, term);
                    spoil(&mut sent);
                    world.deliver(node(3), node(to), &Letter::Raft(sent));
                }
            }
            assert_eq!(world.counted(Event::Corrupt), 0, "{kind:?}");
            world.insist(put("k", "v")).unwrap();
        }
    }
}

#[test]
fn a_vote_that_nobody_can_have_asked_for_yet_does_not_count() {
    let mut world = led();
    world.crash(node(1));
    // Node 2 has entries that are not durable, and wants to lead.
    let last = world.last(node(2));
    let mut append = message(MessageType::MsgAppend, 1, 2, last.0);
    (append.log_term, append.index) = last;
    append.entries = vec![entry(last.0, last.1 + 1)].into();
    let timeout = message(MessageType::MsgTimeoutNow, 1, 2, last.0);
    let vote = message(MessageType::MsgRequestVoteResponse, 3, 2, last.0 + 1);
    let letters = [append, timeout, vote].map(|m| Message::Raft(Letter::Raft(m).encode()));
    let inputs = letters.map(|message| Input::Message { from: node(3), message });
    world.turn(node(2), inputs.into());
    world.insist(put("k", "v")).unwrap();
}

#[test]
fn the_only_member_survives_whoever_claims_to_lead_it() {
    let mut world = World::new(22, 1);
    world.slowest_sync = 2_000_000;
    world.insist(put("k", "v")).unwrap();
    world.ask(node(1), put("k", "w"), Duration::from_secs(5));
    let term = world.last(node(1)).0 + 1;
    world.deliver(node(2), node(1), &Letter::Raft(message(MessageType::MsgHeartbeat, 2, 1, term)));
    world.run(Duration::from_secs(5));
    world.insist(put("k", "x")).unwrap();
}

#[test]
fn a_leader_is_elected_on_disks_that_are_slower_than_the_preferred_one_waits() {
    let mut world = World::new(23, 3);
    world.fastest_sync = 300_000;
    world.slowest_sync = 400_000;
    world.run(Duration::from_secs(6));
    let ticket = world.ask(node(1), put("k", "v"), Duration::from_secs(3));
    world.run(Duration::from_secs(3));
    assert!(matches!(world.answers_to(ticket)[..], [Ok(_)]));
}

#[test]
fn an_old_wish_to_join_does_not_replace_a_replica_that_answers() {
    let mut world = led();
    let join = Letter::Join(Join { generation: 77, complete: false });
    let before = world.last(node(1));
    world.deliver(node(3), node(1), &join);
    world.run(Duration::from_secs(2));
    assert_eq!(world.last(node(1)), before);
}

#[test]
fn a_request_that_meets_a_damaged_log_is_answered() {
    let mut world = led();
    world.crash(node(2));
    world.damage_log(node(2));
    world.restart(node(2));
    let ticket = world.ask(node(2), put("k", "v"), Duration::from_secs(1));
    assert_eq!(world.answers_to(ticket), [&Err(Error::NotLeader { leader: None })]);
    world.run(Duration::from_secs(5));
    assert_eq!(world.counted(Event::Corrupt), 1);
    assert_eq!(world.given_up, [(node(2), "what is remembered fails its checksum")]);
    world.crash(node(3));
    world.insist(put("k", "w")).unwrap();
}

#[test]
fn what_was_durable_of_a_former_replica_is_not_taken_for_what_its_successor_wrote() {
    let mut world = led();
    let before = world.life(node(3));
    world.turn(node(3), vec![Input::Rebuild]);
    world.run(Duration::from_millis(10));
    assert!(world.life(node(3)) > before);
}

/// How many pieces of a copy a follower gets that has not heard of 8 MiB of entries.
fn pieces_for_one_that_lags(node_log_bytes: usize) -> usize {
    let mut world = World::new(25, 3);
    world.limits.node_log_bytes = node_log_bytes;
    world.crash_all();
    world.insist(put("k", "v")).unwrap();
    world.run(Duration::from_secs(1));
    // Node 3 hears nothing, but its connection stands.
    world.cut.insert((node(1), node(3)));
    world.hide_cuts = true;
    let value = "x".repeat(1 << 16);
    for n in 0..128 {
        world.insist(put(&format!("k{n}"), &value)).unwrap();
        world.run(Duration::from_millis(20));
    }
    world.cut.clear();
    world.run(Duration::from_secs(3));
    assert!(stored(&mut world, b"k127").iter().all(Option::is_some));
    world.pieces
}

#[test]
fn a_follower_that_lags_under_load_gets_entries_and_no_copy() {
    assert_eq!(pieces_for_one_that_lags(256 << 20), 0, "it got a copy of everything");
}

#[test]
fn a_follower_that_lags_gets_a_copy_when_the_groups_of_the_leader_keep_too_much() {
    assert!(pieces_for_one_that_lags(4 << 20) > 0);
}

#[test]
fn a_read_waits_once_for_the_time_of_the_log_however_many_values_expire() {
    let mut world = World::new(26, 3);
    for n in 0..400_u64 {
        let expiry = Expiry::At(WALL_MS + 3000 + n);
        let key = format!("k{n}").into();
        world.insist(Op::Put { key, value: "v".into(), expiry, tag: 0 }).unwrap();
    }
    assert!(world.now < Mono(3_000_000));
    while world.step(Mono(3_100_000)) {}
    let from = Cursor::start_of(Slot::new(0).unwrap());
    let limit = ScanLimit { items: 1000, bytes: 1 << 20 };
    let (partition, prefix, want) = (PARTITION, Bytes::new(), Want::Header);
    let before = world.last(node(1)).1;
    let ticket = world.ask(
        node(1),
        Op::Scan { partition, from, prefix, limit, want },
        Duration::from_secs(1),
    );
    world.run(Duration::from_millis(100));
    assert!(matches!(world.answers_to(ticket)[..], [Ok(Reply::Page(..))]));
    // One for the read, and one for each look at what has expired.
    assert!(world.last(node(1)).1 <= before + 3);
}

#[test]
fn a_follower_without_room_refuses_entries_and_gets_them_when_it_has() {
    let mut world = led();
    world.nodes.get_mut(&node(3)).unwrap().store.full = true;
    let before = world.last(node(3));
    world.insist(put("k", "new")).unwrap();
    world.run(Duration::from_secs(1));
    assert_eq!(world.last(node(3)), before);
    world.nodes.get_mut(&node(3)).unwrap().store.full = false;
    world.run(Duration::from_secs(1));
    assert_eq!(stored(&mut world, b"k"), vec![Some(b"new".to_vec()); 3]);
}

#[test]
fn nothing_is_larger_than_a_commit_of_the_store() {
    let mut world = led();
    for node in world.nodes.values_mut() {
        node.store.max_commit = 64 << 10;
    }
    let value = "x".repeat(20 << 10);
    let tickets: Vec<_> = {
        let requests = (0..40).map(|n| put(&format!("big{n}"), &value));
        let requests: Vec<_> =
            requests.map(|op| world.request(op, Duration::from_secs(2))).collect();
        let (tickets, inputs): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        world.turn(node(1), inputs);
        tickets
    };
    world.run(Duration::from_secs(1));
    assert!(tickets.iter().all(|ticket| matches!(world.answers_to(*ticket)[..], [Ok(_)])));
    let refused = world.insist(put("big", &"x".repeat(60 << 10))).unwrap_err();
    assert_eq!(refused.executed(), Executed::No);
    // Of small commands, what they take beside keys and values counts most.
    let deletes = (0..2000).map(|n: u32| Op::Delete { key: n.to_string().into() });
    let puts = (0..2000).map(|n| put(&n.to_string(), ""));
    let requests: Vec<_> =
        puts.chain(deletes).map(|op| world.request(op, Duration::from_secs(2))).collect();
    let (tickets, inputs): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
    world.turn(node(1), inputs);
    world.run(Duration::from_secs(1));
    assert!(tickets.iter().all(|ticket| matches!(world.answers_to(*ticket)[..], [Ok(_)])));
    // And it is copied.
    world.limits.kept_log_bytes = 0;
    world.limits.lagging_log_bytes = 0;
    world.crash(node(3));
    world.wipe(node(3));
    world.nodes.get_mut(&node(3)).unwrap().store.max_commit = 64 << 10;
    world.run(Duration::from_secs(5));
    assert!(world.rebuilding.is_empty());
    assert!(stored(&mut world, b"big39").iter().all(Option::is_some));
}

#[test]
fn a_clock_that_is_known_to_be_wrong_lets_nothing_expire() {
    let mut world = led();
    let expiry = Expiry::After(Duration::from_secs(60));
    world.insist(Op::Put { key: "k".into(), value: "v".into(), expiry, tag: 0 }).unwrap();
    world.skew_ms.insert(node(1), 3_600_000);
    world.suspect.insert(node(1));
    let leads = |world: &mut World| {
        let get = Op::Get { key: "k".into(), want: Want::Value };
        let ticket = world.ask(node(1), get, Duration::from_secs(1));
        world.run(Duration::from_millis(20));
        let answer = world.answers_to(ticket)[0].clone();
        assert!(!matches!(answer, Ok(Reply::Missing(_))), "it has expired");
        answer.is_ok()
    };
    assert!(leads(&mut world));
    world.insist(put("other", "v")).unwrap();
    world.run(Duration::from_secs(2));
    assert!(!leads(&mut world), "another leads by now");
    let found = world.insist(Op::Get { key: "k".into(), want: Want::Value });
    assert!(matches!(found, Ok(Reply::Found(_))), "{found:?}");
}

#[test]
fn a_leader_whose_disk_is_full_hands_over_to_one_that_has_room() {
    let mut world = led();
    world.nodes.get_mut(&node(1)).unwrap().store.full = true;
    let refused = world.insist(put("k", "v")).unwrap_err();
    assert_eq!(refused, Error::DiskFull { executed: Executed::No });
    world.run(Duration::from_secs(2));
    world.insist(put("k", "w")).unwrap();
    // Entries are refused by node 1, so it is not handed back to it.
    world.run(Duration::from_secs(10));
    world.insist(put("k", "x")).unwrap();
}

#[test]
fn members_that_had_all_better_not_lead_do_not_take_turns_for_ever() {
    let mut world = led();
    world.suspect.extend((1..=3).map(node));
    world.run(Duration::from_secs(30));
    let mut leaders = Vec::new();
    for _ in 0..200 {
        for id in (1..=3).map(node) {
            let get = Op::Get { key: "k".into(), want: Want::Value };
            let ticket = world.ask(id, get, Duration::from_secs(1));
            world.run(Duration::from_millis(30));
            if world.answers_to(ticket).iter().any(|answer| answer.is_ok()) {
                leaders.push(id);
            }
        }
    }
    leaders.dedup();
    assert!((1..=5).contains(&leaders.len()), "{leaders:?}");
}

#[test]
fn all_nodes_can_lose_everything_one_behind_the_other() {
    let mut world = World::new(27, 3);
    for n in 0..50 {
        world.insist(put(&format!("k{n}"), &n.to_string())).unwrap();
    }
    for lost in [1, 3, 2, 1, 1] {
        world.crash(node(lost));
        world.wipe(node(lost));
        world.insist(put("last", &lost.to_string())).unwrap();
        world.run(Duration::from_secs(6));
        assert!(world.rebuilding.is_empty(), "{lost}");
    }
    for n in 0..50 {
        let everywhere = vec![Some(n.to_string().into_bytes()); 3];
        assert_eq!(stored(&mut world, format!("k{n}").as_bytes()), everywhere);
    }
    assert_eq!(stored(&mut world, b"last"), vec![Some(b"1".to_vec()); 3]);
}

#[test]
fn a_rebuild_that_is_ordered_again_while_it_goes_on_ends_all_the_same() {
    let mut world = led();
    world.crash(node(3));
    world.wipe(node(3));
    for _ in 0..5 {
        world.run(Duration::from_millis(300));
        world.crash(node(3));
        world.restart(node(3));
        world.rebuilding.insert(node(3));
        world.turn(node(3), vec![Input::Rebuild]);
    }
    world.run(Duration::from_secs(6));
    assert!(world.rebuilding.is_empty());
    world.crash(node(2));
    world.insist(put("k", "v")).unwrap();
}

/// Whether what a leader has acknowledged is overwritten, because it was of an older term when a
/// majority had it (Ongaro and Ousterhout, figure 8).
fn loses_what_it_acknowledged(mutation: Option<Mutation>) -> bool {
    let mut world = World::without_rule(22, 3, mutation);
    // A message holds no more than one entry.
    world.limits.max_uncommitted_bytes = 64;
    world.crash_all();
    world.insist(put("k", "v")).unwrap();
    world.run(Duration::from_secs(2));
    // Node 1 has an entry of its term that nobody else has; then node 2 has one of the next term.
    world.cut.extend([(node(1), node(2)), (node(1), node(3))]);
    let value = "x".repeat(100);
    let write = world.ask(node(1), put("acknowledged", &value), Duration::from_secs(20));
    world.run(Duration::from_millis(10));
    let (term, _) = world.last(node(1));
    world.lose(node(1));
    while world.last(node(2)).0 == term {
        world.step(world.now + Duration::from_millis(1));
    }
    world.cut.extend([(node(2), node(1)), (node(2), node(3))]);
    world.run(Duration::from_millis(10));
    world.crash(node(2));
    // Node 1 leads again. As soon as it has acknowledged its entry nobody hears of it any more.
    world.cut.clear();
    let until = world.now + Duration::from_secs(20);
    while world.answers_to(write).is_empty() {
        assert!(world.now < until);
        world.step(until);
    }
    assert!(world.answers_to(write).iter().all(|answer| answer.is_ok()));
    world.cut.insert((node(1), node(3)));
    world.run(Duration::from_millis(10));
    world.crash(node(1));
    world.cut.clear();
    world.restart(node(2));
    let found = world.insist(Op::Get { key: "acknowledged".into(), want: Want::Value });
    matches!(found, Ok(Reply::Missing(_)))
}

#[test]
fn what_is_of_an_older_term_is_not_committed_by_counting() {
    assert!(!loses_what_it_acknowledged(None));
    assert!(loses_what_it_acknowledged(Some(Mutation::CommitOlderByCount)));
}
