//! The Redis protocol (RESP2 and RESP3), for any Redis client: every node takes every key.
//!
//! A [`session`] turns bytes into calls to the node and answers into bytes; it does no I/O and
//! knows no clock but the node's. What happens to a command, in order:
//!
//! 1. [`parser`] reads it, skipping what is too large, and [`dispatch`] finds its row in
//!    the [`table`];
//! 2. its handler ([`strings`], [`many`], [`scan`], …) checks it and submits calls, or replies; or
//!    it has a [`plan`], one transaction ([`counters`], [`rewrite`], [`lifetime`], [`bits`]), which
//!    is submitted or, behind MULTI, kept for EXEC ([`transactions`]);
//! 3. [`queue`] keeps it until its calls are answered and all commands before it have replied;
//! 4. [`encoder`] writes the reply.
//!
//! **Invariant:** replies leave in the order of the commands, whatever the order of the answers.
//!
//! **Invariant:** what a connection holds is bounded: the command being read by the largest value
//! and a slack, waiting requests and unwritten replies by limits at which no more commands are
//! executed.
//!
//! **Invariant:** every error says whether anything was executed ([`error`] holds the table), or
//! is redis-server's own text for a command that is wrong in itself.

mod admin;
mod arg;
mod bits;
mod call;
mod client;
mod clients;
mod connection;
mod counters;
mod cursors;
mod dbsize;
mod debug;
mod describe;
mod dispatch;
mod encoder;
mod error;
mod flush;
mod glob;
mod info;
mod inline;
mod lcs;
mod lifetime;
mod many;
mod parser;
mod plan;
mod queue;
mod refused;
mod rewrite;
mod scan;
mod server;
mod session;
mod strings;
mod table;
mod transactions;

use std::net::SocketAddr;
use std::sync::Arc;

use kvorum_node::{Protocol, Session};

/// The Redis protocol for a listener on `port` (the number clients are told; it is not bound
/// here).
///
/// A recorder of metrics must be installed before: the handles of the counters are made once.
#[must_use]
pub fn protocol(port: u16) -> impl Protocol {
    Resp { server: Arc::new(server::Server::new(port)) }
}

struct Resp {
    server: Arc<server::Server>,
}

impl Protocol for Resp {
    fn name(&self) -> &'static str {
        "resp"
    }

    fn refusal(&self) -> &'static [u8] {
        b"-ERR max number of clients reached\r\n"
    }

    fn open(&mut self, client: SocketAddr) -> Box<dyn Session> {
        Box::new(session::Session::new(Arc::clone(&self.server), client))
    }
}

#[cfg(test)]
mod tests;
