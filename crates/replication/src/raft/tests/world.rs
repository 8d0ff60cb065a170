//! Replicas, their stores, and everything that can happen between them, in virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvorum_core::{
    Attempt, Consistency, Hlc, HybridClock, Identity, KeyspaceId, Lsn, Mono, NodeId, Now, Op,
    Outcome, PartitionId, Reply, Request, Slot, Store, Writer,
};

use raft::eraftpb::EntryType;
use raft::{GetEntriesContext, Storage};

use super::super::election::Draw;
use super::super::letter::Letter;
use super::super::log::{Home, Log};
use super::super::{Limits, Mutation, Options, Replica};
use crate::memory_store::MemoryStore;
use crate::pace::Pace;
use crate::{
    Context, Effect, Event, Group, Input, Leadership, Message, Outbox, Peers, Ticket, Willingness,
};

pub(super) const KEYSPACE: KeyspaceId = KeyspaceId(7);
pub(super) const PARTITION: PartitionId = PartitionId { placement: 0, number: 0 };
pub(super) const WALL_MS: u64 = 1_700_000_000_000;

/// One node with one replica.
pub(super) struct Node {
    replica: Replica,
    pub(super) store: MemoryStore,
    held: Vec<(Lsn, Effect)>,
    clock: HybridClock,
    pub(super) alive: bool,
    /// The sync under way: when it ends and what it covers.
    syncing: Option<(Mono, Lsn)>,
    starts: u64,
}

/// The world.
pub(super) struct World {
    pub(super) now: Mono,
    pub(super) draw: Draw,
    seed: u64,
    mutation: Option<Mutation>,
    pub(super) limits: Limits,
    members: Vec<NodeId>,
    pub(super) nodes: BTreeMap<NodeId, Node>,
    under_way: BTreeMap<(Mono, u64), (NodeId, NodeId, Message)>,
    /// Nothing gets from the first to the second.
    pub(super) cut: BTreeSet<(NodeId, NodeId)>,
    /// What these nodes send is kept back until they go on.
    pub(super) hung: BTreeSet<NodeId>,
    kept_back: Vec<(NodeId, NodeId, Message)>,
    /// These nodes do nothing at all until they go on; what reaches them waits.
    paused: BTreeSet<NodeId>,
    waiting: Vec<(NodeId, Vec<Input>)>,
    /// Of a hundred messages, how many are lost.
    pub(super) loss: usize,
    /// The longest a sync takes, in microseconds.
    pub(super) slowest_sync: usize,
    /// The shortest.
    pub(super) fastest_sync: usize,
    /// Connections stand while nothing gets through.
    pub(super) hide_cuts: bool,
    /// Pieces of copies that have been sent.
    pub(super) pieces: usize,
    /// How many records they held.
    pub(super) records: usize,
    /// The most records that one of them held.
    pub(super) largest_piece: usize,
    sent: u64,
    tickets: u64,
    pace: Pace,
    pub(super) answers: Vec<(NodeId, Ticket, Outcome<Reply>)>,
    events: Vec<Event>,
    /// Why nodes gave up what they held.
    pub(super) given_up: Vec<(NodeId, &'static str)>,
    /// What happened, for comparing two runs.
    pub(super) trace: Vec<String>,
    /// The numbers of the questions that followers have asked.
    pub(super) asked: Vec<u64>,
    /// How far a node's wall clock is ahead, in milliseconds.
    pub(super) skew_ms: BTreeMap<NodeId, i64>,
    /// Nodes that know that their clock is wrong.
    pub(super) suspect: BTreeSet<NodeId>,
    /// Nodes that had better not lead, and have told the others.
    pub(super) unwilling: BTreeMap<NodeId, Willingness>,
    /// Nodes that lost what they held and do not have it again.
    pub(super) rebuilding: BTreeSet<NodeId>,
}

struct Connected<'a> {
    cut: &'a BTreeSet<(NodeId, NodeId)>,
    alive: &'a BTreeSet<NodeId>,
    unwilling: &'a BTreeMap<NodeId, Willingness>,
    me: NodeId,
    hide_cuts: bool,
}

impl Peers for Connected<'_> {
    fn is_up(&self, node: NodeId) -> bool {
        let cut = !self.hide_cuts && self.cut.contains(&(self.me, node));
        self.alive.contains(&node) && !cut
    }

    fn has_room(&self, _: NodeId) -> bool {
        true
    }

    fn queue(&self, _: NodeId) -> usize {
        0
    }

    fn willingness(&self, node: NodeId) -> Willingness {
        self.unwilling.get(&node).copied().unwrap_or_default()
    }
}

