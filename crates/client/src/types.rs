//! What requests take and give.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::Version;

use kvorum_proto::kvorum::v1;

use crate::Error;

/// A value that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The key.
    pub key: Bytes,
    /// The value; empty when only its header was asked for.
    pub value: Bytes,
    /// The length of the value in bytes.
    pub value_len: u32,
    /// Its version.
    pub version: Version,
    /// When it stops being visible, in milliseconds since 1970; never when absent.
    pub expires_at_ms: Option<u64>,
}

/// A write that was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version under which it took effect.
    pub version: Version,
    /// How many replicas had it on disk when the answer was made.
    pub acked: u32,
    /// Whether the key had a value before, as far as those replicas knew.
    pub was_live: bool,
}

/// How a value is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PutOptions {
    /// After this time it is no longer visible; never when absent.
    pub ttl: Option<Duration>,
}

/// One operation of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Read a key.
    Get {
        /// The key.
        key: Bytes,
    },
    /// Store a value.
    Put {
        /// The key.
        key: Bytes,
        /// The value.
        value: Bytes,
        /// How.
        options: PutOptions,
    },
    /// Delete a key.
    Delete {
        /// The key.
        key: Bytes,
    },
}

/// What an operation of a batch gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationResult {
    /// To [`Operation::Get`].
    Got(Option<Found>),
    /// To [`Operation::Put`] and [`Operation::Delete`].
    Written(Written),
}

/// A node as the cluster sees it. An address is empty while the node that was asked does not know
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its id.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Redis protocol, `host:port`.
    pub resp: String,
    /// gRPC, `host:port`.
    pub grpc: String,
    /// HTTP, `host:port`.
    pub http: String,
    /// Whether the node that was asked is connected to it.
    pub up: bool,
    /// What the node that was asked thinks of it: `alive`, `suspect` or `down`. Empty if that
    /// node's version of kvorum does not tell.
    pub state: String,
    /// When it was last heard of, in seconds since 1970.
    pub last_seen_s: u64,
}

/// What a node says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its id.
    pub id: u32,
    /// Whether it takes requests.
    pub serving: bool,
    /// What it waits for, or is busy with; empty when there is nothing to say.
    pub detail: String,
    /// How many partitions are still copied from other nodes.
    pub rebuilding_partitions: u32,
    /// How many replicas each key has.
    pub replication_factor: u32,
    /// When its process started, in seconds since 1970.
    pub started_s: u64,
    /// Keys on this node: every replica counts.
    pub keys: u64,
    /// Disk space used, in bytes.
    pub disk_bytes: u64,
    /// Index memory used, in bytes.
    pub index_bytes: u64,
    /// Index memory allowed, in bytes.
    pub index_limit_bytes: u64,
    /// The version of kvorum it runs.
    pub build: String,
    /// The partitions of strong keyspaces that it leads, by the name of the keyspace.
    pub leads: Vec<(String, u32)>,
    /// What waits on it for other nodes that have missed writes.
    pub waiting: Vec<Waiting>,
}

/// What waits on one node for another that has missed writes of eventual keyspaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The other node.
    pub node: u32,
    /// Keys that are remembered for it, and will be sent to it.
    pub keys: u64,
    /// Bytes of memory that these take.
    pub bytes: u64,
    /// Slots in which it may have missed more than that.
    pub dirty_slots: u32,
}

/// The version in an answer. An answer without one is not an answer of kvorum.
pub(crate) fn version(text: &str) -> Result<Version, Error> {
    text.parse().map_err(|_| Error::invalid(format!("the answer names a strange version {text:?}")))
}

pub(crate) fn found(key: Bytes, answer: v1::GetResponse) -> Result<Option<Found>, Error> {
    if !answer.found {
        return Ok(None);
    }
    Ok(Some(Found {
        key,
        value: answer.value,
        value_len: answer.value_length,
        version: version(&answer.version)?,
        expires_at_ms: expiry(answer.expires_at_ms),
    }))
}

pub(crate) fn item(item: v1::Item) -> Result<Found, Error> {
    Ok(Found {
        key: item.key,
        value: item.value,
        value_len: item.value_length,
        version: version(&item.version)?,
        expires_at_ms: expiry(item.expires_at_ms),
    })
}

pub(crate) fn put_written(answer: &v1::PutResponse) -> Result<Written, Error> {
    let version = version(&answer.version)?;
    Ok(Written { version, acked: answer.acked, was_live: answer.was_live })
}

pub(crate) fn delete_written(answer: &v1::DeleteResponse) -> Result<Written, Error> {
    let version = version(&answer.version)?;
    Ok(Written { version, acked: answer.acked, was_live: answer.was_live })
}

pub(crate) fn node_info(node: v1::Node) -> NodeInfo {
    let at = |port: u32| match node.host.as_str() {
        "" => String::new(),
        _ if port == 0 => String::new(),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    };
    NodeInfo {
        id: node.id,
        resp: at(node.resp_port),
        grpc: at(node.grpc_port),
        http: at(node.http_port),
        name: node.name,
        up: node.up,
        state: node.state,
        last_seen_s: node.last_seen_s,
    }
}

pub(crate) fn node_status(status: v1::StatusResponse) -> NodeStatus {
    NodeStatus {
        id: status.node_id,
        serving: status.serving,
        detail: status.detail,
        rebuilding_partitions: status.rebuilding_partitions,
        replication_factor: status.replication_factor,
        started_s: status.started_s,
        keys: status.keys,
        disk_bytes: status.disk_bytes,
        index_bytes: status.index_bytes,
        index_limit_bytes: status.index_limit_bytes,
        build: status.build,
        leads: status.leads.into_iter().map(|led| (led.keyspace, led.partitions)).collect(),
        waiting: status.waiting.into_iter().map(waiting).collect(),
    }
}

const fn waiting(told: v1::Waiting) -> Waiting {
    let v1::Waiting { node_id: node, keys, bytes, dirty_slots } = told;
    Waiting { node, keys, bytes, dirty_slots }
}

const fn expiry(ms: u64) -> Option<u64> {
    if ms == 0 { None } else { Some(ms) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_not_known_are_empty() {
        let wire =
            |host: &str| v1::Node { host: host.to_owned(), grpc_port: 7, ..v1::Node::default() };
        let info = node_info(wire("::1"));
        assert_eq!((info.grpc.as_str(), info.resp.as_str()), ("[::1]:7", ""));
        assert_eq!(node_info(wire("")).grpc, "");
    }
}
