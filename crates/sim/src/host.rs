//! One simulated machine: a disk, a clock, and perhaps a running node.

use std::sync::Arc;

use kvorum_cluster::founding::Refusal;
use kvorum_core::{Layout, Mono, NodeId, Now};
use kvorum_storage::{OpenError, Recovery, Seed, SimDisk, Store, Survival};

use crate::chance::Chance;
use crate::node::Node;
use crate::settings::Settings;

/// Wall-clock time at the beginning of every run: 2026-01-01 UTC.
const EPOCH_MS: u64 = 1_767_225_600_000;

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
    chance: Chance,
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Its store could not be opened.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// What is on the disk is somebody else's.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Host {
    /// A machine with an empty disk and a clock that is off by up to `skew_ms`.
    #[must_use]
    pub fn new(id: NodeId, skew_ms: u64, mut chance: Chance) -> Host {
        let low = chance.between(20, 2_000);
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

    /// Starts the node from what is on the disk.
    ///
    /// # Errors
    /// The node cannot start.
    pub fn start(
        &mut self,
        layout: &Layout,
        settings: &Settings,
        mono: Mono,
    ) -> Result<Recovery, StartError> {
        self.life += 1;
        let seed = Seed { bytes: self.chance.bytes() };
        let disk = Arc::new(self.disk.clone());
        let opened = Store::open(disk, settings.storage.clone(), seed);
        // A process that could not start ends: its files and its lock are free again.
        let (store, recovery) = opened.inspect_err(|_| self.disk.kill())?;
        let mut options = settings.shard.clone();
        options.me = self.id;
        let (now, nonce) = (self.now(mono), self.chance.any());
        self.node = Some(Node::new(store, recovery, options, layout, now, nonce)?);
        Ok(recovery)
    }

    /// Ends the node. With `power` the machine loses power as well: what was not synced survives
    /// in part. A write under way has happened, or not, or in part.
    pub fn crash(&mut self, power: bool) {
        let Some(mut node) = self.node.take() else { return };
        if let Some(job) = node.job.take() {
            match self.chance.between(0, 2) {
                0 => {}
                1 => drop(job.run()),
                _ => {
                    if power {
                        self.disk.cut_power_at(self.disk.calls() + self.chance.between(1, 4));
                    }
                    drop(job.run());
                }
            }
        }
        drop(node);
        if power {
            self.disk.power_cycle(Survival::Random(self.chance.any()));
        } else {
            self.disk.kill();
        }
        self.paused = false;
    }

    /// How long the next sync takes, in microseconds.
    pub fn sync_time(&mut self) -> u64 {
        let slow = if self.chance.permille(3) { self.chance.between(10_000, 400_000) } else { 0 };
        self.chance.between(self.sync_micros.0, self.sync_micros.1) + slow
    }

    /// How long the next turn waits for more work, in microseconds.
    pub fn turn_delay(&mut self) -> u64 {
        self.chance.between(1, 200)
    }
}
