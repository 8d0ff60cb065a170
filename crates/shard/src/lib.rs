//! The heart of a node, without I/O.
//!
//! A [`Shard`] owns the replica groups of a node and everything that is pending. Its driver (the
//! `node` crate, or the simulator) feeds it inputs with [`Shard::step`], ends the turn with
//! [`Shard::end_of_turn`], and carries out what comes out:
//!
//! 1. `step` for everything that is ready: client requests, frames of peers, durable LSNs;
//! 2. `end_of_turn`, which closes one frame per peer and class;
//! 3. the frames are sent, then the log is written and synced once, while the next turn collects;
//! 4. the durable LSN comes back as [`In::Durable`] and releases replies and messages.
//!
//! **Invariant:** the shard never blocks, never reads a clock and never iterates a hash map in a
//! way that can be observed: the same inputs give the same outputs.

mod admission;
mod api;
mod effects;
mod frame;
mod groups;
mod held;
mod leaders;
mod links;
mod mutation;
mod peers;
mod pending;
mod rounds;
mod shard;
mod shedding;
mod wire;

#[cfg(test)]
mod tests;

pub use api::{Class, In, Options, Out, Stats};
pub use frame::messages;
pub use mutation::Mutation;
pub use rounds::Comparison;
pub use shard::Shard;
