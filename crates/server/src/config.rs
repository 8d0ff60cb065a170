//! The configuration of a node: flags win over the environment, the environment over the file,
//! the file over the defaults.
//!
//! One table ([`settings`]) holds every setting; the command line, `kvorum config check`, the
//! list in `docs/configuration.md` and the example file are made from it.

mod document;
mod error;
mod load;
mod parse;
mod report;
mod setting;
mod table;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use kvorum_core::{Mode, NodeId, limits};
use kvorum_node::{Advertised, Convergence, Options, PeerAddress, Secret, WalSync};

pub use document::{example, markdown};
pub use error::ConfigError;
pub use load::{Given, Source};
pub use setting::Setting;
pub use table::settings;

use crate::data::{DEFAULT_KEYSPACE, SHOWCASE_KEYSPACE};
use parse::{LogFormat, LogLevel};

/// The configuration of a node.
#[derive(Clone, Debug)]
pub struct Config {
    node_num: NodeId,
    name: Option<String>,
    cluster: String,
    data_dir: Option<PathBuf>,
    bind: IpAddr,
    advertise_host: Option<String>,
    insecure: bool,
    resp_port: u16,
    grpc_port: u16,
    http_port: u16,
    peer_port: u16,
    gossip_port: Option<u16>,
    max_connections: usize,
    peers: Vec<PeerAddress>,
    gossip_peers: Vec<PeerAddress>,
    cluster_secret: Option<Secret>,
    cluster_secret_file: Option<PathBuf>,
    total_nodes: Option<u32>,
    replication_factor: Option<u8>,
    default_mode: Option<Mode>,
    showcase: bool,
    compat_keyspace: String,
    max_value: u64,
    wal_sync: WalSync,
    segment_size: u64,
    index_limit: u64,
    max_disk: u64,
    hinted_handoff: bool,
    gc_lag: Duration,
    gc_interval: Duration,
    scrub_rate: u64,
    anti_entropy_interval: Duration,
    gossip_interval: Duration,
    log_level: Option<LogLevel>,
    log_format: LogFormat,
    debug_log: bool,
    /// The host name of this machine, if the environment tells it.
    host_name: Option<String>,
    /// Where each setting came from, in the order of the table.
    sources: Vec<Source>,
    /// Names of the environment that look like settings and are none.
    unknown: Vec<String>,
}

impl Config {
    fn defaults() -> Config {
        Config {
            node_num: parse::FIRST_NODE,
            name: None,
            cluster: "kvorum".to_owned(),
            data_dir: None,
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            advertise_host: None,
            insecure: false,
            resp_port: 6379,
            grpc_port: 50051,
            http_port: 8001,
            peer_port: 51051,
            gossip_port: None,
            max_connections: 10_000,
            peers: Vec::new(),
            gossip_peers: Vec::new(),
            cluster_secret: None,
            cluster_secret_file: None,
            total_nodes: None,
            replication_factor: None,
            default_mode: None,
            showcase: false,
            compat_keyspace: DEFAULT_KEYSPACE.to_owned(),
            max_value: limits::DEFAULT_MAX_VALUE as u64,
            wal_sync: WalSync::Auto,
            segment_size: 64 << 20,
            index_limit: 1 << 30,
            max_disk: 0,
            hinted_handoff: true,
            gc_lag: Duration::from_secs(3600),
            gc_interval: Duration::from_secs(600),
            scrub_rate: 4 << 20,
            anti_entropy_interval: Duration::from_secs(30),
            gossip_interval: Duration::from_millis(500),
            log_level: None,
            log_format: LogFormat::Text,
            debug_log: false,
            host_name: None,
            sources: vec![Source::Default; settings().len()],
            unknown: Vec::new(),
        }
    }

    /// The name of the node.
    #[must_use]
    pub fn name(&self) -> String {
        self.name.clone().unwrap_or_else(|| format!("node-{}", self.node_num))
    }

