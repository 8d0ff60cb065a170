//! What a turn does besides moving requests: founding, background work, the end.

use std::sync::Arc;

use kvorum_core::{Error, Hlc, NodeId, Now, Outcome, PartitionId};
use kvorum_shard::{In, Options, Shard};
use kvorum_storage::Fatal;
use tokio::sync::oneshot;

use super::Turn;
use crate::founding::{Founding, Met, Step};
use crate::peer::{Announcement, LocalNode};
use crate::{Convergence, StartError};

impl Turn {
    /// A node introduces itself.
    pub(super) fn greeted(
        &mut self,
        now: Now,
        announcement: &Announcement,
        answer: oneshot::Sender<Announcement>,
    ) {
        self.report_progress();
        let mut founding = self.parts.founding.borrow_mut();
        self.remember(&mut founding);
        let (body, met) = founding.greeted(announcement, now.mono);
        drop(founding);
        // An asker that has gone away asks again.
        let _ = answer.send(Announcement { body, ..self.parts.ourselves.clone() });
        let Some(Met::Peer(id, process)) = met else { return };
        self.parts.links.introduced(id, process);
        // A node that introduces itself is reachable. Only the dialling side concludes something
        // from it, or two nodes would greet each other without a pause.
        if self.parts.links.node().me < id && !self.parts.links.is_up(id) {
            self.parts.links.knock(id);
        }
        self.advance(now);
    }

    /// Tells the founding what this node has to tell in introductions.
    fn report_progress(&self) {
        let clock = self.shard.as_ref().map_or(Hlc::default(), Shard::clock);
        self.parts.founding.borrow_mut().progress(self.durable, clock);
    }

    /// The log has become durable up to `self.durable`.
    pub(super) fn became_durable(&mut self) {
        self.report_progress();
        let now = self.parts.clock.now();
        if self.parts.founding.borrow_mut().persisted(now.mono) {
            self.advance(now);
        }
    }

    /// Sees how far the founding is, and does what it says.
    pub(super) fn advance(&mut self, now: Now) {
        let step = self.parts.founding.borrow_mut().step(&mut self.parts.store, now.mono);
        match step {
            Step::Wait(reason) => self.waiting = reason,
            Step::Serve => self.serve(now),
            Step::Rebuild { reason, clock_above } => {
                self.serve(now);
                self.rebuild_all(now, &reason, clock_above);
            }
            // A node that serves already goes on: the others decide whether they talk to it.
            Step::Fail(error) if self.shard.is_none() => self.refuse(now, error),
            Step::Fail(_) => {}
        }
        // Not before there is a membership: a log without one is that of a node never founded.
        if self.shard.is_some() {
            self.parts.founding.borrow_mut().keep_addresses(&mut self.parts.store);
        }
    }

    /// The cluster is known: from now on requests are taken.
    fn serve(&mut self, now: Now) {
        if let Some(seed) = self.parts.founding.borrow().digest_seed() {
            self.parts.store.seed_digests(seed);
        }
        if self.shard.is_some() {
            return;
        }
        let Some(layout) = self.parts.founding.borrow().layout() else { return };
        let Some(clock) = self.parts.founding.borrow().clock(now.wall_ms) else {
            "waiting for the clock to pass what this node stamped before"
                .clone_into(&mut self.waiting);
            return;
        };
        let LocalNode { me, process, .. } = *self.parts.links.node();
        let mut options = Options { seed: process, ..Options::new(me) };
        let Convergence { hinted_handoff, anti_entropy_interval, gc_lag, gc_interval } =
            self.parts.convergence;
        let leaderless = &mut options.leaderless;
        (leaderless.hints, leaderless.gc_lag) = (hinted_handoff, gc_lag);
        leaderless.gc_interval = gc_interval;
        options.anti_entropy_interval = anti_entropy_interval;
        let mut shard = Shard::new(options, Arc::clone(&layout), clock);
        shard.step(now, In::Durable(self.durable), &mut self.parts.store, &mut self.outs);
        self.shard = Some(shard);
        self.serving = Some(now.mono);
        self.parts.shared.publish_layout(Arc::clone(&layout));
        let peers: Vec<NodeId> = layout.nodes().iter().copied().filter(|id| *id != me).collect();
        self.parts.links.open(&peers);
        self.parts.members.open(layout.nodes(), self.parts.founding.borrow().start());
        for wish in self.parts.founding.borrow().ungranted() {
            tracing::warn!("a setting of a cluster's birth is ignored: {wish}");
        }
        tracing::info!("serving in a cluster of {} nodes", layout.nodes().len());
        self.renew();
    }

    /// This node has lost something: everything it holds is copied from the others.
    fn rebuild_all(&mut self, now: Now, reason: &str, clock_above: Hlc) {
        let Some(shard) = &mut self.shard else { return };
        if self.parts.founding.borrow().is_rebuilding() {
            return;
        }
        shard.observe(clock_above);
        let me = self.parts.links.node().me;
        let held: Vec<PartitionId> = shard.layout().partitions_on(me).collect();
        tracing::warn!(
            "[REPLICATE] {} partitions are copied from other nodes: {reason}",
            held.len()
        );
        self.parts.founding.borrow_mut().rebuild(&held);
        if held.is_empty() {
            self.parts.founding.borrow_mut().all_rebuilt(&mut self.parts.store);
        }
        self.step(now, In::Rebuild(held));
        self.renew();
    }

