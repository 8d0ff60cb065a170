//! What every handler can reach.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::header::AUTHORIZATION;
use http::request::Parts;
use kvorum_core::Identity;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::payload;
use crate::auth::{Authenticator, Credentials};
use crate::data::Data;
use crate::telemetry::Metrics;

/// The state of the front end. Clones share it.
#[derive(Clone, Debug)]
pub struct App(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    data: Data,
    authenticator: Authenticator,
    metrics: Metrics,
    document: Value,
    body_budget: Arc<Semaphore>,
}

impl App {
    pub fn new(data: Data, authenticator: Authenticator, metrics: Metrics, document: Value) -> App {
        let body_budget = payload::budget();
        App(Arc::new(Inner { data, authenticator, metrics, document, body_budget }))
    }

    /// The data.
    pub fn data(&self) -> &Data {
        &self.0.data
    }

    /// The metrics of the process.
    pub fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    /// The OpenAPI document.
    pub fn document(&self) -> &Value {
        &self.0.document
    }

    /// The memory for bodies that are being received.
    pub fn body_budget(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.body_budget)
    }
}

/// On whose behalf a request runs.
#[derive(Clone, Debug)]
pub struct Caller(pub Identity);

impl FromRequestParts<App> for Caller {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Caller, Self::Rejection> {
        let header = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let credentials = Credentials::of_header(header);
        Ok(Caller(app.0.authenticator.identify(credentials)))
    }
}
