//! Random histories of a few replicas with every fault at once, checked as clients see them.
//!
//! Reads and writes at QUORUM must satisfy, for every key:
//!
//! - a read is not older than any write acknowledged before it began (E3);
//! - a read is not older than any read that was answered before it began (E4);
//! - a read shows a value under the version it was written with, and never one whose write was
//!   answered as not executed (E6);
//! - a write that began after another was acknowledged has the larger version (E7);
//! - every request is answered once, and after all faults are healed reads succeed, and all replicas
//!   hold the same (E2).
//!
//! That a key is not there at all counts as the version known of it if that one was a deletion, or of
//! a value that expires, and some floor has passed it. Of every replica: its floor and its promise do
//! not go back while it keeps its disk, and nothing at or below its floor is stored (E8). Rounds are
//! so frequent, and floors so close behind the present, that late messages are common; calm moments let
//! rounds come to their end.
//!
//! Faults: messages lost, delayed, reordered and repeated; connections cut; crashes that lose
//! what was not synced; one disk at a time blanked, or replaced by an older image, and rebuilt; copies damaged; disks full;
//! clocks wrong by up to ten seconds. The names E3 to E7 appear in failures.
//!
//! Half of the histories keep hints, some of them few: what is remembered stays within its limits
//! (E9). Histories of writes alone, without faults that lose what was stored or refuse it, must end
//! with equal replicas by hints alone (E5).

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Executed, Item, KeyspaceId, NodeId, Op, Outcome, Reply, Slot, Store as _, Version,
    Want,
};

use super::world::{Flight, World, delete, expiring, get, put, scan};
use crate::leaderless::{Limits, Mutation};
use crate::memory_store::MemoryStore;
use crate::{Message, Ticket};

const KEYS: [&str; 2] = ["a", "b"];
const STEPS: usize = 250;

#[test]
fn no_random_history_breaks_a_promise() {
    for seed in 0..3000 {
        let mut history = History::new(seed, None);
        if let Err(violation) = history.run() {
            let story = history.world.trace.join("\n");
            panic!("{story}\nseed {seed}: {violation}");
        }
    }
}

#[test]
fn hints_alone_make_replicas_equal_once_all_links_are_healed() {
    for seed in 0..400 {
        let mut history = History::of_writes(seed, None);
        if let Err(violation) = history.run() {
            let story = history.world.trace.join("\n");
            panic!("{story}\nseed {seed}: {violation}");
        }
    }
}

#[test]
fn every_mutation_is_noticed() {
    // Every rule has a script that its absence spoils. To store versions of the far future or what
    // comes too late breaks none of the promises above; others need more coincidences than come about
    // by chance in so many histories. Dirty slots only tell where to look first.
    let silent = [
        Mutation::AcceptTheFuture,
        Mutation::ServeTooLate,
        Mutation::CountLostMembers,
        Mutation::ForgetDirtySlots,
        // What a session costs, and what it may conclude, no client sees.
        Mutation::SendOlder,
        Mutation::SkipSettle,
        Mutation::CleanBeforeDurable,
        Mutation::IgnoreCorrupt,
        Mutation::CountLateAcks,
        Mutation::NoPromiseRefusal,
        Mutation::CommitIgnoresLife,
        Mutation::KeepLeftovers,
    ];
    for mutation in Mutation::ALL.into_iter().filter(|mutation| !silent.contains(mutation)) {
        let begin = match mutation {
            Mutation::DropHintWhenSent | Mutation::HintOnlyWhoWasNotSent => History::of_writes,
            _ => History::new,
        };
        let notices = |seed| begin(seed, Some(mutation)).run().is_err();
        assert!((0..20_000).any(notices), "{mutation:?} goes unnoticed");
    }
}

#[test]
fn random_histories_meet_everything_that_can_happen() {
    let mut missing = vec![
        "counts Restamp",
        "counts Superseded",
        "counts ReadRepair",
        "counts Hurried",
        "counts UnderReplicated",
        "counts Corrupt",
        "too late",
        "rebuilt",
        "no page: rebuilding",
        "Rebuilding",
        "CLOCKSKEW",
        "CORRUPT",
        "DISKFULL",
        "TIMEOUT",
        "UNAVAILABLE",
        "=> client  found",
        "=> client  missing @",
        "=> client  page [a=",
        "3 acked",
        "counts Hinted",
        "counts HintReplayed",
        "counts HintOverflow",
        "has replayed",
        "compares itself",
        "is clean with",
        "not clean",
        "declined: Rebuilding",
        "fetched [a",
        "the connection is lost",
        "floor ",
        "promise ",
        "declined",
        "are clean",
        "commit",
        "purges",
        "late: nothing is taken",
    ];
    for seed in 0..300 {
        let mut history = History::new(seed, None);
        history.run().unwrap();
        missing.retain(|what| !history.world.trace.iter().any(|line| line.contains(what)));
    }
    assert!(missing.is_empty(), "never met: {missing:?}");
}

