//! Checks of the repository itself: the style guide as a program.
//!
//! What a reviewer would otherwise say again and again is a [`tidy::Rule`] here: which crate may
//! use which, which words and sizes are allowed, which documents must agree with the code. It is
//! not a second linter: whatever rustfmt, clippy or cargo-deny can check stays with them.
//!
//! Run it with `cargo xtask tidy`; `cargo test` runs the same checks.

pub mod tidy;
