//! Drives the founding of a cluster: learns who the nodes are, passes introductions on, keeps the
//! records, and says when to serve.

mod addresses;
mod greetings;

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_cluster::founding::{
    Candidate, Decision, Founding as Core, MEMBERSHIP_KEY, Membership, Persisted, WATERMARKS_KEY,
};
use kvorum_cluster::placement::{self, PlacementError, Wishes};
use kvorum_core::{
    Hlc, HybridClock, KeyspaceId, Layout, Lsn, Mode, Mono, NodeId, PartitionId, digest,
};
use kvorum_storage::{Recovery, Store};

use crate::peer::Announcement;
use crate::{Advertised, Options, PeerAddress, StartError, local};

use self::addresses::Addresses;
pub(crate) use self::greetings::Met;

/// The founding state of this node, shared by the turn and the tasks that introduce the node.
#[derive(Debug)]
pub(crate) struct Founding {
    candidate: Candidate,
    wishes: Wishes,
    /// The peer list, with the ids of the nodes that answer there once they are known.
    peers: Vec<PeerAddress>,
    stage: Stage,
    addresses: Addresses,
    /// The membership that is on its way to the disk, and the LSN of its record.
    writing: Option<(Bytes, Lsn)>,
    /// Partitions whose rebuild was ordered by a decision and is not complete.
    rebuilding: BTreeSet<PartitionId>,
    /// The last record of watermarks: nothing else written since means nothing to add.
    watermarks_at: Lsn,
    durable: Lsn,
    clock: Hlc,
}

/// How far the node is.
#[derive(Debug)]
enum Stage {
    /// The peer list has no ids: its nodes are asked for them.
    Learning(Box<Persisted>),
    /// The nodes are known.
    Known(Box<Core>),
    /// The node must not go on.
    Failed(StartError),
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum Step {
    /// Wait; the text says what for.
    Wait(String),
    /// Serve.
    Serve,
    /// Serve, and rebuild all partitions first.
    Rebuild {
        /// What was lost.
        reason: String,
        /// Stamp versions with readings above this one.
        clock_above: Hlc,
    },
    /// End.
    Fail(StartError),
}

impl Founding {
    /// The state at the start of the process `process`.
    ///
    /// # Errors
    /// [`StartError::Refused`] if the data is another node's, cluster's or peer list's.
    pub(crate) fn open(
        options: &Options,
        process: u64,
        recovery: &Recovery,
        store: &mut Store,
        now: Mono,
    ) -> Result<Founding, StartError> {
        let mut damaged = recovery.damage.is_some();
        let mut read = |key| match local::get(store, key) {
            Ok(value) => value,
            Err(error) => {
                tracing::error!("a record of this node's own is damaged: {error}");
                damaged = true;
                None
            }
        };
        let membership = read(MEMBERSHIP_KEY);
        let watermarks = read(WATERMARKS_KEY);
        let members = members_of(membership.as_ref());
        let addresses = Addresses::read(members.as_deref().unwrap_or_default(), store)
            .unwrap_or_else(|error| {
                tracing::error!("a record of this node's own is damaged: {error}");
                damaged = true;
                Addresses::default()
            });
        let candidate = Candidate {
            cluster: options.cluster.clone(),
            node: options.id,
            nonce: process,
            log_id: recovery.log_id,
            start: recovery.start,
            recovered: recovery.recovered,
            highest: recovery.highest,
            damaged,
        };
        let mut founding = Founding {
            candidate,
            wishes: Wishes {
                replication: options.replication_factor.map(usize::from),
                default_mode: options.default_mode,
                showcase: options.showcase,
            },
            peers: options.peers.clone(),
            stage: Stage::Learning(Box::default()),
            addresses,
            writing: None,
            rebuilding: BTreeSet::new(),
            watermarks_at: Lsn::default(),
            durable: recovery.recovered,
            clock: recovery.highest,
        };
        let known = known_nodes(&options.peers, members)?;
        let persisted = Persisted { membership, watermarks };
        founding.stage = Stage::Learning(Box::new(persisted));
        match known {
            Some(nodes) => founding.know(nodes, now)?,
            None => founding.know_if_all_are_learned(now),
        }
        match founding.stage {
            Stage::Failed(error) => Err(error),
            _ => Ok(founding),
        }
    }

    /// All nodes are known, perhaps but for this one.
    fn know(&mut self, mut nodes: Vec<NodeId>, now: Mono) -> Result<(), StartError> {
        let persisted = match &mut self.stage {
            Stage::Learning(persisted) => std::mem::take(&mut **persisted),
            Stage::Known(_) | Stage::Failed(_) => return Ok(()),
        };
        nodes.push(self.candidate.node);
        let refused = |error: PlacementError| StartError::Refused(error.to_string());
        let proposal = placement::initial_layout(&nodes, &self.wishes);
        let core = Core::new(self.candidate.clone(), proposal.map_err(refused)?, persisted, now);
        let core = core.map_err(|refusal| StartError::Refused(refusal.reason))?;
        self.stage = Stage::Known(Box::new(core));
        Ok(())
    }

