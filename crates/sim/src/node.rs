//! A running node: what the driver in the `node` crate holds as well, without its sockets.

mod hints;
mod inputs;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_cluster::clocks::Clocks;
use kvorum_cluster::founding::{
    Candidate, Decision, Founding, Hello, MEMBERSHIP_KEY, Persisted, Refusal, WATERMARKS_KEY,
};
use kvorum_core::{
    Hlc, KeyspaceId, Layout, Lsn, NodeId, Now, PartitionId, Record, Slot, Store as _, Version,
    Writer,
};
use kvorum_shard::{In, Options, Out, Shard};
use kvorum_storage::{Fatal, Recovery, Store, SyncJob, Work, WorkDone};

use self::inputs::{cost, not_serving};

/// A piece of background work under way.
pub enum Upkeep {
    /// Nothing of it has reached the disk.
    Begun(Work),
    /// All of it has; the node does not know yet.
    Ended(WorkDone),
}

/// A node between its start and its end.
pub struct Node {
    /// The store.
    pub store: Store,
    /// The shard; nothing before the node serves.
    pub shard: Option<Shard>,
    /// What the next turn takes.
    pub inbox: VecDeque<In>,
    /// Whether the next turn is scheduled.
    pub turn_due: bool,
    /// When the next deadline is scheduled.
    pub deadline: Option<kvorum_core::Mono>,
    /// The log write under way.
    pub job: Option<SyncJob>,
    /// The background work under way.
    pub upkeep: Option<Upkeep>,
    /// Counts what this node has to say that it has not said before.
    pub news: u64,
    nonce: u64,
    recovery: Recovery,
    options: Options,
    founding: Founding,
    /// The membership on its way to the disk.
    writing: Option<(Bytes, Lsn)>,
    rebuilding: BTreeSet<PartitionId>,
    clocks: Clocks,
    clock_suspect: bool,
    /// How many bytes of records one turn may write, and about how many it has written.
    frame_room: usize,
    filled: usize,
    /// How far the log was durable at the last tick.
    settled: Lsn,
    /// Slots with corrupt records that are to be copied from other nodes.
    corrupt: Vec<(KeyspaceId, Slot)>,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node").field("inbox", &self.inbox.len()).finish_non_exhaustive()
    }
}

impl Node {
    /// A node that has just opened its store.
    ///
    /// # Errors
    /// What is on the disk belongs to somebody else.
    pub fn new(
        mut store: Store,
        recovery: Recovery,
        options: Options,
        layout: &Layout,
        frame_room: usize,
        now: Now,
        nonce: u64,
    ) -> Result<Node, Refusal> {
        let mut damaged = recovery.damage.is_some();
        let mut read = |key| match store.value(KeyspaceId::LOCAL, Slot::default(), key) {
            Ok(found) => found.map(|(_, value)| value),
            Err(_) => {
                damaged = true;
                None
            }
        };
        let persisted =
            Persisted { membership: read(MEMBERSHIP_KEY), watermarks: read(WATERMARKS_KEY) };
        let candidate = Candidate {
            cluster: "simulated".to_owned(),
            node: options.me,
            nonce,
            log_id: recovery.log_id,
            start: recovery.start,
            recovered: recovery.recovered,
            highest: recovery.highest,
            damaged,
        };
        let founding = Founding::new(candidate, layout.clone(), persisted, now.mono)?;
        Ok(Node {
            store,
            shard: None,
            inbox: VecDeque::new(),
            turn_due: false,
            deadline: None,
            job: None,
            upkeep: None,
            news: 0,
            nonce,
            recovery,
            options,
            founding,
            writing: None,
            rebuilding: BTreeSet::new(),
            clocks: Clocks::default(),
            clock_suspect: false,
            frame_room,
            filled: 0,
            settled: Lsn::default(),
            corrupt: Vec::new(),
        })
    }

    /// Identifies this life of its log.
    #[must_use]
    pub const fn log_id(&self) -> u128 {
        self.recovery.log_id
    }

