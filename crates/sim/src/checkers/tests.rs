//! Histories that each property must accept or refuse.

use kvorum_core::{Executed, Hlc, Writer};

use super::*;
use crate::history::{Seen, Written};

const EPOCH_MS: u64 = 1_000_000;

const fn version(n: u64) -> Version {
    Version { hlc: Hlc(n), writer: Writer(1) }
}

fn operation(kind: Kind, invoked: u64, completed: u64, ending: Ending) -> Operation {
    Operation {
        client: 0,
        key: 0,
        kind,
        consistency: Consistency::Quorum,
        min_version: None,
        invoked: Mono(invoked),
        completed: Some((Mono(completed), ending)),
    }
}

fn verdicts(operations: &[Operation], healed: u64) -> Vec<Property> {
    verdicts_in(operations, circumstances(healed))
}

const fn circumstances(healed: u64) -> Circumstances {
    Circumstances {
        healed: Mono(healed),
        disks_kept: true,
        epoch_ms: EPOCH_MS,
        clock_error_ms: 10,
        gc_lag_ms: 1_000,
    }
}

fn verdicts_in(operations: &[Operation], circumstances: Circumstances) -> Vec<Property> {
    let mut history = History::default();
    for operation in operations {
        history.invoke(*operation);
    }
    check(&history, circumstances).into_iter().map(|violation| violation.property).collect()
}

const fn written(number: u64, ttl_ms: u64) -> Kind {
    Kind::Put(Written { number, len: 20, ttl_ms })
}

const fn found(number: u64, stamped: u64, expire_ms: u64) -> Ending {
    Ending::Found(Seen { version: version(stamped), number: Some(number), len: 20, expire_ms })
}

fn put(value: u64, invoked: u64, completed: u64, stamped: u64) -> Operation {
    operation(written(value, 0), invoked, completed, Ending::Written(version(stamped)))
}

fn delete(invoked: u64, completed: u64, stamped: u64) -> Operation {
    operation(Kind::Delete, invoked, completed, Ending::Written(version(stamped)))
}

fn get(value: u64, stamped: u64, invoked: u64, completed: u64) -> Operation {
    operation(Kind::Get, invoked, completed, found(value, stamped, 0))
}

fn missing(stamped: Option<u64>, invoked: u64, completed: u64) -> Operation {
    operation(Kind::Get, invoked, completed, Ending::Missing(stamped.map(version)))
}

fn at(consistency: Consistency, operation: Operation) -> Operation {
    Operation { consistency, ..operation }
}

#[test]
fn a_good_history_passes() {
    let history = [put(1, 1, 5, 10), get(1, 10, 6, 7), put(2, 8, 9, 11), get(2, 11, 100, 101)];
    assert_eq!(verdicts(&history, 50), []);
    let deleted = [put(1, 1, 5, 10), delete(6, 7, 11), missing(Some(11), 8, 9)];
    assert_eq!(verdicts(&deleted, 50), []);
}

#[test]
fn a_lost_write_is_found() {
    let lost = [put(1, 1, 5, 10), at(Consistency::All, missing(None, 60, 61))];
    let both = [Property::NoAcknowledgedWriteLost, Property::ReadsSeeAcknowledgedWrites];
    assert_eq!(verdicts(&lost, 50), both);
    assert_eq!(verdicts(&lost, 200), [Property::ReadsSeeAcknowledgedWrites]);
}

#[test]
fn a_deletion_that_comes_back_is_found() {
    let back = [put(1, 1, 5, 10), delete(6, 7, 11), get(1, 10, 8, 9)];
    let both = [Property::ReadsSeeAcknowledgedWrites, Property::DeletesStayDeleted];
    assert_eq!(verdicts(&back, 200), both);
    let again = [put(1, 1, 5, 10), delete(6, 7, 11), put(2, 8, 9, 12), get(2, 12, 10, 11)];
    assert_eq!(verdicts(&again, 200), []);
}

