//! MULTI, EXEC, DISCARD, WATCH, UNWATCH: commands that are executed together or not at all.
//!
//! In a strong keyspace the commands behind MULTI are understood at once and kept; EXEC makes their
//! transactions the steps of one, with a comparison for every watched key. In an eventual keyspace
//! none of them is executed: clients send MULTI, the commands and EXEC together, before they have
//! read a reply. If MULTI were refused alone, the commands behind it would be executed one by one,
//! although their client wanted all or none. So MULTI opens a transaction in which every command is
//! refused; EXEC then says that it was discarded, as in redis-server after an error.

use bytes::Bytes;
use kvorum_core::{
    Action, Answer, Compare, Condition, Error, KeyspaceId, Op, Outcome, Output, Reply, Slot,
    Step as TxnStep, Txn, Version, Want, limits,
};

use super::call::{Call, Handled, Step};
use super::dispatch;
use super::error::ErrorReply;
use super::plan::{Plan, Say, incomplete, note_write, written};
use super::queue::{Calls, Finish, Job};
use super::refused;
use super::strings::unexpected;
use super::table::{Command, Run};

/// Bytes of keys and values that a transaction may hold before EXEC.
const MAX_QUEUED: usize = 8 << 20;
/// Keys that a connection may watch.
const MAX_WATCHED: usize = limits::MAX_TXN_OPS / 2;

/// A transaction between MULTI and EXEC.
#[derive(Default)]
pub(super) struct Transaction {
    queued: Vec<Queued>,
    /// The slot of its keys, once there is one.
    slot: Option<Slot>,
    /// Comparisons and steps.
    operations: usize,
    bytes: usize,
    /// A command could not be queued: nothing will be executed.
    aborted: bool,
}

/// A command that waits for EXEC.
enum Queued {
    /// A part of the transaction.
    Plan(Plan),
    /// It touches no data; its reply is encoded.
    Said(Bytes),
    /// It is wrong in itself, which redis-server finds only when it executes it.
    Wrong(ErrorReply),
}

/// A watched key and its version when it was watched; nothing if it had no value.
pub(super) struct Watched {
    keyspace: KeyspaceId,
    key: Bytes,
    version: Option<Version>,
}

/// Whether a command does in a transaction what it does elsewhere.
pub(super) fn passes(command: &Command) -> bool {
    matches!(command.name, "multi" | "exec" | "discard" | "watch" | "reset" | "quit")
}

/// Whether a command touches no data and changes nothing, so that its reply can be made at once.
fn is_said_at_once(command: &Command) -> bool {
    matches!(
        command.name,
        "ping"
            | "echo"
            | "time"
            | "unwatch"
            | "client|id"
            | "client|getname"
            | "config|get"
            | "config|set"
    )
}

/// `MULTI`
pub(super) fn multi(call: &mut Call<'_, '_>) -> Handled {
    if call.client.transaction.is_some() {
        return Err(ErrorReply::err("MULTI calls can not be nested"));
    }
    call.client.transaction = Some(Transaction::default());
    call.simple("OK")
}

/// Keeps a command for EXEC.
pub(super) fn queue(call: &mut Call<'_, '_>) -> Handled {
    let queued = understood(call);
    let Some(transaction) = &mut call.client.transaction else { return Err(incomplete()) };
    if let Err(error) = queued.and_then(|queued| transaction.add(queued)) {
        transaction.abort();
        return Err(error);
    }
    call.simple("QUEUED")
}

fn understood(call: &mut Call<'_, '_>) -> Result<Queued, ErrorReply> {
    if !call.is_strong() {
        return Err(refused::in_transaction(call));
    }
    match call.command.run {
        Run::Data(_, plan) | Run::Read(plan) | Run::Strong(plan, _) => {
            Ok(plan(call).map_or_else(Queued::Wrong, Queued::Plan))
        }
        Run::Handler(_) if is_said_at_once(call.command) => {
            let before = call.reply.take();
            let handled = dispatch::execute(call);
            let said = call.reply.take();
            call.reply.encoded(&before);
            Ok(handled.map_or_else(Queued::Wrong, |_| Queued::Said(said)))
        }
        Run::Handler(_) | Run::Subcommands(_) => {
            Err(ErrorReply::err("Command not allowed inside a transaction"))
        }
    }
}

