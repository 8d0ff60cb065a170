//! A Rust client of kvorum.
