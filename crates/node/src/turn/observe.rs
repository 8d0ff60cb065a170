//! What the turn shows of itself: status and gauges, every second and on every change.

use std::collections::BTreeSet;
use std::time::Duration;

use kvorum_core::{Keyspace, Mode, Mono, NodeId, SLOTS, Slot, Store as _};
use kvorum_replication::Event;
use kvorum_shard::{Shard, Stats};
use metrics::{Gauge, gauge};

use super::{Parts, Turn};
use crate::telemetry::node_up;
use crate::{KeyspaceRepair, Led, NodeStatus, Pulse, Serving, Standing, Status, Waiting};

/// How often the status is renewed.
const PERIOD: Duration = Duration::from_secs(1);
/// After this long a node says that it serves even if it sees no majority of the nodes.
const ALONE: Duration = Duration::from_secs(5);
/// How often a lasting trouble is logged.
const COMPLAINT_PERIOD: Duration = Duration::from_secs(10);

/// Gauges, and what is needed to renew the status.
pub(super) struct Observer {
    renewed: Option<Mono>,
    complained: Option<Mono>,
    /// Ticks since the start: this node's own heartbeat.
    pub(super) ticks: u64,
    /// Requests since the status was renewed last for its age, and how long one waited at most.
    pub(super) requests: u64,
    pub(super) waited: Duration,
    /// Writes not sent to a replica since the last complaint.
    pub(super) under_replicated: u64,
    /// Records sent to other replicas that have been counted.
    sent_records: u64,
    pending_requests: Gauge,
    pending_bytes: Gauge,
    waiting_for_log: Gauge,
    rebuilding: Gauge,
    keys: Gauge,
    disk_bytes: Gauge,
    index_bytes: Gauge,
    index_limit_bytes: Gauge,
    disk_free_bytes: Gauge,
    disk_full: Gauge,
    segments: Gauge,
    live_bytes: Gauge,
    dead_bytes: Gauge,
    replay_bytes: Gauge,
    checkpoint: Gauge,
    upkeep_failures: Gauge,
    groups_led: Gauge,
    log_bytes: Gauge,
    disk_slow: Gauge,
    background_rate: Gauge,
}

impl Observer {
    pub(super) fn new(parts: &Parts) -> Observer {
        node_up(parts.shared.status().id).set(1.0);
        Observer {
            renewed: None,
            complained: None,
            ticks: 0,
            requests: 0,
            waited: Duration::ZERO,
            under_replicated: 0,
            sent_records: 0,
            pending_requests: gauge!("kvorum_pending_requests"),
            pending_bytes: gauge!("kvorum_pending_bytes"),
            waiting_for_log: gauge!("kvorum_waiting_for_log"),
            rebuilding: gauge!("kvorum_rebuilding_partitions"),
            keys: gauge!("kvorum_keys"),
            disk_bytes: gauge!("kvorum_disk_bytes"),
            index_bytes: gauge!("kvorum_index_bytes"),
            index_limit_bytes: gauge!("kvorum_index_limit_bytes"),
            disk_free_bytes: gauge!("kvorum_disk_free_bytes"),
            disk_full: gauge!("kvorum_disk_full"),
            segments: gauge!("kvorum_log_segments"),
            live_bytes: gauge!("kvorum_log_live_bytes"),
            dead_bytes: gauge!("kvorum_log_dead_bytes"),
            replay_bytes: gauge!("kvorum_replay_bytes"),
            checkpoint: gauge!("kvorum_checkpoint_lsn"),
            upkeep_failures: gauge!("kvorum_upkeep_failures"),
            groups_led: gauge!("kvorum_raft_groups_led"),
            log_bytes: gauge!("kvorum_raft_log_bytes"),
            disk_slow: gauge!("kvorum_disk_slow"),
            background_rate: gauge!("kvorum_background_bytes_per_second"),
        }
    }
}

impl Observer {
    fn show_shard(&self, me: NodeId, shard: &Stats) {
        let led = shard.leaders.iter().filter(|(_, leader)| *leader == Some(me)).count();
        self.groups_led.set(led as f64);
        self.log_bytes.set(shard.log_bytes as f64);
        self.pending_requests.set(shard.pending_requests as f64);
        self.pending_bytes.set(shard.pending_bytes as f64);
        self.waiting_for_log.set(shard.waiting_for_log as f64);
        self.rebuilding.set(shard.rebuilding as f64);
    }

    fn show_store(&self, store: &kvorum_storage::Stats) {
        self.disk_bytes.set(store.disk_bytes as f64);
        self.disk_free_bytes.set(store.free_bytes as f64);
        self.disk_full.set(f64::from(u8::from(store.disk_full)));
        self.index_bytes.set(store.index_bytes as f64);
        self.index_limit_bytes.set(store.index_limit_bytes as f64);
        self.segments.set(store.segments as f64);
        self.live_bytes.set(store.live_bytes as f64);
        self.dead_bytes.set(store.dead_bytes as f64);
        self.replay_bytes.set(store.replay_bytes as f64);
        self.checkpoint.set(store.checkpoint.0 as f64);
        self.upkeep_failures.set(store.failures as f64);
    }
}

