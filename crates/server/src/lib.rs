//! The front ends: Redis protocol, gRPC, HTTP; configuration and telemetry.
//!
//! What a client sends is translated, authenticated and handed to the node; what the node answers
//! is translated back. Nothing here decides where data lives or when it is safe.
//!
//! - [`Server`], [`run`]: a node with its front ends, from start to stop.
//! - [`config`]: every setting, from one table.
//! - `resp`: the Redis protocol; it runs on the node's own thread, inside its turns.
//! - `grpc`, `http`: the other two, on the runtime of the caller; both speak to the node through
//!   `data`, which resolves names and enforces limits, over `backend`, the seam to the node.
//! - `auth`: who sends a request.
//! - `telemetry`: logs and metrics of the process.
//!
//! **Invariant:** the front ends do not know each other, and none knows how data is stored or
//! replicated.
//!
//! **Invariant:** every failed request tells its client whether it may have been executed.

mod auth;
mod backend;
pub mod config;
mod data;
mod files;
mod grpc;
mod http;
mod listen;
pub mod resp;
mod server;
mod telemetry;

pub use server::{Endpoints, Server, ServerError, run};
