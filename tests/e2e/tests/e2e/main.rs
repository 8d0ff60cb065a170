//! The end-to-end tests: what users see when real processes run, die and come back.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "all of this is tests, also the functions that are called by several"
)]

mod bad_input;
mod convergence;
mod crashes;
mod damage;
mod dev;
mod full_disks;
mod gossip;
mod idempotency;
mod leaders;
mod linearizability;
mod protocols;
mod refusals;
mod repair;
mod strong_commands;
