//! What the requests of `kvorum.v1.Kv` ask for, and the shape of their answers in a batch.

use kvorum_core::{Error, Op, Outcome, Reply};
use kvorum_proto::convert;
use kvorum_proto::kvorum::v1;
use v1::operation::Kind as Asked;
use v1::operation_result::Kind as Answered;

use super::super::caller::Caller;
use crate::data::{Call, Lookup, Written};

/// A request that is one operation.
pub trait IntoCall {
    /// The operation it asks for.
    fn into_call(self, caller: &Caller) -> Outcome<Call>;
}

impl IntoCall for v1::GetRequest {
    fn into_call(mut self, caller: &Caller) -> Outcome<Call> {
        Ok(Call {
            op: Op::from(&mut self),
            consistency: convert::consistency(self.consistency, self.max_stale_ms)?,
            min_version: convert::version(&self.min_version)?,
            timeout: caller.timeout(self.timeout_ms),
            key: caller.key.clone(),
            keyspace: self.keyspace,
        })
    }
}

impl IntoCall for v1::PutRequest {
    fn into_call(mut self, caller: &Caller) -> Outcome<Call> {
        Ok(Call {
            op: Op::try_from(&mut self)?,
            consistency: convert::consistency(self.consistency, 0)?,
            min_version: None,
            timeout: caller.timeout(self.timeout_ms),
            key: caller.key.clone(),
            keyspace: self.keyspace,
        })
    }
}

impl IntoCall for v1::DeleteRequest {
    fn into_call(mut self, caller: &Caller) -> Outcome<Call> {
        Ok(Call {
            op: Op::from(&mut self),
            consistency: convert::consistency(self.consistency, 0)?,
            min_version: None,
            timeout: caller.timeout(self.timeout_ms),
            key: caller.key.clone(),
            keyspace: self.keyspace,
        })
    }
}

impl IntoCall for v1::Operation {
    fn into_call(self, caller: &Caller) -> Outcome<Call> {
        match self.kind {
            Some(Asked::Get(get)) => get.into_call(caller),
            Some(Asked::Put(put)) => put.into_call(caller),
            Some(Asked::Delete(delete)) => delete.into_call(caller),
            Some(Asked::Increment(_) | Asked::Expire(_)) => {
                Err(Error::invalid("increment and expire are operations of transactions"))
            }
            None => Err(Error::invalid("the operation is neither get, put nor delete")),
        }
    }
}

/// The shape of an answer, which follows the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// To a get, and to an operation that is none.
    Get,
    /// To a put.
    Put,
    /// To a delete.
    Delete,
}

impl Answer {
    /// The shape of the answer to an operation.
    pub fn to(operation: &v1::Operation) -> Answer {
        match operation.kind {
            Some(Asked::Get(_) | Asked::Increment(_) | Asked::Expire(_)) | None => Answer::Get,
            Some(Asked::Put(_)) => Answer::Put,
            Some(Asked::Delete(_)) => Answer::Delete,
        }
    }

    /// The result that goes into the batch's answer.
    pub fn result(self, reply: Outcome<Reply>) -> v1::OperationResult {
        let kind = match self {
            Answer::Get => {
                reply.and_then(Lookup::try_from).map(|found| Answered::Get(found.into()))
            }
            Answer::Put => reply.and_then(Written::try_from).map(|done| Answered::Put(done.into())),
            Answer::Delete => {
                reply.and_then(Written::try_from).map(|done| Answered::Delete(done.into()))
            }
        };
        let kind = kind.unwrap_or_else(|error| Answered::Failure(error.into()));
        v1::OperationResult { kind: Some(kind) }
    }
}
