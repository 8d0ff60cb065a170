//! The repository's own tools: its checks and its measurements.
//!
//! [`tidy`] is the style guide as a program: what a reviewer would otherwise say again and again is
//! a [`tidy::Rule`]. It is not a second linter: whatever rustfmt, clippy or cargo-deny can check
//! stays with them. `cargo test` runs it too.
//!
//! [`bench`] measures a cluster beside redis-server and writes docs/benchmarks.md.
//!
//! [`redis_suite`] runs the test suite of redis-server against a cluster.

pub mod bench;
pub mod redis_suite;
mod server;
pub mod tidy;