    /// Where the data lives.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        let default = || PathBuf::from(format!("data/node{}", self.node_num));
        self.data_dir.clone().unwrap_or_else(default)
    }

    /// The host under which others reach this node; empty if nothing tells.
    #[must_use]
    pub fn advertise_host(&self) -> String {
        match &self.advertise_host {
            Some(host) => host.clone(),
            None if self.bind.is_unspecified() => self.host_name.clone().unwrap_or_default(),
            None => self.bind.to_string(),
        }
    }

    /// The address of the RESP listener.
    #[must_use]
    pub const fn resp_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.resp_port)
    }

    /// The address of the gRPC listener.
    #[must_use]
    pub const fn grpc_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.grpc_port)
    }

    /// The address of the HTTP listener.
    #[must_use]
    pub const fn http_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.http_port)
    }

    /// The address of the listener for streams between nodes.
    #[must_use]
    pub const fn peer_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.peer_port)
    }

    /// Where the datagrams of gossip arrive; the number of the HTTP port, unless told otherwise.
    #[must_use]
    pub fn gossip_address(&self) -> SocketAddr {
        SocketAddr::new(self.bind, self.gossip_port.unwrap_or(self.http_port))
    }

    /// The keyspace that the interfaces of the reference systems use.
    #[must_use]
    pub fn compat_keyspace(&self) -> &str {
        &self.compat_keyspace
    }

    /// How many connections each listener is meant to keep open.
    pub(crate) const fn max_connections(&self) -> usize {
        self.max_connections
    }

    /// The lowest level that is logged, and whether as JSON.
    pub(crate) fn logging(&self) -> (tracing::Level, bool) {
        let fallback = if self.debug_log { LogLevel::Debug } else { LogLevel::Info };
        let level = self.log_level.unwrap_or(fallback);
        (level.into(), self.log_format == LogFormat::Json)
    }

    /// The options of the node itself.
    #[must_use]
    pub fn node_options(&self) -> Options {
        Options {
            cluster: self.cluster.clone(),
            id: self.node_num,
            name: self.name(),
            data_dir: self.data_dir(),
            peers: self.peers.clone(),
            peer_listen: self.peer_address(),
            gossip_listen: self.gossip_address(),
            gossip_interval: self.gossip_interval,
            cluster_secret: self.cluster_secret.clone(),
            max_connections: self.max_connections,
            advertised: Advertised {
                host: self.advertise_host(),
                resp_port: self.resp_port,
                grpc_port: self.grpc_port,
                http_port: self.http_port,
                peer_port: self.peer_port,
                gossip_port: self.gossip_address().port(),
            },
            replication_factor: self.replication_factor,
            default_mode: self.default_mode,
            showcase: self.showcase,
            wal_sync: self.wal_sync,
            max_value: usize::try_from(self.max_value).unwrap_or(limits::DEFAULT_MAX_VALUE),
            segment_bytes: self.segment_size,
            index_limit_bytes: self.index_limit,
            max_disk_bytes: self.max_disk,
            convergence: Convergence {
                hinted_handoff: self.hinted_handoff,
                anti_entropy_interval: self.anti_entropy_interval,
                gc_lag: self.gc_lag,
                gc_interval: self.gc_interval,
            },
            scrub_bytes_per_second: self.scrub_rate,
        }
    }

    /// Checks what no setting can tell alone.
    fn check(&self) -> Result<(), ConfigError> {
        self.check_ports()?;
        self.check_addresses()?;
        self.check_nodes()?;
        self.check_keyspace()?;
        self.check_sizes()
    }

    /// Keyspaces cannot be made yet, so that their names are known before there is a cluster.
    /// Whether the cluster has this one is known when the node serves.
    fn check_keyspace(&self) -> Result<(), ConfigError> {
        let name = self.compat_keyspace.as_str();
        if [DEFAULT_KEYSPACE, SHOWCASE_KEYSPACE].contains(&name) {
            return Ok(());
        }
        Err(ConfigError::Together(format!(
            "compat_keyspace is {name:?}, which is no keyspace: there are {DEFAULT_KEYSPACE} and \
             {SHOWCASE_KEYSPACE}"
        )))
    }

    fn check_sizes(&self) -> Result<(), ConfigError> {
        // With the longest key and what the log adds to both.
        let segment_floor = 4 * (self.max_value + 2 * limits::MAX_KEY as u64);
        if self.segment_size < segment_floor {
            return Err(ConfigError::Together(format!(
                "segment_size is {} and max_value {}: a quarter of a segment holds a value and its key",
                parse::in_units(self.segment_size),
                parse::in_units(self.max_value)
            )));
        }
        let disk_floor = 8 * self.segment_size;
        if self.max_disk != 0 && self.max_disk < disk_floor {
            return Err(ConfigError::Together(format!(
                "max_disk is {} and segment_size {}: a store needs room for eight segments, {}",
                parse::in_units(self.max_disk),
                parse::in_units(self.segment_size),
                parse::in_units(disk_floor)
            )));
        }
        Ok(())
    }

    fn check_ports(&self) -> Result<(), ConfigError> {
        let ports = [
            ("resp_port", self.resp_port),
            ("grpc_port", self.grpc_port),
            ("http_port", self.http_port),
            ("peer_port", self.peer_port),
        ];
        for (at, (name, port)) in ports.iter().enumerate() {
            if let Some((other, _)) = ports.iter().take(at).find(|(_, taken)| taken == port) {
                let text = format!("{other} and {name} are both {port}");
                return Err(ConfigError::Together(text));
            }
        }
        Ok(())
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        if !self.bind.is_loopback() && !self.insecure {
            return Err(ConfigError::Together(format!(
                "bind is {}, which others can reach, and there is no authentication yet: \
                 bind 127.0.0.1, or say insecure",
                self.bind
            )));
        }
        if self.advertise_host().is_empty() {
            return Err(ConfigError::Together(format!(
                "bind is {}, which is no address others can use: set advertise_host",
                self.bind
            )));
        }
        Ok(())
    }

    fn check_nodes(&self) -> Result<(), ConfigError> {
        // The list may or may not name this node itself.
        let listed = self.peers.len();
        if let Some(total) = self.total_nodes {
            let total = usize::try_from(total).unwrap_or(usize::MAX);
            if total != listed && total != listed + 1 {
                return Err(ConfigError::Together(format!(
                    "total_nodes is {total}, but peers names {listed} nodes"
                )));
            }
        }
        if let Some(factor) = self.replication_factor.filter(|rf| usize::from(*rf) > listed + 1) {
            let nodes = listed + 1;
            return Err(ConfigError::Together(format!(
                "replication_factor is {factor}, but with this list of peers there are at most \
                 {nodes} nodes"
            )));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