impl World {
    pub(super) fn new(seed: u64, replicas: u32) -> World {
        World::without_rule(seed, replicas, None)
    }

    /// A world whose replicas break a rule.
    pub(super) fn without_rule(seed: u64, replicas: u32, mutation: Option<Mutation>) -> World {
        let members: Vec<NodeId> = (1..=replicas).filter_map(NodeId::new).collect();
        let mut world = World {
            now: Mono(0),
            draw: Draw::new(seed),
            seed,
            mutation,
            limits: Limits::SERVER,
            members: members.clone(),
            nodes: BTreeMap::new(),
            under_way: BTreeMap::new(),
            cut: BTreeSet::new(),
            hung: BTreeSet::new(),
            kept_back: Vec::new(),
            paused: BTreeSet::new(),
            waiting: Vec::new(),
            loss: 0,
            slowest_sync: 3000,
            fastest_sync: 50,
            hide_cuts: false,
            pieces: 0,
            records: 0,
            largest_piece: 0,
            sent: 0,
            tickets: 0,
            pace: Pace::default(),
            answers: Vec::new(),
            events: Vec::new(),
            given_up: Vec::new(),
            trace: Vec::new(),
            asked: Vec::new(),
            skew_ms: BTreeMap::new(),
            suspect: BTreeSet::new(),
            unwilling: BTreeMap::new(),
            rebuilding: BTreeSet::new(),
        };
        for node in members {
            world.start(node, MemoryStore::default());
        }
        world
    }

    fn start(&mut self, node: NodeId, store: MemoryStore) {
        let starts = self.nodes.get(&node).map_or(1, |node| node.starts + 1);
        let replica = Replica::new(Options {
            partition: PARTITION,
            slots: Slot::new(0).unwrap()..=Slot::new(16383).unwrap(),
            keyspaces: vec![KEYSPACE],
            members: self.members.clone(),
            seed: self.seed ^ u64::from(node.get()) << 32 ^ starts << 48,
            limits: self.limits,
            mutation: self.mutation,
        });
        let clock = HybridClock::new(Writer::new(node, 1), Hlc::default());
        let held = Vec::new();
        let node_state = Node { replica, store, held, clock, alive: true, syncing: None, starts };
        self.nodes.insert(node, node_state);
    }

    /// Ends a node's process; what its store had not synced is lost.
    pub(super) fn crash(&mut self, node: NodeId) {
        self.trace.push(format!("{} crash {node}", self.now.0));
        let state = self.nodes.get_mut(&node).unwrap();
        state.alive = false;
        state.held.clear();
        state.syncing = None;
        state.store.crash();
        self.under_way.retain(|_, (from, _, _)| *from != node);
        self.paused.remove(&node);
        self.waiting.retain(|(id, _)| *id != node);
        self.lose(node);
    }

    /// Tells the others that the connection to a node is lost.
    pub(super) fn lose(&mut self, node: NodeId) {
        for other in self.members.clone() {
            if other != node {
                self.turn(other, vec![Input::PeerLost(node)]);
            }
        }
    }

    /// Ends all processes and starts them again.
    pub(super) fn crash_all(&mut self) {
        for node in self.members.clone() {
            self.crash(node);
        }
        for node in self.members.clone() {
            self.restart(node);
        }
    }

    pub(super) fn restart(&mut self, node: NodeId) {
        self.trace.push(format!("{} restart {node}", self.now.0));
        let store = std::mem::take(&mut self.nodes.get_mut(&node).unwrap().store);
        self.start(node, store);
        if self.rebuilding.contains(&node) {
            // What a node has not ended, it begins anew.
            self.turn(node, vec![Input::Rebuild]);
        }
    }

    /// Replaces a node's disk by an empty one, of which the node knows that it must be filled.
    pub(super) fn wipe(&mut self, node: NodeId) {
        self.trace.push(format!("{} wipe {node}", self.now.0));
        self.start(node, MemoryStore::default());
        self.rebuilding.insert(node);
        self.turn(node, vec![Input::Rebuild]);
    }

    /// Lets what a hung node has sent arrive.
    pub(super) fn unhang(&mut self, node: NodeId) {
        self.hung.remove(&node);
        for (from, to, message) in std::mem::take(&mut self.kept_back) {
            self.sent += 1;
            self.under_way.insert((self.now, self.sent), (from, to, message));
        }
    }

    /// Stops a node where it is.
    pub(super) fn pause(&mut self, node: NodeId) {
        self.trace.push(format!("{} pause {node}", self.now.0));
        self.paused.insert(node);
    }

