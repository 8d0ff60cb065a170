//! What is remembered, for how long, and that it survives being written down.

use kvorum_core::{Answer, Done as Stepped, Executed, Output};
use proptest::prelude::{Strategy, any, prop_assert_eq, proptest};
use proptest::{collection, option};

use super::*;
use crate::raft::kept::LONGEST;
use crate::raft::machine::Apply;

const MOST: usize = 64 << 10;

fn attempt(session: u32, seq: u64, since: Option<Hlc>) -> Attempt {
    Attempt { session: Writer(session), seq, since }
}

fn sum(number: i64, previous: usize) -> Reply {
    let output = if previous == 0 {
        Output::Integer(number)
    } else {
        Output::Value(vec![7; previous].into())
    };
    let step = Stepped { existed: true, previous: None, version: None, output };
    Reply::Txn(Answer { held: true, steps: vec![step] })
}

fn at(index: u64, ordinal: u32) -> At {
    At { index, stamp: Hlc(index), ordinal }
}

fn wrote(index: u64, ordinal: u32, was_live: bool) -> Reply {
    Reply::Written { version: Apply::version(Hlc(index), ordinal), acked: 2, was_live }
}

/// What is told to whoever sends a write again whose first attempt lies behind an index.
fn told(sessions: &Sessions, session: u32, seq: u64, since: u64) -> Option<Outcome<Reply>> {
    sessions.answer(&attempt(session, seq, Some(Hlc(since))), 2).unwrap()
}

#[test]
fn a_write_that_is_sent_again_is_answered_as_before() {
    let mut sessions = Sessions::default();
    sessions.remember(at(5, 0), &attempt(1, 900, None), &wrote(5, 0, true), MOST);
    sessions.remember(at(5, 3), &attempt(1, 901, None), &sum(-4, 0), MOST);
    sessions.remember(at(5, 4), &attempt(2, 7, None), &wrote(5, 4, false), MOST);
    sessions.forget(5);
    assert_eq!(told(&sessions, 1, 900, 0), Some(Ok(wrote(5, 0, true))));
    assert_eq!(told(&sessions, 1, 901, 4), Some(Ok(sum(-4, 0))));
    assert_eq!(told(&sessions, 2, 7, 4), Some(Ok(wrote(5, 4, false))));
    assert_eq!(told(&sessions, 2, 900, 4), None, "another session counts for itself");
    assert_eq!(sessions.answer(&attempt(1, 900, None), 2).unwrap(), None, "a first attempt is new");
}

#[test]
fn a_first_attempt_that_was_overtaken_is_not_done() {
    let mut sessions = Sessions::default();
    sessions.remember(at(5, 0), &attempt(1, 900, Some(Hlc(2))), &wrote(5, 0, true), MOST);
    sessions.forget(5);
    let first = |sessions: &Sessions| sessions.answer(&attempt(1, 900, None), 2).unwrap();
    assert_eq!(first(&sessions), Some(Ok(wrote(5, 0, true))));
    sessions.forget(5 + WINDOW);
    assert_eq!((first(&sessions), sessions.again.len()), (None, 0));
}

#[test]
fn what_may_lie_in_a_forgotten_entry_is_unknown_and_what_cannot_is_new() {
    let mut sessions = Sessions::default();
    sessions.remember(at(1, 0), &attempt(1, 1, None), &sum(1, 0), MOST);
    sessions.forget(1);
    for index in 2..=WINDOW {
        sessions.forget(index);
    }
    assert_eq!(told(&sessions, 1, 1, 0), Some(Ok(sum(1, 0))));
    sessions.forget(WINDOW + 1);
    assert_eq!(told(&sessions, 1, 1, 0), Some(Err(Error::SessionLost)));
    assert_eq!(Error::SessionLost.executed(), Executed::Unknown);
    assert_eq!(told(&sessions, 1, 2, 1), None);
}

#[test]
fn a_long_answer_is_lost_but_not_that_it_was_given() {
    let mut sessions = Sessions::default();
    sessions.remember(at(1, 0), &attempt(1, 1, None), &sum(0, LONGEST), MOST);
    sessions.remember(at(1, 1), &attempt(1, 2, None), &sum(0, 600), 1000);
    sessions.remember(at(1, 2), &attempt(1, 3, None), &sum(0, 600), 1000);
    sessions.forget(1);
    assert_eq!(told(&sessions, 1, 1, 0), Some(Err(Error::SessionLost)));
    assert_eq!(told(&sessions, 1, 2, 0), Some(Ok(sum(0, 600))));
    assert_eq!(told(&sessions, 1, 3, 0), Some(Err(Error::SessionLost)), "an entry keeps so much");
}

