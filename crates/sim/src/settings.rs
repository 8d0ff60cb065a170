//! How a run is made: what is drawn from the seed, and what the caller may fix.

use std::time::Duration;

use kvorum_core::NodeId;
use kvorum_replication::{leaderless, raft};

use crate::chance::Chance;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long clients and faults go on, in virtual time.
    pub duration: Duration,
    /// How many nodes there are.
    pub nodes: u32,
    /// How many of them hold a partition.
    pub replicas: usize,
    /// How many partitions.
    pub partitions: usize,
    /// How many clients.
    pub clients: usize,
    /// How many keys.
    pub keys: usize,
    /// How long a client thinks between two operations at most, in microseconds.
    pub think_micros: u64,
    /// How far off the clocks are from the beginning, in milliseconds: often within what replicas
    /// accept, so that versions and real time disagree, sometimes far beyond.
    pub skew_ms: u64,
    /// What a loss of power leaves of what was not synced.
    pub cache: Cache,
    /// How long the sync of the fastest disk takes at most, in microseconds.
    pub sync_micros: u64,
    /// The longest pause between two faults, in microseconds.
    pub calm_micros: u64,
    /// Options of every store.
    pub storage: kvorum_storage::Options,
    /// Options of every shard.
    pub shard: kvorum_shard::Options,
    /// What there is of a strong keyspace.
    pub strong: Strong,
    /// Which kinds of faults may happen.
    pub faults: Faults,
}

/// The strong keyspace of a run, and who uses it.
#[derive(Clone, Copy, Debug)]
pub struct Strong {
    /// How many nodes hold a partition.
    pub replicas: usize,
    /// How many partitions.
    pub partitions: usize,
    /// How many clients.
    pub clients: usize,
    /// How many objects are in use at a time.
    pub objects: usize,
    /// How long a client thinks between two operations at most, in microseconds.
    pub think_micros: u64,
    /// How many of a thousand values expire.
    pub expiring_permille: u64,
}

/// Which kinds of faults a run has: each seed has some of them, so that they also meet alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Processes are killed and restarted.
    pub kills: bool,
    /// Machines lose power.
    pub power: bool,
    /// Nodes are away for longer than anything waits for them.
    pub absences: bool,
    /// Processes are stopped for a while.
    pub pauses: bool,
    /// The network is cut, in one direction or both.
    pub cuts: bool,
    /// Clocks jump and drift.
    pub clocks: bool,
    /// Disks are wiped, damaged or replaced by an older image.
    pub disks: bool,
    /// Disks fill up.
    pub space: bool,
}

/// What the disks of a run do at a loss of power with what was written and not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cache {
    /// Each sector survives or not.
    Whimsical,
    /// Nothing survives: what was lost leaves no trace.
    Volatile,
    /// Everything survives.
    Protected,
}

impl Settings {
    /// The settings of a seed.
    #[must_use]
    pub fn draw(seed: u64, duration: Duration) -> Settings {
        let mut chance = Chance::new(seed ^ 0x5e77_1265);
        let (nodes, replicas) = match chance.between(0, 99) {
            0..5 => (1, 1),
            5..15 => (3, 1),
            15..80 => (3, 3),
            80..92 => (5, 3),
            _ => (5, 5),
        };
        let mut faults = Faults {
            kills: chance.permille(600),
            power: chance.permille(600),
            pauses: chance.permille(400),
            cuts: chance.permille(500),
            clocks: chance.permille(400),
            disks: chance.permille(300),
            space: chance.permille(100),
            absences: Chance::new(seed ^ 0xab5e_9ce5).permille(400),
        };
        // What the only copy loses nobody can restore.
        faults.disks &= replicas > 1;
        // Few keys and little thinking bring writes of one key close together.
        let crowded = chance.permille(300);
        let keys = match chance.between(0, 9) {
            _ if crowded => chance.between(1, 3),
            0..6 => chance.between(2, 30),
            _ => chance.between(30, 200),
        };
        let skew_ms = match chance.between(0, 9) {
            0..4 => 0,
            4..8 => chance.between(0, 240),
            _ => chance.between(240, 10_000),
        };
        let storage = Settings::storage(&mut chance);
        Settings {
            duration,
            nodes,
            replicas,
            partitions: 1 << chance.between(0, 4),
            clients: usize::try_from(chance.between(2, 12)).unwrap_or(2),
            keys: usize::try_from(keys).unwrap_or(1),
            think_micros: if crowded { 30_000 } else { 100_000 },
            skew_ms,
            cache: match chance.between(0, 9) {
                0..6 => Cache::Whimsical,
                6..9 => Cache::Volatile,
                _ => Cache::Protected,
            },
            sync_micros: if chance.permille(200) { 40_000 } else { 2_000 },
            calm_micros: if chance.permille(300) { 1_500_000 } else { 6_000_000 },
            shard: Settings::shard(seed, &mut chance, &storage),
            storage,
            strong: Strong::draw(seed, nodes, replicas),
            faults,
        }
    }

