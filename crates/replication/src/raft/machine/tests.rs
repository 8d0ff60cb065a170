//! What transactions do to several keys.

use kvorum_core::{Expiry, Identity, Mono, Request};

use super::*;
use crate::raft::solo::Solo;

const NOW_MS: u64 = 1_000_000;

fn key(name: &str) -> Bytes {
    Bytes::from(format!("{{slot}}{name}"))
}

fn put(name: &str, value: impl Into<Bytes>, expiry: Expiry) -> Step {
    let action = Action::Put { value: value.into(), expiry: Some(expiry), tag: 4 };
    Step::new(key(name), action)
}

fn copy(from: &str, to: &str) -> Step {
    Step::new(key(to), Action::Copy { from: key(from) })
}

fn nested(compare: Vec<Compare>, then: Vec<Step>, otherwise: Vec<Step>) -> Step {
    Step::new(key(""), Action::Txn(Box::new(Txn { compare, then, otherwise })))
}

fn all(then: Vec<Step>) -> Txn {
    Txn { then, ..Txn::default() }
}

fn run(solo: &mut Solo, txn: Txn) -> Answer {
    let request = Request {
        identity: Identity::ANONYMOUS,
        keyspace: KeyspaceId(3),
        op: Op::Txn(txn),
        consistency: None,
        min_version: None,
        key: None,
        deadline: Mono(0),
    };
    let slot = Slot::default();
    let Ok(Reply::Txn(answer)) = solo.run(&request, &(slot..=slot), NOW_MS) else { panic!() };
    answer
}

fn read(solo: &mut Solo, name: &str) -> Option<Item> {
    let answer = run(solo, Txn::always(Step::read(key(name))));
    answer.steps.into_iter().next().and_then(|done| done.previous)
}

#[test]
fn a_copy_takes_value_expiry_and_tag_but_its_own_version() {
    let mut solo = Solo::default();
    run(&mut solo, all(vec![put("a", "value", Expiry::At(NOW_MS + 9))]));
    let copied = run(&mut solo, all(vec![copy("a", "b")]));
    let (a, b) = (read(&mut solo, "a").unwrap(), read(&mut solo, "b").unwrap());
    assert_eq!((&b.value[..], b.header.expire_ms, b.header.tag), (&b"value"[..], NOW_MS + 9, 4));
    assert_ne!(a.header.version, b.header.version);
    assert_eq!(copied.steps[0].version, Some(b.header.version));
    let refused = run(&mut solo, all(vec![copy("missing", "b")]));
    assert_eq!(refused.steps[0].output, Output::Refused(Refusal::NoSuchKey));
    assert_eq!(read(&mut solo, "b"), Some(b));
}

#[test]
fn a_step_sees_what_the_steps_before_it_did() {
    let mut solo = Solo::default();
    let add = || Step { key: key("n"), action: Action::Add(2), previous: true };
    let delete = Step::new(key("n"), Action::Delete);
    let answer = run(&mut solo, all(vec![add(), add(), copy("n", "m"), delete, add()]));
    let said: Vec<_> = answer.steps.iter().map(|done| done.output.clone()).collect();
    let number = Output::Integer;
    assert_eq!(said, [number(2), number(4), Output::Done, Output::Done, number(2)]);
    let before = answer.steps[1].previous.as_ref().map(|item| &item.value[..]);
    assert_eq!(before, Some(&b"2"[..]));
    assert_eq!(read(&mut solo, "m").unwrap().value, "4");
}

#[test]
fn a_transaction_in_another_decides_for_itself_what_it_does() {
    let mut solo = Solo::default();
    let absent = || Compare { key: key("a"), condition: Condition::Absent };
    let set = |value: &'static str| put("a", value, Expiry::Never);
    let first = nested(vec![absent()], vec![set("first")], vec![]);
    let second = nested(vec![absent()], vec![set("second")], vec![Step::read(key("a"))]);
    let answer = run(&mut solo, all(vec![first, second]));
    let inner = |at: usize| match &answer.steps[at].output {
        Output::Txn(inner) => inner,
        other => panic!("{other:?}"),
    };
    assert!(answer.held && inner(0).held && !inner(1).held);
    assert_eq!(inner(1).steps[0].previous.as_ref().unwrap().value, "first");
    assert_eq!(read(&mut solo, "a").unwrap().value, "first");
}

#[test]
fn a_step_whose_answer_has_no_room_is_not_done() {
    let mut solo = Solo::default();
    let half = vec![b'v'; MAX_TOLD / 2 + 1];
    for name in ["a", "b"] {
        run(&mut solo, all(vec![put(name, half.clone(), Expiry::Never)]));
    }
    let take = |name| Step { key: key(name), action: Action::Delete, previous: true };
    // Also those of the transactions in it count.
    let answer = run(&mut solo, all(vec![take("a"), nested(vec![], vec![take("b")], vec![])]));
    assert!(answer.steps[0].previous.is_some());
    let Output::Txn(inner) = &answer.steps[1].output else { panic!() };
    assert_eq!(inner.steps[0].output, Output::Refused(Refusal::AnswerTooLong));
    assert_eq!(inner.steps[0].previous, None);
    assert!(read(&mut solo, "a").is_none() && read(&mut solo, "b").is_some());
}

#[test]
fn the_values_of_all_steps_together_have_a_limit() {
    let mut solo = Solo::default();
    let value = vec![b'v'; 3 << 20];
    run(&mut solo, all(vec![put("a", value, Expiry::Never)]));
    let answer = run(&mut solo, all(vec![copy("a", "b"), copy("a", "c"), copy("a", "d")]));
    let refused = |at: usize| answer.steps[at].output == Output::Refused(Refusal::TooLong);
    assert_eq!([refused(0), refused(1), refused(2)], [false, false, true]);
    assert!(read(&mut solo, "c").is_some() && read(&mut solo, "d").is_none());
}

#[test]
fn deleting_what_has_expired_finds_nothing_and_is_no_longer_counted() {
    let mut solo = Solo::default();
    let slot = Slot::of(&key("a"));
    let later = |solo: &mut Solo, op| {
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId(3),
            op,
            consistency: None,
            min_version: None,
            key: None,
            deadline: Mono(0),
        };
        solo.run(&request, &(slot..=slot), NOW_MS + 10)
    };
    let partition = kvorum_core::PartitionId { placement: 0, number: 0 };
    run(&mut solo, all(vec![put("a", "value", Expiry::At(NOW_MS + 9))]));
    assert_eq!(later(&mut solo, Op::Count { partition }), Ok(Reply::Count(1)));
    let deleted = later(&mut solo, Op::Delete { key: key("a") });
    assert!(matches!(deleted, Ok(Reply::Written { was_live: false, .. })), "{deleted:?}");
    assert_eq!(later(&mut solo, Op::Count { partition }), Ok(Reply::Count(0)));
}
