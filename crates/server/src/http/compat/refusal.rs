//! Errors in the shapes of the reference systems, with our code and outcome beside them.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use kvorum_core::Error;
use serde_json::{Value, json};

use super::super::problem::Problem;

/// `{"error": …}`, as a3.store and distributed-kv have it.
#[derive(Clone, Debug)]
pub struct Failed(pub Problem);

/// `{"detail": …}`, as Cloud-Distributed-DB has it.
#[derive(Clone, Debug)]
pub struct Detailed(pub Problem);

impl Detailed {
    /// A request that lacks something, or has it in a wrong shape.
    pub fn unprocessable(detail: impl Into<String>) -> Detailed {
        Detailed(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "INVALID", detail))
    }

    /// Something that is not there.
    pub fn not_found(detail: impl Into<String>) -> Detailed {
        Detailed(Problem::new(StatusCode::NOT_FOUND, "NOTFOUND", detail))
    }
}

impl<T: Into<Problem>> From<T> for Failed {
    fn from(problem: T) -> Failed {
        Failed(problem.into())
    }
}

impl From<Problem> for Detailed {
    fn from(problem: Problem) -> Detailed {
        Detailed(problem)
    }
}

impl From<Error> for Detailed {
    fn from(error: Error) -> Detailed {
        Detailed(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        shaped("error", &self.0)
    }
}

impl IntoResponse for Detailed {
    fn into_response(self) -> Response {
        shaped("detail", &self.0)
    }
}

fn shaped(field: &str, problem: &Problem) -> Response {
    let document = problem.document();
    let body: Value = json!({
        field: problem.detail(),
        "code": document.get("code"),
        "executed": document.get("executed"),
    });
    (problem.status(), Json(body)).into_response()
}
