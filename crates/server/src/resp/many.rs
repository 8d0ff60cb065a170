//! Commands on several keys: MGET, MSET, DEL, EXISTS. Each key is an operation of its own; there is
//! no atomicity across keys, except that in a strong keyspace the keys of MGET and MSET are one
//! transaction if they lie in one slot.

use std::vec;

use bytes::Bytes;
use kvorum_core::{Error, Executed, Expiry, Op, Outcome, Reply, Slot, Want, limits};

use super::arg::Arg;
use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::queue::{Aim, Calls, Finish, Job};
use super::strings::unexpected;
use super::{plan, rewrite};

/// Operations of one command that run at the same time.
const WINDOW: usize = 512;
/// The most bytes of values one reply may hold.
const MAX_REPLY: usize = 32 << 20;

/// `MGET key [key …]`
pub(super) fn mget(call: &mut Call<'_, '_>) -> Handled {
    if let Some(plan) = together(call, 1, rewrite::mget)? {
        return plan::submit(call, plan);
    }
    start(call, Kind::Get, 1)
}

/// `MSET key value [key value …]`
pub(super) fn mset(call: &mut Call<'_, '_>) -> Handled {
    if call.args.len().is_multiple_of(2) {
        return Err(ErrorReply::arity("mset"));
    }
    for value in call.args_from(1).iter().skip(1).step_by(2) {
        kvorum_core::limits::check_value(value.len(), call.max_value)?;
    }
    if let Some(plan) = together(call, 2, rewrite::mset)? {
        return plan::submit(call, plan);
    }
    start(call, Kind::Set, 2)
}

/// `DEL key [key …]`, `UNLINK key [key …]`
pub(super) fn del(call: &mut Call<'_, '_>) -> Handled {
    start(call, Kind::Delete, 1)
}

/// `EXISTS key [key …]`
pub(super) fn exists(call: &mut Call<'_, '_>) -> Handled {
    start(call, Kind::Exists, 1)
}

/// The command as one transaction, if it can be one.
fn together(
    call: &mut Call<'_, '_>,
    step: usize,
    plan: fn(&mut Call<'_, '_>) -> plan::Planned,
) -> Result<Option<plan::Plan>, ErrorReply> {
    let mut slots = call.args_from(1).iter().step_by(step).map(|key| Slot::of(key.as_slice()));
    let first = slots.next();
    let several = (2..=limits::MAX_TXN_OPS).contains(&(call.args_from(1).len() / step));
    let one = several && slots.all(|slot| Some(slot) == first) && call.is_strong();
    if one { plan(call).map(Some) } else { Ok(None) }
}

fn start(call: &mut Call<'_, '_>, kind: Kind, step: usize) -> Handled {
    for key in call.args_from(1).iter().step_by(step) {
        kvorum_core::limits::check_key(key.as_slice())?;
    }
    let args: Vec<Arg> =
        call.args.iter_mut().skip(1).map(|arg| std::mem::replace(arg, Arg::copy(b""))).collect();
    let keys = args.len() / step;
    let mut many = Many {
        kind,
        aim: call.client.aim(call.calls.node()),
        keys,
        args: args.into_iter(),
        submitted: 0,
        open: 0,
        succeeded: 0,
        live: 0,
        acked: usize::MAX,
        values: if kind == Kind::Get { vec![None; keys] } else { Vec::new() },
        bytes: 0,
        failure: None,
    };
    many.submit(&mut call.calls);
    Ok(Step::Many(Box::new(many)))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Get,
    Set,
    Delete,
    Exists,
}

/// A command on several keys while it runs.
struct Many {
    kind: Kind,
    aim: Aim,
    keys: usize,
    args: vec::IntoIter<Arg>,
    submitted: u32,
    open: usize,
    succeeded: usize,
    /// Keys that exist, or existed before.
    live: u64,
    /// The fewest acknowledgements of any write.
    acked: usize,
    values: Vec<Option<Bytes>>,
    bytes: usize,
    failure: Option<Failure>,
}

enum Failure {
    /// An operation failed; one whose outcome is unknown comes before others.
    Operation(Error),
    /// The values are too large together.
    Reply,
    /// The node answered another question.
    Unexpected(ErrorReply),
}

