//! Errors as problem documents (RFC 9457), and the one table from errors to HTTP statuses.

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, ETAG, RETRY_AFTER};
use kvorum_core::{Error, Executed, Version};
use serde_json::{Value, json};

use super::keys::etag;

/// The status of an error.
#[must_use]
pub const fn status(error: &Error) -> StatusCode {
    match error {
        Error::Invalid(_) | Error::CrossSlot => StatusCode::BAD_REQUEST,
        Error::NoKeyspace(_) => StatusCode::NOT_FOUND,
        Error::NotStrong(_) => StatusCode::CONFLICT,
        Error::KeyReused => StatusCode::UNPROCESSABLE_ENTITY,
        Error::Unavailable { .. }
        | Error::Overloaded { .. }
        | Error::ClockSkew { .. }
        | Error::NotServing(_)
        | Error::NotLeader { .. } => StatusCode::SERVICE_UNAVAILABLE,
        Error::Timeout { .. } => StatusCode::GATEWAY_TIMEOUT,
        Error::DiskFull { .. } | Error::IndexFull { .. } => StatusCode::INSUFFICIENT_STORAGE,
        Error::Corrupt { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        Error::CoordinatorLost { .. } | Error::SessionLost => StatusCode::BAD_GATEWAY,
    }
}

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    status: StatusCode,
    code: &'static str,
    detail: String,
    executed: Executed,
    version: Option<Version>,
}

impl Problem {
    /// A problem that kept the request from being executed.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Problem {
        Problem { status, code, detail: detail.into(), executed: Executed::No, version: None }
    }

    /// There is no value under a key; `version` is that of its deletion.
    pub fn no_value(version: Option<Version>) -> Problem {
        let problem = Problem::new(StatusCode::NOT_FOUND, "NOTFOUND", "the key has no value");
        Problem { version, ..problem }
    }

    /// A condition of a write does not hold; `version` is that of the present value.
    pub fn precondition(version: Option<Version>) -> Problem {
        let detail = match version {
            Some(version) => format!("the value has another version: {version}"),
            None => "the key has no value".to_owned(),
        };
        let problem = Problem::new(StatusCode::PRECONDITION_FAILED, "PRECONDITION", detail);
        Problem { version, ..problem }
    }

    /// The status of the response.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What is wrong, in a sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The document.
    pub fn document(&self) -> Value {
        let mut document = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason().unwrap_or_default(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "code": self.code,
            "executed": self.executed.to_string(),
        });
        if let (Some(version), Value::Object(fields)) = (self.version, &mut document) {
            fields.insert("version".to_owned(), Value::String(version.to_string()));
        }
        document
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Problem {
        Problem {
            status: status(&error),
            code: error.code(),
            detail: error.to_string(),
            executed: error.executed(),
            version: None,
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.document())).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if let (StatusCode::PRECONDITION_FAILED, Some(version)) = (self.status, self.version) {
            headers.insert(ETAG, etag(version));
        }
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

/// The answer to a path that does not exist.
pub async fn unknown_path(uri: Uri) -> Problem {
    let detail = format!("there is nothing at {}; /openapi.json lists what there is", uri.path());
    Problem::new(StatusCode::NOT_FOUND, "NOPATH", detail)
}

/// The answer to a method that the path does not have.
pub async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not understand {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "NOMETHOD", detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::memory::every_error;

    #[test]
    fn every_error_has_a_status_and_says_whether_it_was_executed() {
        for error in every_error() {
            let problem = Problem::from(error.clone());
            let status = problem.status();
            assert!(status.is_client_error() || status.is_server_error(), "{error}");
            // A client may repeat what it was refused for; a server's trouble it may not know.
            if status.is_client_error() {
                assert_eq!(error.executed(), Executed::No, "{error}");
            }
            let document = problem.document();
            assert_eq!(document["code"], error.code());
            assert_eq!(document["executed"], error.executed().to_string());
            assert_eq!(document["detail"], error.to_string());
            assert_eq!(document["status"], status.as_u16());
        }
    }
}
