//! Transactions of strong keyspaces, and what became of their steps.

use bytes::Bytes;
use kvorum_core::{
    Action, Answer, Condition, Done, Error, Expiry, Identity, Item, KeyspaceId, Layout, Mode, Op,
    Outcome, Output, Refusal, Reply, Slot, Step, Txn, Version, limits,
};

use super::{Call, Data, answer};

/// The answer to a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transacted {
    /// Whether all comparisons held.
    pub held: bool,
    /// What became of the steps that were done.
    pub steps: Vec<StepResult>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepResult {
    /// What was read.
    Read {
        /// The version of the value; nothing if there is none.
        version: Option<Version>,
        /// The value, if it was asked for and there is one.
        item: Option<Item>,
    },
    /// A value was stored.
    Stored(Stored),
    /// Whether there was a value whose expiry could be changed.
    Expires(bool, Stored),
    /// A value was deleted.
    Deleted(Stored),
    /// A number was added; the sum.
    Added(i64, Stored),
    /// Nothing was done, because what is stored does not allow it.
    Refused(Refusal),
}

/// A step that wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The version of the key now; nothing if it has no value.
    pub version: Option<Version>,
    /// How many replicas had it durable by then.
    pub acked: u32,
    /// Whether the key was live before.
    pub was_live: bool,
}

impl Data {
    /// Refuses what only strong keyspaces can do.
    ///
    /// # Errors
    /// [`Error::NotStrong`] in an eventual keyspace, and those of [`Data::keyspace`].
    pub fn require_strong(&self, keyspace: &str, what: &'static str) -> Outcome<()> {
        let (layout, id) = self.keyspace(keyspace)?;
        if is_strong(&layout, id) { Ok(()) } else { Err(Error::NotStrong(what)) }
    }

    /// Runs a call that is a transaction.
    ///
    /// # Errors
    /// Those of the operation, [`Error::NotStrong`], and [`Error::CrossSlot`].
    pub async fn transact(&self, identity: &Identity, call: Call) -> Outcome<Transacted> {
        let Op::Txn(txn) = &call.op else {
            return Err(Error::invalid("this is no transaction"));
        };
        let (layout, id) = self.keyspace(&call.keyspace)?;
        if !is_strong(&layout, id) {
            return Err(Error::NotStrong("a transaction"));
        }
        let partition = layout.partition_of(id, slot_of(txn)?);
        let replicas = partition.map_or(0, |partition| layout.replicas(partition).len());
        let acked = u32::try_from(replicas / 2 + 1).unwrap_or(u32::MAX);
        let lost = answer::lost(txn.is_write());
        let actions = |steps: &[Step]| steps.iter().map(kind_of).collect::<Vec<Kind>>();
        let kinds = (actions(&txn.then), actions(&txn.otherwise));
        let Reply::Txn(Answer { held, steps }) = self.run(identity, call).await? else {
            return Err(lost);
        };
        let kinds = if held { kinds.0 } else { kinds.1 };
        if kinds.len() != steps.len() {
            return Err(lost);
        }
        let results = kinds.into_iter().zip(steps).map(|(kind, done)| result(kind, done, acked));
        Ok(Transacted { held, steps: results.collect() })
    }

    /// Whether the keys and values of a transaction are within the limits.
    pub(super) fn check_txn(&self, txn: &Txn) -> Outcome<()> {
        txn.keys().try_for_each(|key| limits::check_key(key))?;
        let compared = txn.compare.iter().map(|compare| match &compare.condition {
            Condition::Value(value) => value.len(),
            _ => 0,
        });
        let written = txn.then.iter().chain(&txn.otherwise).map(|step| step.action.weight());
        let mut lengths = compared.chain(written);
        lengths.try_for_each(|len| limits::check_value(len, self.max_value()))
    }
}

/// The slot of all keys of a transaction.
fn slot_of(txn: &Txn) -> Outcome<Slot> {
    let mut slots = txn.keys().map(|key| Slot::of(key));
    let first = slots.next().ok_or(Error::invalid("the transaction names no key"))?;
    if slots.all(|slot| slot == first) { Ok(first) } else { Err(Error::CrossSlot) }
}

fn is_strong(layout: &Layout, keyspace: KeyspaceId) -> bool {
    layout.keyspace(keyspace).is_some_and(|keyspace| keyspace.mode == Mode::Strong)
}

/// What a step asked for.
#[derive(Clone, Copy)]
enum Kind {
    Read,
    Store,
    Delete,
    Add,
    Expire,
}

const fn kind_of(step: &Step) -> Kind {
    match step.action {
        Action::Read => Kind::Read,
        Action::Delete => Kind::Delete,
        Action::Add(_) => Kind::Add,
        Action::Expire { .. } => Kind::Expire,
        _ => Kind::Store,
    }
}

fn result(kind: Kind, done: Done, acked: u32) -> StepResult {
    let stored = Stored { version: done.version, acked, was_live: done.existed };
    match (kind, done.output) {
        (_, Output::Refused(refusal)) => StepResult::Refused(refusal),
        (Kind::Read, _) => StepResult::Read { version: done.version, item: done.previous },
        (Kind::Delete, _) => StepResult::Deleted(stored),
        (Kind::Add, Output::Integer(sum)) => StepResult::Added(sum, stored),
        (Kind::Expire, output) => StepResult::Expires(output == Output::Integer(1), stored),
        (Kind::Store | Kind::Add, _) => StepResult::Stored(stored),
    }
}

/// The step that stores a value.
pub fn put(key: Bytes, value: Bytes, expiry: Expiry, tag: u32) -> Step {
    Step::new(key, Action::Put { value, expiry: Some(expiry), tag })
}