    /// Lets all paused nodes go on with what has reached them.
    pub(super) fn resume(&mut self) {
        self.paused.clear();
        for (node, inputs) in std::mem::take(&mut self.waiting) {
            self.turn(node, inputs);
        }
    }

    /// A node that believes that it leads.
    pub(super) fn some_leader(&self) -> Option<NodeId> {
        let leads = |id: &NodeId| self.is_alive(*id) && self.leader(*id) == Some(*id);
        self.nodes.keys().copied().find(leads)
    }

    /// Lets a node that leads ask another one to lead instead.
    pub(super) fn hand_over(&mut self, from: NodeId, to: NodeId) {
        if let Some(node) = self.nodes.get_mut(&from).filter(|node| node.alive) {
            node.replica.hand_over(to);
            self.turn(from, Vec::new());
        }
    }

    /// Asks a node.
    pub(super) fn ask(&mut self, node: NodeId, op: Op, patience: Duration) -> Ticket {
        self.ask_at(None, node, op, patience)
    }

    /// Asks a node for an answer of a certain consistency.
    pub(super) fn ask_at(
        &mut self,
        level: Option<Consistency>,
        node: NodeId,
        op: Op,
        patience: Duration,
    ) -> Ticket {
        let (ticket, mut input) = self.request(op, patience);
        if let Input::Request { request, .. } = &mut input {
            request.consistency = level;
        }
        self.turn(node, vec![input]);
        ticket
    }

    /// Asks a node to do a write under a name.
    pub(super) fn ask_as(
        &mut self,
        node: NodeId,
        op: Op,
        name: Attempt,
        patience: Duration,
    ) -> Ticket {
        let (ticket, mut input) = self.request(op, patience);
        if let Input::Request { attempt, .. } = &mut input {
            *attempt = Some(name);
        }
        self.turn(node, vec![input]);
        ticket
    }

    /// What the clock of the log shows at a node.
    pub(super) fn reached(&self, node: NodeId) -> Hlc {
        self.nodes[&node].replica.reached()
    }

