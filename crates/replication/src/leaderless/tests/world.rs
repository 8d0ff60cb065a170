//! Replicas, their stores and clocks, and the network between them, all under control.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Cursor, HybridClock, Identity, KeyspaceId, Lsn, Mono, NodeId, Now, Op, Outcome,
    PartitionId, Reply, Request, SLOTS, ScanLimit, Slot, Version, Want, Writer,
};

use super::text;
use crate::leaderless::{Limits, Mutation, Options, Replica};
use crate::memory_store::MemoryStore;
use crate::pace::{Pace, PendingHints};
use crate::{
    Context, Effect, Event, Group, Input, Message, Outbox, Peers, Ticket, Willingness, WriteKind,
};

/// Wall-clock milliseconds at the beginning.
pub(super) const BEGINNING: u64 = 1_700_000_000_000;
/// The only partition.
pub(super) const PARTITION: PartitionId = PartitionId { placement: 0, number: 0 };
/// How long clients wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Node {
    pub(super) store: MemoryStore,
    pub(super) clock: HybridClock,
    pub(super) alive: bool,
    /// By how much its wall clock is wrong.
    pub(super) skew_ms: i64,
    pub(super) rebuilding: bool,
    /// The damage will be noticed at the next start.
    pub(super) wiped: bool,
    replica: Replica,
    pace: Pace,
    starts: u32,
    /// Effects that wait for the log.
    held: VecDeque<(Lsn, Effect)>,
}

/// A message on its way.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) message: Message,
}

#[derive(Debug)]
pub(super) struct World {
    pub(super) now: Mono,
    pub(super) nodes: Vec<Node>,
    pub(super) flights: Vec<Flight>,
    /// Answers to clients nobody has looked at yet.
    pub(super) replies: Vec<(Ticket, Outcome<Reply>)>,
    /// What happened, for people.
    pub(super) trace: Vec<String>,
    /// Pairs of nodes (smaller first) that are not connected.
    cut: BTreeSet<(NodeId, NodeId)>,
    /// Nodes whose queues have no room.
    pub(super) congested: BTreeSet<NodeId>,
    /// Every version stamped for a client, with the key and the value it stands for.
    pub(super) stamped: BTreeMap<Version, (Bytes, Option<Bytes>)>,
    pub(super) limits: Limits,
    mutation: Option<Mutation>,
    tickets: u64,
}

/// What one node knows of the others.
struct View<'a> {
    me: NodeId,
    up: &'a BTreeSet<NodeId>,
    congested: &'a BTreeSet<NodeId>,
}

impl Peers for View<'_> {
    fn is_up(&self, node: NodeId) -> bool {
        node == self.me || self.up.contains(&node)
    }

    fn has_room(&self, node: NodeId) -> bool {
        node == self.me || !self.congested.contains(&node)
    }

    fn queue(&self, _: NodeId) -> usize {
        0
    }
}

pub(super) fn id(n: usize) -> NodeId {
    NodeId::new(n as u32).unwrap()
}

impl World {
    /// `count` nodes, numbered from one, all connected, which keep no hints.
    pub(super) fn new(count: usize, mutation: Option<Mutation>) -> World {
        World::with_limits(count, Limits { hints: false, ..Limits::SERVER }, mutation)
    }

    /// `count` nodes with these limits.
    pub(super) fn with_limits(count: usize, limits: Limits, mutation: Option<Mutation>) -> World {
        let mut world = World {
            now: Mono::default(),
            nodes: Vec::new(),
            flights: Vec::new(),
            replies: Vec::new(),
            trace: Vec::new(),
            cut: BTreeSet::new(),
            congested: BTreeSet::new(),
            stamped: BTreeMap::new(),
            limits,
            mutation,
            tickets: 0,
        };
        for n in 1..=count {
            world.nodes.push(Node {
                store: MemoryStore::default(),
                clock: HybridClock::new(Writer::new(id(n), 1), Default::default()),
                alive: true,
                skew_ms: 0,
                rebuilding: false,
                wiped: false,
                replica: Replica::new(options(count, limits, mutation)),
                pace: Pace::default(),
                starts: 1,
                held: VecDeque::new(),
            });
        }
        world
    }

