//! Ports for nodes.
//!
//! Not those the kernel picks for port 0: a node that was killed must find its ports free when it
//! starts again, and the kernel gives ports of that range to outgoing connections meanwhile. So
//! each cluster takes a block of ports below that range, and keeps the first port of the block
//! bound as long as it lives: whichever process starts clusters beside it chooses another block.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::process;

const FIRST_PORT: u16 = 22_000;
const BLOCK: u16 = 50;
const BLOCKS: u16 = 200;
/// Ports of one node; the fifth is left free for the cluster-aware Redis protocol.
const PER_NODE: u16 = 5;

/// The ports of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Redis protocol.
    pub resp: u16,
    /// gRPC.
    pub grpc: u16,
    /// HTTP.
    pub http: u16,
    /// Streams between nodes.
    pub peer: u16,
}

impl NodePorts {
    /// Each port with its purpose.
    #[must_use]
    pub const fn all(self) -> [(&'static str, u16); 4] {
        [("resp", self.resp), ("grpc", self.grpc), ("http", self.http), ("peer", self.peer)]
    }
}

/// A block of ports that nobody else uses while this value lives.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    _guard: TcpListener,
}

impl PortBlock {
    /// Takes a free block.
    ///
    /// # Panics
    /// All blocks are taken.
    #[must_use]
    pub fn take() -> PortBlock {
        // Processes begin at different places, so that they seldom try for the same block.
        let start = u16::try_from(process::id() % u32::from(BLOCKS)).unwrap_or(0);
        (0..BLOCKS)
            .map(|step| FIRST_PORT + (start + step) % BLOCKS * BLOCK)
            .find_map(PortBlock::try_take)
            .expect("no block of ports is free")
    }

    fn try_take(first: u16) -> Option<PortBlock> {
        let address = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let guard = TcpListener::bind(address(first)).ok()?;
        let free = (first + 1..first + BLOCK).all(|port| {
            TcpListener::bind(address(port)).is_ok() && UdpSocket::bind(address(port)).is_ok()
        });
        free.then_some(PortBlock { first, _guard: guard })
    }

    /// The ports of node `id`, counted from one.
    ///
    /// # Panics
    /// The block is too small for so many nodes.
    #[must_use]
    pub fn of(&self, id: u32) -> NodePorts {
        let at = u16::try_from(id).ok().and_then(|id| id.checked_sub(1)).expect("ids begin at 1");
        assert!((at + 1) * PER_NODE < BLOCK, "a block of ports is too small for node {id}");
        let resp = self.first + 1 + at * PER_NODE;
        NodePorts { resp, grpc: resp + 1, http: resp + 2, peer: resp + 3 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_blocks_share_no_port() {
        let (one, two) = (PortBlock::take(), PortBlock::take());
        assert!(one.first.abs_diff(two.first) >= BLOCK);
    }

    #[test]
    fn the_ports_of_a_node_are_all_different_and_free() {
        let block = PortBlock::take();
        for (_, port) in block.of(1).all().into_iter().chain(block.of(2).all()) {
            assert!(TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok());
        }
        assert_eq!(block.of(2).resp, block.of(1).resp + PER_NODE);
    }
}
