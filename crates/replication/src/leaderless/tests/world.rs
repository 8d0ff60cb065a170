//! Replicas, their stores and clocks, and the network between them, all under control.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Change, Consistency, Cursor, Header, Hlc, HybridClock, Identity, KeyspaceId, Lsn, Mono, NodeId,
    Now, Op, Outcome, PartitionId, Record, Reply, Request, SLOTS, ScanLimit, Slot, Store, Version,
    Want, Writer,
};

use super::text;
use crate::leaderless::{FloorLetter, Limits, Mutation, Options, Replica};
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
    /// Copies of it were damaged, and may be repaired below the floor.
    pub(super) damaged: bool,
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
    /// What no replica may do, and one did.
    pub(super) violations: Vec<String>,
    /// The highest floor there ever was.
    pub(super) floor: Hlc,
    /// Versions of deletions, and of values that expire.
    pub(super) mortal: BTreeSet<Version>,
    /// A disk that a script has put aside.
    pub(super) kept: Option<MemoryStore>,
    /// Every version stamped for a client, with the key and the value it stands for.
    pub(super) stamped: BTreeMap<Version, (Bytes, Option<Bytes>)>,
    pub(super) limits: Limits,
    mutation: Option<Mutation>,
    tickets: u64,
}

/// Keys and what is known of their records.
pub(super) type Shown = BTreeMap<Bytes, Header>;

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
            violations: Vec::new(),
            floor: Hlc::default(),
            mortal: BTreeSet::new(),
            kept: None,
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
                damaged: false,
                replica: Replica::new(options(count, limits, mutation)),
                pace: Pace::default(),
                starts: 1,
                held: VecDeque::new(),
            });
        }
        // A new replica wants to be woken at once, and writes down that it is one.
        for node in world.ids() {
            world.input(node, Input::Deadline);
            world.sync(node);
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
            let before = (self.node(node).store.last(), self.marks(node));
            self.handle(node, input, &mut out);
            self.watch(node, before);
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
                    if record.value.is_none() || record.expire_ms != 0 {
                        self.mortal.insert(record.version);
                    }
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

    /// A replica's floor and promise, as far as they are durable.
    fn marks(&mut self, node: NodeId) -> (Hlc, Hlc) {
        let floor = self.node(node).replica.floor_mut();
        (floor.floor(), floor.promise())
    }

    /// Notes what a replica has done that none may do.
    fn watch(&mut self, node: NodeId, (last, (floor, promise)): (Lsn, (Hlc, Hlc))) {
        let (new_floor, new_promise) = self.marks(node);
        self.floor = self.floor.max(new_floor);
        let mut violations = Vec::new();
        // Before the first input nothing is known.
        if new_floor < floor || new_promise < promise || new_floor > new_promise {
            violations.push("E8: a floor or a promise has gone back");
        }
        let at = self.node(node);
        for change in at.store.since(last) {
            let Change::Put(record) = change else { continue };
            let replicated = record.keyspace == KeyspaceId::DEFAULT;
            if replicated && record.version.hlc <= floor && !at.rebuilding && !at.damaged {
                violations.push("E8: something at or below the floor was stored");
            }
        }
        self.violations.extend(violations.into_iter().map(str::to_owned));
    }

    /// Two replicas compare all they hold in one step, without a session, and send each other what one
    /// of them lacks.
    pub(super) fn align(&mut self, one: NodeId, other: NodeId) {
        let whole = |node: &Node| !node.rebuilding && node.store.durable() == node.store.last();
        if !self.connected(one, other) || !whole(self.node(one)) || !whole(self.node(other)) {
            return;
        }
        let ((floor, promise), (other_floor, other_promise)) = (self.marks(one), self.marks(other));
        if floor != other_floor {
            let (from, to) = if floor > other_floor { (one, other) } else { (other, one) };
            let letter = FloorLetter::Compare(floor.max(other_floor));
            let message = Message::Floor { op: crate::OpId::NONE, letter };
            return self.flights.push(Flight { from, to, message });
        }
        let through = promise.min(other_promise);
        let (here, there) = (self.shown(one, floor), self.shown(other, floor));
        let lacks = |shown: &Shown, held: &Shown| -> Vec<(Bytes, Header)> {
            let newer = |(key, header): &(&Bytes, &Header)| {
                held.get(*key).is_none_or(|known| known.version < header.version)
            };
            shown.iter().filter(newer).map(|(key, header)| (key.clone(), *header)).collect()
        };
        let (to_send, to_get) = (lacks(&here, &there), lacks(&there, &here));
        let settled = |(_, header): &(Bytes, Header)| header.version.hlc > through;
        if to_send.iter().chain(&to_get).all(settled) {
            self.node(one).replica.floor_mut().clean_with(other, through);
            self.node(other).replica.floor_mut().clean_with(one, through);
            self.trace.push(format!("n{one} and n{other} are clean"));
        }
        for (from, to, items) in [(one, other, to_send), (other, one, to_get)] {
            for (key, _) in items {
                self.copy(from, to, &key);
            }
        }
    }

    /// Sends what a node holds for a key to another one.
    fn copy(&mut self, from: NodeId, to: NodeId, key: &Bytes) {
        let store = &mut self.node(from).store;
        let Ok(Some((stored, value))) = store.value(KeyspaceId::DEFAULT, Slot::of(key), key) else {
            return;
        };
        let Header { version, tombstone, tag, expire_ms, .. } = stored.header;
        let (keyspace, slot, key) = (KeyspaceId::DEFAULT, Slot::of(key), key.clone());
        let value = (!tombstone).then_some(value);
        let record = Record { keyspace, slot, key, version, tag, expire_ms, value };
        let (op, kind, patience) = (crate::OpId::NONE, WriteKind::Repair, PATIENCE);
        let message = Message::Write { op, record, kind, patience };
        self.flights.push(Flight { from, to, message });
    }

    /// What a node holds, but for what may be purged.
    pub(super) fn shown(&mut self, node: NodeId, floor: Hlc) -> Shown {
        let limit = ScanLimit { items: usize::MAX, bytes: usize::MAX };
        let (first, last) = (Cursor::start_of(Slot::default()), Slot::new(SLOTS - 1).unwrap());
        let store = &mut self.node(node).store;
        let page = store.page(KeyspaceId::DEFAULT, &first, last, b"", limit, Want::Header);
        let items = page.items.into_iter().map(|(record, stored)| (record.key, stored.header));
        items.filter(|(_, header)| !header.may_be_purged(floor)).collect()
    }

    pub(super) fn connected(&self, one: NodeId, other: NodeId) -> bool {
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

    /// Puts an older disk into a dead node.
    pub(super) fn restore(&mut self, node: NodeId, store: MemoryStore) {
        let at = self.node(node);
        at.store = store;
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

/// A write of a value that expires.
pub(super) fn expiring(key: &str, value: &str, span: Duration) -> Op {
    Op::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiry: kvorum_core::Expiry::After(span),
        tag: 0,
    }
}

/// A deletion.
pub(super) fn delete(key: &str) -> Op {
    Op::Delete { key: Bytes::copy_from_slice(key.as_bytes()) }
}
