//! Transactions: compare, read and write keys of one slot in one step. Only strong keyspaces have
//! them.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::Version;
use kvorum_proto::kvorum::v1;

use crate::error::Effect;
use crate::types::{found, version};
use crate::{Client, Error, Found, PutOptions};

/// A transaction over keys of one slot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Txn {
    /// All of these must hold.
    pub compare: Vec<(Bytes, Condition)>,
    /// What is done if they do.
    pub then: Vec<Step>,
    /// What is done if one does not.
    pub otherwise: Vec<Step>,
}

/// What must hold of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Condition {
    /// It has no value.
    Absent,
    /// It has a value.
    Present,
    /// It has a value of exactly this version.
    Version(Version),
    /// It has exactly this value.
    Value(Bytes),
}

/// One step of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Read a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Store a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// How.
        options: PutOptions,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: Bytes,
    },
    /// Add to the decimal integer that the value is; a missing one counts as zero.
    Increment {
        /// The key.
        key: Bytes,
        /// What is added.
        by: i64,
    },
    /// Change when the value stops being visible.
    Expire {
        /// The key.
        key: Bytes,
        /// After this time; never when absent.
        ttl: Option<Duration>,
    },
}

/// What a transaction gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnOutcome {
    /// Whether all comparisons held.
    pub held: bool,
    /// What became of the steps that were chosen, in their order.
    pub steps: Vec<StepOutcome>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// To [`Step::Get`].
    Got(Option<Found>),
    /// To [`Step::Put`].
    Stored {
        /// The version of the value.
        version: Version,
        /// How many replicas had it on disk when the answer was made.
        acked: u32,
        /// Whether the key had a value before.
        was_live: bool,
    },
    /// To [`Step::Delete`].
    Deleted {
        /// Whether the key had a value before.
        was_live: bool,
    },
    /// To [`Step::Increment`].
    Incremented {
        /// The sum.
        value: i64,
        /// The version of the value.
        version: Version,
    },
    /// To [`Step::Expire`].
    Expires {
        /// Whether the key had a value.
        found: bool,
    },
    /// The step was not done, because what is stored does not allow it; the others were.
    Refused(String),
}

impl Client {
    /// Runs a transaction.
    ///
    /// # Errors
    /// [`Error`]; one with the code `NOTSTRONG` in an eventual keyspace, `CROSSSLOT` if the keys
    /// lie in several slots (hash tags such as `{user}:1` put keys into one).
    pub async fn transact(&self, txn: &Txn) -> Result<TxnOutcome, Error> {
        let mut steps = txn.then.iter().chain(&txn.otherwise);
        let reads = steps.all(|step| matches!(step, Step::Get { .. }));
        let effect = if reads { Effect::Reads } else { Effect::Writes };
        let answer = self
            .run(effect, |attempt| {
                let request = v1::TxnRequest {
                    keyspace: self.options().keyspace.clone(),
                    compares: txn.compare.iter().map(wire_compare).collect(),
                    success: txn.then.iter().map(wire_step).collect(),
                    failure: txn.otherwise.iter().map(wire_step).collect(),
                    timeout_ms: attempt.timeout_ms(),
                };
                async move { attempt.kv().txn(attempt.request(request)).await }
            })
            .await?;
        let asked = if answer.succeeded { &txn.then } else { &txn.otherwise };
        if asked.len() != answer.results.len() {
            return Err(broken("the answer has another number of steps than the transaction"));
        }
        let steps = asked.iter().zip(answer.results).map(|(step, result)| outcome(step, result));
        Ok(TxnOutcome { held: answer.succeeded, steps: steps.collect::<Result<_, _>>()? })
    }

    /// Adds to the decimal integer that the value of a key is, and returns the sum. A missing value
    /// counts as zero.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Invalid`] if the value is no integer or the sum is too large.
    pub async fn increment(&self, key: impl Into<Bytes>, by: i64) -> Result<i64, Error> {
        match self.single(Vec::new(), Step::Increment { key: key.into(), by }).await?.1 {
            StepOutcome::Incremented { value, .. } => Ok(value),
            other => Err(refused(other)),
        }
    }

