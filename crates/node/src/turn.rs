//! The turn: the loop that owns the shard and the store.
//!
//! 1. Whatever is ready is collected: the loop yields, so that every connection and stream with
//!    something to read has put it into the inbox, and yields again while that brings more.
//! 2. The shard takes all of it and closes one frame per peer.
//! 3. The frames leave, and the loop yields once more so that they are on their way before this
//!    node's own sync begins: the syncs of all replicas overlap.
//! 4. Every connection is written once.
//! 5. The log is written and synced, here or on a thread, unless nobody waits for that, or more has
//!    arrived meanwhile that can share the sync. What becomes durable is the first input of a later
//!    turn, together with all that has arrived meanwhile: group commit without timers.

mod backlog;
pub(crate) mod callers;
mod disk_pace;
mod duties;
pub(crate) mod inbox;
pub(crate) mod inputs;
mod leaving;
mod observe;
mod repairs;
mod reports;
mod sync;
pub(crate) mod upkeep;
pub(crate) mod wal;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use kvorum_core::{Error, KeyspaceId, Lsn, Mono, Now, Outcome, Reply, Request, Slot};
use kvorum_shard::{In, Out, Shard};
use kvorum_storage::{Fatal, Store, WorkDone};
use tokio::sync::oneshot;
use tokio::task::yield_now;

use self::backlog::{Backlog, Next, ReceivedFrame};
use self::callers::{Caller, Callers};
use self::disk_pace::DiskPace;
use self::inbox::{Arrival, Inbox};
use self::leaving::Leaving;
use self::observe::Observer;
use self::repairs::Repairs;
use self::reports::Reports;
use self::upkeep::Upkeep;
use self::wal::{SyncDone, Wal};
use crate::clock::Clock;
use crate::connections::Connections;
use crate::founding::Founding;
use crate::gossip::Members;
use crate::handle::{Ending, Shared};
use crate::peer::{Announcement, Links};
use crate::telemetry::{EventMetrics, TurnMetrics, seconds};
use crate::{Convergence, StartError};

/// How often a turn looks after what no input drives: status, background work.
pub(crate) const TICK: Duration = Duration::from_millis(250);
/// What the threads of this node tell the turn.
pub(crate) enum Signal {
    /// A sync has ended.
    Synced(SyncDone),
    /// A piece of background work has ended.
    Worked(WorkDone),
}

/// What the turn is made of.
pub(crate) struct Parts {
    pub(crate) clock: Clock,
    pub(crate) shared: Arc<Shared>,
    pub(crate) inbox: Rc<Inbox>,
    pub(crate) connections: Rc<Connections>,
    pub(crate) links: Rc<Links>,
    pub(crate) members: Rc<Members>,
    pub(crate) ourselves: Announcement,
    pub(crate) store: Store,
    /// How many bytes of records one turn may write.
    pub(crate) frame_room: usize,
    pub(crate) convergence: Convergence,
    pub(crate) founding: Rc<RefCell<Founding>>,
    pub(crate) wal: Wal,
    pub(crate) upkeep: Upkeep,
}

/// The state of the loop.
pub(crate) struct Turn {
    parts: Parts,
    /// There is none before the node knows its cluster.
    shard: Option<Shard>,
    callers: Callers,
    backlog: Backlog,
    outs: Vec<Out>,
    /// A frame was sent in this turn.
    sent: bool,
    /// The records up to here were durable at the last sync.
    durable: Lsn,
    /// The value of `durable` at the last tick.
    settled: Lsn,
    /// A sync job is on its way.
    syncing: bool,
    /// How many turns have put off their sync, one after the other.
    put_off: u32,
    /// What the node waits for before it serves.
    waiting: String,
    /// The clock of this node is too far from the others'.
    clock_suspect: bool,
    disk_pace: DiskPace,
    /// Slots with corrupt records that are to be copied from other nodes.
    corrupt: Vec<(KeyspaceId, Slot)>,
    /// Since when the node serves.
    serving: Option<Mono>,
    /// A majority of the nodes was connected once, or this node waited for it long enough.
    connected: bool,
    leaving: Leaving,
    /// Why the node stops, if it was not told to.
    refusal: Option<StartError>,
    observer: Observer,
    metrics: TurnMetrics,
    events: EventMetrics,
    reports: Reports,
    repairs: Repairs,
}

