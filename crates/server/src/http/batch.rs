//! Many operations at once: independent of each other, or as one transaction.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use kvorum_core::{Action, Compare, Condition, Error, Op, Outcome, Reply, Step, Txn, Want};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::api::{Api, Doc, Verb};
use super::app::{App, Caller};
use super::keys::{How, IDEMPOTENCY_KEY_MEANS, expiry, run_headers};
use super::payload::Payload;
use super::problem::Problem;
use super::text;
use super::uri::Path;
use crate::data::{NO_WATCH, StepResult, Stored, put};

pub fn routes(api: Api) -> Api {
    let batch = Doc::new("Run operations that are independent of each other.")
        .header("Idempotency-Key", IDEMPOTENCY_KEY_MEANS)
        .takes("application/json", "Batch")
        .answers("application/json", "BatchResults");
    let txn = Doc::new("Compare and write keys of one slot atomically; needs a strong keyspace.")
        .header("Idempotency-Key", IDEMPOTENCY_KEY_MEANS)
        .takes("application/json", "Txn")
        .answers("application/json", "TxnResults");
    let watch = Doc::new("Changes as they happen: not there yet.");
    api.route(Verb::Post, "/v1/keyspaces/{ks}/batch", run, &run_headers(batch))
        .route(Verb::Post, "/v1/keyspaces/{ks}/txn", transact, &run_headers(txn))
        .route(Verb::Get, "/v1/keyspaces/{ks}/watch", watch_changes, &watch)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch {
    operations: Vec<Operation>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Put,
    Delete,
    Increment,
    Expire,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Operation {
    op: Kind,
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    ttl_ms: Option<u64>,
    /// What an increment adds.
    by: Option<i64>,
}

impl Operation {
    fn into_op(self) -> Outcome<Op> {
        let only_put = self.has_value() || self.ttl_ms.is_some();
        let key = text::bytes("key", self.key, self.key_base64)?;
        match self.op {
            Kind::Increment | Kind::Expire => {
                Err(Error::invalid("increment and expire are operations of transactions"))
            }
            _ if self.by.is_some() => Err(Error::invalid("only increment takes by")),
            Kind::Put => {
                let value = text::bytes("value", self.value, self.value_base64)?;
                Ok(Op::Put { key, value, expiry: expiry(self.ttl_ms)?, tag: 0 })
            }
            _ if only_put => Err(Error::invalid("only put takes value and ttl_ms")),
            Kind::Get => Ok(Op::Get { key, want: Want::Value }),
            Kind::Delete => Ok(Op::Delete { key }),
        }
    }
}

async fn run(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let keyspace = path.keyspace()?;
    let how = How::of(&headers)?;
    let batch: Batch = payload.json_batch().await?;
    let calls = batch.operations.into_iter().map(|operation| {
        let op = operation.into_op()?;
        Ok(how.call(keyspace.clone(), op))
    });
    let replies = app.data().run_all(&identity, calls.collect()).await?;
    let results: Vec<Value> = replies.into_iter().map(result).collect();
    Ok(Json(json!({ "results": results })))
}

fn result(reply: Outcome<Reply>) -> Value {
    match reply {
        Ok(Reply::Found(item)) => text::item(&item, true),
        Ok(Reply::Missing(version)) => json!({
            "found": false,
            "version": version.map(|version| version.to_string()),
        }),
        Ok(Reply::Written { version, acked, was_live }) => json!({
            "version": version.to_string(),
            "acked": acked,
            "was_live": was_live,
        }),
        Ok(Reply::Page(..) | Reply::Count(_) | Reply::Txn(_)) => json!({}),
        Err(error) => json!({ "error": Problem::from(error).document() }),
    }
}

/// A transaction as a document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Transaction {
    #[serde(default)]
    compare: Vec<Comparison>,
    #[serde(default)]
    then: Vec<Operation>,
    #[serde(default, rename = "else")]
    otherwise: Vec<Operation>,
}

/// What must hold of a key: exactly one of the conditions.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Comparison {
    key: Option<String>,
    key_base64: Option<String>,
    version: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    exists: Option<bool>,
}

