//! What a node tells of keeping its copies equal to those of other nodes.

use std::time::Duration;

use kvorum_proto::kvorum::v1;

/// How repair goes on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairStatus {
    /// The node.
    pub node: u32,
    /// Its clock, to be given when it is asked again.
    pub clock: u64,
    /// The other nodes, by id.
    pub peers: Vec<PeerRepair>,
    /// The eventual keyspaces, by id.
    pub keyspaces: Vec<KeyspaceRepair>,
    /// How fast it reads its log again to find damage, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
    /// How long ago it had last read all of it.
    pub last_scrub: Option<Duration>,
}

/// How far deletions of an eventual keyspace are settled on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyspaceRepair {
    /// Its name.
    pub name: String,
    /// How long ago the floor was: deletions before may be forgotten. Nothing before it has risen.
    pub floor_age: Option<Duration>,
    /// Deletions that the node keeps.
    pub tombstones: u64,
    /// The nodes that keep the floor from rising, because they cannot be reached.
    pub held_up_by: Vec<u32>,
}

/// How the copies of a node compare with those of another one. Figures count since the node's
/// start. Of two nodes the one with the lower id leads comparisons.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerRepair {
    /// The other node.
    pub node: u32,
    /// Whether it is connected.
    pub up: bool,
    /// How many partitions both hold.
    pub partitions: u32,
    /// How many of them have been compared since the time that was asked about.
    pub compared: u32,
    /// How many of them were not the same when they were last compared.
    pub differing: u32,
    /// How long ago a comparison last ended.
    pub last_compared: Option<Duration>,
    /// For how long it is not known that all of them are the same.
    pub last_clean: Option<Duration>,
    /// Comparisons that went down to single keys.
    pub sessions: u64,
    /// Those of them that were given up or could not repair all they found.
    pub failures: u64,
    /// Why the last of these failed.
    pub last_failure: String,
    /// Records that the other node took.
    pub sent: u64,
    /// Records that were taken from it.
    pub received: u64,
    /// Bytes of comparisons and records, in both directions.
    pub bytes: u64,
}

pub(crate) fn repair_status(status: v1::RepairStatusResponse) -> RepairStatus {
    RepairStatus {
        node: status.node_id,
        clock: status.clock,
        peers: status.peers.into_iter().map(peer).collect(),
        keyspaces: status.keyspaces.into_iter().map(keyspace).collect(),
        scrub_bytes_per_second: status.scrub_bytes_per_second,
        last_scrub: status.last_scrub_ms.map(Duration::from_millis),
    }
}

fn keyspace(keyspace: v1::KeyspaceRepair) -> KeyspaceRepair {
    let v1::KeyspaceRepair { name, floor_age_ms, tombstones, held_up_by } = keyspace;
    let floor_age = floor_age_ms.map(Duration::from_millis);
    KeyspaceRepair { name, floor_age, tombstones, held_up_by }
}

fn peer(peer: v1::PeerRepair) -> PeerRepair {
    PeerRepair {
        node: peer.node_id,
        up: peer.up,
        partitions: peer.partitions,
        compared: peer.compared,
        differing: peer.differing,
        last_compared: peer.last_compared_ms.map(Duration::from_millis),
        last_clean: peer.last_clean_ms.map(Duration::from_millis),
        sessions: peer.sessions,
        failures: peer.failures,
        last_failure: peer.last_failure,
        sent: peer.sent,
        received: peer.received,
        bytes: peer.bytes,
    }
}
