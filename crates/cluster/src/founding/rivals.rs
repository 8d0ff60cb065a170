//! Two processes under one id: a copied data directory, or two nodes configured alike.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{Mono, NodeId};

use super::hello::{Refusal, RefusalKind};

/// Whatever a process sent before it ended has arrived after this long.
const LATE_SIGNS: Duration = Duration::from_secs(2);

/// The processes this node is connected to, and who else claims their ids.
#[derive(Clone, Debug, Default)]
pub(super) struct Rivals {
    running: BTreeMap<NodeId, Running>,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    nonce: u64,
    heard: Mono,
    rival: Option<(u64, Mono)>,
}

impl Rivals {
    /// A process introduces itself. A restarted one may be faster than the news that its
    /// predecessor is gone, so it is only put off at first; but if the predecessor gives signs of
    /// life after that, there are two.
    pub(super) fn introduced(
        &mut self,
        node: NodeId,
        nonce: u64,
        now: Mono,
    ) -> Result<(), Refusal> {
        let Some(running) = self.running.get_mut(&node).filter(|it| it.nonce != nonce) else {
            return Ok(());
        };
        let since = match running.rival {
            Some((rival, since)) if rival == nonce => since,
            _ => now,
        };
        running.rival = Some((nonce, since));
        Err(if running.heard > since + LATE_SIGNS {
            let reason = format!("another process already runs as node {node}");
            Refusal { kind: RefusalKind::Duplicate, reason }
        } else {
            let reason = format!("another process seems to run as node {node}; try again");
            Refusal { kind: RefusalKind::Busy, reason }
        })
    }

    pub(super) fn connected(&mut self, node: NodeId, nonce: u64, now: Mono) {
        self.running.insert(node, Running { nonce, heard: now, rival: None });
    }

    /// A process has given a sign of life.
    pub(super) fn heard(&mut self, node: NodeId, nonce: u64, now: Mono) {
        if let Some(running) = self.running.get_mut(&node).filter(|it| it.nonce == nonce) {
            running.heard = now;
        }
    }

    /// The process of a connected node.
    pub(super) fn process(&self, node: NodeId) -> Option<u64> {
        self.running.get(&node).map(|running| running.nonce)
    }

    pub(super) fn disconnected(&mut self, node: NodeId) {
        self.running.remove(&node);
    }
}