impl Comparison {
    fn into_compare(self) -> Outcome<Compare> {
        let key = text::bytes("key", self.key, self.key_base64)?;
        let value = self.value.is_some() || self.value_base64.is_some();
        let condition = match (self.version, value, self.exists) {
            (Some(version), false, None) => {
                let wrong = |error| Error::invalid(format!("{version:?}: {error}"));
                Condition::Version(version.parse().map_err(wrong)?)
            }
            (None, true, None) => {
                Condition::Value(text::bytes("value", self.value, self.value_base64)?)
            }
            (None, false, Some(true)) => Condition::Present,
            (None, false, Some(false)) => Condition::Absent,
            _ => {
                let text = "a comparison has exactly one of version, value and exists";
                return Err(Error::invalid(text));
            }
        };
        Ok(Compare { key, condition })
    }
}

impl Operation {
    fn into_step(self) -> Outcome<Step> {
        let action = match self.op {
            Kind::Increment if self.has_value() || self.ttl_ms.is_some() => {
                return Err(Error::invalid("increment takes by, and no value and ttl_ms"));
            }
            Kind::Expire if self.has_value() || self.by.is_some() => {
                return Err(Error::invalid("expire takes ttl_ms, and no value and by"));
            }
            Kind::Increment => Action::Add(self.by.unwrap_or(1)),
            Kind::Expire => Action::Expire { expiry: expiry(self.ttl_ms)?, only: Vec::new() },
            Kind::Get | Kind::Put | Kind::Delete => return self.into_op().and_then(step_of),
        };
        Ok(Step::new(text::bytes("key", self.key, self.key_base64)?, action))
    }

    const fn has_value(&self) -> bool {
        self.value.is_some() || self.value_base64.is_some()
    }
}

fn step_of(op: Op) -> Outcome<Step> {
    match op {
        Op::Put { key, value, expiry, tag } => Ok(put(key, value, expiry, tag)),
        Op::Delete { key } => Ok(Step::new(key, Action::Delete)),
        Op::Get { key, .. } => Ok(Step::read(key)),
        _ => Err(Error::invalid("the operation cannot be part of a transaction")),
    }
}

async fn transact(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Json<Value>, Problem> {
    let keyspace = path.keyspace()?;
    app.data().require_strong(&keyspace, "a transaction")?;
    let how = How::of(&headers)?;
    let asked: Transaction = payload.json_batch().await?;
    let steps = |operations: Vec<Operation>| {
        operations.into_iter().map(Operation::into_step).collect::<Outcome<Vec<Step>>>()
    };
    let compare = asked.compare.into_iter().map(Comparison::into_compare);
    let txn = Txn {
        compare: compare.collect::<Outcome<_>>()?,
        then: steps(asked.then)?,
        otherwise: steps(asked.otherwise)?,
    };
    let done = app.data().transact(&identity, how.call(keyspace, Op::Txn(txn))).await?;
    let results: Vec<Value> = done.steps.into_iter().map(step).collect();
    Ok(Json(json!({ "succeeded": done.held, "results": results })))
}

/// What became of a step, as a document.
fn step(result: StepResult) -> Value {
    match result {
        StepResult::Read { item: Some(item), .. } => text::item(&item, true),
        StepResult::Read { item: None, .. } => json!({ "found": false }),
        StepResult::Stored(done) | StepResult::Deleted(done) | StepResult::Expires(_, done) => {
            Value::Object(stored(done))
        }
        StepResult::Added(sum, done) => {
            let mut document = stored(done);
            document.insert("integer".to_owned(), sum.into());
            Value::Object(document)
        }
        StepResult::Refused(refusal) => {
            let problem = Problem::from(Error::invalid(refusal.to_string()));
            json!({ "error": problem.document() })
        }
    }
}

fn stored(Stored { version, acked, was_live }: Stored) -> Map<String, Value> {
    let version = version.map(|version| version.to_string());
    let fields: [(&str, Value); 3] =
        [("version", version.into()), ("acked", acked.into()), ("was_live", was_live.into())];
    fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn watch_changes(State(app): State<App>, path: Path) -> Problem {
    let keyspace = path.keyspace().and_then(|name| app.data().require_strong(&name, "a watch"));
    match keyspace {
        Err(error) => error.into(),
        Ok(()) => Problem::new(StatusCode::NOT_IMPLEMENTED, "UNIMPLEMENTED", NO_WATCH),
    }
}
