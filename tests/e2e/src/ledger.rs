//! What was written, what the cluster said to it, and whether what it returns agrees.
//!
//! Each key has one writer, which writes growing numbers. So what a key may hold is known exactly:
//!
//! - a write that was acknowledged is never followed by an older value;
//! - a write that was answered with "nothing was executed" never appears;
//! - a write whose outcome is unknown may appear, at any time. Its key is never written again, so
//!   that this stays the only doubt about it;
//! - once a value was returned, no older one is.

use std::collections::BTreeSet;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use crate::poll::until;
use crate::resp::{Answer, Resp};

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Acknowledged,
    NotExecuted,
    Unknown,
}

impl Outcome {
    /// Of the answer to a SET.
    pub(crate) fn of(answer: &io::Result<Answer>) -> Outcome {
        match answer {
            Ok(answer) if answer.is_ok() => Outcome::Acknowledged,
            Ok(answer) if answer.is_not_executed() => Outcome::NotExecuted,
            Ok(Answer::Error(text)) if !text.ends_with("the outcome is unknown") => {
                panic!("an error that does not say whether anything was executed: {text}")
            }
            _ => Outcome::Unknown,
        }
    }
}

/// A key and its history.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    filler: usize,
    history: Mutex<History>,
}

#[derive(Debug, Default)]
struct History {
    attempted: u64,
    acknowledged: u64,
    refused: BTreeSet<u64>,
    unknown: bool,
}

impl Entry {
    pub(crate) fn new(key: String, filler: usize) -> Entry {
        Entry { key, filler, history: Mutex::default() }
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The number and the value of the next write.
    pub(crate) fn begin(&self) -> (u64, Vec<u8>) {
        let mut history = self.history();
        history.attempted += 1;
        (history.attempted, self.value(history.attempted))
    }

    /// Notes how a write ended.
    pub(crate) fn settle(&self, number: u64, outcome: Outcome) {
        let mut history = self.history();
        match outcome {
            Outcome::Acknowledged => history.acknowledged = number,
            Outcome::NotExecuted => {
                history.refused.insert(number);
            }
            Outcome::Unknown => history.unknown = true,
        }
    }

    /// Whether a write has an unknown outcome.
    pub(crate) fn is_doubtful(&self) -> bool {
        self.history().unknown
    }

    /// The number of the last write that was acknowledged; zero if none was.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.history().acknowledged
    }

    /// The value of write `number`: every byte depends on key and number.
    fn value(&self, number: u64) -> Vec<u8> {
        let mut value = format!("{}={number}:", self.key).into_bytes();
        let pattern = value.clone();
        value.extend(pattern.into_iter().cycle().take(self.filler));
        value
    }

    /// The number of the write that a returned value stems from.
    ///
    /// # Errors
    /// It stems from no write that can be there, or from one older than `floor`.
    pub(crate) fn judge(&self, found: Option<&[u8]>, floor: u64) -> Result<u64, String> {
        let key = &self.key;
        let number = match found {
            None => 0,
            Some(value) => self.number_of(value).ok_or_else(|| {
                let start = value.get(..80).unwrap_or(value).escape_ascii();
                format!("{key} holds what was never written: \"{start}\"")
            })?,
        };
        let history = self.history();
        if number < floor {
            return Err(format!("{key} holds write {number} after write {floor} was there"));
        }
        if number > history.attempted || history.refused.contains(&number) {
            return Err(format!("{key} holds write {number}, which was not executed: {history:?}"));
        }
        Ok(number)
    }

    fn number_of(&self, value: &[u8]) -> Option<u64> {
        let rest = value.strip_prefix(self.key.as_bytes())?.strip_prefix(b"=")?;
        let digits = rest.split(|byte| *byte == b':').next()?;
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        (number > 0 && self.value(number) == value).then_some(number)
    }
}

/// All keys of a load, and what every node must return for them.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    entries: Vec<Arc<Entry>>,
}

impl Ledger {
    pub(crate) const fn new(entries: Vec<Arc<Entry>>) -> Ledger {
        Ledger { entries }
    }

    /// Writes `keys` keys once each, with values of about `filler` bytes.
    ///
    /// # Panics
    /// A write is not acknowledged.
    #[must_use]
    pub fn write(port: u16, keys: usize, filler: usize) -> Ledger {
        let mut connection = Resp::connect(port).expect("the node takes connections");
        let write = |number| {
            let entry = Entry::new(format!("static:key{number}"), filler);
            let (number, value) = entry.begin();
            let answer = connection.call(&[b"SET", entry.key.as_bytes(), &value]);
            let outcome = Outcome::of(&answer);
            assert_eq!(outcome, Outcome::Acknowledged, "{answer:?}");
            entry.settle(number, outcome);
            Arc::new(entry)
        };
        Ledger::new((0..keys).map(write).collect())
    }

    /// Whether any write was acknowledged.
    fn is_vacuous(&self) -> bool {
        self.entries.iter().all(|entry| entry.acknowledged() == 0)
    }

    /// Reads every key through every one of these ports and compares.
    ///
    /// # Panics
    /// A value is wrong, or a node refuses reads for too long.
    pub fn verify(&self, ports: &[u16]) {
        let mut floors: Vec<u64> = self.entries.iter().map(|entry| entry.acknowledged()).collect();
        for port in ports {
            self.read_all(Reader::new(*port), &mut floors);
        }
    }

