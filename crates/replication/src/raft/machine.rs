//! The state machine: what the commands of the log do to the keys of the partition.
//!
//! Applying is a function of the log alone: the time is the entry's, versions are what the log's own
//! hybrid clock reads, which no two entries share, and nothing asks a clock, a random number or a
//! limit that could differ between replicas.
//!
//! Changes gather in an overlay and are committed to the store together with how far the log is
//! applied, in one frame, so that no crash can apply a command twice or by half.
//!
//! **Invariant:** a command is answered only when its changes are committed to the store. They
//! need not be durable there: that the log is durable on a majority is what makes them so.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::{
    Action, Answer, Attempt, Change, Compare, Condition, Done, Hlc, IdempotencyKey, Item,
    KeyspaceId, Op, Output, Record, Refusal, Reply, Slot, Step, Store, Txn, Version, Writer,
    limits,
};

use super::action::{After, Moment, Value, Write, builds_on_value};
use super::log::Damaged;
use super::payload::{Command, What};

/// The most bytes of values that one answer tells; one value is told whatever its length. It is
/// part of the state machine: a step whose answer has no room is not done.
const MAX_TOLD: usize = limits::MAX_TXN_ANSWER;

pub(super) type Place = (KeyspaceId, Slot, Bytes);

/// What has been applied and is not yet committed to the store.
#[derive(Debug, Default)]
pub(super) struct Overlay {
    changes: BTreeMap<Place, Option<Value>>,
    bytes: usize,
}

impl Overlay {
    /// Where the changes are.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.changes.keys()
    }

    /// Bytes of the changes.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Commits the changes and how far the log is applied to the store, if its present frame has
    /// room. Nobody waits until that is durable: it follows from the log, which is.
    pub(super) fn commit(&mut self, progress: Vec<Change>, store: &mut dyn Store) -> bool {
        let changes = self.changes.iter().map(|(place, value)| change(place, value.as_ref()));
        let changes: Vec<Change> = changes.chain(progress).collect();
        let committed = store.commit_unawaited(&changes).is_ok();
        if committed {
            self.changes.clear();
            self.bytes = 0;
        }
        committed
    }
}

fn change((keyspace, slot, key): &Place, value: Option<&Value>) -> Change {
    let (keyspace, slot) = (*keyspace, *slot);
    match value {
        Some(Value { header, bytes }) => Change::Put(Record {
            keyspace,
            slot,
            key: key.clone(),
            version: header.version,
            tag: header.tag,
            expire_ms: header.expire_ms,
            value: Some(bytes.clone()),
        }),
        None => Change::Remove { keyspace, slot, from: key.clone(), to: successor(key) },
    }
}

fn successor(key: &[u8]) -> Bytes {
    let mut next = Vec::with_capacity(key.len() + 1);
    next.extend_from_slice(key);
    next.push(0);
    next.into()
}

/// One command and where it stands.
pub(super) struct Apply<'a> {
    pub(super) store: &'a mut dyn Store,
    pub(super) overlay: &'a mut Overlay,
    /// The version of everything the command writes.
    pub(super) version: Version,
    /// When it happens, in milliseconds since 1970.
    pub(super) time_ms: u64,
    /// No value and no transaction's values together may be longer.
    pub(super) max_bytes: usize,
}