    fn know_if_all_are_learned(&mut self, now: Mono) {
        let Some(nodes) = listed_ids(&self.peers) else { return };
        if let Err(error) = self.know(nodes, now) {
            self.stage = Stage::Failed(error);
        }
    }

    /// Notes how far the log is durable and what the hybrid clock reads.
    pub(crate) fn progress(&mut self, durable: Lsn, clock: Hlc) {
        (self.durable, self.clock) = (durable, self.clock.max(clock));
    }

    /// The name and the addresses of another node, as far as they are known.
    pub(crate) fn address(&self, id: NodeId) -> (String, Advertised) {
        self.addresses.of(id, &self.peers)
    }

    /// Writes the names and addresses that have changed.
    pub(crate) fn keep_addresses(&mut self, store: &mut Store) {
        self.addresses.keep(store);
    }

    /// Writes what must be durable, and says what to do.
    pub(crate) fn step(&mut self, store: &mut Store, now: Mono) -> Step {
        let core = match &mut self.stage {
            Stage::Known(core) => core,
            Stage::Learning(_) => {
                let silent = self.peers.iter().filter(|peer| peer.id.is_none()).count();
                return Step::Wait(format!("waiting for {silent} nodes of the list of peers"));
            }
            Stage::Failed(error) => return Step::Fail(error.clone()),
        };
        match core.decide(now) {
            Decision::Serve => Step::Serve,
            Decision::Rebuild { reason, clock_above } => Step::Rebuild { reason, clock_above },
            Decision::Wait { missing, .. } => {
                let missing: Vec<String> = missing.iter().map(NodeId::to_string).collect();
                Step::Wait(format!("waiting for node {}", missing.join(", node ")))
            }
            Decision::Refuse(refusal) if refusal.kind.is_fatal() => {
                Step::Fail(StartError::Refused(refusal.reason))
            }
            Decision::Refuse(refusal) => Step::Wait(refusal.reason),
            Decision::Persist(record) => {
                if self.writing.as_ref().is_none_or(|(writing, _)| *writing != record) {
                    let lsn = local::put(store, MEMBERSHIP_KEY, record.clone());
                    // If this turn's frame is full the next turn tries again.
                    self.writing = lsn.ok().map(|lsn| (record, lsn));
                }
                Step::Wait("joining the cluster".to_owned())
            }
        }
    }

    /// The log is durable up to here. True if that makes the membership durable.
    pub(crate) fn persisted(&mut self, now: Mono) -> bool {
        let durable = self.durable;
        let Some((record, _)) = self.writing.take_if(|(_, lsn)| *lsn <= durable) else {
            return false;
        };
        let Stage::Known(core) = &mut self.stage else { return false };
        // What has changed meanwhile must become durable first.
        let latest = core.decide(now) == Decision::Persist(record);
        if latest {
            core.persisted();
        }
        latest
    }

    /// These partitions are being rebuilt because a decision said so.
    pub(crate) fn rebuild(&mut self, partitions: &[PartitionId]) {
        self.rebuilding.extend(partitions);
    }

    /// Whether a rebuild that a decision ordered is under way.
    pub(crate) fn is_rebuilding(&self) -> bool {
        !self.rebuilding.is_empty()
    }

    /// A partition was rebuilt, durably. True if it was the last one of those ordered.
    pub(crate) fn rebuilt(&mut self, partition: PartitionId, store: &mut Store) -> bool {
        if !self.rebuilding.remove(&partition) || self.is_rebuilding() {
            return false;
        }
        self.all_rebuilt(store);
        true
    }

    /// Everything this node holds is complete again.
    pub(crate) fn all_rebuilt(&mut self, store: &mut Store) {
        store.rebuilt();
        if let Stage::Known(core) = &mut self.stage {
            core.rebuilt();
        }
    }

    /// The streams with a process of a node are complete.
    pub(crate) fn connected(&mut self, node: NodeId, process: u64, now: Mono) {
        if let Stage::Known(core) = &mut self.stage {
            core.connected(node, process, now);
        }
    }

    /// The streams with a node are lost.
    pub(crate) fn disconnected(&mut self, node: NodeId) {
        if let Stage::Known(core) = &mut self.stage {
            core.disconnected(node);
        }
    }

    /// A process of a node has given a sign of life.
    pub(crate) fn heard(&mut self, node: NodeId, process: u64, now: Mono) {
        if let Stage::Known(core) = &mut self.stage {
            core.heard(node, process, now);
        }
    }

    /// Another node has told by gossip where it can be reached.
    pub(crate) fn published(&mut self, node: NodeId, said: &Announcement) {
        self.addresses.note(node, said);
    }

