//! What the node tells of keeping its copies equal to those of other nodes, with times as ages.

use std::time::Duration;

use kvorum_core::{Error, Mode, Mono, NodeId, Now, Outcome};
use kvorum_node::{KeyspaceRepair, NodeStatus, PeerRepair, RepairEvent};

use super::Data;

/// How far back events are told.
const RECENT: Duration = Duration::from_secs(15 * 60);

/// How repair goes on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RepairStatus {
    /// This node.
    pub node: NodeId,
    /// The reading of its clock at which this was so.
    pub clock: Mono,
    /// The other nodes, by id.
    pub peers: Vec<PeerStatus>,
    /// The eventual keyspaces, by id.
    pub keyspaces: Vec<KeyspaceStatus>,
    /// How fast the log is read again to find damage, in bytes per second; zero for never.
    pub scrub_bytes_per_second: u64,
    /// How long ago all of it had last been read.
    pub scrubbed: Option<Duration>,
}

/// How far deletions of an eventual keyspace are settled on this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceStatus {
    /// Its name.
    pub name: String,
    /// How long ago the floor was: deletions before may be forgotten. Nothing before it has risen.
    pub floor_age: Option<Duration>,
    /// A sum over all records of the keyspace on this node.
    pub digest: u64,
    /// Deletions that this node keeps.
    pub tombstones: u64,
    /// The nodes that keep the floor from rising, because they cannot be reached.
    pub held_up_by: Vec<NodeId>,
}

/// How the copies of this node compare with those of another one. Figures count since the start of
/// this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The other node.
    pub node: NodeId,
    /// Whether it is connected.
    pub up: bool,
    /// How many partitions both hold.
    pub partitions: usize,
    /// How many of them have been compared since the time that was asked about.
    pub compared: usize,
    /// How many of them were not the same when they were last compared.
    pub differing: usize,
    /// How long ago a comparison last ended.
    pub last_compared: Option<Duration>,
    /// For how long it is not known that all of them are the same.
    pub last_clean: Option<Duration>,
    /// Comparisons that went down to single keys, begun by this node.
    pub sessions: u64,
    /// Those of them that were given up or could not repair all they found.
    pub failures: u64,
    /// Why the last of these failed.
    pub last_failure: &'static str,
    /// Records that the other node took.
    pub sent: u64,
    /// Records that were taken from it.
    pub received: u64,
    /// Bytes of comparisons and records, in both directions.
    pub bytes: u64,
}

impl Data {
    /// How repair of a keyspace goes, of all eventual ones when it has no name; counts what has been
    /// compared since `since`, a reading of the node's clock.
    ///
    /// # Errors
    /// As [`Data::repaired_placement`].
    pub fn repair_status(&self, keyspace: &str, since: Mono) -> Outcome<RepairStatus> {
        let placement = self.repaired_placement(keyspace)?;
        let status = self.status();
        let Now { mono: now, wall_ms } = self.backend.now();
        let keyspaces = status.repair.keyspaces.iter();
        let keyspaces = keyspaces.filter(|one| placement.is_none_or(|it| it == one.placement));
        let is_up = |node| status.nodes.iter().any(|one: &NodeStatus| one.id == node && one.up);
        let peer = |peer: &PeerRepair| {
            let mut peer = peer.clone();
            peer.pairs.retain(|pair| placement.is_none_or(|one| pair.partition.placement == one));
            peer_status(&peer, is_up(peer.node), since, now)
        };
        Ok(RepairStatus {
            node: status.id,
            clock: now,
            peers: status.repair.peers.iter().map(peer).collect(),
            keyspaces: keyspaces.map(|one| keyspace_status(one, wall_ms)).collect(),
            scrub_bytes_per_second: status.repair.scrub_bytes_per_second,
            scrubbed: status.repair.scrubbed.map(|at| now.since(at)),
        })
    }

    /// Compares this node's copies of eventual keyspaces with those of `peer`, or of all nodes, and
    /// repairs what differs. Returns the reading of the clock before it began, for
    /// [`Data::repair_status`].
    ///
    /// # Errors
    /// [`Error::NotServing`]; [`Error::Invalid`] if there is no other node of that id.
    pub async fn repair(&self, peer: Option<u32>) -> Outcome<Mono> {
        let with = peer.map(|id| self.other_node(id)).transpose()?;
        let clock = self.backend.now().mono;
        self.backend.repair(with).await?;
        Ok(clock)
    }

    fn other_node(&self, id: u32) -> Outcome<NodeId> {
        let status = self.status();
        let mut others = status.nodes.iter().map(|node| node.id).filter(|one| *one != status.id);
        let found = others.find(|one| one.get() == id);
        found.ok_or_else(|| Error::invalid(format!("node {} has no peer {id}", status.id)))
    }

    /// The placement of the keyspace that is to be repaired; nothing for all of them.
    ///
    /// # Errors
    /// [`Error::NoKeyspace`], [`Error::NotServing`] before the layout is known, [`Error::Invalid`] if
    /// the keyspace is strong.
    fn repaired_placement(&self, name: &str) -> Outcome<Option<u16>> {
        if name.is_empty() {
            return Ok(None);
        }
        let (layout, id) = self.keyspace(name)?;
        let keyspace = layout.keyspace(id).filter(|keyspace| keyspace.mode == Mode::Eventual);
        let strong = || format!("keyspace {name:?} is strong: its copies agree without repair");
        keyspace.map(|keyspace| Some(keyspace.placement)).ok_or_else(|| Error::invalid(strong()))
    }

    /// What comparing and repairing copies has come to in the last quarter of an hour, the newest
    /// first.
    #[must_use]
    pub fn repair_events(&self) -> Vec<RepairEvent> {
        let oldest = self.wall_ms().saturating_sub(RECENT.as_millis() as u64);
        let status = self.status();
        let events = status.repair.events.iter();
        events.filter(|event| event.at_ms >= oldest).cloned().collect()
    }
}

fn keyspace_status(keyspace: &KeyspaceRepair, wall_ms: u64) -> KeyspaceStatus {
    let age = |floor_ms: u64| Duration::from_millis(wall_ms.saturating_sub(floor_ms));
    KeyspaceStatus {
        name: keyspace.name.clone(),
        floor_age: keyspace.floor_ms.map(age),
        digest: keyspace.digest,
        tombstones: keyspace.tombstones,
        held_up_by: keyspace.held_up_by.clone(),
    }
}

fn peer_status(peer: &PeerRepair, up: bool, since: Mono, now: Mono) -> PeerStatus {
    let compared = peer.pairs.iter().filter(|pair| pair.compared.is_some_and(|at| at >= since));
    PeerStatus {
        node: peer.node,
        up,
        partitions: peer.pairs.len(),
        compared: compared.count(),
        differing: peer.differing(),
        last_compared: peer.compared().map(|at| now.since(at)),
        last_clean: peer.clean().map(|at| now.since(at)),
        sessions: peer.sessions,
        failures: peer.failures,
        last_failure: peer.last_failure.unwrap_or_default(),
        sent: peer.sent,
        received: peer.received,
        bytes: peer.bytes,
    }
}
