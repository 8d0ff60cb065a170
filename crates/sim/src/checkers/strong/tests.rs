//! Histories that each property must accept or refuse.

use kvorum_core::Want;

use super::*;
use crate::history::Written;
use crate::strong::object::Asked;

const WORLD: Circumstances = Circumstances {
    healed: Mono(0),
    disks_kept: true,
    epoch_ms: 0,
    clock_error_ms: 10,
    gc_lag_ms: 0,
};

const fn written(number: u64, ttl_ms: u64) -> Written {
    Written { number, len: 20, ttl_ms }
}

fn operation(asked: Asked, invoked: u64, completed: u64, ending: Ending) -> Operation {
    let completed = Some((Mono(completed), ending));
    let level = None;
    Operation { object: 0, asked, level, invoked: Mono(invoked), completed, last_look: false }
}

fn told(saw: Saw) -> Ending {
    Ending::Told(Told { held: true, steps: vec![saw] })
}

fn put(number: u64, ttl_ms: u64, invoked: u64, ending: Ending) -> Operation {
    let asked = Asked::plain(Doing::Put(0, written(number, ttl_ms)), Want::Value);
    operation(asked, invoked, invoked + 10, ending)
}

fn done(existed: bool) -> Ending {
    told(Saw { existed, before: None, sum: None })
}

fn read(seen: Option<u64>, invoked: u64) -> Operation {
    let saw = Saw { existed: seen.is_some(), before: Some(seen), sum: None };
    operation(Asked::plain(Doing::Read(0), Want::Value), invoked, invoked + 10, told(saw))
}

fn add(sum: u64, invoked: u64) -> Operation {
    let saw = Saw { existed: sum > 1, before: None, sum: Some(sum) };
    let asked = Asked::transaction(Vec::new(), vec![Doing::Add(0)], Vec::new());
    operation(asked, invoked, invoked + 10, told(saw))
}

fn violated(history: &[Operation]) -> Vec<Property> {
    check(history, WORLD).into_iter().map(|violation| violation.property).collect()
}

const S1: Property = Property::StrongIsLinearizable;

#[test]
fn a_stale_read_is_noticed_and_one_that_overlaps_is_not() {
    assert_eq!(violated(&[put(7, 0, 100, done(false)), read(None, 200)]), [S1]);
    assert_eq!(violated(&[put(7, 0, 100, done(false)), read(None, 105)]), []);
    assert_eq!(violated(&[put(7, 0, 100, done(true))]), [S1]);
}

#[test]
fn what_was_refused_is_never_seen_and_what_is_unknown_may_be() {
    let refused = put(7, 0, 100, Ending::Failed(Executed::No));
    assert_eq!(violated(&[refused, read(Some(7), 200)]), [S1, Property::NotExecutedNeverShows]);
    let unknown = || put(7, 0, 100, Ending::Failed(Executed::Unknown));
    assert_eq!(violated(&[unknown(), read(Some(7), 200)]), []);
    assert_eq!(violated(&[unknown(), read(None, 200), read(Some(7), 300)]), []);
}

#[test]
fn a_value_lives_as_long_as_it_was_to_and_does_not_come_back() {
    let put = || put(7, 1_000, 0, done(false));
    assert_eq!(violated(&[put(), read(None, 900_000)]), [S1], "too early");
    assert_eq!(violated(&[put(), read(Some(7), 1_100_000)]), [S1], "too late");
    assert_eq!(violated(&[put(), read(Some(7), 900_000), read(None, 1_100_000)]), []);
    assert_eq!(violated(&[put(), read(None, 1_000_000), read(Some(7), 1_001_000)]), [S1]);
}

#[test]
fn increments_that_were_lost_or_doubled_are_noticed() {
    let look = |count| Operation { last_look: true, ..read(Some(count), 1_000) };
    let s3 = Property::IncrementsCountOnce;
    assert_eq!(violated(&[add(1, 0), add(2, 100), look(2)]), []);
    assert_eq!(violated(&[add(1, 0), add(2, 100), look(1)]), [S1, s3]);
    assert_eq!(violated(&[add(1, 0), add(2, 100), look(3)]), [S1, s3]);
    assert_eq!(violated(&[add(1, 0), add(1, 100)]), [S1, s3]);
}

#[test]
fn a_last_look_that_fails_is_noticed() {
    let failed = put(7, 0, 100, Ending::Failed(Executed::No));
    let look = Operation { last_look: true, ..failed };
    assert_eq!(violated(std::slice::from_ref(&look)), [Property::StrongRecoversAfterHealing]);
    let again = put(8, 0, 200, done(false));
    let again = Operation { last_look: true, ..again };
    assert_eq!(violated(&[look.clone(), again.clone()]), []);
    assert_eq!(violated(&[again, look]), [Property::StrongRecoversAfterHealing]);
}

#[test]
fn an_answer_is_as_old_as_it_may_be_and_no_older() {
    let stale = |seen, invoked, max_ms| {
        let level = Some(Consistency::Stale { max_ms });
        Operation { level, ..read(seen, invoked) }
    };
    let put = |number, invoked| put(number, 0, invoked, done(number > 7));
    let history = |last| [put(7, 1_000), put(8, 20_000), read(Some(8), 40_000), last];
    assert_eq!(violated(&history(stale(Some(7), 60_000, 50))), []);
    assert_eq!(violated(&history(stale(Some(8), 60_000, 0))), []);
    assert_eq!(violated(&history(stale(Some(7), 60_000, 30))), [Property::AnswersAreNotTooOld]);
    assert_eq!(violated(&history(stale(Some(9), 60_000, 50))), [Property::AnswersAreNotTooOld]);
}