    /// A request and its ticket.
    pub(super) fn request(&mut self, op: Op, patience: Duration) -> (Ticket, Input) {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace: KEYSPACE,
            op,
            consistency: None,
            min_version: None,
            key: None,
            deadline: self.now + patience,
        };
        (ticket, Input::Request { ticket, request, attempt: None })
    }

    /// The answers to a request.
    pub(super) fn answers_to(&self, ticket: Ticket) -> Vec<&Outcome<Reply>> {
        let answers = self.answers.iter().filter(|(_, answered, _)| *answered == ticket);
        answers.map(|(_, _, outcome)| outcome).collect()
    }

    /// How often a node has counted an event.
    pub(super) fn counted(&self, event: Event) -> usize {
        self.events.iter().filter(|counted| **counted == event).count()
    }

    pub(super) fn is_alive(&self, node: NodeId) -> bool {
        self.nodes[&node].alive
    }

    /// Hands a node a letter, whoever wrote it.
    pub(super) fn deliver(&mut self, from: NodeId, to: NodeId, letter: &Letter) {
        self.turn(to, vec![Input::Message { from, message: Message::Raft(letter.encode()) }]);
    }

    pub(super) fn turn(&mut self, id: NodeId, inputs: Vec<Input>) {
        if self.paused.contains(&id) {
            self.waiting.push((id, inputs));
            return;
        }
        let alive = self.nodes.iter().filter(|(_, node)| node.alive).map(|(id, _)| *id).collect();
        let Some(node) = self.nodes.get_mut(&id).filter(|node| node.alive) else { return };
        let mut out = Outbox::default();
        let skew_ms = self.skew_ms.get(&id).copied().unwrap_or(0);
        let wall_ms = (WALL_MS + self.now.0 / 1000).saturating_add_signed(skew_ms);
        let now = Now { mono: self.now, wall_ms };
        let hide_cuts = self.hide_cuts;
        let unwilling = &self.unwilling;
        let peers = Connected { cut: &self.cut, alive: &alive, unwilling, me: id, hide_cuts };
        let Node { replica, store, clock, .. } = node;
        let mut inputs = inputs;
        loop {
            let (peers, pace, out) = (&peers, &mut self.pace, &mut out);
            let clock_suspect = self.suspect.contains(&id);
            let told = unwilling.get(&id).copied().unwrap_or_default();
            let least = if clock_suspect { Willingness::Reluctant } else { Willingness::Willing };
            let mut context = Context {
                now,
                me: id,
                clock_suspect,
                willingness: told.max(least),
                clock,
                store,
                peers,
                pace,
                out,
            };
            for input in inputs.drain(..) {
                replica.handle(&mut context, input);
            }
            replica.end_of_turn(&mut context);
            while let Some(effect) = out.pop() {
                let after = match &effect {
                    Effect::Reply { after, .. }
                    | Effect::Send { after, .. }
                    | Effect::Notify { after, .. }
                    | Effect::Rebuilt { after } => *after,
                    Effect::GaveUp(_) | Effect::Report(_) | Effect::Count(_) => None,
                };
                match (after.filter(|after| *after > store.durable()), effect) {
                    (Some(after), effect) => node.held.push((after, effect)),
                    (None, Effect::Notify { number, .. }) => inputs.push(Input::Durable(number)),
                    (None, Effect::Reply { ticket, outcome, .. }) => {
                        self.trace
                            .push(format!("{} {id} answers {ticket:?} {outcome:?}", now.mono.0));
                        self.answers.push((id, ticket, outcome));
                    }
                    (None, Effect::Send { to, message, .. }) => {
                        self.sent += 1;
                        match letter(&message) {
                            Some(Letter::Piece(piece)) => {
                                self.pieces += 1;
                                let records = piece.records().len();
                                self.records += records;
                                self.largest_piece = self.largest_piece.max(records);
                            }
                            Some(Letter::Ask(number)) => self.asked.push(number),
                            _ => {}
                        }
                        let lost = self.draw.between(0, 100) < self.loss;
                        if self.hung.contains(&id) {
                            self.kept_back.push((id, to, message));
                            continue;
                        }
                        if lost || self.cut.contains(&(id, to)) {
                            continue;
                        }
                        let delay = Duration::from_micros(self.draw.between(100, 2000) as u64);
                        self.under_way.insert((self.now + delay, self.sent), (id, to, message));
                    }
                    (None, Effect::Rebuilt { .. }) => {
                        self.rebuilding.remove(&id);
                    }
                    (None, Effect::Report(report)) => panic!("{report:?}"),
                    (None, Effect::GaveUp(reason)) => self.given_up.push((id, reason)),
                    (None, Effect::Count(event)) => self.events.push(event),
                }
            }
            if inputs.is_empty() {
                break;
            }
        }
        if node.syncing.is_none() && node.store.last() > node.store.durable() {
            let delay = Duration::from_micros(
                self.draw.between(self.fastest_sync, self.slowest_sync) as u64,
            );
            node.syncing = Some((self.now + delay, node.store.last()));
        }
    }

    fn synced(&mut self, id: NodeId) {
        let Some(node) = self.nodes.get_mut(&id) else { return };
        let Some((_, lsn)) = node.syncing.take() else { return };
        node.store.sync_to(lsn);
        let held = std::mem::take(&mut node.held);
        let (ready, held): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(after, _)| *after <= lsn);
        node.held = held;
        let mut inputs = Vec::new();
        for (_, effect) in ready {
            match effect {
                Effect::Notify { number, .. } => inputs.push(Input::Durable(number)),
                Effect::Send { to, message, .. } if !self.cut.contains(&(id, to)) => {
                    self.sent += 1;
                    let delay = Duration::from_micros(self.draw.between(100, 2000) as u64);
                    self.under_way.insert((self.now + delay, self.sent), (id, to, message));
                }
                Effect::Reply { ticket, outcome, .. } => self.answers.push((id, ticket, outcome)),
                Effect::Rebuilt { .. } => {
                    self.rebuilding.remove(&id);
                }
                _ => {}
            }
        }
        self.turn(id, inputs);
    }

    /// Goes on to the next event, but no further than `until`; false if that is reached.
    pub(super) fn step(&mut self, until: Mono) -> bool {
        let message = self.under_way.first_key_value().map(|((at, _), _)| *at);
        let runs = |id: &NodeId, node: &Node| node.alive && !self.paused.contains(id);
        let alive = || self.nodes.iter().filter(|(id, node)| runs(id, node));
        let sync = alive().filter_map(|(id, node)| Some((node.syncing?.0, *id))).min();
        let wake =
            alive().filter_map(|(id, node)| Some((node.replica.next_deadline()?, *id))).min();
        let times = [message, sync.map(|s| s.0), wake.map(|w| w.0)];
        let Some(next) = times.into_iter().flatten().min().filter(|next| *next <= until) else {
            self.now = until;
            return false;
        };
        self.now = self.now.max(next);
        if message == Some(next) {
            let Some((_, (from, to, message))) = self.under_way.pop_first() else { return true };
            if !self.cut.contains(&(from, to)) {
                self.turn(to, vec![Input::Message { from, message }]);
            }
        } else if let Some((_, id)) = sync.filter(|sync| sync.0 == next) {
            self.synced(id);
        } else if let Some((_, id)) = wake {
            self.turn(id, vec![Input::Deadline]);
        }
        true
    }

    /// Term and index of the last entry that a node has stored.
    pub(super) fn last(&mut self, node: NodeId) -> (u64, u64) {
        let home = Home { slot: Slot::new(0).unwrap(), partition: PARTITION };
        let store = &mut self.nodes.get_mut(&node).unwrap().store;
        let log = Log::load(home, &[], store).unwrap();
        (log.term(log.last()).unwrap(), log.last())
    }

    /// Whether a leader knows of all it has created when that was.
    pub(super) fn notes_all(&self, node: NodeId) -> bool {
        self.nodes[&node].replica.notes_all()
    }

    /// How many entries of the log that a node has stored change the members.
    pub(super) fn changes_of_members(&mut self, node: NodeId) -> usize {
        let home = Home { slot: Slot::new(0).unwrap(), partition: PARTITION };
        let store = &mut self.nodes.get_mut(&node).unwrap().store;
        let log = Log::load(home, &[], store).unwrap();
        let (first, end) = (log.first_index().unwrap(), log.last() + 1);
        let entries = log.entries(first, end, None, GetEntriesContext::empty(false)).unwrap();
        entries.iter().filter(|e| e.get_entry_type() != EntryType::EntryNormal).count()
    }

    /// Whether a node's store holds what was set aside for a copy.
    pub(super) fn has_aside(&mut self, node: NodeId) -> bool {
        let home = Home { slot: Slot::new(0).unwrap(), partition: PARTITION };
        home.has_aside(&mut self.nodes.get_mut(&node).unwrap().store)
    }

    /// Damages everything that a node holds of its log.
    pub(super) fn damage_log(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().store.damage_all(KeyspaceId::RAFT);
    }

    /// Tells a node's replicas apart.
    pub(super) fn life(&self, node: NodeId) -> u64 {
        self.nodes[&node].replica.life()
    }

    /// Who leads, as a node believes.
    pub(super) fn leader(&self, node: NodeId) -> Option<NodeId> {
        self.nodes[&node].replica.leadership().and_then(|Leadership { leader, .. }| leader)
    }

    /// How many keys a node holds.
    pub(super) fn count(&self, node: NodeId) -> u64 {
        let (first, last) = (Slot::new(0).unwrap(), Slot::new(16383).unwrap());
        self.nodes[&node].store.live(KEYSPACE, first, last)
    }

    /// Goes on for a while.
    pub(super) fn run(&mut self, span: Duration) {
        let until = self.now + span;
        while self.step(until) {}
    }

    /// Asks any node that will answer until one does, and returns the answer.
    #[allow(clippy::needless_pass_by_value, reason = "scripts read better")]
    pub(super) fn insist(&mut self, op: Op) -> Outcome<Reply> {
        let mut last = None;
        for attempt in 0..200 {
            let node = self.members[attempt % self.members.len()];
            if !self.is_alive(node) {
                continue;
            }
            let ticket = self.ask(node, op.clone(), Duration::from_secs(5));
            let until = self.now + Duration::from_secs(5);
            loop {
                if let Some(at) = self.answers.iter().position(|(_, t, _)| *t == ticket) {
                    let (_, _, outcome) = self.answers.swap_remove(at);
                    if !matches!(outcome, Err(kvorum_core::Error::NotLeader { .. })) {
                        return outcome;
                    }
                    last = Some(outcome);
                    break;
                }
                if !self.step(until) {
                    break;
                }
            }
            self.run(Duration::from_millis(20));
        }
        last.unwrap_or(Err(kvorum_core::Error::NotLeader { leader: None }))
    }
}

/// The letter in a message.
fn letter(message: &Message) -> Option<Letter> {
    let Message::Raft(letter) = message else { return None };
    let (one, other) = (NodeId::new(1).unwrap(), NodeId::new(2).unwrap());
    Letter::decode(letter.clone(), one, other).ok()
}

/// What every replica holds for a key.
pub(super) fn stored(world: &mut World, key: &[u8]) -> Vec<Option<Vec<u8>>> {
    let slot = Slot::of(key);
    let nodes = world.nodes.values_mut();
    nodes.map(|n| n.store.value(KEYSPACE, slot, key).unwrap().map(|(_, v)| v.to_vec())).collect()
}