impl Turn {
    pub(crate) fn new(parts: Parts) -> Turn {
        let backlog = Backlog::new(parts.frame_room);
        Turn {
            durable: parts.store.durable(),
            settled: parts.store.durable(),
            observer: Observer::new(&parts),
            shard: None,
            callers: Callers::new(),
            backlog,
            outs: Vec::new(),
            sent: false,
            syncing: false,
            put_off: 0,
            waiting: "starting".to_owned(),
            clock_suspect: false,
            disk_pace: DiskPace::new(parts.clock.mono()),
            corrupt: Vec::new(),
            serving: None,
            connected: false,
            leaving: Leaving::default(),
            refusal: None,
            metrics: TurnMetrics::new(),
            events: EventMetrics::new(),
            reports: Reports::new(),
            repairs: Repairs::new(),
            parts,
        }
    }

    /// Runs turns until the node is told to stop.
    ///
    /// # Errors
    /// [`Fatal`]: what is on the disk is unknown, and the process must end.
    pub(crate) async fn run(mut self) -> Result<Ending, Fatal> {
        let mut arrivals = Vec::new();
        self.advance(self.parts.clock.now());
        while !self.stopped() {
            self.wait().await;
            self.parts.inbox.gather().await;
            self.turn(&mut arrivals).await?;
        }
        self.parts.members.close();
        self.parts.links.close();
        while let Some(job) = self.parts.store.seal().or_else(|| self.parts.store.settle()) {
            self.parts.store.complete(job.run())?;
        }
        Ok(self.refusal.map_or(Ok(()), Err))
    }

    /// Waits for something to do.
    async fn wait(&self) {
        let deadline = self.shard.as_ref().and_then(Shard::next_deadline);
        let filled = self.parts.inbox.filled();
        match deadline {
            _ if !self.parts.inbox.is_empty() || self.backlog.next_fits() => {}
            None => filled.await,
            Some(at) => {
                let at = tokio::time::Instant::from_std(self.parts.clock.instant(at));
                // Whichever it is, the turn finds out.
                let _ = tokio::time::timeout_at(at, filled).await;
            }
        }
    }

    async fn turn(&mut self, arrivals: &mut Vec<Arrival>) -> Result<(), Fatal> {
        let begun = Instant::now();
        let oldest = self.parts.inbox.take(arrivals);
        if let Some(oldest) = oldest {
            self.metrics.queue.record(seconds(begun - oldest));
            self.metrics.inputs.record(arrivals.len() as f64);
        }
        let now = self.parts.clock.now();
        let arrived = oldest.map_or(now.mono, |oldest| self.parts.clock.reading(oldest));
        self.parts.connections.set_now(now);
        for arrival in arrivals.drain(..) {
            self.take(now, arrived, arrival)?;
        }
        if self.work_off(now) {
            self.measure_wait(now, arrived);
        }
        if let Some(shard) = &mut self.shard {
            if shard.next_deadline().is_some_and(|at| at <= now.mono) {
                shard.step(now, In::Deadline, &mut self.parts.store, &mut self.outs);
            }
            shard.end_of_turn(now, &mut self.parts.store, &mut self.outs);
        }
        self.carry_out();
        if std::mem::take(&mut self.sent) {
            yield_now().await;
        }
        self.parts.connections.flush();
        self.see_off(now);
        self.maintain(now);
        self.metrics.turn.record(seconds(begun.elapsed()));
        self.sync()
    }

    /// Takes one of the arrivals, the oldest of which came at `arrived`.
    fn take(&mut self, now: Now, arrived: Mono, arrival: Arrival) -> Result<(), Fatal> {
        match arrival {
            Arrival::Call { connection, call, request } => {
                self.backlog.push_request(Caller::Session { connection, call }, request);
            }
            Arrival::Batch { requests, bytes, answer } => self.batch(requests, bytes, answer),
            Arrival::Frame { from, epoch, body } => {
                self.backlog.push_frame(ReceivedFrame { from, epoch, body, arrived });
            }
            Arrival::PeerUp { peer, epoch, process } => {
                if self.parts.links.is_current(peer, epoch) {
                    self.parts.founding.borrow_mut().connected(peer, process, now.mono);
                    self.change(now, In::PeerUp(peer));
                    self.renew();
                }
            }
            Arrival::PeerDown { peer } => {
                let mut founding = self.parts.founding.borrow_mut();
                self.remember(&mut founding);
                founding.disconnected(peer);
                drop(founding);
                self.change(now, In::PeerDown(peer));
                self.renew();
            }
            Arrival::Synced(done) => {
                self.syncing = false;
                self.synced(done)?;
            }
            Arrival::Durable(lsn) => self.step(now, In::Durable(lsn)),
            Arrival::Worked(done) => self.parts.store.work_done(done),
            Arrival::Greeted { announcement, answer } => self.greeted(now, &announcement, answer),
            Arrival::News => self.advance(now),
            Arrival::Members => self.renew(),
            Arrival::Tick => self.tick(now)?,
            Arrival::Repair { with, answer } => {
                // Whoever does not wait for the answer misses nothing.
                let _ = answer.send(self.repair_now(now, with));
            }
            Arrival::Leave { answer } => self.leave(now, answer),
            Arrival::Stop => self.stop(now),
        }
        Ok(())
    }

