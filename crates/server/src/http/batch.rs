//! Many operations at once, and the operations that only strong keyspaces have.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kvorum_core::{Error, Op, Outcome, Reply, Want};
use serde::Deserialize;
use serde_json::{Value, json};

use super::api::{Api, Doc, Verb};
use super::app::{App, Caller};
use super::keys::{How, expiry, run_headers};
use super::payload::Payload;
use super::problem::Problem;
use super::text;
use super::uri::Path;

pub fn routes(api: Api) -> Api {
    let batch = Doc::new("Run operations that are independent of each other.")
        .takes("application/json", "Batch")
        .answers("application/json", "BatchResults");
    let txn = Doc::new("Compare and write atomically; needs a strong keyspace.");
    let watch = Doc::new("Changes as they happen; needs a strong keyspace.");
    api.route(Verb::Post, "/v1/keyspaces/{ks}/batch", run, &run_headers(batch))
        .route(Verb::Post, "/v1/keyspaces/{ks}/txn", transact, &txn)
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
}

impl Operation {
    fn into_op(self) -> Outcome<Op> {
        let key = text::bytes("key", self.key, self.key_base64)?;
        let only_put = self.value.is_some() || self.value_base64.is_some() || self.ttl_ms.is_some();
        match self.op {
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

async fn transact(State(app): State<App>, path: Path) -> Problem {
    needs_strong(&app, &path, "a transaction")
}

async fn watch_changes(State(app): State<App>, path: Path) -> Problem {
    needs_strong(&app, &path, "a watch")
}

fn needs_strong(app: &App, path: &Path, what: &'static str) -> Problem {
    let keyspace = path.keyspace().and_then(|name| app.data().keyspace(&name).map(drop));
    keyspace.err().unwrap_or(Error::NotStrong(what)).into()
}
