//! `/v1/keyspaces/{ks}/keys/{key}`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH};
use kvorum_core::{
    Action, Compare, Condition, Consistency, Error, Executed, Expiry, Identity, Item, Op, Outcome,
    Step, Txn, Version, Want, limits,
};
use serde::Deserialize;
use serde_json::json;

use super::api::{Api, Doc, Verb};
use super::app::{App, Caller};
use super::payload::Payload;
use super::problem::Problem;
use super::text;
use super::uri::{Path, Query};
use crate::data::{Call, ClientKey, Lookup, StepResult, Stored, Written, put};

const KEY: &str = "/v1/keyspaces/{ks}/keys/{key}";
const OCTETS: &str = "application/octet-stream";
const JSON: &str = "application/json";
const FORM: &str = "application/x-www-form-urlencoded";

const IF_MATCH_MEANS: &str =
    "Only over the value with this ETag, or over any with *; needs a strong keyspace.";
/// What `Idempotency-Key` does.
pub const IDEMPOTENCY_KEY_MEANS: &str = "A name: sent again under it, the write is not done twice \
     but answered as before; needs a strong keyspace.";
const IF_NONE_MATCH_MEANS: &str = "With *, only where there is no value; needs a strong keyspace.";

pub fn routes(api: Api) -> Api {
    let get = run_headers(Doc::new("Read a key: JSON, or raw bytes where Accept asks for them."))
        .header("X-Kvorum-Min-Version", "An answer older than this version is not accepted.")
        .answers(JSON, "Item");
    let put = run_headers(Doc::new("Store a value: a JSON document, or raw bytes."))
        .query("ttl_ms", "After how many milliseconds the value stops being visible.")
        .header("If-Match", IF_MATCH_MEANS)
        .header("If-None-Match", IF_NONE_MATCH_MEANS)
        .header("Idempotency-Key", IDEMPOTENCY_KEY_MEANS)
        .takes(JSON, "Value")
        .takes(OCTETS, "Bytes")
        .answers(JSON, "Written");
    let delete = run_headers(Doc::new("Delete a key."))
        .header("If-Match", IF_MATCH_MEANS)
        .header("Idempotency-Key", IDEMPOTENCY_KEY_MEANS)
        .answers(JSON, "Written");
    api.route(Verb::Get, KEY, read, &get).route(Verb::Put, KEY, store, &put).route(
        Verb::Delete,
        KEY,
        remove,
        &delete,
    )
}

/// Documents the headers of [`How`].
pub fn run_headers(doc: Doc) -> Doc {
    let levels = "For reads of strong keyspaces lease, safe, follower or stale:MILLISECONDS; in \
                  eventual ones one, quorum or all. The keyspace's default when absent.";
    doc.header("X-Kvorum-Consistency", levels)
        .header("X-Kvorum-Timeout-Ms", "How long to wait, up to 30000; 2000 when absent.")
}

/// How a request wants to be run, by its headers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct How {
    /// What the answer must promise.
    pub consistency: Option<Consistency>,
    /// The oldest version that is good enough.
    pub min_version: Option<Version>,
    /// How long to wait.
    pub timeout: Option<Duration>,
    /// The client's name for it.
    pub key: Option<ClientKey>,
}

impl How {
    /// Reads the headers.
    ///
    /// # Errors
    /// [`Error::Invalid`] that names the header.
    pub fn of(headers: &HeaderMap) -> Outcome<How> {
        let milliseconds = |text: &str| text.parse().map(Duration::from_millis);
        Ok(How {
            consistency: header(headers, "X-Kvorum-Consistency", str::parse)?,
            min_version: header(headers, "X-Kvorum-Min-Version", str::parse)?,
            timeout: header(headers, "X-Kvorum-Timeout-Ms", milliseconds)?,
            key: header(headers, "Idempotency-Key", ClientKey::parse)?,
        })
    }

    /// The call that runs `op` this way.
    pub fn call(&self, keyspace: String, op: Op) -> Call {
        let min_version = self.min_version.filter(|_| !op.is_write());
        let How { consistency, timeout, .. } = *self;
        let key = self.key.clone();
        Call { keyspace, op, consistency, min_version, timeout, key }
    }
}

fn header<T, E: std::fmt::Display>(
    headers: &HeaderMap,
    name: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Outcome<Option<T>> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Error::invalid(format!("{name} is there more than once")));
    }
    let text = value.to_str().map_err(|_| Error::invalid(format!("{name} is not text")))?;
    let wrong = |error| Error::invalid(format!("{name} is {text:?}: {error}"));
    parse(text.trim()).map(Some).map_err(wrong)
}

async fn read(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let op = Op::Get { key: path.bytes("key"), want: Want::Value };
    let call = How::of(&headers)?.call(path.keyspace()?, op);
    match app.data().run(&identity, call).await?.try_into()? {
        Lookup::Missing(version) => Err(Problem::no_value(version)),
        Lookup::Found(item) => Ok(found(item, &headers)),
    }
}

fn found(item: Item, headers: &HeaderMap) -> Response {
    let etag = etag(item.header.version);
    if names(headers, &etag) {
        return (StatusCode::NOT_MODIFIED, [(ETAG, etag)]).into_response();
    }
    let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains(OCTETS) {
        let raw = HeaderValue::from_static(OCTETS);
        return ([(ETAG, etag), (CONTENT_TYPE, raw)], item.value).into_response();
    }
    ([(ETAG, etag)], Json(text::item(&item, true))).into_response()
}

