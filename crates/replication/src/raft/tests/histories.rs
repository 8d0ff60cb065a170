//! Random histories under crashes, cuts and losses: linearizable, and the same for one seed.

use std::collections::BTreeMap;
use std::time::Duration;

use kvorum_core::{
    Action, Attempt, Compare, Condition, Consistency, Error, Executed, Expiry, Hlc, NodeId, Op,
    Outcome, Output, Reply, Step, Txn, Want, Writer,
};

use super::linear::{Did, Operation};
use super::world::{World, stored};
use crate::Ticket;
use crate::linearizability::is_linearizable;
use crate::raft::Mutation;

const NODES: u32 = 3;
const KEYS: usize = 3;
const CLIENTS: usize = 5;

/// How often a client sends a write again of which it does not know whether it was done.
const TRIES: u32 = 20;

/// A client that asks one thing after the other, as a node does for its own clients: each write has
/// a name, under which it is sent again if it may have been done.
struct Client {
    waiting: Option<Asked>,
    /// What must be sent again.
    again: Option<Asked>,
    node: NodeId,
    /// How many writes it has named.
    named: u64,
}

/// What a client asked.
struct Asked {
    ticket: Ticket,
    node: NodeId,
    /// The number of the key.
    at: usize,
    operation: Operation,
    op: Op,
    level: Option<Consistency>,
    name: Attempt,
    /// What the clock of the log showed before it was first sent.
    known: Hlc,
    tries: u32,
}

struct Run {
    world: World,
    clients: Vec<Client>,
    values: u64,
    history: BTreeMap<usize, Vec<Operation>>,
    /// Reads that may have been old: their beginnings lie so much earlier.
    old: BTreeMap<usize, Vec<Operation>>,
    answered: usize,
    /// How many of them to writes that were sent again.
    repeated: usize,
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
            // All that is set aside for that goes to the store.
            world.limits.aside_bytes = 0;
        }
        world.loss = [0, 0, 2, 10][world.draw.between(0, 4)];
        for id in (1..=3).map(node) {
            let skew_ms = [0, 0, 400, 10_000, -10_000][world.draw.between(0, 5)];
            world.skew_ms.insert(id, skew_ms);
        }
        let clients =
            (0..CLIENTS).map(|_| Client { waiting: None, again: None, node: node(1), named: 0 });
        let clients = clients.collect();
        Run {
            world,
            clients,
            values: 1_000_000,
            history: BTreeMap::new(),
            old: BTreeMap::new(),
            answered: 0,
            repeated: 0,
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
        let operation = Operation { began: self.world.now.0, ended: None, act };
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
        let asker = &mut self.clients[client];
        asker.named += 1;
        let session = Writer(u32::try_from(client).unwrap());
        let name = Attempt { session, seq: asker.named, since: None };
        let (ticket, node, known, tries) = (Ticket(0), asker.node, Hlc::default(), 0);
        self.send(client, Asked { ticket, node, at, operation, op, level, name, known, tries });
    }

    fn send(&mut self, client: usize, mut asked: Asked) {
        let target = self.clients[client].node;
        if !self.world.is_alive(target) {
            self.clients[client].node = node(self.world.draw.between(1, 4));
            if asked.name.since.is_some() {
                self.unsure(client, asked);
            }
            return;
        }
        if asked.name.since.is_none() {
            asked.known = self.world.reached(target);
        }
        let op = asked.op.clone();
        asked.node = target;
        let patience = Duration::from_secs(2);
        asked.ticket = if op.is_write() {
            self.world.ask_as(target, op, asked.name, patience)
        } else {
            self.world.ask_at(asked.level, target, op, patience)
        };
        self.clients[client].waiting = Some(asked);
    }

    /// What was asked may have been done: it is sent again, unless the client loses patience.
    fn unsure(&mut self, client: usize, mut asked: Asked) {
        asked.tries += 1;
        let patient = asked.tries < TRIES && self.world.draw.between(0, 20) > 0;
        if matches!(asked.operation.act, Did::Read(_)) || !patient {
            return self.note(asked.at, asked.operation);
        }
        asked.name.since.get_or_insert(asked.known);
        self.clients[client].again = Some(asked);
    }

    /// Now and then a client loses the connection to the node that it asked to write, and that may
    /// be at work.
    fn lose_connection(&mut self, client: usize) {
        let lost = |asked: &mut Asked| asked.op.is_write() && self.world.draw.between(0, 8) == 0;
        if let Some(asked) = self.clients[client].waiting.take_if(lost) {
            self.clients[client].node = node(self.world.draw.between(1, 4));
            self.unsure(client, asked);
        }
    }

    /// Clients whose node is gone wait no longer: what they asked may have happened.
    fn give_up(&mut self, gone: NodeId) {
        for client in 0..CLIENTS {
            let waiting = self.clients[client].waiting.take_if(|asked| asked.node == gone);
            if let Some(asked) = waiting {
                self.unsure(client, asked);
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

    fn heard(&mut self, client: usize, mut asked: Asked, outcome: Outcome<Reply>) {
        let unsure = asked.name.since.is_some();
        match (outcome, &mut asked.operation.act) {
            (Err(Error::NotLeader { leader }), _) => {
                let other = node(self.world.draw.between(1, 4));
                self.clients[client].node = leader.unwrap_or(other);
                if leader.is_some() {
                    // Nothing was executed now, so asking again is the same operation.
                    self.send(client, asked);
                } else if unsure {
                    self.unsure(client, asked);
                }
                return;
            }
            (Err(Error::SessionLost), _) => return self.note(asked.at, asked.operation),
            (Err(error), _) if error.executed() == Executed::No && !unsure => return,
            (Err(_), _) => return self.unsure(client, asked),
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
        self.repeated += usize::from(unsure);
        let Asked { at, mut operation, level, .. } = asked;
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
                if self.world.draw.between(0, 2) == 0 {
                    self.deafen(one);
                    self.silence(one);
                    self.world.lose(node(one));
                }
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
                if self.clients[client].waiting.is_some() {
                    self.lose_connection(client);
                    continue;
                }
                if self.world.draw.between(0, 3) > 0 {
                    continue;
                }
                match self.clients[client].again.take() {
                    Some(asked) => self.send(client, asked),
                    None => self.ask(client),
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
            let Client { waiting, again, .. } = &mut self.clients[client];
            for asked in [waiting.take(), again.take()].into_iter().flatten() {
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
    let (mut answered, mut repeated) = (0, 0);
    for seed in 0..seeds.unwrap_or(60) {
        let mut run = Run::new(seed, None);
        run.run(240);
        run.judge();
        run.world.loss = 0;
        run.world.run(Duration::from_secs(15));
        assert!(run.world.rebuilding.is_empty(), "seed {seed}: a replica never votes again");
        for at in 0..KEYS {
            let held = stored(&mut run.world, &key(at));
            assert!(held.iter().all(|value| *value == held[0]), "seed {seed}, key {at}: {held:?}");
        }
        answered += run.answered;
        repeated += run.repeated;
    }
    assert!(answered > 2000, "only {answered} operations were answered");
    assert!(repeated > 50, "only {repeated} of them were sent again");
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
        Mutation::LoseSessionsInCopy,
    ];
    for mutation in Mutation::ALL.into_iter().filter(|mutation| !told.contains(mutation)) {
        assert!(seeds_until_noticed(mutation, 200).is_some(), "{mutation:?}");
    }
}