impl Apply<'_> {
    /// The version of the command number `ordinal` of an entry with this stamp.
    pub(super) const fn version(stamp: Hlc, ordinal: u32) -> Version {
        Version { hlc: stamp, writer: Writer(ordinal) }
    }

    /// Does a command.
    ///
    /// # Errors
    /// [`Damaged`] if a value it needs cannot be read here: the replica must not go on.
    pub(super) fn run(&mut self, command: &Command, majority: usize) -> Result<Reply, Damaged> {
        let keyspace = command.keyspace;
        let step = match &command.what {
            What::Txn(txn) => return self.txn(keyspace, txn).map(Reply::Txn),
            What::Put { key, value, expiry, tag } => {
                let (value, expiry, tag) = (value.clone(), Some(*expiry), *tag);
                Step {
                    key: key.clone(),
                    previous: false,
                    action: Action::Put { value, expiry, tag },
                }
            }
            What::Delete { key } => {
                Step { key: key.clone(), previous: false, action: Action::Delete }
            }
        };
        let mut room = Room { write: self.max_bytes, told: 0 };
        let done = self.step(keyspace, &step, &mut room)?;
        Ok(Reply::Written { version: self.version, acked: majority, was_live: done.existed })
    }

    /// Does a transaction.
    ///
    /// # Errors
    /// [`Damaged`] if a value it needs cannot be read here.
    pub(super) fn txn(&mut self, keyspace: KeyspaceId, txn: &Txn) -> Result<Answer, Damaged> {
        let mut room = Room { write: self.max_bytes, told: 0 };
        self.within(keyspace, txn, &mut room)
    }

    fn within(
        &mut self,
        keyspace: KeyspaceId,
        txn: &Txn,
        room: &mut Room,
    ) -> Result<Answer, Damaged> {
        let mut held = true;
        for compare in &txn.compare {
            held = held && self.holds(keyspace, compare)?;
        }
        let steps = if held { &txn.then } else { &txn.otherwise };
        let steps = steps.iter().map(|step| self.step(keyspace, step, room));
        Ok(Answer { held, steps: steps.collect::<Result<_, _>>()? })
    }

    fn holds(&mut self, keyspace: KeyspaceId, compare: &Compare) -> Result<bool, Damaged> {
        let value = matches!(compare.condition, Condition::Value(_));
        let found = self.get(keyspace, &compare.key, value)?;
        let header = found.as_ref().map(|value| value.header);
        Ok(match &compare.condition {
            Condition::Absent => found.is_none(),
            Condition::Present => found.is_some(),
            Condition::Version(version) => header.is_some_and(|h| h.version == *version),
            Condition::Value(value) => found.is_some_and(|f| f.bytes == *value),
            Condition::TagBelow(tag) => header.is_none_or(|h| h.tag < *tag),
        })
    }

    fn step(
        &mut self,
        keyspace: KeyspaceId,
        step: &Step,
        room: &mut Room,
    ) -> Result<Done, Damaged> {
        if let Action::Txn(inner) = &step.action {
            let answer = self.within(keyspace, inner, room)?;
            let output = Output::Txn(Box::new(answer));
            return Ok(Done { existed: false, previous: None, version: None, output });
        }
        let needed = step.previous || builds_on_value(&step.action);
        let before = self.get(keyspace, &step.key, needed)?;
        let existed = before.is_some();
        let mut version = before.as_ref().map(|value| value.header.version);
        let previous = before.as_ref().filter(|_| step.previous);
        let after = match previous.map_or(Ok(()), |value| room.tell(value.bytes.len())) {
            Ok(()) => self.after(keyspace, &step.action, before.as_ref(), room)?,
            Err(refusal) => Err(refusal),
        };
        let output = match after {
            Err(refusal) => Output::Refused(refusal),
            Ok(After { write: Write::Nothing, output }) => output,
            Ok(After { write: Write::Remove, output }) => {
                // What has expired is removed as well, so that it is no longer counted.
                let slot = Slot::of(&step.key);
                if existed || self.store.header(keyspace, slot, &step.key).is_some() {
                    self.set(keyspace, &step.key, None);
                }
                version = None;
                output
            }
            Ok(After { write: Write::Put(value), output }) => {
                room.write = room.write.saturating_sub(value.bytes.len());
                version = Some(self.version);
                self.set(keyspace, &step.key, Some(value));
                output
            }
        };
        let key = &step.key;
        let item = |Value { header, bytes }| Item { key: key.clone(), header, value: bytes };
        let refused = output == Output::Refused(Refusal::AnswerTooLong);
        let previous = before.filter(|_| step.previous && !refused).map(item);
        Ok(Done { existed, previous, version, output })
    }

    /// What an action makes of the value of its key.
    fn after(
        &mut self,
        keyspace: KeyspaceId,
        action: &Action,
        before: Option<&Value>,
        room: &Room,
    ) -> Result<Result<After, Refusal>, Damaged> {
        let moment = Moment { version: self.version, time_ms: self.time_ms, room: room.write };
        let Action::Copy { from } = action else { return Ok(moment.outcome(action, before)) };
        let Some(source) = self.get(keyspace, from, true)? else {
            return Ok(Err(Refusal::NoSuchKey));
        };
        if source.bytes.len() > room.write {
            return Ok(Err(Refusal::TooLong));
        }
        let write = moment.put(source.bytes, source.header.tag, source.header.expire_ms);
        Ok(Ok(After { write, output: Output::Done }))
    }

    /// The value of a key at the time of the command; its bytes only if they are needed.
    fn get(
        &mut self,
        keyspace: KeyspaceId,
        key: &Bytes,
        bytes: bool,
    ) -> Result<Option<Value>, Damaged> {
        let slot = Slot::of(key);
        let changed = self.overlay.changes.get(&(keyspace, slot, key.clone()));
        let found = match changed {
            Some(changed) => changed.clone(),
            None if bytes => match self.store.value(keyspace, slot, key) {
                Ok(found) => found.map(|(s, bytes)| Value { header: s.header, bytes }),
                Err(_) => return Err(Damaged("a value fails its checksum")),
            },
            None => {
                let stored = self.store.header(keyspace, slot, key);
                stored.map(|s| Value { header: s.header, bytes: Bytes::new() })
            }
        };
        Ok(found.filter(|value| value.header.live_at(self.time_ms)))
    }

    fn set(&mut self, keyspace: KeyspaceId, key: &Bytes, value: Option<Value>) {
        let weight = |value: &Option<Value>| value.as_ref().map_or(0, |value| value.bytes.len());
        let new = key.len() + weight(&value);
        let place = (keyspace, Slot::of(key), key.clone());
        let old = self.overlay.changes.insert(place, value);
        let old = old.map_or(0, |old| key.len() + weight(&old));
        self.overlay.bytes = self.overlay.bytes + new - old;
    }
}

/// How many bytes of values a command may still write, and how many its answer tells.
struct Room {
    write: usize,
    told: usize,
}

impl Room {
    /// The answer tells so many bytes more.
    fn tell(&mut self, bytes: usize) -> Result<(), Refusal> {
        if self.told > 0 && self.told + bytes > MAX_TOLD {
            return Err(Refusal::AnswerTooLong);
        }
        self.told += bytes;
        Ok(())
    }
}

/// The command of an operation that changes something; nothing for one that only reads.
pub(super) fn command(
    keyspace: KeyspaceId,
    attempt: Option<Attempt>,
    named: Option<IdempotencyKey>,
    op: Op,
) -> Option<Command> {
    let what = match op {
        Op::Put { key, value, expiry, tag } => What::Put { key, value, expiry, tag },
        Op::Delete { key } => What::Delete { key },
        Op::Txn(txn) => What::Txn(txn),
        Op::Get { .. } | Op::Scan { .. } | Op::Count { .. } => return None,
    };
    Some(Command { keyspace, attempt, key: named, what })
}

#[cfg(test)]
mod tests;
