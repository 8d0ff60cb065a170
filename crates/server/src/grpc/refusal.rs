//! Gives a stable code to calls that are refused before they reach their method: a message that is
//! too long or not decodable, a method that does not exist.

use axum::extract::Request;
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use tonic::Code;

use super::status::{CODE, EXECUTED};

/// Names the refusal if the answer is one. What a method has refused is named already.
pub async fn name(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    // A refusal carries its status in the headers; a stream that has begun does so behind it.
    let status = headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()));
    let code = match status {
        _ if headers.contains_key(CODE) => return response,
        Some(Code::OutOfRange | Code::Internal) => {
            headers.insert("grpc-status", HeaderValue::from(Code::InvalidArgument as i32));
            "INVALID"
        }
        Some(Code::Unimplemented) => {
            headers
                .entry("grpc-message")
                .or_insert(HeaderValue::from_static("there is no such method here"));
            "UNIMPLEMENTED"
        }
        _ => return response,
    };
    headers.insert(CODE, HeaderValue::from_static(code));
    headers.insert(EXECUTED, HeaderValue::from_static("no"));
    response
}