    /// A partition was rebuilt, durably.
    pub(super) fn rebuilt(&mut self, partition: PartitionId) {
        let done = self.parts.founding.borrow_mut().rebuilt(partition, &mut self.parts.store);
        if done {
            tracing::info!("[REPLICATE] all partitions have been copied from other nodes");
            self.advance(self.parts.clock.now());
            self.renew();
        }
    }

    /// Remembers how far the connected peers' logs are durable, as their frames have told: none
    /// has acknowledged anything beyond, so one that comes back with less has lost something.
    pub(super) fn remember(&self, founding: &mut Founding) {
        let Some(shard) = &self.shard else { return };
        for peer in shard.layout().nodes() {
            if let Some(durable) = shard.durable_of(*peer) {
                founding.told(*peer, durable);
            }
        }
    }

    /// This node must not serve: it ends.
    fn refuse(&mut self, now: Now, error: StartError) {
        tracing::error!("{error}");
        self.waiting = error.to_string();
        self.refusal = Some(error);
        self.stop(now);
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Now) -> Result<(), Fatal> {
        self.observer.ticks += 1;
        self.parts.links.show_queues();
        {
            let mut founding = self.parts.founding.borrow_mut();
            for (peer, process) in self.parts.members.take_answered() {
                founding.heard(peer, process, now.mono);
            }
            self.remember(&mut founding);
            founding.keep_watermarks(&mut self.parts.store, now.mono);
        }
        self.advance(now);
        self.check_clock(now);
        self.check_disk(now);
        self.repair(now);
        self.check_sums();
        self.observe(now.mono);
        // No record stays in memory alone for longer than this.
        self.parts.store.wait_for_all();
        // Nothing was written since the last tick: what was written before is proved durable.
        let idle = std::mem::replace(&mut self.settled, self.durable) == self.durable;
        if idle
            && !self.syncing
            && let Some(job) = self.parts.store.settle()
        {
            self.start(job)?;
        }
        Ok(())
    }

    /// Leaves the stamping to others while this node's clock is far from theirs.
    fn check_clock(&mut self, now: Now) {
        let (ahead, suspect) = self.parts.members.clock_error_ms();
        if suspect == self.clock_suspect {
            return;
        }
        self.clock_suspect = suspect;
        match ahead.filter(|_| suspect) {
            Some(ahead) => tracing::error!(
                "the clocks of the other nodes are {ahead} ms ahead of this node's: other nodes \
                 take the writes that come here until it is right"
            ),
            None => tracing::info!("this node's clock agrees with the others' again"),
        }
        self.step(now, In::ClockSuspect(self.clock_suspect));
    }

    /// Leaves leading to others while this node's disk is slow.
    fn check_disk(&mut self, now: Now) {
        if !self.disk_pace.look(now.mono) {
            return;
        }
        let slow = self.disk_pace.is_slow();
        if slow {
            tracing::error!(
                "syncs of the log have taken more than 500 ms for half a minute: other nodes lead \
                 the partitions of strong keyspaces until this node's disk is well"
            );
        } else {
            tracing::info!("this node's disk has been well for a minute: it may lead again");
        }
        self.step(now, In::SlowDisk(slow));
    }

    /// Copies partitions with corrupt records from the other replicas, once all of those are up:
    /// a partition that is being copied does not answer reads.
    fn repair(&mut self, now: Now) {
        self.corrupt.extend(self.parts.store.take_corrupt());
        let Some(shard) = &self.shard else { return };
        let (layout, me) = (Arc::clone(shard.layout()), self.parts.links.node().me);
        let whole = |partition: PartitionId| {
            let replicas = layout.replicas(partition);
            replicas.len() > 1 && replicas.iter().all(|id| *id == me || shard.is_up(*id))
        };
        let mut partitions = Vec::new();
        self.corrupt.retain(|(keyspace, slot)| match layout.partition_of(*keyspace, *slot) {
            Some(partition) if whole(partition) => {
                partitions.push(partition);
                false
            }
            other => other.is_some(),
        });
        partitions.sort_unstable();
        partitions.dedup();
        if !partitions.is_empty() {
            let count = partitions.len();
            tracing::warn!("[REPLICATE] {count} partitions hold damaged records: copying them");
            self.step(now, In::Rebuild(partitions));
        }
    }

    /// Says so if scrub has found wrong sums: that is an error of this program.
    fn check_sums(&mut self) {
        let wrong = self.parts.store.take_wrongly_summed();
        if let Some((keyspace, slot)) = wrong.first() {
            self.metrics.wrong_sums.increment(wrong.len() as u64);
            tracing::error!(
                "[ANTI-ENTROPY] the sums of {} slots did not match their records, first of slot \
                 {} of keyspace {}; they do again",
                wrong.len(),
                slot.get(),
                keyspace.0
            );
        }
    }

    /// Compares what this node holds with other replicas.
    pub(super) fn repair_now(&mut self, now: Now, with: Option<NodeId>) -> Outcome<()> {
        if self.shard.is_none() {
            return Err(Error::NotServing(self.waiting.clone().into()));
        }
        tracing::info!("[ANTI-ENTROPY] replicas are compared because somebody asked for it");
        self.step(now, In::CompareNow(with.into_iter().collect()));
        Ok(())
    }

    /// Hands out background work. Called between turns, but not while a sync is on its way: what
    /// compaction copies would gather in the open frame and crowd out the requests.
    pub(super) fn maintain(&mut self, now: Now) {
        if self.syncing {
            return;
        }
        // The store hands out no second piece before it has learned what came of the first.
        while let Some(work) = self.parts.store.maintain(now.mono) {
            if let Some(done) = self.parts.upkeep.start(work) {
                self.parts.store.work_done(done);
            }
        }
    }
}
