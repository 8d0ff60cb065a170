//! Counts and times every call, under the names that the dashboards of a3.store query.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;

use super::{DESCRIPTORS, GrpcError};

/// The label of a call to a method that does not exist, so that clients cannot make up labels.
const UNKNOWN: &str = "unknown";

/// The names of the methods by their paths.
type Methods = Arc<HashMap<String, String>>;

/// Lets every call pass through the measurement.
///
/// # Errors
/// [`GrpcError::Descriptors`] only if the build is broken.
pub fn measured(router: Router) -> Result<Router, GrpcError> {
    let mut methods = HashMap::new();
    for descriptors in DESCRIPTORS {
        let known = kvorum_proto::methods(descriptors);
        methods.extend(known.map_err(|error| GrpcError::Descriptors(error.to_string()))?);
    }
    let methods: Methods = Arc::new(methods);
    Ok(router.layer(from_fn_with_state(methods, measure)))
}

async fn measure(State(methods): State<Methods>, request: Request, next: Next) -> Response {
    let method = methods.get(request.uri().path()).map_or(UNKNOWN, String::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    metrics::counter!("kv_grpc_requests_total", "method" => method.clone()).increment(1);
    // A unary call that fails carries its status in the headers.
    let failed = response.headers().get("grpc-status").is_some_and(|status| status != "0");
    if failed {
        metrics::counter!("kv_grpc_errors_total", "method" => method.clone()).increment(1);
    }
    metrics::histogram!("kv_grpc_latency_seconds", "method" => method)
        .record(begun.elapsed().as_secs_f64());
    response
}
