//! Random histories of three replicas with every fault at once, checked as clients see them.
//!
//! Reads and writes at QUORUM must satisfy, for every key:
//!
//! - a read is not older than any write acknowledged before it began (E3);
//! - a read is not older than any read that was answered before it began (E4);
//! - a read shows a value under the version it was written with, and never one whose write was
//!   answered as not executed (E6);
//! - a write that began after another was acknowledged has the larger version (E7);
//! - every request is answered once, and after all faults are healed reads succeed.
//!
//! Faults: messages lost, delayed, reordered and repeated; connections cut; crashes that lose
//! what was not synced; one disk at a time blanked and rebuilt; copies damaged; disks full;
//! clocks wrong by up to ten seconds. The names E3 to E7 appear in failures.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Error, Executed, KeyspaceId, NodeId, Op, Outcome, Reply, Version, Want,
};

use super::world::{World, delete, get, put};
use crate::leaderless::Mutation;
use crate::{Message, Ticket, WriteKind};

const KEYS: [&str; 2] = ["a", "b"];
const NODES: usize = 3;
const STEPS: usize = 250;

#[test]
fn no_random_history_breaks_a_promise() {
    for seed in 0..3000 {
        if let Err(violation) = History::run(seed, None) {
            panic!("seed {seed}: {violation}");
        }
    }
}

#[test]
fn every_mutation_is_noticed() {
    for mutation in Mutation::ALL {
        let noticed = (0..20_000)
            .find_map(|seed| History::run(seed, Some(mutation)).err().map(|v| (seed, v)));
        match noticed {
            Some((seed, violation)) => println!("{mutation:?}: seed {seed}: {violation}"),
            None => panic!("{mutation:?} goes unnoticed"),
        }
    }
}

/// What a client is waiting for.
struct Asked {
    node: NodeId,
    key: &'static str,
    /// What a write stores (nothing for a deletion).
    write: Option<Option<Bytes>>,
    quorum: bool,
    /// The newest version acknowledged when it began.
    acknowledged: Option<Version>,
    /// The newest version read when it began.
    read: Option<Version>,
}

/// What all clients together know of a key.
#[derive(Default)]
struct Known {
    acknowledged: Option<Version>,
    read: Option<Version>,
}

struct History {
    world: World,
    dice: Dice,
    asked: BTreeMap<Ticket, Asked>,
    known: BTreeMap<&'static str, Known>,
    /// Every version stamped, with what it stands for.
    stamped: BTreeMap<Version, (Bytes, Option<Bytes>)>,
    /// Values whose writes were answered as not executed.
    never: Vec<Bytes>,
    values: u32,
    /// Faults this history has; each has some of them only, so that every mix occurs.
    faults: Faults,
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
    fn run(seed: u64, mutation: Option<Mutation>) -> Checked {
        let mut dice = Dice(seed);
        let faults = Faults::of(&mut dice);
        let mut history = History {
            world: World::new(NODES, mutation),
            dice,
            asked: BTreeMap::new(),
            known: KEYS.into_iter().map(|key| (key, Known::default())).collect(),
            stamped: BTreeMap::new(),
            never: Vec::new(),
            values: 0,
            faults,
        };
        for _ in 0..STEPS {
            history.step();
            history.check()?;
        }
        history.heal()
    }

    fn step(&mut self) {
        let flights = self.world.flights.len();
        let node = self.node();
        match self.dice.below(100) {
            0..12 => self.ask(node),
            12..62 if flights > 0 => {
                let at = self.dice.below(flights);
                self.world.deliver(at);
            }
            12..82 => self.world.sync(node),
            82..86 if self.faults.loss && flights > 0 => {
                let at = self.dice.below(flights);
                self.world.lose(at);
            }
            86..88 if self.faults.repeats && flights > 0 => {
                let again = self.world.flights[self.dice.below(flights)].clone();
                self.world.flights.push(again);
            }
            88..90 if self.faults.cuts => self.cut_or_join(node),
            90..94 if self.faults.crashes => self.crash_or_start(node),
            94 if self.faults.damage => {
                let key = self.key().as_bytes();
                self.world.node(node).store.damage(KeyspaceId::DEFAULT, key);
            }
            95 if self.faults.full => {
                let full = self.dice.one_in(3);
                self.world.node(node).store.full = full;
            }
            96 => self.set_clock(node),
            97..100 => self.pass(),
            _ => {}
        }
        self.note_stamps();
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
        let (op, write) = match self.dice.below(10) {
            0 => (delete(key), Some(None)),
            1..6 => {
                self.values += 1;
                let value = format!("v{}", self.values);
                (put(key, &value), Some(Some(Bytes::from(value))))
            }
            6 => (Op::Get { key: Bytes::from(key), want: Want::Header }, None),
            _ => (get(key), None),
        };
        let known = &self.known[key];
        let asked = Asked {
            node,
            key,
            write,
            quorum: level != Consistency::One,
            acknowledged: known.acknowledged,
            read: known.read,
        };
        let ticket = self.world.request(node, op, level, None);
        self.asked.insert(ticket, asked);
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
        if self.faults.wipes && !incomplete && self.dice.one_in(2) {
            self.world.wipe(node);
        }
    }