    /// Small segments, so that they are born, compacted and freed often.
    fn storage(chance: &mut Chance) -> kvorum_storage::Options {
        let segment_bytes: u32 = 128 << 10 << chance.between(0, 2);
        kvorum_storage::Options {
            segment_bytes,
            // What fits into a quarter of a segment with its key.
            max_value: segment_bytes as usize / 5,
            checkpoint_min_bytes: chance.between(16 << 10, 2 << 20),
            compaction_turn_bytes: 64 << 10,
            compaction_dead_percent: u8::try_from(chance.between(10, 60)).unwrap_or(40),
            scrub_bytes_per_second: *chance.pick(&[0, 64 << 10, 4 << 20]).unwrap_or(&0),
            ..kvorum_storage::Options::default()
        }
    }

    /// The limits of a server, with frames as small against segments as there; sometimes with
    /// queues so short that they fill up.
    fn shard(
        seed: u64,
        chance: &mut Chance,
        storage: &kvorum_storage::Options,
    ) -> kvorum_shard::Options {
        let mut options = kvorum_shard::Options::new(NodeId::FIRST);
        options.frame_bytes = storage.segment_bytes as usize / 12;
        if chance.permille(300) {
            options.bulk_bytes = 4 << 10;
        }
        if chance.permille(150) {
            options.max_peer_bytes = 256 << 10;
            options.max_pending_bytes = 256 << 10;
        }
        options.raft = Settings::raft(chance, storage);
        options.leaderless = Settings::leaderless(seed);
        // Often enough that a run sees many rounds; drawn apart as well.
        let mut rounds = Chance::new(seed ^ 0x726f_756e_6473);
        options.anti_entropy_interval = Duration::from_secs(rounds.between(1, 5));
        options
    }

    /// Hints or none, often so few that they overflow; sessions that often do not come to the end
    /// of what there is to repair; and deletions that end within seconds, so that a run sees that
    /// many times. Drawn apart, so that it changes nothing else of the seed.
    fn leaderless(seed: u64) -> leaderless::Limits {
        let mut chance = Chance::new(seed ^ 0x001e_ade7_e550);
        let mut limits = leaderless::Limits {
            hints: chance.permille(700),
            settle: Duration::from_millis(chance.between(100, 2_000)),
            session_patience: Duration::from_secs(2),
            // More than the deadline of a request.
            gc_lag: Duration::from_millis(chance.between(2_000, 8_000)),
            gc_interval: Duration::from_millis(chance.between(300, 3_000)),
            quarantine_bytes: 16 << 10,
            ..leaderless::Limits::SERVER
        };
        if chance.permille(400) {
            limits.hint_keys = chance.index(4);
        }
        if chance.permille(200) {
            limits.hint_bytes = chance.index(400);
        }
        if chance.permille(300) {
            limits.hints_in_flight = 1;
        }
        if chance.permille(200) {
            limits.hint_window = Duration::from_secs(chance.between(0, 10));
        }
        if chance.permille(300) {
            limits.session_items = 4;
            limits.session_buckets = 2;
        }
        limits
    }

    /// Limits that fit into the frames of the log, as a server's do; often so tight that replicas
    /// fall behind and need copies, and many pieces of them.
    fn raft(chance: &mut Chance, storage: &kvorum_storage::Options) -> raft::Limits {
        let frame_bytes = storage.segment_bytes as usize / 4;
        let mut limits = raft::Limits {
            max_write_bytes: frame_bytes / 4,
            entry_bytes: frame_bytes / 16,
            ..raft::Limits::SERVER
        };
        limits.piece.bytes = limits.entry_bytes;
        if chance.permille(400) {
            limits.kept_log_bytes = 0;
            limits.least_dropped = 1;
        }
        if chance.permille(300) {
            limits.piece.items = 1;
        }
        if chance.permille(200) {
            limits.entry_bytes = 256;
        }
        if chance.permille(200) {
            limits.max_uncommitted_bytes = 2 * limits.max_write_bytes as u64;
        }
        limits
    }
}

impl Strong {
    /// The strong keyspace of a seed; drawn apart, so that it changes nothing else of the seed.
    fn draw(seed: u64, nodes: u32, replicas: usize) -> Strong {
        let mut chance = Chance::new(seed ^ 0x57a7_e09c);
        let nodes = usize::try_from(nodes).unwrap_or(1);
        let replicas = if chance.permille(200) { nodes } else { replicas };
        let crowded = chance.permille(400);
        Strong {
            replicas,
            partitions: *chance.pick(&[8, 16]).unwrap_or(&8),
            clients: usize::try_from(chance.between(2, 6)).unwrap_or(2),
            objects: usize::try_from(chance.between(1, if crowded { 3 } else { 12 })).unwrap_or(1),
            think_micros: if crowded { 60_000 } else { 200_000 },
            expiring_permille: *chance.pick(&[0, 100, 400]).unwrap_or(&0),
        }
    }
}