impl Transaction {
    fn add(&mut self, queued: Queued) -> Result<(), ErrorReply> {
        let mut bytes = 64;
        if let Queued::Plan(plan) = &queued {
            let txn = &plan.txn;
            for key in txn.keys() {
                if *self.slot.get_or_insert_with(|| Slot::of(key)) != Slot::of(key) {
                    return Err(ErrorReply::from(Error::CrossSlot));
                }
            }
            // What is more than a step becomes a transaction that is a step.
            self.operations += txn.operations() + usize::from(!plan.is_one_step());
            bytes += txn.weight();
        }
        self.bytes += bytes;
        let most = limits::MAX_TXN_OPS;
        if self.operations > most || self.queued.len() >= most {
            let text = format!(
                "a transaction has at most {most} steps and comparisons; this command is beyond, \
                 and EXEC will execute nothing"
            );
            return Err(ErrorReply::err(text));
        }
        if self.bytes > MAX_QUEUED {
            let text = format!(
                "a transaction holds at most {MAX_QUEUED} bytes; this command is beyond, and EXEC \
                 will execute nothing"
            );
            return Err(ErrorReply::err(text));
        }
        if !self.aborted {
            self.queued.push(queued);
        }
        Ok(())
    }

    /// Nothing of it will be executed.
    pub(super) fn abort(&mut self) {
        self.aborted = true;
        self.queued.clear();
    }
}

/// `EXEC`
pub(super) fn exec(call: &mut Call<'_, '_>) -> Handled {
    let transaction = call.client.transaction.take();
    let transaction = transaction.ok_or_else(|| ErrorReply::err("EXEC without MULTI"))?;
    let watched = std::mem::take(&mut call.client.watched);
    if !call.is_strong() {
        let text = format!(
            "Transaction discarded because of previous errors: a transaction needs a strong \
             keyspace; this keyspace is eventual: {}send the commands one by one; nothing was \
             executed",
            refused::selection(call),
        );
        return Err(ErrorReply { code: "EXECABORT", text: text.into() });
    }
    if transaction.aborted {
        let text = "Transaction discarded because of previous errors.";
        return Err(ErrorReply { code: "EXECABORT", text: text.into() });
    }
    if watched.iter().any(|watched| watched.keyspace != call.client.keyspace) {
        let text = "Transaction discarded because keys of another keyspace are watched.";
        return Err(ErrorReply { code: "EXECABORT", text: text.into() });
    }
    let mut txn = Txn { compare: watched.into_iter().map(unchanged).collect(), ..Txn::default() };
    let mut parts = Vec::with_capacity(transaction.queued.len());
    for queued in transaction.queued {
        parts.push(match queued {
            Queued::Said(said) => Part::Said(said),
            Queued::Wrong(error) => Part::Wrong(error),
            Queued::Plan(plan) if plan.is_one_step() => {
                txn.then.extend(plan.txn.then);
                Part::Step(plan.say)
            }
            Queued::Plan(Plan { txn: own, say }) => {
                let key = own.keys().next().cloned().unwrap_or_default();
                txn.then.push(TxnStep::new(key, Action::Txn(Box::new(own))));
                Part::Txn(say)
            }
        });
    }
    let Some(slot) = txn.keys().next().map(|key| Slot::of(key)) else {
        return say_at_once(parts, call);
    };
    if txn.keys().any(|key| Slot::of(key) != slot) {
        return Err(ErrorReply::from(Error::CrossSlot));
    }
    let written = written(&txn);
    call.calls.submit(call.client.aim(call.calls.node()), Op::Txn(txn), 0);
    Ok(Step::Many(Box::new(Exec { parts, written, outcome: None })))
}

/// Replies to a transaction that touches no data.
fn say_at_once(parts: Vec<Part>, call: &mut Call<'_, '_>) -> Handled {
    call.reply.array(parts.len());
    for part in parts {
        match part {
            Part::Said(said) => call.reply.encoded(&said),
            Part::Wrong(error) => call.reply.error(error.code, &error.text),
            Part::Step(_) | Part::Txn(_) => return Err(incomplete()),
        }
    }
    Ok(Step::Replied)
}

/// That a key is as it was when it was watched.
fn unchanged(watched: Watched) -> Compare {
    let condition = watched.version.map_or(Condition::Absent, Condition::Version);
    Compare { key: watched.key, condition }
}

