//! Bodies of requests: their length is checked before and while they are read, and what all
//! connections together may hold while reading is bounded.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_TYPE, EXPECT};
use kvorum_core::{Error, Executed};
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio_stream::StreamExt;

use super::app::App;
use super::problem::Problem;

/// Memory for bodies that are being received, in kibibytes.
const BUDGET_KIB: usize = 64 << 10;
/// A body that is too long but not longer than this is read to its end.
const LONGEST_DISCARDED: u64 = 64 << 20;
/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Room in a JSON document beside its values.
const JSON_OVERHEAD: usize = 64 << 10;
/// The longest batch at least, whatever the longest value.
const MIN_BATCH: usize = 4 << 20;

/// The memory for bodies that are being received.
pub fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(BUDGET_KIB))
}

/// A body that has not been read yet.
#[derive(Debug)]
pub struct Payload {
    body: Body,
    content_type: Option<String>,
    /// The client waits for an answer to the head before it sends the body (RFC 9110, section
    /// 10.1.1).
    asks_first: bool,
    max_value: usize,
    budget: Arc<Semaphore>,
}

impl FromRequest<App> for Payload {
    type Rejection = std::convert::Infallible;

    async fn from_request(request: Request, app: &App) -> Result<Payload, Self::Rejection> {
        let content_type = request.headers().get(CONTENT_TYPE);
        let content_type = content_type.and_then(|value| value.to_str().ok());
        Ok(Payload {
            content_type: content_type.map(media_type),
            asks_first: request.headers().contains_key(EXPECT),
            body: request.into_body(),
            max_value: app.data().max_value(),
            budget: app.body_budget(),
        })
    }
}

impl Payload {
    /// The media type without its parameters, in lower case.
    pub fn media_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    /// The body as one value.
    ///
    /// # Errors
    /// A problem if it is too long, too slow or cut off.
    pub async fn value(self) -> Result<Bytes, Problem> {
        let limit = self.max_value;
        self.read(limit).await
    }

    /// The body as a JSON document around one value, which may need two bytes for each of its own.
    ///
    /// # Errors
    /// A problem if it is too long, too slow, cut off or not such a document.
    pub async fn json<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let limit = 2 * self.max_value + JSON_OVERHEAD;
        parse(&self.read(limit).await?)
    }

    /// The body as a JSON document around many values.
    ///
    /// # Errors
    /// As [`Payload::json`].
    pub async fn json_batch<T: DeserializeOwned>(self) -> Result<T, Problem> {
        let limit = (2 * self.max_value + JSON_OVERHEAD).max(MIN_BATCH);
        parse(&self.read(limit).await?)
    }

    async fn read(self, limit: usize) -> Result<Bytes, Problem> {
        let announced = self.body.size_hint().exact();
        if let Some(length) = announced.filter(|length| *length > limit as u64) {
            if !self.asks_first {
                discard(self.body, length).await;
            }
            return Err(too_long(&format!("is {length} bytes long"), limit));
        }
        let length = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or(limit);
        let _held = reserve(&self.budget, length)?;
        let slow = || Problem::new(StatusCode::REQUEST_TIMEOUT, "SLOWBODY", "the body is too slow");
        match tokio::time::timeout(PATIENCE, collect(self.body, limit)).await {
            Ok(read) => read,
            Err(_) => Err(slow()),
        }
    }
}

fn reserve(budget: &Semaphore, length: usize) -> Result<SemaphorePermit<'_>, Problem> {
    let kib = u32::try_from(length.div_ceil(1024)).unwrap_or(u32::MAX);
    budget.try_acquire_many(kib).map_err(|_| {
        let what = "the memory for bodies of requests";
        Problem::from(Error::Overloaded { what, executed: Executed::No })
    })
}

async fn collect(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut chunks = body.into_data_stream();
    let mut bytes = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|error| {
            let detail = format!("the body could not be read: {error}");
            Problem::new(StatusCode::BAD_REQUEST, "INVALID", detail)
        })?;
        if bytes.len() + chunk.len() > limit {
            return Err(too_long("is longer", limit));
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

/// Reads a body that is too long and keeps nothing of it: a client that sends all of its request
/// before it reads would else find the connection closed instead of the reason. One that sends
/// much more is cut off.
async fn discard(body: Body, length: u64) {
    if length > LONGEST_DISCARDED {
        return;
    }
    let mut chunks = body.into_data_stream();
    let gone = async { while let Some(Ok(_)) = chunks.next().await {} };
    // Whoever is slower than this has lost the answer.
    let _ = tokio::time::timeout(PATIENCE, gone).await;
}

fn too_long(how: &str, limit: usize) -> Problem {
    let detail = format!("the body {how}; the limit is {limit} bytes");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "INVALID", detail)
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    if let Err(error) = std::str::from_utf8(bytes) {
        let at = error.valid_up_to();
        return Err(Error::invalid(format!("the body is not UTF-8 (byte {at})")).into());
    }
    let wrong = |error| Error::invalid(format!("the body is not the JSON expected: {error}"));
    serde_json::from_slice(bytes).map_err(|error| wrong(error).into())
}

fn media_type(text: &str) -> String {
    text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}
