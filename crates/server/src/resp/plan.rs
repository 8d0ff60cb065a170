//! Commands that are one transaction: what the node is asked to do, and how its answer is said.
//!
//! Alone, the transaction of a command is one request. Between MULTI and EXEC the transactions of
//! all commands become the steps of one, so every command has one meaning in both places.

use bytes::Bytes;
use kvorum_core::{
    Answer, Compare, Condition, Done, Header, Item, Op, Outcome, Output, Refusal, Reply, Slot,
    Step as TxnStep, Txn, Want,
};

use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::queue::{Calls, Finish, Job};
use super::strings::unexpected;

/// Writes the reply of a command from the answer to its transaction.
pub(super) type Say = Box<dyn FnOnce(Answer, &mut Finish<'_>) -> Result<(), ErrorReply>>;

/// What a command asks, and how it replies.
pub(super) struct Plan {
    pub(super) txn: Txn,
    pub(super) say: Say,
}

/// The result of a command that is understood or not.
pub(super) type Planned = Result<Plan, ErrorReply>;

impl Plan {
    /// A command that is one step.
    pub(super) fn step(
        step: TxnStep,
        say: impl FnOnce(&Done, &mut Finish<'_>) -> Result<(), ErrorReply> + 'static,
    ) -> Planned {
        Plan::of(Txn::always(step), |answer, finish| {
            let done = answer.steps.into_iter().next().ok_or_else(incomplete)?;
            say(&done, finish)
        })
    }

    /// A command that reads a value.
    pub(super) fn read(
        key: Bytes,
        say: impl FnOnce(Option<&Item>, &mut Finish<'_>) -> Result<(), ErrorReply> + 'static,
    ) -> Planned {
        Plan::step(TxnStep::read(key), |done, finish| {
            refused(done)?;
            say(done.previous.as_ref(), finish)
        })
    }

    /// A command that is a whole transaction.
    pub(super) fn of(
        txn: Txn,
        say: impl FnOnce(Answer, &mut Finish<'_>) -> Result<(), ErrorReply> + 'static,
    ) -> Planned {
        Ok(Plan { txn, say: Box::new(say) })
    }

    /// Whether it is one step and no condition.
    pub(super) fn is_one_step(&self) -> bool {
        let Txn { compare, then, otherwise } = &self.txn;
        compare.is_empty() && then.len() == 1 && otherwise.is_empty()
    }

    /// The key of a plan that reads one value and nothing else.
    fn only_read(&self) -> Option<&Bytes> {
        match (&*self.txn.compare, &*self.txn.then) {
            ([], [TxnStep { key, action: kvorum_core::Action::Read, previous: true }]) => Some(key),
            _ => None,
        }
    }
}

/// Submits the transaction of a command that stands alone. What only reads one value is a plain
/// read, which every keyspace has.
pub(super) fn submit(call: &mut Call<'_, '_>, plan: Plan) -> Handled {
    let written = written(&plan.txn);
    let op = match plan.only_read() {
        Some(key) => Op::Get { key: key.clone(), want: Want::Value },
        None => Op::Txn(plan.txn),
    };
    call.calls.submit(call.client.aim(call.calls.node()), op, 0);
    Ok(Step::Many(Box::new(Alone { say: plan.say, written, outcome: None })))
}

/// A command on its own.
struct Alone {
    say: Say,
    /// The slot that it may change.
    written: Option<Slot>,
    outcome: Option<Outcome<Reply>>,
}

impl Job for Alone {
    fn answer(&mut self, _: u32, outcome: Outcome<Reply>, _: &mut Calls<'_, '_>) -> bool {
        self.outcome = Some(outcome);
        true
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        let answer = match self.outcome.ok_or_else(incomplete)?? {
            Reply::Txn(answer) => answer,
            Reply::Found(item) => read(Some(item)),
            Reply::Missing(_) => read(None),
            other => return Err(unexpected(&other)),
        };
        note_write(self.written, finish);
        (self.say)(answer, finish)
    }
}

/// The answer to a transaction that only reads one value.
fn read(previous: Option<Item>) -> Answer {
    let version = previous.as_ref().map(|item| item.header.version);
    let existed = previous.is_some();
    Answer { held: true, steps: vec![Done { existed, previous, version, output: Output::Done }] }
}

/// The slot that a transaction may change.
pub(super) fn written(txn: &Txn) -> Option<Slot> {
    let key = txn.is_write().then(|| txn.keys().next()).flatten();
    key.map(|key| Slot::of(key))
}

/// Remembers for WAIT how many replicas have what was written: a majority.
pub(super) fn note_write(written: Option<Slot>, finish: &mut Finish<'_>) {
    let replicas = finish.node.layout().zip(written).and_then(|(layout, slot)| {
        let partition = layout.partition_of(finish.client.keyspace, slot)?;
        Some(layout.replicas(partition).len())
    });
    if let Some(replicas) = replicas {
        finish.client.last_acked = replicas / 2 + 1;
    }
}

/// The answer has fewer steps than the transaction: a defect, told without guessing.
pub(super) fn incomplete() -> ErrorReply {
    tracing::error!("the answer to a transaction is incomplete");
    ErrorReply::err("internal error: the answer does not fit the command; the outcome is unknown")
}

/// Fails if a step was not done because of what is stored.
pub(super) fn refused(done: &Done) -> Result<(), ErrorReply> {
    match done.output {
        Output::Refused(Refusal::TooLong) => {
            Err(ErrorReply::err("string exceeds maximum allowed size (proto-max-bulk-len)"))
        }
        Output::Refused(refusal) => Err(ErrorReply::err(refusal.to_string())),
        _ => Ok(()),
    }
}

/// Replies with the number that a step says.
pub(super) fn number(done: &Done, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
    refused(done)?;
    match done.output {
        Output::Integer(number) => finish.out.integer(number),
        _ => return Err(incomplete()),
    }
    Ok(())
}

/// Replies with the value there was before a step.
pub(super) fn previous(done: &Done, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
    refused(done)?;
    value(done.previous.as_ref(), finish);
    Ok(())
}

/// Replies with a value, or that there is none.
pub(super) fn value(item: Option<&Item>, finish: &mut Finish<'_>) {
    match item {
        Some(item) => finish.out.bulk(&item.value),
        None => finish.out.null(),
    }
}

/// That a key has no value.
pub(super) const fn absent(key: Bytes) -> Compare {
    Compare { key, condition: Condition::Absent }
}

/// That a key has a value.
pub(super) const fn present(key: Bytes) -> Compare {
    Compare { key, condition: Condition::Present }
}

/// What is known of a value, if there is one.
pub(super) fn header(item: Option<&Item>) -> Option<&Header> {
    item.map(|item| &item.header)
}

impl Call<'_, '_> {
    /// Whether the selected keyspace is strong.
    pub(super) fn is_strong(&self) -> bool {
        self.client.is_strong(self.calls.node())
    }
}
