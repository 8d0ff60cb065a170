//! The turn: requests, frames and durable LSNs in; replies and frames out.

use std::sync::Arc;

use kvorum_core::{HybridClock, Layout, Mono, NodeId, Now, Store};

use crate::{In, Options, Out, Stats};

/// The state of one node's data path.
#[derive(Debug)]
pub struct Shard {
    options: Options,
    layout: Arc<Layout>,
    clock: HybridClock,
}

impl Shard {
    /// A shard that holds the partitions `layout` gives to this node. No peer is up yet.
    #[must_use]
    pub fn new(options: Options, layout: Arc<Layout>, clock: HybridClock) -> Shard {
        Shard { options, layout, clock }
    }

    /// Takes one input of the present turn.
    pub fn step(&mut self, now: Now, input: In, store: &mut dyn Store, out: &mut Vec<Out>) {
        let _ = (now, input, store, out, &self.options, &self.layout, &self.clock);
    }

    /// Ends the turn: closes the frames to all peers.
    pub fn end_of_turn(&mut self, now: Now, out: &mut Vec<Out>) {
        let _ = (now, out);
    }

    /// When [`In::Deadline`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Mono> {
        None
    }

    /// The layout in force.
    #[must_use]
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// Whether a peer is connected.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        node == self.options.me
    }

    /// Figures for metrics and status.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::default()
    }
}