#[test]
fn the_window_is_bounded_in_bytes() {
    let mut sessions = Sessions::default();
    for index in 1..=WINDOW {
        for ordinal in 0..4 {
            let attempt = attempt(1, 4 * index + u64::from(ordinal), None);
            sessions.remember(at(index, ordinal), &attempt, &sum(0, 900), MOST);
        }
        sessions.forget(index);
        assert!(sessions.bytes <= WINDOW_BYTES);
    }
    assert!(sessions.forgotten > Hlc(WINDOW / 2), "four answers of 900 bytes each");
    assert_eq!(told(&sessions, 1, 4 * WINDOW, WINDOW - 1), Some(Ok(sum(0, 900))));
}

/// A command: of which session, by how much its number is above the last, and how much it answers.
type Command = Option<(u8, u8, u16)>;

fn entries() -> impl Strategy<Value = Vec<Vec<Command>>> {
    let command = option::of(any::<(u8, u8, u16)>().prop_map(|(s, n, len)| (s % 3, n, len % 1200)));
    collection::vec(collection::vec(command, 0..6), 1..1500)
}

/// A replica that applies entries: what it remembers, and what its store holds of that.
#[derive(Default)]
struct Applier {
    sessions: Sessions,
    ring: BTreeMap<u64, Bytes>,
    applied: u64,
    seqs: [u64; 3],
}

impl Applier {
    /// Applies entries, in commits that end where `ends` says.
    fn apply(&mut self, entries: &[Vec<Command>], mut ends: impl FnMut() -> bool) {
        let mut first = None;
        for commands in entries {
            let index = self.applied + 1;
            for (ordinal, command) in (0..).zip(commands) {
                first.get_or_insert(index);
                if let Some((session, step, len)) = *command {
                    let seq = &mut self.seqs[usize::from(session)];
                    *seq += u64::from(step) + 1;
                    let again = step % 5 == 0;
                    let name = attempt(session.into(), *seq, again.then_some(Hlc(0)));
                    let reply = match len {
                        0..300 => wrote(index, ordinal, len % 2 == 0),
                        _ => sum(0, len.into()),
                    };
                    self.sessions.remember(at(index, ordinal), &name, &reply, 2000);
                }
                if ends() {
                    self.commit(first.take(), ordinal + 1);
                }
            }
            first.get_or_insert(index);
            self.applied = index;
            self.sessions.forget(index);
            if ends() || first.is_some_and(|first| index + 1 - first >= COVERED) {
                self.commit(first.take(), 0);
            }
        }
        self.commit(first, 0);
    }

    fn commit(&mut self, first: Option<u64>, ordinal: u32) {
        let Some(first) = first else { return };
        let (at, value) = self.sessions.record(first, (self.applied, ordinal), Hlc(self.applied));
        self.ring.insert(at, value);
    }

    fn restored(records: impl Iterator<Item = Bytes>) -> Sessions {
        let records = records.map(|value| Progress::decode(value).unwrap());
        Sessions::restore(records.collect()).unwrap()
    }
}

proptest! {
    #[test]
    fn equal_logs_leave_equal_tables_however_they_are_applied_written_and_copied(
        entries in entries(), pattern in collection::vec(any::<bool>(), 1..40), cut in any::<u16>(),
    ) {
        let mut whole = Applier::default();
        whole.apply(&entries, || false);

        let mut ends = pattern.iter().copied().cycle();
        let mut other = Applier::default();
        let (before, after) = entries.split_at(usize::from(cut) % entries.len());
        other.apply(before, || ends.next().unwrap_or(false));
        // It is started again, from its store or with a copy.
        let copied = Applier::restored(other.sessions.records(other.applied, Hlc(other.applied)).into_iter().map(|(_, value)| value));
        let restarted = Applier::restored(other.ring.values().cloned());
        if !other.ring.is_empty() {
            prop_assert_eq!(&restarted, &other.sessions);
            prop_assert_eq!(&copied, &other.sessions);
            other.sessions = restarted;
        }
        other.apply(after, || ends.next().unwrap_or(false));
        prop_assert_eq!(&other.sessions, &whole.sessions);
        let restarted = Applier::restored(other.ring.values().cloned());
        prop_assert_eq!(&restarted, &whole.sessions);
    }

    #[test]
    fn nothing_that_is_read_can_do_harm(bytes in collection::vec(any::<u8>(), 0..60)) {
        let mut value = vec![FORMAT, 9, 0, 9, 0, 1, 1, 1];
        put_one(&mut value, &bytes);
        if let Ok(progress) = Progress::decode(value.into())
            && let Ok(sessions) = Sessions::restore(vec![progress])
        {
            let _ = sessions.answer(&attempt(0, 0, Some(Hlc(0))), 2);
        }
    }
}

fn put_one(value: &mut Vec<u8>, bytes: &[u8]) {
    let mut done = BytesMut::new();
    put_bytes(&mut done, bytes);
    value.extend_from_slice(&done);
}
