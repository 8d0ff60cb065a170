//! Which ports each node of a local cluster uses.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// How many ports a node has.
pub const PORTS_PER_NODE: usize = 5;

/// The ports of one node, all on the loopback address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodePorts {
    /// Redis protocol, any key on any node.
    pub resp: u16,
    /// Redis protocol for cluster-aware clients; reserved.
    pub cluster_resp: u16,
    /// gRPC for clients.
    pub grpc: u16,
    /// HTTP, and gossip by UDP.
    pub http: u16,
    /// Streams between nodes.
    pub peer: u16,
}

impl NodePorts {
    /// The defaults of a node that has a machine to itself.
    pub const BASE: NodePorts =
        NodePorts { resp: 6379, cluster_resp: 7001, grpc: 50051, http: 8001, peer: 51051 };

    /// The ports of node `node` (counted from one) of a cluster shifted by `offset`.
    ///
    /// # Errors
    /// [`OffsetTooLarge`] if a port would pass 65535.
    pub fn of(node: u32, offset: u16) -> Result<NodePorts, OffsetTooLarge> {
        let shift = u32::from(offset) + node.saturating_sub(1);
        let port = |base: u16| {
            u16::try_from(u32::from(base) + shift).map_err(|_| OffsetTooLarge { offset })
        };
        Ok(NodePorts {
            resp: port(Self::BASE.resp)?,
            cluster_resp: port(Self::BASE.cluster_resp)?,
            grpc: port(Self::BASE.grpc)?,
            http: port(Self::BASE.http)?,
            peer: port(Self::BASE.peer)?,
        })
    }

    /// Every port with its purpose and the setting of `kvorum server` that changes it.
    #[must_use]
    pub const fn all(self) -> [(&'static str, u16); PORTS_PER_NODE] {
        [
            ("resp", self.resp),
            ("cluster-resp", self.cluster_resp),
            ("grpc", self.grpc),
            ("http", self.http),
            ("peer", self.peer),
        ]
    }
}

/// The loopback address with a port.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A port that somebody else has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Busy {
    /// The node that needs it.
    pub node: u32,
    /// What for.
    pub purpose: &'static str,
    /// Its number.
    pub port: u16,
}

impl fmt::Display for Busy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Busy { node, purpose, port } = self;
        write!(f, "port {port} ({purpose} of node {node})")
    }
}

/// The ports of a cluster of `nodes` nodes shifted by `offset` that are not free.
///
/// # Errors
/// [`OffsetTooLarge`] if a port would pass 65535.
pub fn busy(
    nodes: u32,
    offset: u16,
    is_free: impl Fn(u16) -> bool,
) -> Result<Vec<Busy>, OffsetTooLarge> {
    let mut busy = Vec::new();
    for node in 1..=nodes {
        for (purpose, port) in NodePorts::of(node, offset)?.all() {
            if !is_free(port) {
                busy.push(Busy { node, purpose, port });
            }
        }
    }
    Ok(busy)
}

/// The offsets to try when ports may be chosen freely, `first` foremost. They are so far apart
/// that two clusters at different ones share no port of the same kind.
pub fn candidate_offsets(nodes: u32, first: u16) -> impl Iterator<Item = u16> {
    let step = usize::try_from(nodes).unwrap_or(usize::MAX).max(10);
    (first..=u16::MAX).step_by(step).take_while(move |&offset| NodePorts::of(nodes, offset).is_ok())
}

/// The offset moves a port beyond the last one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--base-port-offset {offset} moves a port beyond 65535")]
pub struct OffsetTooLarge {
    offset: u16,
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn node_two_has_the_ports_of_the_contract() {
        let ports = NodePorts::of(2, 0).unwrap();
        let expected =
            NodePorts { resp: 6380, cluster_resp: 7002, grpc: 50052, http: 8002, peer: 51052 };
        assert_eq!(ports, expected);
        assert_eq!(NodePorts::of(2, 100).unwrap().resp, 6480);
    }

    #[test]
    fn an_offset_beyond_the_last_port_is_refused() {
        assert!(NodePorts::of(1, 14_484).is_ok());
        assert_eq!(NodePorts::of(2, 14_484), Err(OffsetTooLarge { offset: 14_484 }));
        assert!(NodePorts::of(1, u16::MAX).is_err());
    }

    #[test]
    fn busy_ports_are_named_with_node_and_purpose() {
        let found = busy(3, 0, |port| port != 6380 && port != 51053).unwrap();
        let texts: Vec<String> = found.iter().map(Busy::to_string).collect();
        assert_eq!(texts, ["port 6380 (resp of node 2)", "port 51053 (peer of node 3)"]);
    }

    #[test]
    fn candidate_offsets_share_no_port_of_the_same_kind() {
        for nodes in [1, 3, 32] {
            let mut seen = BTreeSet::new();
            for offset in candidate_offsets(nodes, 0) {
                for node in 1..=nodes {
                    assert!(seen.insert(NodePorts::of(node, offset).unwrap().resp));
                }
            }
            assert!(seen.len() > 1000);
        }
        assert_eq!(candidate_offsets(3, 7).next(), Some(7));
    }
}
