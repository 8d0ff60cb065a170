//! Random histories under crashes, cuts and losses: linearizable, and the same for one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{
    Action, Compare, Condition, Consistency, Error, Executed, Expiry, NodeId, Op, Outcome, Output,
    Reply, Step, Txn, Want,
};

use super::linear::{Did, Operation};
use super::world::{World, stored};
use crate::Ticket;
use crate::linearizability::is_linearizable;
use crate::raft::Mutation;

const NODES: u32 = 3;
const KEYS: usize = 3;
const CLIENTS: usize = 5;

/// A client that asks one thing after the other.
struct Client {
    waiting: Option<Asked>,
    node: NodeId,
}

/// What a client waits for.
struct Asked {
    ticket: Ticket,
    node: NodeId,
    /// The number of the key.
    at: usize,
    operation: Operation,
    op: Op,
    level: Option<Consistency>,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    values: u64,
    history: BTreeMap<usize, Vec<Operation>>,
    /// Reads that may have been old: their beginnings lie so much earlier.
    old: BTreeMap<usize, Vec<Operation>>,
    answered: usize,
    violation: bool,
    /// A rule is broken, so a violation is no surprise.
    expected: bool,
}

fn node(id: usize) -> NodeId {
    NodeId::new(u32::try_from(id).unwrap()).unwrap()
}

fn key(number: usize) -> bytes::Bytes {
    format!("key{number}").into()
}

fn number(value: &[u8]) -> u64 {
    std::str::from_utf8(value).unwrap().parse().unwrap()
}

impl Run {
    fn new(seed: u64, mutation: Option<Mutation>) -> Run {
        let mut world = World::without_rule(seed, NODES, mutation);
        world.slowest_sync = [500, 5_000, 100_000][world.draw.between(0, 3)];
        if world.draw.between(0, 2) == 0 {
            // Whoever is behind needs a copy, and many pieces of it.
            world.limits.kept_log_bytes = 0;
            world.limits.lagging_log_bytes = 0;
            world.limits.least_dropped = 1;
            world.limits.piece.items = 1;
        }
        world.loss = [0, 0, 2, 10][world.draw.between(0, 4)];
        for id in (1..=3).map(node) {
            let skew_ms = [0, 0, 400, 10_000, -10_000][world.draw.between(0, 5)];
            world.skew_ms.insert(id, skew_ms);
        }
        let clients = (0..CLIENTS).map(|_| Client { waiting: None, node: node(1) }).collect();
        Run {
            world,
            clients,
            values: 1_000_000,
            history: BTreeMap::new(),
            old: BTreeMap::new(),
            answered: 0,
            violation: false,
            expected: mutation.is_some(),
        }
    }

    fn invent(&mut self, at: usize) -> (Did, Op) {
        let key = key(at);
        self.values += 1_000_000;
        let new = self.values;
        let text = || bytes::Bytes::from(new.to_string());
        match self.world.draw.between(0, 10) {
            0..=3 => (Did::Read(None), Op::Get { key, want: Want::Value }),
            4..=5 => {
                (Did::Wrote(new), Op::Put { key, value: text(), expiry: Expiry::Never, tag: 0 })
            }
            6 => (Did::Deleted, Op::Delete { key }),
            7 => {
                let step = Step { key, action: Action::Add(1), previous: false };
                (Did::Added(None), Op::Txn(Txn::always(step)))
            }
            _ => {
                let known = self.history.get(&at).and_then(|history| history.last());
                let old = match known.map(|operation| &operation.act) {
                    Some(Did::Wrote(value) | Did::Swapped(_, value, _)) => Some(*value),
                    Some(Did::Read(value) | Did::Added(value)) => *value,
                    _ => None,
                };
                let value = |old: u64| Condition::Value(old.to_string().into());
                let condition = old.map_or(Condition::Absent, value);
                let action = Action::Put { value: text(), expiry: None, tag: 0 };
                let compare = vec![Compare { key: key.clone(), condition }];
                let then = vec![Step { key, action, previous: false }];
                let txn = Txn { compare, then, otherwise: Vec::new() };
                (Did::Swapped(old, new, None), Op::Txn(txn))
            }
        }
    }

    fn ask(&mut self, client: usize) {
        let at = self.world.draw.between(0, KEYS);
        let (act, op) = self.invent(at);
        let began = self.world.now.0;
        let level = match self.world.draw.between(0, 8) {
            _ if op.is_write() => None,
            0 | 1 => Some(Consistency::Safe),
            2 | 3 => Some(Consistency::Follower),
            4 => Some(Consistency::Stale { max_ms: [0, 50, 400][self.world.draw.between(0, 3)] }),
            _ => Some(Consistency::Lease),
        };
        if level.is_some_and(Consistency::by_any_replica) {
            self.clients[client].node = node(self.world.draw.between(1, 4));
        }
        self.send(client, at, Operation { began, ended: None, act }, op, level);
    }