    /// Stores a value if a condition holds, and returns its version; otherwise the version of the
    /// present value, if there is one.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn compare_and_swap(
        &self,
        key: impl Into<Bytes>,
        condition: Condition,
        value: impl Into<Bytes>,
        options: PutOptions,
    ) -> Result<Result<Version, Option<Version>>, Error> {
        let (key, value) = (key.into(), value.into());
        let put = Step::Put { key: key.clone(), value, options };
        match self.single(vec![(key, condition)], put).await? {
            (true, StepOutcome::Stored { version, .. }) => Ok(Ok(version)),
            (false, StepOutcome::Got(found)) => Ok(Err(found.map(|found| found.version))),
            (_, other) => Err(refused(other)),
        }
    }

    /// Changes when the value of a key stops being visible: after `ttl`, or never when absent.
    /// Returns whether there was a value.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn expire(
        &self,
        key: impl Into<Bytes>,
        ttl: Option<Duration>,
    ) -> Result<bool, Error> {
        match self.single(Vec::new(), Step::Expire { key: key.into(), ttl }).await?.1 {
            StepOutcome::Expires { found } => Ok(found),
            other => Err(refused(other)),
        }
    }

    /// Does a step if all conditions hold, else reads the first of their keys.
    async fn single(
        &self,
        compare: Vec<(Bytes, Condition)>,
        step: Step,
    ) -> Result<(bool, StepOutcome), Error> {
        let otherwise = compare.iter().take(1).map(|(key, _)| Step::Get { key: key.clone() });
        let txn = Txn { otherwise: otherwise.collect(), compare, then: vec![step] };
        let TxnOutcome { held, steps } = self.transact(&txn).await?;
        let step = steps.into_iter().next();
        step.map(|step| (held, step)).ok_or_else(|| broken("the answer has no step"))
    }
}

/// The error of a request that is one step, and that was not done.
fn refused(outcome: StepOutcome) -> Error {
    match outcome {
        StepOutcome::Refused(text) => Error::invalid(format!("{text}; nothing was executed")),
        _ => broken("the answer is not one to the step"),
    }
}

fn broken(text: &str) -> Error {
    Error::of_code("BROKEN".to_owned(), None, text.to_owned(), Effect::Writes)
}

fn wire_compare((key, condition): &(Bytes, Condition)) -> v1::Compare {
    use v1::compare::Condition as Wire;
    let condition = match condition {
        Condition::Absent => Wire::Exists(false),
        Condition::Present => Wire::Exists(true),
        Condition::Version(version) => Wire::Version(version.to_string()),
        Condition::Value(value) => Wire::Value(value.clone()),
    };
    v1::Compare { key: key.clone(), condition: Some(condition) }
}

fn wire_step(step: &Step) -> v1::Operation {
    use v1::operation::Kind;
    let ttl_ms = |ttl: Duration| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
    let kind = match step.clone() {
        Step::Get { key } => Kind::Get(v1::GetRequest { key, ..Default::default() }),
        Step::Put { key, value, options } => {
            let expiry = options.ttl.map(|ttl| v1::put_request::Expiry::TtlMs(ttl_ms(ttl)));
            Kind::Put(v1::PutRequest { key, value, expiry, ..Default::default() })
        }
        Step::Delete { key } => Kind::Delete(v1::DeleteRequest { key, ..Default::default() }),
        Step::Increment { key, by } => Kind::Increment(v1::IncrementRequest { key, by }),
        Step::Expire { key, ttl } => {
            let expiry = ttl.map(|ttl| v1::expire_request::Expiry::TtlMs(ttl_ms(ttl)));
            Kind::Expire(v1::ExpireRequest { key, expiry })
        }
    };
    v1::Operation { kind: Some(kind) }
}

fn outcome(step: &Step, result: v1::OperationResult) -> Result<StepOutcome, Error> {
    use v1::operation_result::Kind;
    Ok(match (step, result.kind) {
        (_, Some(Kind::Failure(failure))) => StepOutcome::Refused(failure.message),
        (Step::Get { key }, Some(Kind::Get(answer))) => {
            StepOutcome::Got(found(key.clone(), answer)?)
        }
        (Step::Put { .. }, Some(Kind::Put(v1::PutResponse { version: text, acked, was_live }))) => {
            StepOutcome::Stored { version: version(&text)?, acked, was_live }
        }
        (Step::Delete { .. }, Some(Kind::Delete(answer))) => {
            StepOutcome::Deleted { was_live: answer.was_live }
        }
        (Step::Increment { .. }, Some(Kind::Increment(answer))) => {
            let version = version(&answer.version)?;
            StepOutcome::Incremented { value: answer.value, version }
        }
        (Step::Expire { .. }, Some(Kind::Expire(answer))) => {
            StepOutcome::Expires { found: answer.found }
        }
        _ => return Err(broken("the answer is not one to the transaction")),
    })
}