/// Whether `If-None-Match` names an entity tag (RFC 9110, section 13.1.2: a list, compared weakly).
fn names(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let lists = headers.get_all(IF_NONE_MATCH).iter().filter_map(|list| list.to_str().ok());
    let mut tags = lists.flat_map(|list| list.split(',')).map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

async fn store(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    query: Query,
    headers: HeaderMap,
    payload: Payload,
) -> Result<Response, Problem> {
    query.only(&["ttl_ms"])?;
    let keyspace = path.keyspace()?;
    let key = path.bytes("key");
    let compare = conditions(&app, &keyspace, &headers, &key)?;
    let how = How::of(&headers)?;
    let expiry = expiry(query.number("ttl_ms")?)?;
    let value = value_of(payload).await?;
    if !compare.is_empty() {
        let step = put(key, value, expiry, 0);
        return write_if(&app, &identity, how, keyspace, compare, step).await;
    }
    let op = Op::Put { key, value, expiry, tag: 0 };
    let written = app.data().run(&identity, how.call(keyspace, op)).await?.try_into()?;
    Ok(done(written))
}

async fn remove(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    query: Query,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    query.only(&[])?;
    let keyspace = path.keyspace()?;
    let key = path.bytes("key");
    let compare = conditions(&app, &keyspace, &headers, &key)?;
    if !compare.is_empty() {
        let (how, step) = (How::of(&headers)?, Step::new(key, Action::Delete));
        return write_if(&app, &identity, how, keyspace, compare, step).await;
    }
    let op = Op::Delete { key };
    let call = How::of(&headers)?.call(keyspace, op);
    let written = app.data().run(&identity, call).await?.try_into()?;
    Ok(done(written))
}

/// The conditions of a write (RFC 9110, section 13.1), which only strong keyspaces can keep.
fn conditions(
    app: &App,
    keyspace: &str,
    headers: &HeaderMap,
    key: &Bytes,
) -> Outcome<Vec<Compare>> {
    let mut compare = Vec::new();
    for (name, what) in [(IF_MATCH, "If-Match"), (IF_NONE_MATCH, "If-None-Match")] {
        let Some(value) = headers.get(&name) else { continue };
        app.data().require_strong(keyspace, what)?;
        let several = headers.get_all(&name).iter().count() > 1;
        let text = value.to_str().ok().filter(|_| !several).map(str::trim).unwrap_or_default();
        let condition = match (what, text) {
            ("If-Match", "*") => Condition::Present,
            ("If-None-Match", "*") => Condition::Absent,
            ("If-Match", tag) => Condition::Version(version_of(tag)?),
            _ => return Err(Error::invalid("If-None-Match of a write is *")),
        };
        compare.push(Compare { key: key.clone(), condition });
    }
    Ok(compare)
}

/// The version that an entity tag stands for.
fn version_of(tag: &str) -> Outcome<Version> {
    let inside = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
    inside.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Error::invalid(format!("If-Match is {tag:?}; it is * or one ETag as a read answers it"))
    })
}

/// Writes if the conditions hold.
async fn write_if(
    app: &App,
    identity: &Identity,
    how: How,
    keyspace: String,
    compare: Vec<Compare>,
    step: Step,
) -> Result<Response, Problem> {
    let otherwise = vec![Step::new(step.key.clone(), Action::Read)];
    let txn = Txn { compare, then: vec![step], otherwise };
    let call = how.call(keyspace, Op::Txn(txn));
    let done = app.data().transact(identity, call).await?;
    match done.steps.first() {
        Some(StepResult::Stored(stored) | StepResult::Deleted(stored)) if done.held => {
            let Stored { version, acked, was_live } = stored;
            let text = version.map(|version| version.to_string());
            let body = json!({ "version": text, "acked": acked, "was_live": was_live });
            let tag = version.map(|version| [(ETAG, etag(version))]);
            Ok((tag, Json(body)).into_response())
        }
        Some(StepResult::Refused(refusal)) => Err(Error::invalid(refusal.to_string()).into()),
        Some(StepResult::Read { version, .. }) => Err(Problem::precondition(*version)),
        _ => Err(Error::CoordinatorLost { executed: Executed::Unknown }.into()),
    }
}

/// When a value with a time to live stops being visible.
///
/// # Errors
/// [`Error::Invalid`] outside of the limits.
pub fn expiry(ttl_ms: Option<u64>) -> Outcome<Expiry> {
    ttl_ms.map_or(Ok(Expiry::Never), |ms| limits::check_ttl(ms).map(Expiry::After))
}

/// The document around a value.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    value: Option<String>,
    value_base64: Option<String>,
}

async fn value_of(payload: Payload) -> Result<Bytes, Problem> {
    match payload.media_type() {
        Some(JSON) => {
            let Document { value, value_base64 } = payload.json().await?;
            Ok(text::bytes("value", value, value_base64)?)
        }
        // curl -d says so without being asked; whether it is a document or a value is a guess.
        Some(FORM) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "INVALID",
            format!("the body is said to be a form; name {OCTETS} or {JSON} as Content-Type"),
        )),
        _ => payload.value().await,
    }
}

fn done(written: Written) -> Response {
    let Written { version, acked, was_live } = written;
    let body = json!({ "version": version.to_string(), "acked": acked, "was_live": was_live });
    ([(ETAG, etag(version))], Json(body)).into_response()
}

/// A version as an entity tag; hexadecimal digits and a dash are always a valid header.
pub fn etag(version: Version) -> HeaderValue {
    HeaderValue::try_from(format!("\"{version}\"")).unwrap_or(HeaderValue::from_static("\"\""))
}