    /// Hands frames and requests to the shard as long as the open frame of the log has room for
    /// what they write; the rest waits for the next one. Tells whether there were requests.
    fn work_off(&mut self, now: Now) -> bool {
        let (mut released, mut requests) = (0, false);
        while let Some((next, weight)) = self.backlog.next() {
            released += weight;
            match next {
                // A frame of a connection that has ended means nothing any more.
                Next::Frame(ReceivedFrame { from, epoch, body, arrived }) => {
                    if self.parts.links.is_current(from, epoch) {
                        self.step(now, In::Frame { from, body, arrived });
                    }
                }
                Next::Request(caller, request) => {
                    requests = true;
                    self.request(now, caller, request);
                }
            }
        }
        self.parts.inbox.release(released);
        requests
    }

    /// Tells the shard how long the requests of this turn have waited at most: from the first
    /// arrival until the last was handed over. A sync before that is no part of it, because
    /// nothing arrives while this thread syncs; neither is the wait for room in the log, which is
    /// bounded in bytes and passes no faster when requests without records are refused.
    fn measure_wait(&mut self, now: Now, arrived: Mono) {
        let waited = self.parts.clock.mono().since(arrived);
        self.metrics.wait.record(seconds(waited));
        self.observer.waited = self.observer.waited.max(waited);
        self.step(now, In::Waited(waited));
    }

    /// Hands an input to the shard; before the cluster is known there is none, and nothing is
    /// lost: frames and durable records mean nothing yet.
    fn step(&mut self, now: Now, input: In) {
        if let Some(shard) = &mut self.shard {
            shard.step(now, input, &mut self.parts.store, &mut self.outs);
        }
    }

    /// A peer has come or gone. What was said to it before belongs to the connection before. The
    /// status tells at once.
    fn change(&mut self, now: Now, input: In) {
        self.carry_out();
        self.step(now, input);
        self.renew();
    }

    fn request(&mut self, now: Now, caller: Caller, request: Request) {
        let refusal = if self.is_stopping() {
            "stopping".into()
        } else if self.shard.is_none() {
            self.waiting.clone().into()
        } else {
            self.observer.requests += 1;
            let ticket = self.callers.enter(caller);
            return self.step(now, In::Request { ticket, request });
        };
        self.answer(caller, Err(Error::NotServing(refusal)));
    }

    fn batch(
        &mut self,
        requests: Vec<Request>,
        bytes: usize,
        answer: oneshot::Sender<Vec<Outcome<Reply>>>,
    ) {
        self.parts.shared.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let batch = self.callers.open(requests.len(), answer);
        for (position, request) in requests.into_iter().enumerate() {
            self.backlog.push_request(Caller::Batch { batch, position }, request);
        }
    }

    fn answer(&mut self, caller: Caller, outcome: Outcome<Reply>) {
        match caller {
            Caller::Session { connection, call } => {
                self.parts.connections.complete(connection, call, outcome);
            }
            Caller::Batch { batch, position } => self.callers.collect(batch, position, outcome),
        }
    }

    /// Carries out what the shard wants done.
    fn carry_out(&mut self) {
        let mut outs = std::mem::take(&mut self.outs);
        for out in outs.drain(..) {
            match out {
                Out::Reply { ticket, outcome } => {
                    if let Some(caller) = self.callers.leave(ticket) {
                        self.answer(caller, outcome);
                    }
                }
                Out::Send { to, class, frame } => {
                    self.sent = true;
                    let messages = kvorum_shard::messages(&frame);
                    self.metrics.frame_messages.record(f64::from(messages));
                    self.metrics.frame_bytes.record(frame.len() as f64);
                    self.parts.links.send(to, class, frame);
                }
                Out::Rebuilt(partition) => self.rebuilt(partition),
                Out::GaveUp { partition, reason } => tracing::error!(
                    "[REPLICATE] partition {} of placement {} is given up here and copied from \
                     another node: {reason}",
                    partition.number,
                    partition.placement
                ),
                Out::Report { partition, report } => {
                    self.reports.take(partition, &report);
                    self.repairs.take(self.parts.clock.now(), partition, &report);
                }
                Out::Count(event) => {
                    self.events.of(event).increment(1);
                    self.count_copies(event);
                }
                Out::BadFrame { from, reason } => self.parts.links.lose(from, None, reason),
            }
        }
        self.outs = outs;
    }
}
