//! What a node needs to know before it starts.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use kvorum_cluster::membership::Secret;
use kvorum_cluster::peers::Peer;
use kvorum_core::{Mode, NodeId};

/// Where a node of the cluster can be reached: its gRPC address, which answers Hello.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// The id of the node, if the list names it; otherwise Hello tells.
    pub id: Option<NodeId>,
    /// Host name or address.
    pub host: String,
    /// The gRPC port.
    pub port: u16,
}

impl PeerAddress {
    /// Reads a list such as `1=host:port,2=host:port` or `host:port,host:port`.
    ///
    /// # Errors
    /// A sentence that names the entry that is wrong.
    pub fn parse_list(text: &str) -> Result<Vec<PeerAddress>, String> {
        let peers = kvorum_cluster::peers::parse(text).map_err(|error| error.to_string())?;
        let address = |Peer { id, host, port }| PeerAddress { id, host, port };
        Ok(peers.into_iter().map(address).collect())
    }
}

/// Writes the entry as [`PeerAddress::parse_list`] reads it.
impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Peer { id: self.id, host: self.host.clone(), port: self.port }.fmt(f)
    }
}

/// Where the log is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WalSync {
    /// On the shard thread: best on few cores.
    Inline,
    /// On a thread of its own: best on many cores or slow disks.
    Thread,
    /// Inline below four cores, else on a thread.
    #[default]
    Auto,
}

/// Options of a node.
#[derive(Clone, Debug)]
pub struct Options {
    /// The name of the cluster; nodes of other names are refused.
    pub cluster: String,
    /// The id of this node.
    pub id: NodeId,
    /// The name of this node.
    pub name: String,
    /// Where the data lives.
    pub data_dir: PathBuf,
    /// All nodes of the cluster, this one included or not; empty for a cluster of one.
    pub peers: Vec<PeerAddress>,
    /// The listener of streams between nodes.
    pub peer_listen: SocketAddr,
    /// Where the datagrams of gossip arrive.
    pub gossip_listen: SocketAddr,
    /// The time between two probes of other nodes; how soon a node is called suspect or down is a
    /// multiple of it.
    pub gossip_interval: Duration,
    /// What seals the datagrams of gossip.
    pub cluster_secret: Option<Secret>,
    /// How many connections each listener keeps open.
    pub max_connections: usize,
    /// The addresses told to others, as host and port.
    pub advertised: Advertised,
    /// How many replicas each key has; `min(3, nodes)` when absent. Frozen at birth.
    pub replication_factor: Option<u8>,
    /// How the copies of the keyspace `default` agree; strong when absent. Frozen at birth.
    pub default_mode: Option<Mode>,
    /// Whether a new cluster also gets the keyspace `eventual`. Frozen at birth.
    pub showcase: bool,
    /// Where the log is synced.
    pub wal_sync: WalSync,
    /// The longest value, in bytes.
    pub max_value: usize,
    /// The size of the log's segments, in bytes.
    pub segment_bytes: u64,
    /// The memory the index may use, in bytes.
    pub index_limit_bytes: u64,
    /// The disk space the store may use, in bytes; zero means all there is.
    pub max_disk_bytes: u64,
    /// How the copies of eventual keyspaces become equal.
    pub convergence: Convergence,
    /// How fast the log is read again to find damage, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
}

/// How the copies of eventual keyspaces become equal, and when deletions end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Convergence {
    /// Whether keys that a node has missed are remembered for it.
    pub hinted_handoff: bool,
    /// How often this node compares what it holds with each other node; zero for never unless that is
    /// asked for.
    pub anti_entropy_interval: Duration,
    /// How long deletions are kept at least. More than the longest deadline of a request.
    pub gc_lag: Duration,
    /// How often a partition with deletions tries to agree on their end.
    pub gc_interval: Duration,
}

/// The addresses under which clients and peers reach a node. Of a node that was never met only
/// those are known that the list of peers names: the host and the gRPC port; other ports are zero.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Advertised {
    /// The host, as others name it.
    pub host: String,
    /// The RESP port.
    pub resp_port: u16,
    /// The gRPC port.
    pub grpc_port: u16,
    /// The HTTP port.
    pub http_port: u16,
    /// The port of streams between nodes.
    pub peer_port: u16,
    /// The port of gossip.
    pub gossip_port: u16,
}

impl Advertised {
    /// The gRPC address, `host:port`; empty while it is not known.
    #[must_use]
    pub fn grpc(&self) -> String {
        self.at(self.grpc_port)
    }

    /// The HTTP address, `host:port`; empty while it is not known.
    #[must_use]
    pub fn http(&self) -> String {
        self.at(self.http_port)
    }

    fn at(&self, port: u16) -> String {
        match self.host.as_str() {
            "" => String::new(),
            _ if port == 0 => String::new(),
            // An IPv6 address needs brackets to be told from its port.
            host if host.contains(':') => format!("[{host}]:{port}"),
            host => format!("{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_empty_while_it_is_not_known_and_ipv6_has_brackets() {
        let at = |host: &str, grpc_port| {
            Advertised { host: host.to_owned(), grpc_port, ..Advertised::default() }.grpc()
        };
        assert_eq!(at("node1", 7), "node1:7");
        assert_eq!(at("::1", 7), "[::1]:7");
        assert_eq!(at("node1", 0), "");
        assert_eq!(at("", 7), "");
    }
}