impl Turn {
    /// Renews status and gauges if they are a second old.
    pub(super) fn observe(&mut self, now: Mono) {
        let due = |last: Option<Mono>, period| last.is_none_or(|last| now.since(last) >= period);
        if due(self.observer.renewed, PERIOD) {
            let before = self.observer.renewed.replace(now);
            self.renew();
            self.tell_pulse(now.since(before.unwrap_or(now)));
        }
        if self.observer.under_replicated > 0 && due(self.observer.complained, COMPLAINT_PERIOD) {
            self.observer.complained = Some(now);
            let writes = std::mem::take(&mut self.observer.under_replicated);
            tracing::warn!(
                "[REPLICATE] {writes} writes were not sent to a replica that is down or full; \
                 they are stored on the others"
            );
        }
    }

    /// Counts what concerns the copies of writes.
    pub(super) fn count_copies(&mut self, event: Event) {
        match event {
            Event::UnderReplicated => {
                self.metrics.attempts.increment(1);
                self.metrics.failures.increment(1);
                self.observer.under_replicated += 1;
            }
            // A leader sends an entry to all other replicas, again until they have it.
            Event::Proposed => {
                let others = self.parts.founding.borrow().replication().saturating_sub(1);
                self.metrics.attempts.increment(others as u64);
            }
            _ => {}
        }
    }

    /// Whether this node has been connected to a majority of the nodes since its start. Before, it
    /// takes requests but can answer few of them, so it does not call itself ready.
    fn has_connected(&mut self) -> bool {
        if let (false, Some(shard), Some(since)) = (self.connected, &self.shard, self.serving) {
            let nodes = shard.layout().nodes();
            let up = nodes.iter().filter(|node| shard.is_up(**node)).count();
            let waited = self.parts.clock.mono().since(since);
            self.connected = up > nodes.len() / 2 || waited > ALONE;
        }
        self.connected
    }

    /// Publishes the status and sets the gauges.
    pub(super) fn renew(&mut self) {
        let connected = self.has_connected();
        let shard = self.shard.as_ref().map(Shard::stats).unwrap_or_default();
        let sent = shard.sent_records - self.observer.sent_records;
        self.metrics.attempts.increment(sent);
        self.observer.sent_records = shard.sent_records;
        let store = self.parts.store.stats();
        let keys = self.live_keys();
        let observer = &self.observer;
        observer.show_shard(self.parts.links.node().me, &shard);
        observer.show_store(&store);
        observer.keys.set(keys as f64);
        observer.disk_slow.set(f64::from(u8::from(self.disk_pace.is_slow())));
        let now = self.parts.clock.mono();
        let rate = self.shard.as_ref().map_or(0, |shard| shard.background_rate(now));
        observer.background_rate.set(rate as f64);
        for hints in &shard.hints {
            self.parts.links.set_hints(hints);
        }
        for (peer, bytes) in &shard.peer_bytes {
            self.parts.links.set_in_flight(*peer, *bytes);
        }
        let known = self.parts.shared.status();
        let layout = self.shard.as_ref().map(|shard| &**shard.layout());
        self.repairs.look(self.parts.clock.now(), &shard.comparisons);
        let mut repair = self.repairs.snapshot(known.id, layout);
        repair.keyspaces = self.settling(&shard);
        repair.scrub_bytes_per_second = store.scrub_bytes_per_second;
        repair.scrubbed = store.scrubbed;
        let leaders = shard.leaders.iter().filter_map(|(id, leader)| Some((*id, (*leader)?)));
        self.parts.shared.publish(Status {
            id: known.id,
            serving: self.how_it_serves(&shard, connected),
            nodes: self.nodes(&shard),
            replication_factor: self.parts.founding.borrow().replication(),
            started_s: known.started_s,
            keys,
            disk_bytes: store.disk_bytes,
            index_bytes: store.index_bytes,
            index_limit_bytes: known.index_limit_bytes,
            pending_requests: shard.pending_requests,
            leaders: leaders.collect(),
            repair,
        });
    }

    /// Tells the other nodes how this one is, and how it was during this `span`.
    fn tell_pulse(&mut self, span: Duration) {
        let requests = std::mem::take(&mut self.observer.requests) as f64;
        let waited = std::mem::take(&mut self.observer.waited);
        let store = self.parts.store.stats();
        let disk = store.disk_bytes.saturating_add(store.free_bytes).max(1);
        let percent = store.disk_bytes.saturating_mul(100) / disk;
        let shard = self.shard.as_ref();
        let (ahead_ms, _) = self.parts.members.clock_error_ms();
        self.parts.members.set_pulse(Pulse {
            // A rate beyond four billion is as good as four billion.
            operations: (requests / span.as_secs_f64().max(0.001)) as u32,
            disk_percent: u8::try_from(percent).unwrap_or(100),
            queue_delay_us: u32::try_from(waited.as_micros()).unwrap_or(u32::MAX),
            layout: shard.map_or(0, |shard| shard.layout().version()),
            clock_ahead_ms: ahead_ms.map(|ms| i32::try_from(ms).unwrap_or(i32::MAX)),
            serving: shard.is_some() && !self.is_leaving(),
            rebuilding: shard.is_some_and(|shard| shard.stats().rebuilding > 0),
            disk_full: store.disk_full,
            disk_slow: self.disk_pace.is_slow(),
        });
    }

