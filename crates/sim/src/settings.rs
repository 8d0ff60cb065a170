//! How a run is made: what is drawn from the seed, and what the caller may fix.

use std::time::Duration;

use kvorum_core::NodeId;

use crate::chance::Chance;

/// The settings of one run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long clients and faults go on, in virtual time.
    pub duration: Duration,
    /// How many nodes there are.
    pub nodes: u32,
    /// How many partitions.
    pub partitions: usize,
    /// How many clients.
    pub clients: usize,
    /// How many keys.
    pub keys: usize,
    /// How long a client thinks between two operations at most, in microseconds.
    pub think_micros: u64,
    /// How far apart the clocks are from the beginning, in milliseconds: within what replicas
    /// accept, so that versions and real time disagree.
    pub skew_ms: u64,
    /// Options of every store.
    pub storage: kvorum_storage::Options,
    /// Options of every shard.
    pub shard: kvorum_shard::Options,
    /// Which kinds of faults may happen.
    pub faults: Faults,
}

/// Which kinds of faults a run has: each seed has some of them, so that they also meet alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    /// Processes are killed and restarted.
    pub kills: bool,
    /// Machines lose power.
    pub power: bool,
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

/// A rule of the product that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutation {
    /// One of the store's.
    Storage(kvorum_storage::Mutation),
    /// One of the leaderless groups'.
    Leaderless(kvorum_replication::leaderless::Mutation),
}

impl Mutation {
    /// All mutations.
    pub fn all() -> impl Iterator<Item = Mutation> {
        let storage = kvorum_storage::Mutation::ALL.into_iter().map(Mutation::Storage);
        let groups = kvorum_replication::leaderless::Mutation::ALL.into_iter();
        storage.chain(groups.map(Mutation::Leaderless))
    }

    /// The mutations that must show in histories of whole clusters. The others are proven where
    /// they live: in the store's crash tests and in the groups' random histories.
    pub fn noticed_by_simulation() -> impl Iterator<Item = Mutation> {
        use kvorum_replication::leaderless::Mutation as Leaderless;
        use kvorum_storage::Mutation as Storage;
        let storage = [Storage::SkipSync, Storage::FreeAboveCheckpoint];
        let groups = [
            Leaderless::RevealBeforeDurable,
            Leaderless::CountSupersededInFirstAttempt,
            Leaderless::CountLateAcks,
            Leaderless::NonBlockingRepair,
        ];
        let storage = storage.into_iter().map(Mutation::Storage);
        storage.chain(groups.into_iter().map(Mutation::Leaderless))
    }

    /// The name of the mutation.
    #[must_use]
    pub fn name(self) -> String {
        match self {
            Mutation::Storage(mutation) => format!("{mutation:?}"),
            Mutation::Leaderless(mutation) => format!("{mutation:?}"),
        }
    }

    /// The mutation of a name.
    ///
    /// # Errors
    /// The names there are.
    pub fn named(name: &str) -> Result<Mutation, String> {
        Mutation::all().find(|mutation| mutation.name() == name).ok_or_else(|| {
            let names: Vec<String> = Mutation::all().map(Mutation::name).collect();
            format!("the mutations are {}", names.join(", "))
        })
    }
}

impl Settings {
    /// Leaves out a rule.
    pub fn leave_out(&mut self, mutation: Option<Mutation>) {
        match mutation {
            Some(Mutation::Storage(mutation)) => self.storage.mutation = Some(mutation),
            Some(Mutation::Leaderless(mutation)) => self.shard.mutation = Some(mutation),
            None => {}
        }
    }

    /// The settings of a seed.
    #[must_use]
    pub fn draw(seed: u64, duration: Duration) -> Settings {
        let mut chance = Chance::new(seed ^ 0x5e77_1265);
        let faults = Faults {
            kills: chance.permille(600),
            power: chance.permille(600),
            pauses: chance.permille(400),
            cuts: chance.permille(500),
            clocks: chance.permille(400),
            disks: chance.permille(300),
            space: chance.permille(100),
        };
        let storage = kvorum_storage::Options {
            segment_bytes: 512 << 10,
            max_value: 100 << 10,
            checkpoint_min_bytes: chance.between(64 << 10, 2 << 20),
            compaction_turn_bytes: 64 << 10,
            ..kvorum_storage::Options::default()
        };
        let five = chance.permille(200);
        // Few keys and little thinking bring writes of one key close together.
        let crowded = chance.permille(300);
        let keys = if crowded { chance.between(1, 3) } else { chance.between(2, 30) };
        Settings {
            duration,
            nodes: if five { 5 } else { 3 },
            partitions: 1 << chance.between(0, 4),
            clients: usize::try_from(chance.between(2, 12)).unwrap_or(2),
            keys: usize::try_from(keys).unwrap_or(1),
            think_micros: if crowded { 30_000 } else { 100_000 },
            skew_ms: if chance.permille(500) { chance.between(0, 240) } else { 0 },
            storage,
            shard: kvorum_shard::Options::new(NodeId::FIRST),
            faults,
        }
    }
}
