//! One simulated machine: a disk, a clock, and perhaps a running node.

use std::sync::Arc;

use kvorum_cluster::founding::Refusal;
use kvorum_core::{Layout, Lsn, Mono, NodeId, Now};
use kvorum_storage::{OpenError, Recovery, Seed, SimDisk, Store, Survival};

use crate::chance::Chance;
use crate::node::{Node, Upkeep};
use crate::settings::{Cache, Settings};

/// Wall-clock time at the beginning of every run: 2026-01-01 UTC.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// Something on its way to the disk.
type Piece = Box<dyn FnOnce()>;

/// A machine that may run a node.
#[derive(Debug)]
pub struct Host {
    /// The node's id.
    pub id: NodeId,
    /// The disk; it outlives the node's lives.
    pub disk: SimDisk,
    /// The running node.
    pub node: Option<Node>,
    /// Counts the lives of the node; events of an earlier life are void.
    pub life: u64,
    /// Stopped as by SIGSTOP: nothing is processed.
    pub paused: bool,
    /// How far the wall clock is off, in milliseconds.
    pub offset_ms: i64,
    /// How fast the wall clock drifts, in parts per million.
    pub drift_ppm: i64,
    /// How long a sync takes, in microseconds: lowest and highest.
    pub sync_micros: (u64, u64),
    /// The log was called durable up to here.
    pub durable: Lsn,
    /// The disk was wiped, damaged or replaced by an older image: what was durable may be gone.
    pub harmed: bool,
    /// The node cannot serve any more, which is a violation.
    pub unfit: bool,
    cache: Cache,
    chance: Chance,
}