impl Many {
    fn next(&mut self) -> Option<Op> {
        let key = self.args.next()?.take();
        Some(match self.kind {
            Kind::Get => Op::Get { key, want: Want::Value },
            Kind::Exists => Op::Get { key, want: Want::Header },
            Kind::Delete => Op::Delete { key },
            Kind::Set => {
                let value = self.args.next()?.take();
                Op::Put { key, value, expiry: Expiry::Never, tag: 0 }
            }
        })
    }

    /// Submits what the window allows. After a failure nothing more is begun.
    fn submit(&mut self, calls: &mut Calls<'_, '_>) {
        while self.open < WINDOW && self.failure.is_none() {
            let Some(op) = self.next() else { break };
            calls.submit(self.aim, op, self.submitted);
            self.submitted += 1;
            self.open += 1;
        }
    }

    fn succeed(&mut self, part: u32, reply: Reply) {
        self.succeeded += 1;
        match (self.kind, reply) {
            (Kind::Get, Reply::Found(item)) => {
                self.bytes += item.value.len();
                if self.bytes > MAX_REPLY {
                    self.failure = Some(Failure::Reply);
                    self.values = Vec::new();
                }
                let place = usize::try_from(part).ok().and_then(|at| self.values.get_mut(at));
                if let Some(place) = place {
                    *place = Some(item.value);
                }
            }
            (Kind::Exists, Reply::Found(_)) => self.live += 1,
            (Kind::Get | Kind::Exists, Reply::Missing(_)) => {}
            (Kind::Set | Kind::Delete, Reply::Written { acked, was_live, .. }) => {
                self.live += u64::from(was_live);
                self.acked = self.acked.min(acked);
            }
            (_, other) => self.failure = Some(Failure::Unexpected(unexpected(&other))),
        }
    }

    fn fail(&mut self, error: Error) {
        let unknown = error.executed() == Executed::Unknown;
        match &self.failure {
            None => self.failure = Some(Failure::Operation(error)),
            Some(Failure::Operation(first)) if unknown && first.executed() == Executed::No => {
                self.failure = Some(Failure::Operation(error));
            }
            Some(_) => {}
        }
    }

    /// The error of the whole command. It names how much was done, because the keys do not
    /// succeed or fail together.
    fn error(&self, failure: &Failure) -> ErrorReply {
        let (done, keys) = (self.succeeded, self.keys);
        match failure {
            Failure::Unexpected(reply) => reply.clone(),
            Failure::Reply => ErrorReply::err(format!(
                "the values are more than {MAX_REPLY} bytes together; ask for fewer keys; nothing \
                 was executed"
            )),
            Failure::Operation(error) => {
                let mut reply = ErrorReply::from(error);
                if keys > 1 {
                    let verb = match self.kind {
                        Kind::Get | Kind::Exists => "read",
                        Kind::Set => "written",
                        Kind::Delete => "deleted",
                    };
                    let text = &reply.text;
                    reply.text =
                        format!("{done} of {keys} keys were {verb}; one of the others: {text}")
                            .into();
                }
                reply
            }
        }
    }
}

impl Job for Many {
    fn answer(&mut self, part: u32, outcome: Outcome<Reply>, calls: &mut Calls<'_, '_>) -> bool {
        self.open -= 1;
        match outcome {
            Ok(reply) => self.succeed(part, reply),
            Err(error) => self.fail(error),
        }
        self.submit(calls);
        self.open == 0
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        if let Some(failure) = &self.failure {
            return Err(self.error(failure));
        }
        if matches!(self.kind, Kind::Set | Kind::Delete) {
            finish.client.last_acked = self.acked;
        }
        match self.kind {
            Kind::Set => finish.out.simple("OK"),
            Kind::Delete | Kind::Exists => finish.out.count(self.live),
            Kind::Get => {
                finish.out.array(self.values.len());
                for value in &self.values {
                    match value {
                        Some(value) => finish.out.bulk(value),
                        None => finish.out.null(),
                    }
                }
            }
        }
        Ok(())
    }
}