#[test]
fn nothing_is_left_of_a_deletion_that_all_have_agreed_to_forget() {
    // Versions begin in 2020; the world begins two seconds later.
    let epoch_ms = Hlc(0).wall_ms() + 2_000;
    let world = Circumstances { epoch_ms, ..circumstances(200) };
    let forgotten = [delete(6, 7, 11), missing(None, 8, 9)];
    assert_eq!(verdicts_in(&forgotten, world), []);
    let early = Circumstances { gc_lag_ms: 3_000, ..world };
    assert_eq!(verdicts_in(&forgotten, early), [Property::ReadsSeeAcknowledgedWrites]);
    let lasting = [put(1, 6, 7, 11), missing(None, 8, 9)];
    assert_eq!(verdicts_in(&lasting, world), [Property::ReadsSeeAcknowledgedWrites]);
    let mut wanted = at(Consistency::One, missing(None, 8, 9));
    wanted.min_version = Some(version(11));
    assert_eq!(verdicts_in(&[delete(6, 7, 11), wanted], world), []);
    assert_eq!(verdicts_in(&[put(1, 6, 7, 11), wanted], world), [Property::ReadsNeverGoBack]);
}

#[test]
fn a_write_to_one_replica_survives_while_disks_do() {
    let write = at(Consistency::One, put(1, 1, 5, 10));
    let look = at(Consistency::All, missing(None, 60, 61));
    assert_eq!(verdicts(&[write, look], 50), [Property::NoAcknowledgedWriteLost]);
}

#[test]
fn a_read_that_goes_back_is_found() {
    let back = [put(1, 1, 90, 10), put(2, 2, 91, 11), get(2, 11, 3, 4), get(1, 10, 5, 6)];
    assert_eq!(verdicts(&back, 200), [Property::ReadsNeverGoBack]);
    let mut behind = at(Consistency::One, get(1, 10, 5, 6));
    behind.min_version = Some(version(11));
    assert_eq!(verdicts(&[put(1, 1, 90, 10), behind], 200), [Property::ReadsNeverGoBack]);
}

#[test]
fn a_later_write_or_one_after_a_read_has_the_larger_version() {
    let smaller = [put(1, 1, 5, 10), put(2, 6, 7, 9)];
    assert_eq!(verdicts(&smaller, 200), [Property::LaterWritesWin]);
    let below_a_read = [put(1, 1, 90, 10), get(1, 10, 3, 4), put(2, 6, 7, 9)];
    assert_eq!(verdicts(&below_a_read, 200), [Property::LaterWritesWin]);
}

#[test]
fn a_value_that_nobody_wrote_is_found() {
    let wrong = [Property::ReadsReturnWhatWasWritten];
    let garbled = get(Seen::GARBLED, 10, 6, 7);
    assert_eq!(verdicts(&[put(1, 1, 5, 10), garbled], 200), wrong, "garbled");
    assert_eq!(verdicts(&[put(1, 1, 5, 10), get(7, 10, 6, 7)], 200), wrong, "invented");
    let early = operation(written(1, 0), 8, 9, Ending::Failed(Executed::Unknown));
    assert_eq!(verdicts(&[early, get(1, 10, 6, 7)], 200), wrong, "from the future");
    let other = [put(1, 1, 90, 10), put(2, 2, 91, 11), get(1, 11, 6, 7)];
    assert_eq!(verdicts(&other, 200), wrong, "another write's version");
    let mut shorter = get(1, 10, 6, 7);
    if let Some((_, Ending::Found(seen))) = &mut shorter.completed {
        (seen.number, seen.len) = (None, 19);
    }
    assert_eq!(verdicts(&[put(1, 1, 5, 10), get(1, 10, 6, 7), shorter], 200), wrong, "shorter");
}