/// A log that recovered less than it had called durable, or found itself damaged, on a disk that
/// was not harmed.
#[derive(Debug)]
pub struct NotRecovered;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The process ended before it had started.
    #[error("it was interrupted")]
    Interrupted,
    /// What is on the disk is somebody else's.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Host {
    /// A machine with an empty disk and a clock that is off, as the settings say.
    #[must_use]
    pub fn new(id: NodeId, settings: &Settings, mut chance: Chance) -> Host {
        let skew_ms = settings.skew_ms;
        let low = chance.between(20, settings.sync_micros);
        let skew = i64::try_from(skew_ms).unwrap_or(0);
        let offset = i64::try_from(chance.between(0, skew_ms * 2)).unwrap_or(0) - skew;
        Host {
            id,
            disk: SimDisk::new(),
            node: None,
            life: 0,
            paused: false,
            offset_ms: offset,
            drift_ppm: 0,
            sync_micros: (low, low + chance.between(50, 5_000)),
            durable: Lsn::default(),
            harmed: false,
            unfit: false,
            cache: settings.cache,
            chance,
        }
    }

    /// The present as this machine's clocks show it.
    #[must_use]
    pub fn now(&self, mono: Mono) -> Now {
        let elapsed = i64::try_from(mono.0 / 1000).unwrap_or(i64::MAX);
        let drifted = elapsed + elapsed.saturating_mul(self.drift_ppm) / 1_000_000;
        Now { mono, wall_ms: EPOCH_MS.saturating_add_signed(drifted + self.offset_ms) }
    }

    /// Starts the node from what is on the disk. If `interrupted`, the process ends at that many
    /// calls of the disk, unless it has started before.
    ///
    /// # Errors
    /// The node cannot start.
    pub fn start(
        &mut self,
        layout: &Layout,
        settings: &Settings,
        mono: Mono,
        interrupted: Option<u64>,
    ) -> Result<Recovery, StartError> {
        self.life += 1;
        let seed = Seed { bytes: self.chance.bytes() };
        let disk = Arc::new(self.disk.clone());
        let never = u64::MAX;
        let end = interrupted.map_or(never, |calls| self.disk.calls().saturating_add(calls));
        self.disk.cut_power_at(end);
        let opened = Store::open(disk, settings.storage.clone(), seed);
        if self.disk.is_off() {
            return Err(StartError::Interrupted);
        }
        self.disk.cut_power_at(never);
        let (store, recovery) = opened?;
        let mut options = settings.shard.clone();
        options.me = self.id;
        options.seed = self.chance.any();
        let (now, nonce) = (self.now(mono), self.chance.any());
        let room = settings.storage.segment_bytes as usize / 6;
        self.node = Some(Node::new(store, recovery, options, layout, room, now, nonce)?);
        Ok(recovery)
    }

    /// Compares what was recovered with what had been called durable.
    ///
    /// # Errors
    /// [`NotRecovered`].
    pub fn check_recovery(&mut self, recovery: &Recovery) -> Result<(), NotRecovered> {
        let whole = recovery.damage.is_none() && recovery.recovered >= self.durable;
        self.durable = recovery.recovered;
        if whole || self.harmed { Ok(()) } else { Err(NotRecovered) }
    }

    /// Ends the node, running or starting. With `power` the machine loses power as well: what was
    /// not synced survives as the disk's cache decides. Without, the operating system keeps what was
    /// written, synced or not. Of what was on its way to the disk, everything has
    /// happened, nothing, or the first few calls.
    pub fn crash(&mut self, power: bool) {
        if let Some(mut node) = self.node.take() {
            let job = node.job.take().map(|job| -> Piece { Box::new(|| drop(job.run())) });
            let work = match node.upkeep.take() {
                Some(Upkeep::Begun(work)) => Some(work),
                Some(Upkeep::Ended(_)) | None => None,
            };
            let work = work.map(|work| -> Piece { Box::new(|| drop(work.run())) });
            let mut pieces: Vec<Piece> = job.into_iter().chain(work).collect();
            if self.chance.permille(500) {
                pieces.reverse();
            }
            for piece in pieces {
                match self.chance.between(0, 3) {
                    0 => {}
                    1 => piece(),
                    long => {
                        let calls = self.chance.between(1, if long == 2 { 12 } else { 2 });
                        self.cut_short(piece, calls);
                    }
                }
            }
        }
        if power {
            let survival = match self.cache {
                Cache::Whimsical => Survival::Random(self.chance.any()),
                Cache::Volatile => Survival::Nothing,
                Cache::Protected => Survival::Everything,
            };
            self.disk.power_cycle(survival);
        } else {
            self.disk.kill();
        }
        self.paused = false;
    }

    /// Lets the first few calls of a piece reach the disk: a frame takes two (write and sync), the
    /// birth of a segment or the end of a checkpoint more.
    fn cut_short(&self, piece: Piece, calls: u64) {
        self.disk.cut_power_at(self.disk.calls() + calls);
        piece();
        if !self.disk.is_off() {
            self.disk.cut_power_at(u64::MAX);
        }
    }

    /// How long the next sync takes, in microseconds.
    pub fn sync_time(&mut self) -> u64 {
        let slow = if self.chance.permille(3) { self.chance.between(10_000, 400_000) } else { 0 };
        self.chance.between(self.sync_micros.0, self.sync_micros.1) + slow
    }

    /// How long a piece of background work takes, in microseconds.
    pub fn work_time(&mut self) -> u64 {
        let slow = if self.chance.permille(100) { self.chance.between(0, 500_000) } else { 0 };
        self.chance.between(100, 20_000) + slow
    }

    /// Whether background work reaches the disk as soon as it begins, and not as it ends.
    pub fn works_at_once(&mut self) -> bool {
        self.chance.permille(500)
    }

    /// How far the wall clock is off, in milliseconds, drift included.
    #[must_use]
    pub const fn clock_error_ms(&self, mono: Mono) -> u64 {
        let drift = (mono.0 / 1_000).saturating_mul(self.drift_ppm.unsigned_abs()) / 1_000_000;
        self.offset_ms.unsigned_abs() + drift
    }

    /// How long the next turn waits for more work, in microseconds.
    pub fn turn_delay(&mut self) -> u64 {
        self.chance.between(1, 200)
    }
}
