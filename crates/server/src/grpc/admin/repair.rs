//! Repair as messages.

use std::time::Duration;

use kvorum_core::NodeId;
use kvorum_proto::kvorum::v1;

use super::number;
use crate::data::{KeyspaceStatus, PeerStatus, RepairStatus};

pub(super) fn status(status: RepairStatus) -> v1::RepairStatusResponse {
    v1::RepairStatusResponse {
        node_id: status.node.get(),
        clock: status.clock.0,
        peers: status.peers.iter().map(peer).collect(),
        scrub_bytes_per_second: status.scrub_bytes_per_second,
        last_scrub_ms: status.scrubbed.map(millis),
        keyspaces: status.keyspaces.into_iter().map(keyspace).collect(),
    }
}

fn keyspace(keyspace: KeyspaceStatus) -> v1::KeyspaceRepair {
    v1::KeyspaceRepair {
        name: keyspace.name,
        floor_age_ms: keyspace.floor_age.map(millis),
        tombstones: keyspace.tombstones,
        held_up_by: keyspace.held_up_by.into_iter().map(NodeId::get).collect(),
    }
}

fn peer(peer: &PeerStatus) -> v1::PeerRepair {
    v1::PeerRepair {
        node_id: peer.node.get(),
        up: peer.up,
        partitions: number(peer.partitions),
        compared: number(peer.compared),
        differing: number(peer.differing),
        last_compared_ms: peer.last_compared.map(millis),
        last_clean_ms: peer.last_clean.map(millis),
        sessions: peer.sessions,
        failures: peer.failures,
        last_failure: peer.last_failure.to_owned(),
        sent: peer.sent,
        received: peer.received,
        bytes: peer.bytes,
    }
}

fn millis(age: Duration) -> u64 {
    u64::try_from(age.as_millis()).unwrap_or(u64::MAX)
}