    fn send(
        &mut self,
        client: usize,
        at: usize,
        operation: Operation,
        op: Op,
        level: Option<Consistency>,
    ) {
        let target = self.clients[client].node;
        if !self.world.is_alive(target) {
            self.clients[client].node = node(self.world.draw.between(1, 4));
            return;
        }
        let ticket = self.world.ask_at(level, target, op.clone(), Duration::from_secs(2));
        self.clients[client].waiting =
            Some(Asked { ticket, node: target, at, operation, op, level });
    }

    /// Clients whose node is gone wait no longer: what they asked may have happened.
    fn give_up(&mut self, gone: NodeId) {
        for client in 0..CLIENTS {
            let waiting = self.clients[client].waiting.take_if(|asked| asked.node == gone);
            if let Some(asked) = waiting {
                self.note(asked.at, asked.operation);
            }
        }
    }

    fn note(&mut self, at: usize, operation: Operation) {
        // A read without an answer tells nothing.
        if operation.ended.is_some() || !matches!(operation.act, Did::Read(_)) {
            self.history.entry(at).or_default().push(operation);
        }
    }

    fn hear(&mut self) {
        for (_, ticket, outcome) in std::mem::take(&mut self.world.answers) {
            let waits = |c: &Client| c.waiting.as_ref().is_some_and(|asked| asked.ticket == ticket);
            let Some(client) = self.clients.iter().position(waits) else { continue };
            let asked = self.clients[client].waiting.take().unwrap();
            self.heard(client, asked, outcome);
        }
    }

    fn heard(&mut self, client: usize, asked: Asked, outcome: Outcome<Reply>) {
        let Asked { at, mut operation, op, level, .. } = asked;
        match (outcome, &mut operation.act) {
            (Err(Error::NotLeader { leader }), _) => {
                let other = node(self.world.draw.between(1, 4));
                self.clients[client].node = leader.unwrap_or(other);
                if leader.is_some() {
                    // Nothing was executed, so asking again is the same operation.
                    self.send(client, at, operation, op, level);
                }
                return;
            }
            (Err(error), _) if error.executed() == Executed::No => return,
            (Err(_), _) => return self.note(at, operation),
            (Ok(Reply::Found(item)), Did::Read(read)) => *read = Some(number(&item.value)),
            (Ok(Reply::Missing(_)), Did::Read(read)) => *read = None,
            (Ok(Reply::Written { .. }), Did::Wrote(_) | Did::Deleted) => {}
            (Ok(Reply::Txn(answer)), Did::Swapped(_, _, told)) => *told = Some(answer.held),
            (Ok(Reply::Txn(answer)), Did::Added(sum)) => match answer.steps[0].output {
                Output::Integer(new) => *sum = Some(new.try_into().unwrap()),
                ref other => panic!("{other:?}"),
            },
            (Ok(reply), did) => panic!("{reply:?} to {did:?}"),
        }
        self.answered += 1;
        if let Some(Consistency::Stale { max_ms }) = level {
            // It shows what was there at a moment that is no longer ago than that; perhaps
            // something that another client will only see later.
            operation.began = operation.began.saturating_sub(u64::from(max_ms) * 1000);
            operation.ended = Some(u64::MAX);
            self.old.entry(at).or_default().push(operation);
            return;
        }
        operation.ended = Some(self.world.now.0);
        self.note(at, operation);
    }

    fn disturb(&mut self) {
        // Clients are connected to all nodes, not only to the one that leads.
        for client in 0..CLIENTS {
            if self.world.draw.between(0, 2) == 0 {
                self.clients[client].node = node(self.world.draw.between(1, 4));
            }
        }
        let (mut one, other) = (self.world.draw.between(1, 4), self.world.draw.between(1, 4));
        // What happens to the leader matters most.
        if let Some(leader) =
            self.world.some_leader().filter(|_| self.world.draw.between(0, 2) == 0)
        {
            one = leader.get() as usize;
        }
        match self.world.draw.between(0, 17) {
            10 => self.world.pause(node(one)),
            // It hears nothing, and does not know.
            11 => {
                self.deafen(one);
                if other != one {
                    self.world.lose(node(one));
                }
            }
            12 => {
                let jump_ms = [-5000, -600, 600, 5000][self.world.draw.between(0, 4)];
                *self.world.skew_ms.entry(node(one)).or_default() += jump_ms;
            }
            // It gives up its lead, and does not hear what comes of it.
            13 => {
                self.world.hand_over(node(one), node(other));
                self.deafen(one);
            }
            // With two of three disks lost, nobody could say what was committed.
            8 | 15 if self.world.rebuilding.is_empty() && !self.world.is_alive(node(one)) => {
                self.world.wipe(node(one));
            }
            0 | 1 if self.world.is_alive(node(one)) => {
                self.world.crash(node(one));
                self.give_up(node(one));
            }
            2 => {
                for id in (1..=3).map(node) {
                    if self.world.is_alive(id) {
                        self.world.crash(id);
                        self.give_up(id);
                    }
                }
            }
            3 | 4 if one != other => {
                self.world.cut.insert((node(one), node(other)));
            }
            5 if one != other => {
                self.world.cut.insert((node(one), node(other)));
                self.world.cut.insert((node(other), node(one)));
                self.world.lose(node(one));
            }
            // It is cut off, and the others know at once.
            14 => {
                self.deafen(one);
                self.silence(one);
                self.world.lose(node(one));
            }
            // It goes on, but what it says arrives long after.
            9 => {
                self.world.hung.insert(node(one));
                if other != one {
                    self.world.lose(node(one));
                }
            }
            _ => self.heal(),
        }
    }

