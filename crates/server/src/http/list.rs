//! `GET /v1/keyspaces/{ks}/keys`.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use kvorum_core::{Error, Outcome, Want};
use serde_json::{Value, json};

use super::api::{Api, Doc, Verb};
use super::app::{App, Caller};
use super::keys::{How, run_headers};
use super::problem::Problem;
use super::text;
use super::uri::{Path, Query};
use crate::data::{Scan, decode_cursor, encode_cursor};

/// How many keys a page has unless the client says otherwise, and at most.
const DEFAULT_LIMIT: u64 = 100;
const MAX_LIMIT: u64 = 1000;

pub fn routes(api: Api) -> Api {
    let doc = Doc::new("Keys that begin with a prefix, in the order of their slots, page by page.")
        .query("prefix", "What the keys begin with.")
        .query("limit", "How many keys at most: 1 to 1000, 100 when absent.")
        .query("cursor", "Where to go on, from the page before.")
        .query("values", "true for the values as well.")
        .answers("application/json", "Page");
    api.route(Verb::Get, "/v1/keyspaces/{ks}/keys", list, &run_headers(doc))
}

async fn list(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    query: Query,
    headers: HeaderMap,
) -> Result<Json<Value>, Problem> {
    query.only(&["prefix", "limit", "cursor", "values"])?;
    let with_values = query.flag("values")?;
    let How { consistency, timeout, .. } = How::of(&headers)?;
    let scan = Scan {
        keyspace: path.keyspace()?,
        prefix: query.bytes("prefix").unwrap_or_default(),
        from: decode_cursor(&query.text("cursor")?.unwrap_or_default())?,
        limit: limit(&query)?,
        want: if with_values { Want::Value } else { Want::Header },
        consistency,
        timeout,
    };
    let page = app.data().scan(&identity, &scan).await?;
    let keys: Vec<Value> = page.items.iter().map(|item| text::item(item, with_values)).collect();
    let cursor = page.next.as_ref().map(encode_cursor);
    Ok(Json(json!({ "keys": keys, "cursor": cursor })))
}

fn limit(query: &Query) -> Outcome<usize> {
    let limit = query.number("limit")?.unwrap_or(DEFAULT_LIMIT);
    let known = usize::try_from(limit).ok().filter(|_| (1..=MAX_LIMIT).contains(&limit));
    let wrong = || Error::invalid(format!("limit is {limit}; it lies between 1 and {MAX_LIMIT}"));
    known.ok_or_else(wrong)
}
