//! A seeded world that drives the real shards, groups and stores.
//!
//! Everything a node does between two disk calls or two messages is the code that runs in
//! production; what surrounds it is simulated: time, the network, the disks, crashes, pauses and
//! clocks. One seed decides everything, so a run that fails can be replayed.
//!
//! This crate is a second driver beside `node`; nothing depends on it.

pub mod chance;
pub mod checkers;
mod clients;
pub mod history;
mod host;
pub mod mutations;
mod nemesis;
mod network;
mod node;
pub mod settings;
mod strong;
pub mod trace;
mod values;
mod world;

pub use world::{Outcome, World};