    fn deafen(&mut self, deaf: usize) {
        for other in (1..=3).filter(|other| *other != deaf) {
            self.world.cut.insert((node(other), node(deaf)));
        }
    }

    fn silence(&mut self, dumb: usize) {
        for other in (1..=3).filter(|other| *other != dumb) {
            self.world.cut.insert((node(dumb), node(other)));
        }
    }

    fn heal(&mut self) {
        self.world.cut.clear();
        self.world.resume();
        for id in (1..=3).map(node) {
            self.world.unhang(id);
            if !self.world.is_alive(id) {
                self.world.restart(id);
            }
        }
    }

    fn run(&mut self, rounds: usize) {
        for round in 0..rounds {
            if self.world.draw.between(0, 12) == 0 {
                self.disturb();
            }
            for client in 0..CLIENTS {
                if self.clients[client].waiting.is_none() && self.world.draw.between(0, 3) == 0 {
                    self.ask(client);
                }
            }
            let span = Duration::from_micros(self.world.draw.between(200, 60_000) as u64);
            let until = self.world.now + span;
            while self.world.step(until) {
                self.hear();
            }
            // Long histories of one key take long to search, so each key has only so much.
            if round % 60 == 59 {
                self.judge();
            }
        }
        self.heal();
    }

    /// Checks what has happened and begins anew from what is there now.
    fn judge(&mut self) {
        self.heal();
        for client in 0..CLIENTS {
            if let Some(asked) = self.clients[client].waiting.take() {
                self.note(asked.at, asked.operation);
            }
        }
        for at in 0..KEYS {
            let began = self.world.now.0;
            let value = match self.world.insist(Op::Get { key: key(at), want: Want::Value }) {
                Ok(Reply::Found(item)) => Some(number(&item.value)),
                Ok(Reply::Missing(_)) => None,
                other => panic!("after healing: {other:?}"),
            };
            let ended = Some(self.world.now.0);
            let history = self.history.entry(at).or_default();
            history.push(Operation { began, ended, act: Did::Read(value) });
            self.violation |= !is_linearizable(history, &None);
            assert!(!self.violation || self.expected, "key {at}: {history:#?}");
            let since = history.iter().filter_map(|o| o.ended).min().unwrap_or(0);
            for old in self.old.remove(&at).into_iter().flatten().filter(|o| o.began >= since) {
                let with: Vec<Operation> = history.iter().chain([&old]).cloned().collect();
                self.violation |= !is_linearizable(&with, &None);
                assert!(!self.violation || self.expected, "key {at}: {with:#?}");
            }
            // What has no answer may still happen, so the next stretch must allow for it.
            history.retain(|operation| operation.ended.is_none());
            let started = self.world.now.0;
            let known = value.map_or(Did::Deleted, Did::Wrote);
            history.push(Operation { began: 0, ended: Some(started), act: known });
        }
    }
}

#[test]
fn whatever_happens_the_history_of_each_key_is_linearizable() {
    let seeds = std::env::var("RAFT_SEEDS").ok().and_then(|seeds| seeds.parse().ok());
    let mut answered = 0;
    for seed in 0..seeds.unwrap_or(60) {
        let mut run = Run::new(seed, None);
        run.run(240);
        run.judge();
        run.world.loss = 0;
        run.world.run(Duration::from_secs(15));
        for at in 0..KEYS {
            let held = stored(&mut run.world, &key(at));
            assert!(held.iter().all(|value| *value == held[0]), "seed {seed}, key {at}: {held:?}");
        }
        answered += run.answered;
    }
    assert!(answered > 2000, "only {answered} operations were answered");
}

#[test]
fn one_seed_takes_one_course() {
    let course = |seed| {
        let mut run = Run::new(seed, None);
        run.run(100);
        run.world.trace
    };
    assert_eq!(course(11), course(11));
    assert_ne!(course(11), course(12));
}

/// How many seeds it takes until the history shows that a rule is broken.
fn seeds_until_noticed(mutation: Mutation, seeds: u64) -> Option<u64> {
    (0..seeds).find(|seed| {
        let run = || {
            let mut run = Run::new(*seed, Some(mutation));
            run.run(240);
            run.judge();
            run.violation
        };
        // A replica that lost what it had promised may also stop for good.
        std::panic::catch_unwind(run).unwrap_or(true)
    })
}

#[test]
fn every_broken_rule_is_noticed() {
    // These are told by scripts of their own.
    let told = [
        Mutation::ExpireByOwnClock,
        Mutation::FollowerReadSurvivesTerm,
        Mutation::CommitOlderByCount,
    ];
    for mutation in Mutation::ALL.into_iter().filter(|mutation| !told.contains(mutation)) {
        assert!(seeds_until_noticed(mutation, 200).is_some(), "{mutation:?}");
    }
}
