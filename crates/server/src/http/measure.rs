//! Counts and times every request.

use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::Method;

/// Counts and times a request under its route, never its path: paths hold keys.
pub async fn measure(request: Request, next: Next) -> Response {
    let method = method_label(request.method());
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("unmatched", MatchedPath::as_str).to_owned();
    let begun = Instant::now();
    let response = next.run(request).await;
    metrics::counter!("kv_http_requests_total", "method" => method, "path" => route.clone())
        .increment(1);
    metrics::histogram!("kvorum_http_seconds", "path" => route)
        .record(begun.elapsed().as_secs_f64());
    response
}

/// The label of a method: clients can make up methods, but no labels.
fn method_label(method: &Method) -> &'static str {
    let known = [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::HEAD];
    let labels = ["GET", "PUT", "POST", "DELETE", "HEAD"];
    let found = known.iter().zip(labels).find(|(one, _)| *one == method);
    found.map_or("other", |(_, label)| label)
}
