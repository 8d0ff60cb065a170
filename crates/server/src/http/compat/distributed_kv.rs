//! distributed-kv: `POST /put` and `GET /get`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::api::{Api, Doc, Verb};
use super::super::app::{App, Caller};
use super::super::payload::Payload;
use super::super::uri::Query;
use super::refusal::Failed;
use super::{get_text, invalid};

pub fn routes(api: Api) -> Api {
    let put = Doc::new("Store a text, whatever the Content-Type (distributed-kv).")
        .takes("application/json", "Object");
    let get = Doc::new("Read a text (distributed-kv).").query("key", "The key.");
    api.route(Verb::Post, "/put", store, &put).route(Verb::Get, "/get", read, &get)
}

#[derive(Debug, Deserialize)]
struct Pair {
    key: String,
    value: String,
}

async fn store(
    State(app): State<App>,
    Caller(identity): Caller,
    payload: Payload,
) -> Result<Json<Value>, Failed> {
    let Pair { key, value } = payload.json().await?;
    app.data().put_text(&identity, key.into(), value, 0, None).await?;
    Ok(Json(json!({ "ok": true })))
}

async fn read(
    State(app): State<App>,
    Caller(identity): Caller,
    query: Query,
) -> Result<Response, Failed> {
    let key = query.text("key")?.filter(|key| !key.is_empty());
    let key = key.ok_or_else(|| invalid("the parameter key is needed"))?;
    Ok(match get_text(&app, &identity, key.clone().into()).await? {
        Some((_, value)) => {
            Json(json!({ "key": key, "value": value, "found": true })).into_response()
        }
        None => {
            let body = Json(json!({ "key": key, "found": false }));
            (StatusCode::NOT_FOUND, body).into_response()
        }
    })
}
