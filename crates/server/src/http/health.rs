//! Health and metrics: `/healthz`, `/livez`, `/readyz`, `/metrics`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use kvorum_core::Error;
use kvorum_node::Serving;
use serde_json::{Value, json};

use super::api::{Api, Doc, Verb};
use super::app::App;
use super::problem::Problem;

/// The text format that Prometheus reads.
const EXPOSITION: &str = "text/plain; version=0.0.4; charset=utf-8";

pub fn routes(api: Api) -> Api {
    let healthz = Doc::new("Whether the process answers at all.");
    let livez = Doc::new("Whether the node's loop turns; restart the node if it does not.");
    let readyz = Doc::new("Whether the node takes requests.");
    let metrics = Doc::new("Metrics for Prometheus.").answers("text/plain", "Text");
    api.route(Verb::Get, "/healthz", health, &healthz)
        .route(Verb::Get, "/livez", live, &livez)
        .route(Verb::Get, "/readyz", ready, &readyz)
        .route(Verb::Get, "/metrics", render, &metrics)
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn live(State(app): State<App>) -> Result<Json<Value>, Problem> {
    if app.data().turns().await {
        return Ok(Json(json!({ "status": "ok" })));
    }
    let status = StatusCode::SERVICE_UNAVAILABLE;
    Err(Problem::new(status, "STUCK", "the node has not answered its own question in time"))
}

async fn ready(State(app): State<App>) -> Result<Json<Value>, Problem> {
    match &app.data().status().serving {
        Serving::Yes => Ok(Json(json!({ "status": "ok" }))),
        Serving::Rebuilding(count) => {
            Ok(Json(json!({ "status": "ok", "rebuilding_partitions": count })))
        }
        Serving::No(why) => Err(Error::NotServing(why.clone().into()).into()),
    }
}

async fn render(State(app): State<App>) -> Response {
    let format = HeaderValue::from_static(EXPOSITION);
    ([(CONTENT_TYPE, format)], app.metrics().render()).into_response()
}