    fn set_clock(&mut self, node: NodeId) {
        let skew = self.dice.below(2 * self.faults.skew_ms as usize + 1) as i64;
        self.world.node(node).skew_ms = skew - self.faults.skew_ms as i64;
    }

    fn pass(&mut self) {
        let span = match self.dice.below(10) {
            0 => 1000,
            1..4 => 25,
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
        for _ in 0..8 {
            self.world.settle();
            self.world.pass(Duration::from_millis(600));
        }
        self.note_stamps();
        self.check()?;
        for key in KEYS {
            for node in self.world.ids() {
                let known = &self.known[key];
                let (acknowledged, read) = (known.acknowledged, known.read);
                let ticket = self.world.request(node, get(key), Consistency::Quorum, None);
                let asked = Asked { node, key, write: None, quorum: true, acknowledged, read };
                self.asked.insert(ticket, asked);
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

    /// Notes what every version stands for, from the messages that carry it.
    fn note_stamps(&mut self) {
        for flight in &self.world.flights {
            if let Message::Write { record, kind: WriteKind::Client, .. } = &flight.message {
                let content = (record.key.clone(), record.value.clone());
                self.stamped.insert(record.version, content);
            }
        }
    }

    /// Checks what clients were told since the last time.
    fn check(&mut self) -> Checked {
        for (ticket, outcome) in std::mem::take(&mut self.world.replies) {
            let Some(asked) = self.asked.remove(&ticket) else {
                return Err(format!("{ticket:?} is answered twice"));
            };
            match &asked.write {
                Some(value) => self.check_write(&asked, value.as_ref(), &outcome)?,
                None => self.check_read(&asked, outcome)?,
            }
        }
        Ok(())
    }

    fn check_write(
        &mut self,
        asked: &Asked,
        value: Option<&Bytes>,
        outcome: &Outcome<Reply>,
    ) -> Checked {
        match outcome {
            Ok(Reply::Written { version, .. }) => {
                if asked.quorum {
                    if Some(*version) <= asked.acknowledged {
                        return Err(format!(
                            "E7: a later write of {} has version {version}",
                            asked.key
                        ));
                    }
                    let known = self.known.get_mut(asked.key).unwrap();
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

    fn check_read(&mut self, asked: &Asked, outcome: Outcome<Reply>) -> Checked {
        let version = match outcome {
            Ok(Reply::Found(item)) => {
                let header_only = item.value.is_empty();
                if !header_only {
                    self.check_value(asked, item.header.version, &item.value)?;
                }
                Some(item.header.version)
            }
            Ok(Reply::Missing(version)) => version,
            Ok(other) => return Err(format!("a read is answered with {other:?}")),
            Err(Error::Timeout { executed: Executed::Unknown, .. }) => {
                return Err("a read may have been executed".to_owned());
            }
            Err(_) => return Ok(()),
        };
        if asked.quorum {
            if version < asked.acknowledged {
                return Err(format!("E3: a read of {} misses an acknowledged write", asked.key));
            }
            if version < asked.read {
                return Err(format!("E4: a read of {} is older than one before it", asked.key));
            }
            let known = self.known.get_mut(asked.key).unwrap();
            known.read = known.read.max(version);
        }
        Ok(())
    }

    fn check_value(&self, asked: &Asked, version: Version, value: &Bytes) -> Checked {
        if let Some((key, written)) = self.stamped.get(&version)
            && (key != asked.key || written.as_ref() != Some(value))
        {
            return Err(format!("E6: {value:?} was not written to {} at {version}", asked.key));
        }
        if self.never.contains(value) {
            return Err(format!("E6: {value:?} was answered as not executed"));
        }
        Ok(())
    }

    fn node(&mut self) -> NodeId {
        super::world::id(1 + self.dice.below(NODES))
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