    /// The start number of this process, once the nodes are known.
    pub(crate) fn start(&self) -> u32 {
        match &self.stage {
            Stage::Known(core) => core.start(),
            Stage::Learning(_) | Stage::Failed(_) => self.candidate.start,
        }
    }

    /// A connected node's frames have told how far its log is durable.
    pub(crate) fn told(&mut self, node: NodeId, durable: Lsn) {
        if let Stage::Known(core) = &mut self.stage {
            core.told(node, durable);
        }
    }

    /// Writes the other nodes' watermarks if it is time. On an idle node it is not: the record
    /// would make this node's own watermark grow, which the others would write down in turn.
    pub(crate) fn keep_watermarks(&mut self, store: &mut Store, now: Mono) {
        let Stage::Known(core) = &mut self.stage else { return };
        let urgent = core.next_watermarks() == Some(Mono::default());
        if self.durable <= self.watermarks_at && !urgent {
            return;
        }
        if let Some(record) = core.watermarks_due(now) {
            match local::put(store, WATERMARKS_KEY, record) {
                Ok(lsn) => self.watermarks_at = lsn,
                Err(refused) => tracing::warn!("the watermarks were not written: {refused}"),
            }
        }
    }

    /// The layout of the cluster, once the nodes are known.
    pub(crate) fn layout(&self) -> Option<Arc<Layout>> {
        match &self.stage {
            Stage::Known(core) => Some(Arc::new(core.layout().clone())),
            Stage::Learning(_) | Stage::Failed(_) => None,
        }
    }

    /// The clock that this node stamps versions with, once the nodes are known and if it may stamp
    /// at `wall_ms`.
    pub(crate) fn clock(&self, wall_ms: u64) -> Option<HybridClock> {
        match &self.stage {
            Stage::Known(core) => core.clock(wall_ms),
            Stage::Learning(_) | Stage::Failed(_) => None,
        }
    }

    /// What the hashes that replicas compare are keyed with, once the cluster is known.
    pub(crate) fn digest_seed(&self) -> Option<digest::Seed> {
        match &self.stage {
            Stage::Known(core) => core.membership().map(|known| known.founded.digest_seed),
            Stage::Learning(_) | Stage::Failed(_) => None,
        }
    }

    /// The replication factor of the cluster; zero before the nodes are known.
    pub(crate) fn replication(&self) -> usize {
        let first = PartitionId { placement: 0, number: 0 };
        match &self.stage {
            Stage::Known(core) => core.layout().replicas(first).len(),
            Stage::Learning(_) | Stage::Failed(_) => 0,
        }
    }

    /// What was wished for and is otherwise in this cluster, which keeps what it was born with.
    pub(crate) fn ungranted(&self) -> Vec<String> {
        let mut texts = Vec::new();
        let replication = self.replication();
        if let Some(asked) = self.wishes.replication.filter(|asked| *asked != replication) {
            texts.push(format!("a replication factor of {asked}; the cluster has {replication}"));
        }
        let mode = self.default_mode();
        if let Some(asked) = self.wishes.default_mode.filter(|asked| Some(*asked) != mode) {
            texts.push(format!("a keyspace `default` that is {asked}; the cluster's is not"));
        }
        texts
    }

    /// How the copies of the keyspace `default` agree, once the nodes are known.
    fn default_mode(&self) -> Option<Mode> {
        let Stage::Known(core) = &self.stage else { return None };
        core.layout().keyspace(KeyspaceId::DEFAULT).map(|keyspace| keyspace.mode)
    }
}

/// The nodes of the cluster of an earlier start, if there was one. A record that cannot be read
/// names none; it is reported with the rest of the founding.
fn members_of(membership: Option<&Bytes>) -> Option<Vec<NodeId>> {
    let membership = Membership::decode(membership?.clone());
    Some(membership.map_or_else(|_| Vec::new(), |own| own.founded.layout.nodes().to_vec()))
}

/// The ids of the peer list, if all of them are known.
fn listed_ids(peers: &[PeerAddress]) -> Option<Vec<NodeId>> {
    peers.iter().map(|peer| peer.id).collect()
}

/// The other nodes, as far as the peer list or the membership of an earlier start names them.
///
/// # Errors
/// [`StartError::Refused`] if the list has another length than the cluster of the earlier start.
fn known_nodes(
    peers: &[PeerAddress],
    members: Option<Vec<NodeId>>,
) -> Result<Option<Vec<NodeId>>, StartError> {
    if let Some(ids) = listed_ids(peers) {
        return Ok(Some(ids));
    }
    let Some(nodes) = members else { return Ok(None) };
    let (listed, count) = (peers.len(), nodes.len());
    if nodes.is_empty() || listed == count || listed + 1 == count {
        return Ok(Some(nodes));
    }
    Err(StartError::Refused(format!(
        "the data directory belongs to a cluster of {count} nodes, but the list of peers has \
         {listed}"
    )))
}