    /// Whether the node serves, and holds all it should.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.shard.is_some() && self.rebuilding.is_empty()
    }

    /// Whether the node rebuilds a partition, for whatever reason, or serves none.
    #[must_use]
    pub fn rebuilds(&self) -> bool {
        self.shard.as_ref().is_none_or(|shard| shard.stats().rebuilding > 0)
    }

    /// Why the node rebuilds everything it holds, if the founding says that it must.
    #[must_use]
    pub fn rebuilds_because(&self) -> Option<String> {
        let membership = self.founding.membership()?;
        membership.rebuilding.then(|| format!("{:?}", membership.settled))
    }

    /// The random number of this process.
    #[must_use]
    pub const fn nonce(&self) -> u64 {
        self.nonce
    }

    /// What this node says of itself to another one.
    #[must_use]
    pub fn hello(&self, to: NodeId) -> Hello {
        let clock = self.shard.as_ref().map_or(self.recovery.highest, Shard::clock);
        self.founding.hello(Some(to), self.store.durable(), clock)
    }

    /// Takes the introduction of another node.
    ///
    /// # Errors
    /// This node will not work with that one.
    pub fn receive(&mut self, hello: &Hello, now: Now) -> Result<(), Refusal> {
        self.founding.receive(hello, now.mono)
    }

    /// Another node refused this one.
    pub fn refused(&mut self, refusal: Refusal) {
        self.founding.refused(refusal);
    }

    /// The connection to a process of another node is complete.
    pub fn connected(&mut self, peer: NodeId, nonce: u64, now: Now) {
        self.founding.connected(peer, nonce, now.mono);
        self.change(In::PeerUp(peer));
    }

    /// Puts a change of a connection before everything that waits for room in the log, as the node
    /// does: what is sent from then on goes over the new connection.
    fn change(&mut self, input: In) {
        let first = |input: &&In| matches!(input, In::PeerUp(_) | In::PeerDown(_) | In::Durable(_));
        let at = self.inbox.iter().take_while(first).count();
        self.inbox.insert(at, input);
    }

    /// The connection to a node is lost.
    pub fn disconnected(&mut self, peer: NodeId) {
        let told = self.shard.as_ref().and_then(|shard| shard.durable_of(peer));
        if let Some(durable) = told {
            self.founding.told(peer, durable);
        }
        self.founding.disconnected(peer);
        self.clocks.lost(peer);
        // What was read from the connection and waits is of no use to the next one.
        self.inbox.retain(|input| !matches!(input, In::Frame { from, .. } if *from == peer));
        self.change(In::PeerDown(peer));
    }

    /// The process `nonce` of a connected node gave a sign of life.
    pub fn heard(&mut self, peer: NodeId, nonce: u64, now: Now) {
        let told = self.shard.as_ref().and_then(|shard| shard.durable_of(peer));
        if let Some(durable) = told {
            self.founding.told(peer, durable);
        }
        self.founding.heard(peer, nonce, now.mono);
    }

    /// Does what the founding state asks for.
    ///
    /// # Errors
    /// The node must end for good: no schedule of faults may lead to that.
    pub fn advance(&mut self, now: Now) -> Result<(), Refusal> {
        if let Some(record) = self.founding.watermarks_due(now.mono) {
            // What cannot be noted in this turn is noted in a later one.
            let _ = self.note(WATERMARKS_KEY, record);
        }
        match self.founding.decide(now.mono) {
            Decision::Wait { .. } => {}
            Decision::Persist(record) => {
                if self.writing.as_ref().is_none_or(|(writing, _)| *writing != record) {
                    self.writing =
                        self.note(MEMBERSHIP_KEY, record.clone()).map(|lsn| (record, lsn));
                }
            }
            Decision::Serve => self.serve(now, Hlc::default()),
            Decision::Rebuild { clock_above, .. } => {
                self.serve(now, clock_above);
                if self.shard.is_some() && self.rebuilding.is_empty() {
                    let all = self.founding.layout().partitions_on(self.options.me);
                    self.rebuilding = all.collect();
                    let partitions = self.rebuilding.iter().copied().collect();
                    self.inbox.push_back(In::Rebuild(partitions));
                }
            }
            Decision::Refuse(refusal) if refusal.kind.is_fatal() => return Err(refusal),
            Decision::Refuse(_) => {}
        }
        Ok(())
    }

    fn note(&mut self, key: &'static [u8], value: Bytes) -> Option<Lsn> {
        let slot = Slot::default();
        let stored = self.store.header(KeyspaceId::LOCAL, slot, key);
        let hlc = stored.map_or(Hlc(1), |stored| stored.header.version.hlc.next());
        let record = Record {
            keyspace: KeyspaceId::LOCAL,
            slot,
            key: Bytes::from_static(key),
            version: Version { hlc, writer: Writer::default() },
            tag: 0,
            expire_ms: 0,
            value: Some(value),
        };
        self.store.put(record).ok()
    }

    fn serve(&mut self, now: Now, clock_above: Hlc) {
        if let Some(membership) = self.founding.membership() {
            self.store.seed_digests(membership.founded.digest_seed);
        }
        if let Some(shard) = &mut self.shard {
            shard.observe(clock_above);
            return;
        }
        let Some(clock) = self.founding.clock(now.wall_ms) else { return };
        let layout = Arc::new(self.founding.layout().clone());
        self.shard = Some(Shard::new(self.options.clone(), layout, clock));
        self.inbox.push_front(In::Durable(self.store.durable()));
    }

    /// A partition has been rebuilt, durably.
    pub fn rebuilt(&mut self, partition: PartitionId) {
        if self.rebuilding.remove(&partition) && self.rebuilding.is_empty() {
            self.store.rebuilt();
            self.founding.rebuilt();
        }
    }

    /// Runs a turn: what the inbox holds, as far as the open frame of the log has room for what it
    /// writes, then the end of the turn.
    pub fn turn(&mut self, now: Now) -> Vec<Out> {
        let mut out = Vec::new();
        self.turn_due = false;
        let Some(shard) = &mut self.shard else {
            out.extend(self.inbox.drain(..).filter_map(|input| not_serving(&input)));
            return out;
        };
        while let Some(input) = self.inbox.front() {
            let cost = cost(input);
            if cost > 0 && self.filled > 0 && self.filled + cost > self.frame_room {
                break;
            }
            self.filled += cost;
            if let Some(input) = self.inbox.pop_front() {
                shard.step(now, input, &mut self.store, &mut out);
            }
        }
        shard.end_of_turn(now, &mut self.store, &mut out);
        out
    }

    /// Whether a turn would find something to do.
    #[must_use]
    pub fn has_input(&self) -> bool {
        let fits = |input| self.filled == 0 || self.filled + cost(input) <= self.frame_room;
        self.inbox.front().is_some_and(fits)
    }

    /// The next log write, if there is something to write and none is under way. The log is idle
    /// if nothing was written for a while: then what was written last is proved durable.
    pub fn seal(&mut self, idle: bool) -> bool {
        if self.job.is_some() {
            return false;
        }
        if self.store.is_unawaited() && self.inbox.is_empty() {
            return false;
        }
        self.filled = 0;
        self.job = self.store.seal();
        if idle && self.job.is_none() {
            self.job = self.store.settle();
        }
        self.job.is_some()
    }

    /// Time has passed. Returns whether nothing was written meanwhile.
    pub fn tick(&mut self, nodes: usize) -> bool {
        let suspect = self.clocks.is_suspect(nodes);
        if suspect != self.clock_suspect {
            self.clock_suspect = suspect;
            self.inbox.push_back(In::ClockSuspect(suspect));
        }
        self.repair();
        self.store.wait_for_all();
        let durable = self.store.durable();
        std::mem::replace(&mut self.settled, durable) == durable
    }

    /// A peer has told what its clock shows.
    pub fn compare_clocks(&mut self, peer: NodeId, theirs_ms: u64, now: Now, took: Duration) {
        self.clocks.heard(peer, theirs_ms, now.wall_ms, took);
    }

    /// Copies partitions with corrupt records from the other replicas, once all of those are up.
    fn repair(&mut self) {
        self.corrupt.extend(self.store.take_corrupt());
        let Some(shard) = &self.shard else { return };
        let (layout, me) = (shard.layout(), self.options.me);
        let mut partitions = BTreeSet::new();
        self.corrupt.retain(|(keyspace, slot)| {
            let Some(partition) = layout.partition_of(*keyspace, *slot) else { return false };
            let replicas = layout.replicas(partition);
            let whole =
                replicas.len() > 1 && replicas.iter().all(|id| *id == me || shard.is_up(*id));
            if whole {
                partitions.insert(partition);
            }
            !whole
        });
        if !partitions.is_empty() {
            self.inbox.push_back(In::Rebuild(partitions.into_iter().collect()));
        }
    }

    /// Finishes the log write under way. Returns the LSN that is durable now.
    ///
    /// # Errors
    /// The disk failed: the node must end.
    pub fn synced(&mut self, now: Now) -> Result<Option<Lsn>, Fatal> {
        let Some(job) = self.job.take() else { return Ok(None) };
        let durable = self.store.complete(job.run())?;
        self.inbox.push_front(In::Durable(durable));
        if let Some((record, _)) = self.writing.take_if(|(_, lsn)| *lsn <= durable)
            && self.founding.decide(now.mono) == Decision::Persist(record)
        {
            self.founding.persisted();
            self.news += 1;
        }
        Ok(Some(durable))
    }
}