/// What a client is waiting for.
struct Asked {
    node: NodeId,
    what: What,
    quorum: bool,
    /// What was known of each key when it began.
    known: BTreeMap<&'static str, Known>,
}

#[derive(Clone)]
enum What {
    Read(&'static str),
    /// A key and its new value, or nothing for a deletion.
    Write(&'static str, Option<Bytes>),
    Scan,
}

/// What all clients together know of a key.
#[derive(Clone, Copy, Default)]
struct Known {
    acknowledged: Option<Version>,
    read: Option<Version>,
}

struct History {
    world: World,
    dice: Dice,
    asked: BTreeMap<Ticket, Asked>,
    known: BTreeMap<&'static str, Known>,
    /// Values whose writes were answered as not executed.
    never: Vec<Bytes>,
    values: u32,
    /// Faults this history has; each has some of them only, so that every mix occurs.
    faults: Faults,
    /// Clients only write, and hints must bring every member up to date.
    only_writes: bool,
    /// An older disk of a node.
    image: Option<(NodeId, MemoryStore)>,
    /// Messages that arrive a second time, whenever that may be.
    strays: Vec<Flight>,
}

struct Faults {
    skew_ms: u64,
    loss: bool,
    repeats: bool,
    cuts: bool,
    crashes: bool,
    wipes: bool,
    damage: bool,
    full: bool,
}

type Checked = Result<(), String>;

impl History {
    fn new(seed: u64, mutation: Option<Mutation>) -> History {
        let mut dice = Dice(seed);
        let faults = Faults::of(&mut dice);
        let nodes = [3, 3, 3, 3, 3, 3, 2, 5][dice.below(8)];
        let hint_keys = if seed.is_multiple_of(4) { 1 } else { 1000 };
        // So short that writes settle while the history goes on.
        let settle = Duration::from_millis(20);
        let hints = seed.is_multiple_of(2);
        // Rounds in every pause, and floors that follow closely.
        let (gc_lag, gc_interval) = (settle, Duration::from_millis(64));
        let limits = Limits { hints, hint_keys, settle, gc_lag, gc_interval, ..Limits::SERVER };
        History {
            world: World::with_limits(nodes, limits, mutation),
            dice,
            asked: BTreeMap::new(),
            known: KEYS.into_iter().map(|key| (key, Known::default())).collect(),
            never: Vec::new(),
            values: 0,
            faults,
            only_writes: false,
            image: None,
            strays: Vec::new(),
        }
    }

    /// A history after which hints alone have made all replicas equal.
    fn of_writes(seed: u64, mutation: Option<Mutation>) -> History {
        let mut history = History::new(seed, mutation);
        let nodes = history.world.nodes.len();
        history.world = World::with_limits(nodes, Limits::SERVER, mutation);
        let no = false;
        history.faults = Faults { crashes: no, wipes: no, damage: no, full: no, ..history.faults };
        history.only_writes = true;
        history
    }

    fn run(&mut self) -> Checked {
        for _ in 0..STEPS {
            self.step();
            self.check()?;
        }
        self.heal()
    }

    fn step(&mut self) {
        let flights = self.world.flights.len();
        let node = self.node();
        match self.dice.below(100) {
            0..10 => self.ask(node),
            10..12 if self.dice.one_in(2) => self.calm(),
            10..12 => {
                let others = self.world.ids();
                let all = self.dice.one_in(2);
                for other in others.iter().filter(|_| all) {
                    self.world.sync(*other);
                }
                let one = self.node();
                for other in others.iter().filter(|other| all || **other == one) {
                    self.world.align(node, *other);
                }
            }
            12..60 if flights > 0 => {
                let at = self.dice.below(flights);
                self.world.deliver(at);
            }
            12..78 => self.world.sync(node),
            78..82 => self.pass(),
            82..86 if self.faults.loss && flights > 0 => {
                let at = self.dice.below(flights);
                self.world.lose(at);
            }
            86..88 if self.faults.repeats && flights > 0 && self.dice.one_in(2) => {
                let again = self.world.flights[self.dice.below(flights)].clone();
                if matches!(again.message, Message::Write { .. }) {
                    self.strays.push(again);
                }
            }
            86..88 if self.faults.repeats && !self.strays.is_empty() => {
                let at = self.dice.below(self.strays.len());
                let stray = self.strays.remove(at);
                if self.world.connected(stray.from, stray.to) {
                    self.world.flights.push(stray);
                }
            }
            88..90 if self.faults.cuts => self.cut_or_join(node),
            90..94 if self.faults.crashes => self.crash_or_start(node),
            94 if self.faults.damage => {
                let key = self.key().as_bytes();
                let node = self.world.node(node);
                node.damaged |= node.store.damage(KeyspaceId::DEFAULT, key);
            }
            95 if self.faults.full => {
                let full = self.dice.one_in(3);
                self.world.node(node).store.full = full;
            }
            96 => self.set_clock(node),
            97 => {
                let other = self.node();
                self.world.compare(node, other);
            }
            98..100 => self.pass(),
            _ => {}
        }
    }

    fn ask(&mut self, node: NodeId) {
        if !self.world.node(node).alive {
            return;
        }
        let key = self.key();
        let level = match self.dice.below(10) {
            0 => Consistency::One,
            1 => Consistency::All,
            _ => Consistency::Quorum,
        };
        let kinds = if self.only_writes { 12 } else { 20 };
        let (op, what) = match self.dice.below(kinds) {
            0..4 => (delete(key), What::Write(key, None)),
            4..12 => {
                self.values += 1;
                let value = format!("v{}", self.values);
                let op = match self.dice.below(8) {
                    0 => expiring(key, &value, Duration::from_millis(5)),
                    _ => put(key, &value),
                };
                (op, What::Write(key, Some(Bytes::from(value))))
            }
            12..14 => (Op::Get { key: Bytes::from(key), want: Want::Header }, What::Read(key)),
            14 => (scan(), What::Scan),
            _ => (get(key), What::Read(key)),
        };
        self.send(node, op, level, what);
    }

    fn send(&mut self, node: NodeId, op: Op, level: Consistency, what: What) {
        let (quorum, known) = (level != Consistency::One, self.known.clone());
        let ticket = self.world.request(node, op, level, None);
        self.asked.insert(ticket, Asked { node, what, quorum, known });
    }

    fn cut_or_join(&mut self, one: NodeId) {
        let other = self.node();
        if self.dice.one_in(2) {
            self.world.cut(one, other);
        } else {
            self.world.join_all();
        }
    }

    fn crash_or_start(&mut self, node: NodeId) {
        if !self.world.node(node).alive {
            return self.world.start(node);
        }
        self.world.crash(node);
        self.asked.retain(|_, asked| asked.node != node);
        // A second loss before the first is made good would be too much for three copies.
        let incomplete = self.world.nodes.iter().any(|node| node.rebuilding || node.wiped);
        if !self.faults.wipes || incomplete {
            return;
        }
        match (self.dice.below(3), self.image.take()) {
            (0, _) => self.world.wipe(node),
            (_, Some((of, image))) if of == node => self.world.restore(node, image),
            (_, image) => {
                let disk = || (node, self.world.nodes[node.get() as usize - 1].store.clone());
                self.image = image.or_else(|| Some(disk()));
            }
        }
    }

    /// So long without faults that a round may come to its end.
    fn calm(&mut self) {
        let ids = self.world.ids();
        for span in [64, 4, 4, 25] {
            self.world.pass(Duration::from_millis(span));
            self.world.settle();
            for (at, one) in ids.iter().enumerate() {
                for other in ids.iter().skip(at + 1) {
                    self.world.align(*one, *other);
                }
            }
            self.world.settle();
        }
    }

    fn set_clock(&mut self, node: NodeId) {
        let skew = self.dice.below(2 * self.faults.skew_ms as usize + 1) as i64;
        self.world.node(node).skew_ms = skew - self.faults.skew_ms as i64;
    }

    fn pass(&mut self) {
        let span = match self.dice.below(10) {
            0 => 1000,
            1..6 => 25,
            _ => 1,
        };
        self.world.pass(Duration::from_millis(span));
    }

    /// Ends all faults and looks whether everything can be read again.
    fn heal(&mut self) -> Checked {
        self.world.join_all();
        for node in self.world.ids() {
            self.world.node(node).store.full = false;
            self.world.node(node).skew_ms = 0;
            if !self.world.node(node).alive {
                self.world.start(node);
            }
        }
        for _ in 0..12 {
            self.world.settle();
            self.world.pass(Duration::from_millis(600));
        }
        self.check()?;
        if self.only_writes {
            self.check_equal()?;
        }
        self.converge()?;
        for key in KEYS {
            for node in self.world.ids() {
                self.send(node, get(key), Consistency::Quorum, What::Read(key));
                self.world.settle();
                if let (Some((_, Err(error))), false) =
                    (self.world.replies.last(), self.faults.damage)
                {
                    return Err(format!("a read fails after all faults are healed: {error}"));
                }
                self.check()?;
            }
        }
        if self.asked.is_empty() { Ok(()) } else { Err("a request is never answered".to_owned()) }
    }

    /// Lets the replicas compare what they hold. Nobody reads, and in the end all hold the same.
    fn converge(&mut self) -> Checked {
        let ids = self.world.ids();
        for _ in 0..4 {
            self.world.pass(Duration::from_secs(6));
            for (at, one) in ids.iter().enumerate() {
                for other in &ids[at + 1..] {
                    self.world.compare(*one, *other);
                }
            }
            self.world.settle();
        }
        self.check()?;
        let whole = self.world.nodes.iter().filter(|node| !node.rebuilding);
        for key in KEYS {
            let mut held = whole.clone().map(|node| {
                let slot = Slot::of(key.as_bytes());
                let stored = node.store.header(KeyspaceId::DEFAULT, slot, key.as_bytes());
                let stored = stored.filter(|stored| !stored.header.may_be_purged(self.world.floor));
                stored.map(|stored| stored.header.version)
            });
            let first = held.next().flatten();
            // Nobody can send what is damaged wherever it is.
            if !self.faults.damage && held.any(|version| version != first) {
                return Err(format!("the replicas still differ in {key}"));
            }
        }
        Ok(())
    }

    /// Checks that all replicas hold the same and nothing waits for anybody.
    fn check_equal(&self) -> Checked {
        for key in KEYS {
            let held = self.world.nodes.iter().map(|node| {
                let stored = node.store.header(
                    KeyspaceId::DEFAULT,
                    Slot::of(key.as_bytes()),
                    key.as_bytes(),
                );
                stored.map(|stored| stored.header.version)
            });
            let held: Vec<Option<Version>> = held.collect();
            if held.iter().any(|version| *version != held[0]) {
                return Err(format!("E5: replicas differ in {key}: {held:?}"));
            }
        }
        match self.world.pending_hints().iter().find(|(_, pending)| pending.keys > 0) {
            Some(left) => Err(format!("E5: hints are left: {left:?}")),
            None => Ok(()),
        }
    }

    /// Checks that no node remembers more than it may.
    fn check_bounds(&self) -> Checked {
        let limits = self.world.limits;
        for (node, pending) in self.world.pending_hints() {
            let most = if limits.hints { limits.hint_keys } else { 0 };
            if pending.keys > most || pending.bytes > limits.hint_bytes {
                return Err(format!("E9: n{node} remembers too much: {pending:?}"));
            }
        }
        Ok(())
    }

    /// Whether a key may be gone although a version of it is known: that one, or a newer one, was a
    /// deletion, or of a value that expires, and may have been purged.
    fn is_purged(&self, key: &str, known: Option<Version>) -> bool {
        let World { floor, mortal, stamped, .. } = &self.world;
        let newer = mortal.iter().filter(|version| Some(**version) >= known);
        known.is_none()
            || newer.into_iter().any(|version| {
                let of_key = stamped.get(version).is_some_and(|(to, _)| to == key);
                of_key && version.hlc <= *floor
            })
    }

    /// Checks what clients were told since the last time.
    fn check(&mut self) -> Checked {
        self.check_bounds()?;
        if let Some(violation) = self.world.violations.first() {
            return Err(violation.clone());
        }
        for (ticket, outcome) in std::mem::take(&mut self.world.replies) {
            let Some(asked) = self.asked.remove(&ticket) else {
                return Err(format!("{ticket:?} is answered twice"));
            };
            match &asked.what {
                What::Write(key, value) => {
                    self.check_write(&asked, key, value.as_ref(), &outcome)?;
                }
                What::Read(key) => self.check_read(&asked, key, &outcome)?,
                What::Scan => self.check_scan(&asked, &outcome)?,
            }
        }
        Ok(())
    }

    fn check_write(
        &mut self,
        asked: &Asked,
        key: &'static str,
        value: Option<&Bytes>,
        outcome: &Outcome<Reply>,
    ) -> Checked {
        match outcome {
            Ok(Reply::Written { version, .. }) => {
                if asked.quorum {
                    if Some(*version) <= asked.known[key].acknowledged {
                        return Err(format!("E7: a later write of {key} has version {version}"));
                    }
                    let known = self.known.get_mut(key).unwrap();
                    known.acknowledged = known.acknowledged.max(Some(*version));
                }
            }
            Ok(other) => return Err(format!("a write is answered with {other:?}")),
            // A message repeated after the refusal may find room: then it is executed after all.
            Err(error) if error.executed() == Executed::No && !self.faults.repeats => {
                self.never.extend(value.cloned());
            }
            Err(_) => {}
        }
        Ok(())
    }

    fn check_read(
        &mut self,
        asked: &Asked,
        key: &'static str,
        outcome: &Outcome<Reply>,
    ) -> Checked {
        let version = match outcome {
            Ok(Reply::Found(item)) => {
                // Reads of headers show no value, and no value written here is empty.
                if !item.value.is_empty() {
                    self.check_value(key, item)?;
                }
                Some(item.header.version)
            }
            Ok(Reply::Missing(version)) => *version,
            Ok(other) => return Err(format!("a read is answered with {other:?}")),
            Err(error) if error.executed() == Executed::Unknown => {
                return Err(format!("a read may have been executed: {error}"));
            }
            Err(_) => return Ok(()),
        };
        if asked.quorum {
            let Known { acknowledged, read } = asked.known[key];
            if version.is_none() && self.is_purged(key, acknowledged.max(read)) {
                return Ok(());
            }
            if version < acknowledged {
                return Err(format!("E3: a read of {key} misses an acknowledged write"));
            }
            if version < read {
                return Err(format!("E4: a read of {key} is older than one before it"));
            }
            let known = self.known.get_mut(key).unwrap();
            known.read = known.read.max(version);
        }
        Ok(())
    }

    fn check_scan(&self, asked: &Asked, outcome: &Outcome<Reply>) -> Checked {
        let items = match outcome {
            Ok(Reply::Page(items, None)) => items,
            Ok(other) => return Err(format!("a scan is answered with {other:?}")),
            Err(_) => return Ok(()),
        };
        for key in KEYS {
            let acknowledged = asked.known[key].acknowledged;
            let found = items.iter().find(|item| item.key == key);
            if let Some(item) = found {
                self.check_value(key, item)?;
            }
            let old = match found {
                Some(item) => Some(item.header.version) < acknowledged,
                // Something that was acknowledged is gone: a deletion must have come behind it.
                None => !self.world.stamped.iter().any(|(version, (deleted, value))| {
                    let over = value.is_none() || self.world.mortal.contains(version);
                    deleted == key && over && Some(*version) >= acknowledged
                }),
            };
            if old && asked.quorum && acknowledged.is_some() {
                return Err(format!("E3: a scan misses an acknowledged write of {key}"));
            }
        }
        Ok(())
    }

    fn check_value(&self, key: &str, item: &Item) -> Checked {
        let Item { header, value, .. } = item;
        let stamped = self.world.stamped.get(&header.version);
        if stamped.is_none_or(|(to, what)| to != key || what.as_ref() != Some(value)) {
            return Err(format!("E6: {value:?} was not written to {key} at {}", header.version));
        }
        if self.never.contains(value) {
            return Err(format!("E6: {value:?} was answered as not executed"));
        }
        Ok(())
    }

    fn node(&mut self) -> NodeId {
        super::world::id(1 + self.dice.below(self.world.nodes.len()))
    }

    fn key(&mut self) -> &'static str {
        KEYS[self.dice.below(KEYS.len())]
    }
}

impl Faults {
    fn of(dice: &mut Dice) -> Faults {
        Faults {
            skew_ms: [0, 300, 300, 10_000][dice.below(4)],
            loss: dice.one_in(2),
            repeats: dice.one_in(2),
            cuts: dice.one_in(2),
            crashes: !dice.one_in(3),
            wipes: dice.one_in(2),
            damage: dice.one_in(4),
            full: dice.one_in(4),
        }
    }
}

/// A small deterministic generator (SplitMix64, Steele et al. 2014).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.roll() % limit as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