#[test]
fn a_version_names_one_write() {
    let wrong = [Property::ReadsReturnWhatWasWritten];
    let mut twin = put(2, 2, 91, 10);
    twin.key = 1;
    assert_eq!(verdicts(&[put(1, 1, 90, 10), twin], 200), wrong, "of any key");
    let unsure = |value| operation(written(value, 0), 1, 90, Ending::Failed(Executed::Unknown));
    let seen = [unsure(1), unsure(2), get(1, 10, 3, 4), get(2, 10, 5, 6)];
    assert_eq!(verdicts(&seen, 200), wrong, "two values of one version were read");
}

#[test]
fn what_was_not_executed_is_never_seen_and_what_is_unknown_may_be() {
    let failed = |executed| operation(written(1, 0), 1, 5, Ending::Failed(executed));
    let wrong = [Property::ReadsReturnWhatWasWritten];
    assert_eq!(verdicts(&[failed(Executed::No), get(1, 10, 6, 7)], 200), wrong);
    assert_eq!(verdicts(&[failed(Executed::Unknown), get(1, 10, 6, 7)], 200), []);
    assert_eq!(verdicts(&[failed(Executed::Unknown), missing(None, 6, 7)], 200), []);
}

#[test]
fn a_value_that_lasts_does_not_vanish_under_its_own_version() {
    let wrong = [Property::ReadsReturnWhatWasWritten];
    assert_eq!(verdicts(&[put(1, 1, 5, 10), missing(Some(10), 6, 7)], 200), wrong);
    let unknown = [put(1, 1, 5, 10), missing(Some(12), 6, 7)];
    assert_eq!(verdicts(&unknown, 200), wrong, "nobody deleted anything");
    let lasting = operation(written(1, 60_000), 1, 5, Ending::Written(version(10)));
    assert_eq!(verdicts(&[lasting, missing(Some(10), 6, 7)], 200), wrong);
    let over = missing(Some(10), 70_000_000, 70_000_001);
    assert_eq!(verdicts(&[lasting, over], 200), [], "it has expired");
}

#[test]
fn a_value_is_not_read_after_it_expired() {
    let write = operation(written(1, 1_000), 1, 5, Ending::Written(version(10)));
    let read = |at, expire_ms| operation(Kind::Get, at, at + 1, found(1, 10, expire_ms));
    let wrong = [Property::ReadsReturnWhatWasWritten];
    assert_eq!(verdicts(&[write, read(6, EPOCH_MS + 1_000)], 200), []);
    let late = read(2_000_000, EPOCH_MS + 1_000);
    assert_eq!(verdicts(&[write, late], 200), wrong);
    assert_eq!(verdicts(&[write, read(6, EPOCH_MS + 900)], 200), wrong, "too early");
    assert_eq!(verdicts(&[write, read(6, EPOCH_MS + 1_100)], 200), wrong, "too late");
}

#[test]
fn a_scan_lists_what_was_acknowledged() {
    let scan = |ending| operation(Kind::Scan, 6, 7, ending);
    let unseen = [Property::ReadsSeeAcknowledgedWrites];
    assert_eq!(verdicts(&[put(1, 1, 5, 10), scan(found(1, 10, 0))], 200), []);
    assert_eq!(verdicts(&[put(1, 1, 5, 10), scan(Ending::Unlisted)], 200), unseen);
    let stale = [put(1, 1, 4, 10), put(2, 4, 5, 11), scan(found(1, 10, 0))];
    assert_eq!(verdicts(&stale, 200), unseen);
    let unsure = operation(Kind::Delete, 3, 90, Ending::Failed(Executed::Unknown));
    assert_eq!(verdicts(&[put(1, 1, 5, 10), unsure, scan(Ending::Unlisted)], 200), []);
}

#[test]
fn a_failed_read_after_healing_is_a_violation() {
    let failed = operation(Kind::Get, 60, 70, Ending::Failed(Executed::No));
    let failed = at(Consistency::All, failed);
    assert_eq!(verdicts(&[failed], 50), [Property::RecoversAfterHealing]);
}

#[test]
fn concurrent_operations_may_see_either() {
    let history = [put(1, 1, 50, 10), missing(None, 2, 3), get(1, 10, 4, 5)];
    assert_eq!(verdicts(&history, 200), []);
}
