//! `kvorum.v1.Kv/Txn`: messages to transactions, and their answers back.

use bytes::Bytes;
use kvorum_core::{Action, Compare, Condition, Error, Expiry, Op, Outcome, Step, Txn, limits};
use kvorum_proto::convert::{self, wire_version};
use kvorum_proto::kvorum::v1;
use v1::compare::Condition as Asked;
use v1::expire_request::Expiry as WireExpiry;
use v1::operation::Kind;
use v1::operation_result::Kind as Answered;

use super::super::caller::Caller;
use super::calls::IntoCall;
use crate::data::{Call, StepResult, Stored, Transacted, put};

impl IntoCall for v1::TxnRequest {
    fn into_call(self, caller: &Caller) -> Outcome<Call> {
        let steps = |operations: Vec<v1::Operation>| {
            operations.into_iter().map(step_of).collect::<Outcome<_>>()
        };
        let compare = self.compares.into_iter().map(compare_of);
        let txn = Txn {
            compare: compare.collect::<Outcome<_>>()?,
            then: steps(self.success)?,
            otherwise: steps(self.failure)?,
        };
        let timeout = caller.timeout(self.timeout_ms);
        let key = caller.key.clone();
        Ok(Call { timeout, key, ..Call::new(self.keyspace, Op::Txn(txn)) })
    }
}

fn compare_of(compare: v1::Compare) -> Outcome<Compare> {
    let condition = match compare.condition {
        Some(Asked::Version(text)) => match convert::version(&text)? {
            Some(version) => Condition::Version(version),
            None => return Err(Error::invalid("the version to compare with is empty")),
        },
        Some(Asked::Value(value)) => Condition::Value(value),
        Some(Asked::Exists(true)) => Condition::Present,
        Some(Asked::Exists(false)) => Condition::Absent,
        None => return Err(Error::invalid("the compare has no condition")),
    };
    Ok(Compare { key: compare.key, condition })
}

fn step_of(operation: v1::Operation) -> Outcome<Step> {
    match operation.kind {
        Some(Kind::Get(mut get)) => {
            alone(&get.keyspace, get.consistency, get.timeout_ms)?;
            let key = std::mem::take(&mut get.key);
            Ok(Step { key, action: Action::Read, previous: !get.header_only })
        }
        Some(Kind::Put(mut request)) => {
            alone(&request.keyspace, request.consistency, request.timeout_ms)?;
            match Op::try_from(&mut request)? {
                Op::Put { key, value, expiry, tag } => Ok(put(key, value, expiry, tag)),
                _ => Err(Error::invalid("the operation is no put")),
            }
        }
        Some(Kind::Delete(delete)) => {
            alone(&delete.keyspace, delete.consistency, delete.timeout_ms)?;
            Ok(Step::new(delete.key, Action::Delete))
        }
        Some(Kind::Increment(v1::IncrementRequest { key, by })) => {
            Ok(Step::new(key, Action::Add(by)))
        }
        Some(Kind::Expire(v1::ExpireRequest { key, expiry })) => expire(key, expiry),
        None => {
            Err(Error::invalid("the operation is neither get, put, delete, increment nor expire"))
        }
    }
}

fn expire(key: Bytes, expiry: Option<WireExpiry>) -> Outcome<Step> {
    let expiry = match expiry {
        None => Expiry::Never,
        Some(WireExpiry::TtlMs(ms)) => Expiry::After(limits::check_ttl(ms)?),
        Some(WireExpiry::ExpiresAtMs(ms)) => Expiry::At(ms),
    };
    Ok(Step::new(key, Action::Expire { expiry, only: Vec::new() }))
}

/// An operation of a transaction runs where and how the transaction does.
fn alone(keyspace: &str, consistency: i32, timeout_ms: u32) -> Outcome<()> {
    if keyspace.is_empty() && consistency == 0 && timeout_ms == 0 {
        return Ok(());
    }
    let text = "an operation of a transaction names no keyspace, consistency or timeout of its own";
    Err(Error::invalid(text))
}

impl From<Transacted> for v1::TxnResponse {
    fn from(done: Transacted) -> v1::TxnResponse {
        let results =
            done.steps.into_iter().map(|step| v1::OperationResult { kind: Some(answer(step)) });
        v1::TxnResponse { succeeded: done.held, results: results.collect() }
    }
}

fn answer(step: StepResult) -> Answered {
    match step {
        StepResult::Read { item: Some(item), .. } => Answered::Get(item.into()),
        StepResult::Read { version, item: None } => Answered::Get(v1::GetResponse {
            found: version.is_some(),
            version: wire_version(version),
            ..Default::default()
        }),
        StepResult::Stored(Stored { version, acked, was_live }) => {
            Answered::Put(v1::PutResponse { version: wire_version(version), acked, was_live })
        }
        StepResult::Deleted(Stored { version, acked, was_live }) => {
            Answered::Delete(v1::DeleteResponse { version: wire_version(version), acked, was_live })
        }
        StepResult::Added(value, Stored { version, acked, .. }) => {
            let version = wire_version(version);
            Answered::Increment(v1::IncrementResponse { value, version, acked })
        }
        StepResult::Expires(_, Stored { version, acked, was_live }) => {
            let version = wire_version(version);
            Answered::Expire(v1::ExpireResponse { found: was_live, version, acked })
        }
        StepResult::Refused(refusal) => {
            Answered::Failure(Error::invalid(refusal.to_string()).into())
        }
    }
}
