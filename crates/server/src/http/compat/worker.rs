//! The workers of Cloud-Distributed-DB: `/kv/{key}`, values with a version of the client's own.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::api::{Api, Doc, Verb};
use super::super::app::{App, Caller};
use super::super::payload::Payload;
use super::super::uri::Path;
use super::get_text;
use super::refusal::Detailed;
use crate::data::Stale;

/// The version of a value whose writer names none.
const FIRST_VERSION: u32 = 1;

pub fn routes(api: Api) -> Api {
    let put = Doc::new("Store a text with a version of one's own (Cloud-Distributed-DB); in a strong keyspace not over a larger one.")
        .takes("application/json", "Object");
    let get = Doc::new("Read a text and its version (Cloud-Distributed-DB).");
    api.route(Verb::Put, "/kv/{key}", store, &put).route(Verb::Get, "/kv/{key}", read, &get)
}

async fn store(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    payload: Payload,
) -> Result<Response, Detailed> {
    let mut body: Value = payload.json().await?;
    let version = match body.get("version") {
        None => Some(FIRST_VERSION),
        Some(version) => version.as_u64().and_then(|version| u32::try_from(version).ok()),
    };
    let wrong = || Detailed::unprocessable("version must be an integer from 0 to 4294967295");
    let version = version.ok_or_else(wrong)?;
    let Some(Value::String(value)) = body.get_mut("value").map(Value::take) else {
        return Err(Detailed::unprocessable("value must be a string"));
    };
    let stored = app.data().put_text_in_order(&identity, path.bytes("key"), value, version).await?;
    Ok(match stored {
        Ok(()) => Json(json!({ "ok": true })).into_response(),
        Err(Stale(stored)) => {
            let body = json!({ "detail": "stale version", "version": stored, "executed": "no" });
            (StatusCode::CONFLICT, Json(body)).into_response()
        }
    })
}

async fn read(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
) -> Result<Json<Value>, Detailed> {
    let key = path.text("key")?;
    let found = get_text(&app, &identity, path.bytes("key")).await?;
    let (header, value) = found.ok_or_else(|| Detailed::not_found("not found"))?;
    Ok(Json(json!({ "key": key, "value": value, "version": header.tag })))
}