    /// Reads every key from the copies of one node alone. Only right for a node that holds every
    /// key and has been whole since the last write.
    ///
    /// # Panics
    /// A value is wrong, or the node refuses reads for too long.
    pub fn verify_alone(&self, port: u16) {
        let mut floors: Vec<u64> = self.entries.iter().map(|entry| entry.acknowledged()).collect();
        self.read_all(Reader::of_one_replica(port), &mut floors);
    }

    /// Reads every key; none may be older than its floor, which rises to what was found.
    fn read_all(&self, mut reader: Reader, floors: &mut [u64]) {
        assert!(!self.is_vacuous(), "nothing was acknowledged, so nothing is verified");
        for (entry, floor) in self.entries.iter().zip(floors) {
            let found = reader.get(&entry.key);
            match entry.judge(found.as_deref(), *floor) {
                Ok(number) => *floor = number,
                Err(violation) => panic!("read through port {}: {violation}", reader.port),
            }
        }
    }
}

/// Reads through one node, and asks again until it answers with more than an error.
#[derive(Debug)]
pub struct Reader {
    port: u16,
    level: &'static str,
    connection: Option<Resp>,
}

impl Reader {
    /// A reader that reads from quorums through the node with this port.
    #[must_use]
    pub const fn new(port: u16) -> Reader {
        Reader { port, level: "QUORUM", connection: None }
    }

    /// A reader that is content with one replica: with the node itself if that is one.
    #[must_use]
    pub const fn of_one_replica(port: u16) -> Reader {
        Reader { port, level: "ONE", connection: None }
    }

    /// The value of a key.
    ///
    /// # Panics
    /// There is no answer in time.
    pub fn get(&mut self, key: &str) -> Option<Vec<u8>> {
        let port = self.port;
        let mut last = String::new();
        let what = format!("a read of {key} through port {port}");
        let answer = until(&what, || {
            let answer = self.try_get(key);
            match &answer {
                Ok(Answer::Error(text)) => text.clone_into(&mut last),
                Ok(_) => return answer.ok(),
                Err(error) => {
                    last = error.to_string();
                    self.connection = None;
                }
            }
            None
        });
        answer.value().map(<[u8]>::to_vec)
    }

    fn try_get(&mut self, key: &str) -> io::Result<Answer> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let mut connection = Resp::connect(self.port)?;
                connection.call(&[b"KV.CONSISTENCY", b"READ", self.level.as_bytes()])?;
                none.insert(connection)
            }
        };
        connection.call(&[b"GET", key.as_bytes()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(outcomes: &[Outcome]) -> Entry {
        let entry = Entry::new("k".to_owned(), 10);
        for outcome in outcomes {
            let (number, _) = entry.begin();
            entry.settle(number, *outcome);
        }
        entry
    }

    #[test]
    fn the_last_acknowledged_value_is_right_and_older_ones_are_not() {
        let entry = written(&[Outcome::Acknowledged, Outcome::Acknowledged]);
        let judge = |number| entry.judge(Some(&entry.value(number)), entry.acknowledged());
        assert_eq!(judge(2), Ok(2));
        assert!(judge(1).is_err());
        assert!(judge(3).is_err(), "never attempted");
        assert!(entry.judge(None, entry.acknowledged()).is_err(), "lost");
    }

    #[test]
    fn a_write_of_unknown_outcome_may_be_there_or_not() {
        let entry = written(&[Outcome::Acknowledged, Outcome::Unknown]);
        assert!(entry.is_doubtful());
        for number in [1, 2] {
            assert_eq!(entry.judge(Some(&entry.value(number)), 1), Ok(number));
        }
        assert!(entry.judge(Some(&entry.value(1)), 2).is_err(), "it was there before");
    }

    #[test]
    fn a_write_that_was_not_executed_never_appears() {
        let entry = written(&[Outcome::NotExecuted, Outcome::Acknowledged, Outcome::NotExecuted]);
        assert_eq!(entry.judge(Some(&entry.value(2)), 2), Ok(2));
        assert!(entry.judge(Some(&entry.value(3)), 2).is_err());
        let entry = written(&[Outcome::NotExecuted]);
        assert_eq!(entry.judge(None, 0), Ok(0));
        assert!(entry.judge(Some(&entry.value(1)), 0).is_err());
    }

    #[test]
    fn one_wrong_byte_in_a_value_is_found() {
        let entry = written(&[Outcome::Acknowledged]);
        for at in 0..entry.value(1).len() {
            let mut value = entry.value(1);
            value[at] ^= 1;
            assert!(entry.judge(Some(&value), 1).is_err(), "byte {at}");
        }
        assert!(entry.judge(Some(&entry.value(1)[..5]), 1).is_err());
    }

    #[test]
    fn errors_tell_acknowledged_refused_and_unknown_apart() {
        let error = |text: &str| Ok(Answer::Error(text.to_owned()));
        assert_eq!(Outcome::of(&Ok(Answer::Simple("OK".to_owned()))), Outcome::Acknowledged);
        let refused = error("DISKFULL no space; nothing was executed");
        assert_eq!(Outcome::of(&refused), Outcome::NotExecuted);
        let late = error("TIMEOUT 1 of 2 answered; the outcome is unknown");
        assert_eq!(Outcome::of(&late), Outcome::Unknown);
        assert_eq!(Outcome::of(&Err(io::ErrorKind::ConnectionReset.into())), Outcome::Unknown);
    }
}