    pub(super) fn ids(&self) -> Vec<NodeId> {
        (1..=self.nodes.len()).map(id).collect()
    }

    pub(super) fn node(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.get() as usize - 1]
    }

    /// A client asks a node.
    pub(super) fn request(
        &mut self,
        node: NodeId,
        op: Op,
        consistency: Consistency,
        min_version: Option<Version>,
    ) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let request = Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId::DEFAULT,
            op,
            consistency: Some(consistency),
            min_version,
            key: None,
            deadline: self.now + PATIENCE,
        };
        self.input(node, Input::Request { ticket, request, attempt: None });
        ticket
    }

    /// Gives a node an input, and carries out what follows on it.
    pub(super) fn input(&mut self, node: NodeId, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            if let Input::Message { from, message } = &input {
                self.trace.push(format!("n{from} -> n{node}  {}", text::message(message)));
            }
            let mut out = Outbox::default();
            self.handle(node, input, &mut out);
            while let Some(effect) = out.pop() {
                let after = match &effect {
                    Effect::Reply { after, .. }
                    | Effect::Send { after, .. }
                    | Effect::Notify { after, .. }
                    | Effect::Rebuilt { after } => *after,
                    Effect::GaveUp(_) | Effect::Report(_) | Effect::Count(_) => None,
                };
                match after {
                    Some(lsn) if lsn > self.node(node).store.durable() => {
                        self.node(node).held.push_back((lsn, effect));
                    }
                    _ => inputs.extend(self.carry_out(node, effect)),
                }
            }
        }
    }

    fn handle(&mut self, node: NodeId, input: Input, out: &mut Outbox) {
        self.with_context(node, out, |replica, ctx| replica.handle(ctx, input));
    }

    fn with_context(
        &mut self,
        node: NodeId,
        out: &mut Outbox,
        act: impl FnOnce(&mut Replica, &mut Context<'_>),
    ) {
        let up: BTreeSet<NodeId> =
            self.ids().into_iter().filter(|&other| self.connected(node, other)).collect();
        let congested = self.congested.clone();
        let peers = View { me: node, up: &up, congested: &congested };
        let mono = self.now;
        let at = self.node(node);
        let wall_ms = (BEGINNING + mono.0 / 1000).saturating_add_signed(at.skew_ms);
        let now = Now { mono, wall_ms };
        let Node { clock, store, replica, pace, .. } = at;
        let mut ctx = Context {
            now,
            me: node,
            clock_suspect: false,
            willingness: Willingness::Willing,
            clock,
            store,
            peers: &peers,
            pace,
            out,
        };
        act(replica, &mut ctx);
    }

    /// Carries out an effect; one that is for the node itself becomes its next input.
    fn carry_out(&mut self, node: NodeId, effect: Effect) -> Option<Input> {
        match effect {
            Effect::Reply { ticket, outcome, .. } => {
                self.trace.push(format!("n{node} => client  {}", text::outcome(&outcome)));
                self.replies.push((ticket, outcome));
            }
            Effect::Send { to, message, .. } if to == node => {
                // Every coordinator is a member, so it sends itself what it stamps.
                if let Message::Write { record, kind: WriteKind::Client, .. } = &message {
                    let content = (record.key.clone(), record.value.clone());
                    self.stamped.insert(record.version, content);
                }
                return Some(Input::Message { from: node, message });
            }
            Effect::Send { to, message, .. } => {
                if self.connected(node, to) {
                    self.flights.push(Flight { from: node, to, message });
                }
            }
            Effect::Rebuilt { .. } => {
                self.node(node).rebuilding = false;
                self.trace.push(format!("n{node}: rebuilt"));
            }
            Effect::Notify { number, .. } => return Some(Input::Durable(number)),
            Effect::Count(Event::LateAck) => self.trace.push(format!("n{node}: too late")),
            Effect::GaveUp(reason) => self.trace.push(format!("n{node}: gave up: {reason}")),
            Effect::Report(report) => {
                self.trace.push(format!("n{node}: {}", text::report(&report)));
            }
            Effect::Count(event) => self.trace.push(format!("n{node}: counts {event:?}")),
        }
        None
    }

    fn connected(&self, one: NodeId, other: NodeId) -> bool {
        let alive = |node: NodeId| self.nodes[node.get() as usize - 1].alive;
        one != other && alive(one) && alive(other) && !self.cut.contains(&pair(one, other))
    }

    /// Two nodes compare the roots of their replicas.
    pub(super) fn compare(&mut self, one: NodeId, other: NodeId) {
        if !self.connected(one, other) {
            return;
        }
        let mut root = |node: NodeId| {
            let Node { replica, store, .. } = self.node(node);
            replica.root(store)
        };
        let (of_one, of_other) = (root(one), root(other));
        let equal = of_one.filter(|root| Some(*root) == of_other).map(|root| root.promise);
        if equal.is_some() {
            self.sync(one);
            self.sync(other);
        }
        self.input(one, Input::Compared { with: other, equal });
        self.input(other, Input::Compared { with: one, equal });
    }

    /// Lets the message at a position of the list arrive.
    pub(super) fn deliver(&mut self, at: usize) {
        let Flight { from, to, message } = self.flights.remove(at);
        self.input(to, Input::Message { from, message });
    }

    /// Lets the message at a position of the list arrive after its coordinator's deadline.
    pub(super) fn deliver_late(&mut self, at: usize) {
        self.flights[at].message.age(PATIENCE);
        self.deliver(at);
    }

    /// A node learns how fast another one answers its reads.
    pub(super) fn teach(&mut self, node: NodeId, peer: NodeId, took: Duration) {
        let now = self.now;
        for _ in 0..5000 {
            self.node(node).pace.answered(peer, now, now + took);
        }
    }

    /// What waits on each node for each of the others.
    pub(super) fn pending_hints(&self) -> Vec<(NodeId, PendingHints)> {
        let of = |(node, at): (NodeId, &Node)| {
            at.pace.hints.pending().map(move |p| (node, p)).collect::<Vec<_>>()
        };
        self.ids().into_iter().zip(&self.nodes).flat_map(of).collect()
    }

    /// The slots in which a node thinks that a peer may differ from it.
    pub(super) fn dirty(&self, node: NodeId, peer: NodeId) -> Vec<Slot> {
        self.nodes[node.get() as usize - 1].replica.hints().dirty(peer).collect()
    }

    /// A node has found out that it and a peer hold the same in all slots.
    pub(super) fn cleaned(&mut self, node: NodeId, peer: NodeId) {
        self.with_context(node, &mut Outbox::default(), |replica, ctx| {
            let marks = replica.hints().marks(peer);
            let all = Slot::default()..=Slot::new(SLOTS - 1).unwrap();
            replica.hints_mut().cleaned(peer, &all, marks, ctx);
        });
    }

    /// Loses the message at a position of the list.
    pub(super) fn lose(&mut self, at: usize) {
        let Flight { from, to, message } = self.flights.remove(at);
        self.trace.push(format!("n{from} -x n{to}  {}", text::message(&message)));
    }

    /// Makes everything a node has written durable, and lets go what waited for it.
    pub(super) fn sync(&mut self, node: NodeId) {
        self.node(node).store.sync();
        let released = std::mem::take(&mut self.node(node).held);
        for (_, effect) in released {
            if let Some(input) = self.carry_out(node, effect) {
                self.input(node, input);
            }
        }
    }

    /// A node dies, with everything it had not synced.
    pub(super) fn crash(&mut self, node: NodeId) {
        let peers: Vec<NodeId> =
            self.ids().into_iter().filter(|&other| self.connected(node, other)).collect();
        let at = self.node(node);
        at.alive = false;
        at.held.clear();
        at.store.crash();
        self.flights.retain(|flight| flight.from != node && flight.to != node);
        for peer in peers {
            self.input(peer, Input::PeerLost(node));
        }
    }

    /// A node starts again; if it finds its disk blank, it rebuilds.
    pub(super) fn start(&mut self, node: NodeId) {
        let (limits, mutation, count) = (self.limits, self.mutation, self.nodes.len());
        // A node that has lost its log learns from its peers how far its clock had come.
        let known = self.nodes.iter().map(|node| node.clock.latest()).max().unwrap_or_default();
        let at = self.node(node);
        at.alive = true;
        at.starts += 1;
        at.rebuilding = at.wiped || at.rebuilding;
        let highest = if at.wiped { known } else { at.store.highest() };
        at.wiped = false;
        at.clock = HybridClock::new(Writer::new(node, at.starts), highest);
        at.replica = Replica::new(options(count, limits, mutation));
        at.pace = Pace::default();
        if at.rebuilding {
            self.input(node, Input::Rebuild);
        }
    }

    /// Blanks the disk of a dead node.
    pub(super) fn wipe(&mut self, node: NodeId) {
        let at = self.node(node);
        at.store = MemoryStore::default();
        at.wiped = true;
    }

    /// Loses the connection between two nodes for a moment: what was under way is gone.
    pub(super) fn part(&mut self, one: NodeId, other: NodeId) {
        if !self.connected(one, other) {
            return;
        }
        self.flights.retain(|f| pair(f.from, f.to) != pair(one, other));
        self.cut.insert(pair(one, other));
        self.input(one, Input::PeerLost(other));
        self.input(other, Input::PeerLost(one));
        self.cut.remove(&pair(one, other));
    }

    /// Disconnects two nodes until [`World::join`].
    pub(super) fn cut(&mut self, one: NodeId, other: NodeId) {
        self.part(one, other);
        self.cut.insert(pair(one, other));
    }

    pub(super) fn join(&mut self, one: NodeId, other: NodeId) {
        self.cut.remove(&pair(one, other));
    }

    pub(super) fn join_all(&mut self) {
        self.cut.clear();
    }

    /// Lets time pass and wakes who asked for it.
    pub(super) fn pass(&mut self, span: Duration) {
        self.now = self.now + span;
        for node in self.ids() {
            let at = self.node(node);
            let wake = at.replica.next_deadline();
            if at.alive && wake.is_some_and(|wake| wake <= self.now) {
                self.input(node, Input::Deadline);
            }
        }
    }

    /// Delivers and syncs until nothing moves any more.
    pub(super) fn settle(&mut self) {
        loop {
            while !self.flights.is_empty() {
                self.deliver(0);
            }
            for node in self.ids() {
                self.sync(node);
            }
            if self.flights.is_empty() && self.nodes.iter().all(|node| node.held.is_empty()) {
                return;
            }
        }
    }
}

fn options(count: usize, limits: Limits, mutation: Option<Mutation>) -> Options {
    Options {
        partition: PARTITION,
        slots: Slot::default()..=Slot::new(SLOTS - 1).unwrap(),
        members: (1..=count).map(id).collect(),
        keyspaces: vec![(KeyspaceId::DEFAULT, Consistency::Quorum, Consistency::Quorum)],
        limits,
        mutation,
    }
}

fn pair(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

/// A page of everything.
pub(super) fn scan() -> Op {
    Op::Scan {
        partition: PARTITION,
        from: Cursor::start_of(Slot::default()),
        prefix: Bytes::new(),
        limit: ScanLimit { items: 10, bytes: 1 << 16 },
        want: Want::Value,
    }
}

/// A read of a key's value.
pub(super) fn get(key: &str) -> Op {
    Op::Get { key: Bytes::copy_from_slice(key.as_bytes()), want: Want::Value }
}

/// A write of a value that stays.
pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiry: kvorum_core::Expiry::Never,
        tag: 0,
    }
}

/// A deletion.
pub(super) fn delete(key: &str) -> Op {
    Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) }
}