    fn how_it_serves(&self, shard: &Stats, connected: bool) -> Serving {
        if self.is_leaving() {
            Serving::No("stopping".to_owned())
        } else if self.shard.is_none() {
            Serving::No(self.waiting.clone())
        } else if !connected {
            Serving::No("connecting to the other nodes".to_owned())
        } else if shard.rebuilding > 0 {
            Serving::Rebuilding(shard.rebuilding)
        } else {
            Serving::Yes
        }
    }

    fn live_keys(&self) -> u64 {
        let Some(shard) = &self.shard else { return 0 };
        let last = Slot::new(SLOTS - 1).unwrap_or_default();
        let keyspaces = shard.layout().keyspaces().iter();
        keyspaces.map(|keyspace| self.parts.store.live(keyspace.id, Slot::default(), last)).sum()
    }

    /// How far the deletions of each eventual keyspace are settled.
    fn settling(&self, stats: &Stats) -> Vec<KeyspaceRepair> {
        let Some(shard) = &self.shard else { return Vec::new() };
        let (layout, me) = (shard.layout(), self.parts.links.node().me);
        let last = Slot::new(SLOTS - 1).unwrap_or_default();
        let eventual = layout.keyspaces().iter().filter(|one| one.mode == Mode::Eventual);
        let settling = |keyspace: &Keyspace| {
            let here = layout.partitions_on(me).filter(|one| one.placement == keyspace.placement);
            let members = here.flat_map(|partition| layout.replicas(partition));
            let away = members.filter(|node| **node != me && !shard.is_up(**node));
            let floor = stats.floors.get(&keyspace.placement).filter(|floor| floor.0 > 0);
            KeyspaceRepair {
                name: keyspace.name.clone(),
                placement: keyspace.placement,
                floor_ms: floor.map(|floor| floor.wall_ms()),
                digest: self.parts.store.sum(keyspace.id, Slot::default(), last),
                tombstones: self.parts.store.tombstones(keyspace.id, Slot::default(), last),
                held_up_by: away.copied().collect::<BTreeSet<NodeId>>().into_iter().collect(),
            }
        };
        eventual.map(settling).collect()
    }

    /// How many partitions of each strong keyspace a node leads.
    fn leads(&self, shard: &Stats, node: NodeId) -> Vec<Led> {
        let keyspaces = self.shard.iter().flat_map(|shard| shard.layout().keyspaces());
        let strong = keyspaces.filter(|keyspace| keyspace.mode == Mode::Strong);
        let led = |keyspace: &Keyspace| {
            let theirs = shard.leaders.iter().filter(|(partition, leader)| {
                partition.placement == keyspace.placement && *leader == Some(node)
            });
            Led { keyspace: keyspace.name.clone(), partitions: theirs.count() }
        };
        strong.map(led).collect()
    }

    fn nodes(&self, shard: &Stats) -> Vec<NodeStatus> {
        let now_s = self.parts.clock.now().wall_ms / 1000;
        let ours = &self.parts.ourselves;
        let founding = self.parts.founding.borrow();
        let mut nodes = vec![NodeStatus {
            id: self.parts.links.node().me,
            name: ours.name.clone(),
            advertised: ours.advertised.clone(),
            up: true,
            standing: Standing::Alive,
            pulse: None,
            heartbeat: self.observer.ticks,
            last_seen_s: now_s,
            leads: self.leads(shard, self.parts.links.node().me),
            waiting: Waiting::default(),
        }];
        for (id, sign) in self.parts.links.signs() {
            let view = self.parts.members.view(id);
            let (name, advertised) = founding.address(id);
            nodes.push(NodeStatus {
                id,
                name,
                advertised,
                up: sign.connected,
                standing: view.standing,
                pulse: view.pulse,
                heartbeat: view.heartbeat,
                last_seen_s: view.seen_ms / 1000,
                leads: self.leads(shard, id),
                waiting: waiting(shard, id),
            });
        }
        nodes.sort_unstable_by_key(|node| node.id);
        nodes
    }
}

/// What waits here for a node.
fn waiting(shard: &Stats, node: NodeId) -> Waiting {
    let hints = shard.hints.iter().find(|hints| hints.node == node);
    hints.map_or_else(Waiting::default, |hints| Waiting {
        keys: hints.keys,
        bytes: hints.bytes,
        dirty_slots: hints.dirty_slots,
    })
}