/// A command of a transaction that is executed.
enum Part {
    /// It is the next step.
    Step(Say),
    /// It is a transaction, which is the next step.
    Txn(Say),
    Said(Bytes),
    Wrong(ErrorReply),
}

/// A transaction while it is executed.
struct Exec {
    parts: Vec<Part>,
    /// The slot that it may change.
    written: Option<Slot>,
    outcome: Option<Outcome<Reply>>,
}

impl Job for Exec {
    fn answer(&mut self, _: u32, outcome: Outcome<Reply>, _: &mut Calls<'_, '_>) -> bool {
        self.outcome = Some(outcome);
        true
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        let Answer { held, steps } = match self.outcome.ok_or_else(incomplete)?? {
            Reply::Txn(answer) => answer,
            other => return Err(unexpected(&other)),
        };
        if !held {
            finish.out.null_array();
            return Ok(());
        }
        note_write(self.written, finish);
        let mut steps = steps.into_iter();
        finish.out.array(self.parts.len());
        for part in self.parts {
            let said = match part {
                Part::Wrong(error) => Err(error),
                Part::Said(said) => {
                    finish.out.encoded(&said);
                    Ok(())
                }
                Part::Step(say) => match steps.next() {
                    Some(done) => say(Answer { held: true, steps: vec![done] }, finish),
                    None => Err(incomplete()),
                },
                Part::Txn(say) => match steps.next().map(|done| done.output) {
                    Some(Output::Txn(answer)) => say(*answer, finish),
                    _ => Err(incomplete()),
                },
            };
            if let Err(error) = said {
                finish.out.error(error.code, &error.text);
            }
        }
        Ok(())
    }
}

/// `DISCARD`
pub(super) fn discard(call: &mut Call<'_, '_>) -> Handled {
    if call.client.transaction.take().is_none() {
        return Err(ErrorReply::err("DISCARD without MULTI"));
    }
    call.client.watched.clear();
    call.simple("OK")
}

/// `UNWATCH`
pub(super) fn unwatch(call: &mut Call<'_, '_>) -> Handled {
    call.client.watched.clear();
    call.simple("OK")
}

/// `WATCH key [key …]`: the commands behind it wait until the versions of the keys are known.
pub(super) fn watch(call: &mut Call<'_, '_>) -> Handled {
    if call.client.transaction.is_some() {
        return Err(ErrorReply::err("WATCH inside MULTI is not allowed"));
    }
    if !call.is_strong() {
        let advice = "send the commands one by one (MSET writes several keys, each on its own)";
        return Err(refused::command(call, advice));
    }
    if call.client.watched.len() + call.args.len() > MAX_WATCHED {
        let text = format!("a connection watches at most {MAX_WATCHED} keys; none was added");
        return Err(ErrorReply::err(text));
    }
    let mut watched = Vec::new();
    for index in 1..call.args.len() {
        let key = call.key(index)?;
        watched.push(Watched { keyspace: call.client.keyspace, key, version: None });
    }
    for (part, watched) in (0..).zip(&watched) {
        let op = Op::Get { key: watched.key.clone(), want: Want::Header };
        call.calls.submit(call.client.aim(call.calls.node()), op, part);
    }
    let open = watched.len();
    Ok(Step::Alone(Box::new(Watch { watched, open, failure: None })))
}

/// A WATCH while it asks for the versions of its keys.
struct Watch {
    watched: Vec<Watched>,
    open: usize,
    failure: Option<ErrorReply>,
}

impl Job for Watch {
    fn answer(&mut self, part: u32, outcome: Outcome<Reply>, _: &mut Calls<'_, '_>) -> bool {
        self.open -= 1;
        let place = usize::try_from(part).ok().and_then(|at| self.watched.get_mut(at));
        match (outcome, place) {
            (Ok(Reply::Found(item)), Some(watched)) => watched.version = Some(item.header.version),
            (Ok(Reply::Missing(_)), _) => {}
            (Ok(other), _) => self.failure = Some(unexpected(&other)),
            (Err(error), _) => self.failure = Some(ErrorReply::from(error)),
        }
        self.open == 0
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        if let Some(failure) = self.failure {
            return Err(failure);
        }
        finish.client.watched.extend(self.watched);
        finish.out.simple("OK");
        Ok(())
    }
}
