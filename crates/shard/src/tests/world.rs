//! Shards, their stores, and the streams between them, all under control.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::layout::Placement;
use kvorum_core::{
    Consistency, Hlc, HybridClock, Identity, Keyspace, KeyspaceId, Layout, Mode, Mono, NodeId, Now,
    Op, Outcome, PartitionId, Reply, Request, Writer,
};
use kvorum_replication::Ticket;

use super::store::MemoryStore;
use crate::{Class, In, Options, Out, Shard};

/// How long clients wait.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// The number of partitions.
pub(super) const PARTITIONS: usize = 16;
const REPLICAS: usize = 3;

/// A cluster in which nothing happens by itself.
pub(super) struct World {
    pub(super) now: Mono,
    pub(super) nodes: Vec<Node>,
    /// Frames under way, by sender, receiver and class, in order.
    pub(super) streams: BTreeMap<(NodeId, NodeId, Class), VecDeque<Bytes>>,
    pub(super) replies: Vec<(Ticket, Outcome<Reply>)>,
    /// Everything else that came out.
    pub(super) others: Vec<(NodeId, Out)>,
    tickets: u64,
}

pub(super) struct Node {
    pub(super) shard: Shard,
    pub(super) store: MemoryStore,
}

pub(super) fn id(n: usize) -> NodeId {
    NodeId::new(n as u32).unwrap()
}

/// Partition `n` lies on the nodes `n`, `n + 1` and `n + 2`, counted around.
pub(super) fn layout(nodes: usize, version: u64) -> Arc<Layout> {
    layout_of(Mode::Eventual, nodes, version)
}

fn layout_of(mode: Mode, nodes: usize, version: u64) -> Arc<Layout> {
    let list = |n: usize| {
        let count = REPLICAS.min(nodes);
        (0..count).map(|member| id((n + member) % nodes + 1)).collect()
    };
    let placement = Placement::new((0..PARTITIONS).map(list).collect()).unwrap();
    let keyspace = Keyspace {
        id: KeyspaceId::DEFAULT,
        name: "default".to_owned(),
        mode,
        placement: 0,
        read: Consistency::Quorum,
        write: Consistency::Quorum,
    };
    let nodes = (1..=nodes).map(id).collect();
    Arc::new(Layout::new(version, nodes, vec![keyspace], vec![placement]).unwrap())
}

impl World {
    /// `count` nodes, numbered from one, all connected.
    pub(super) fn new(count: usize, adjust: impl Fn(&mut Options)) -> World {
        World::of(Mode::Eventual, count, adjust)
    }

    /// The same with a strong keyspace.
    pub(super) fn strong(count: usize, adjust: impl Fn(&mut Options)) -> World {
        World::of(Mode::Strong, count, adjust)
    }

    fn of(mode: Mode, count: usize, adjust: impl Fn(&mut Options)) -> World {
        let layout = layout_of(mode, count, 1);
        let node = |n: usize| {
            let mut options = Options::new(id(n));
            adjust(&mut options);
            let clock = HybridClock::new(Writer::new(id(n), 1), Hlc::default());
            let shard = Shard::new(options, Arc::clone(&layout), clock);
            Node { shard, store: MemoryStore::default() }
        };
        let mut world = World {
            now: Mono(1),
            nodes: (1..=count).map(node).collect(),
            streams: BTreeMap::new(),
            replies: Vec::new(),
            others: Vec::new(),
            tickets: 0,
        };
        for a in 1..=count {
            for b in 1..a {
                world.connect(id(a), id(b));
            }
        }
        // New leaderless replicas want to be woken at once, and write down that they are.
        for node in (1..=count).filter(|_| mode == Mode::Eventual).map(id) {
            world.turn(node, In::Deadline);
            world.sync(node);
        }
        world
    }

    pub(super) fn node(&mut self, node: NodeId) -> &mut Node {
        &mut self.nodes[node.get() as usize - 1]
    }

    fn clocks(&self) -> Now {
        Now { mono: self.now, wall_ms: 1_700_000_000_000 + self.now.0 / 1000 }
    }

    /// Starts another process of a node that has lost all its records and does not know.
    pub(super) fn restart_blank(&mut self, node: NodeId) {
        let others: Vec<NodeId> = (1..=self.nodes.len()).map(id).filter(|n| *n != node).collect();
        for other in &others {
            self.disconnect(node, *other);
        }
        let Node { shard, store } = self.node(node);
        store.forget();
        let clock = HybridClock::new(Writer::new(node, 2), Hlc::default());
        *shard = Shard::new(Options::new(node), Arc::clone(shard.layout()), clock);
        for other in others {
            self.connect(node, other);
        }
    }

    /// A step within a turn.
    pub(super) fn step(&mut self, node: NodeId, input: In) {
        let (now, mut out) = (self.clocks(), Vec::new());
        let Node { shard, store } = self.node(node);
        shard.step(now, input, store, &mut out);
        self.carry_out(node, out);
    }

    pub(super) fn end_turn(&mut self, node: NodeId) {
        let (now, mut out) = (self.clocks(), Vec::new());
        let Node { shard, store } = self.node(node);
        shard.end_of_turn(now, store, &mut out);
        self.carry_out(node, out);
    }

    pub(super) fn turn(&mut self, node: NodeId, input: In) {
        self.step(node, input);
        self.end_turn(node);
    }

    fn carry_out(&mut self, node: NodeId, out: Vec<Out>) {
        for out in out {
            match out {
                Out::Reply { ticket, outcome } => self.replies.push((ticket, outcome)),
                Out::Send { to, class, frame } => {
                    self.streams.entry((node, to, class)).or_default().push_back(frame);
                }
                other => self.others.push((node, other)),
            }
        }
    }

    /// A client's request, within the present turn of the node.
    pub(super) fn ask(&mut self, node: NodeId, op: Op) -> Ticket {
        let deadline = self.now + PATIENCE;
        self.submit(node, request(op, deadline))
    }

    pub(super) fn submit(&mut self, node: NodeId, request: Request) -> Ticket {
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        self.step(node, In::Request { ticket, request });
        ticket
    }

    /// The log of a node becomes durable.
    pub(super) fn sync(&mut self, node: NodeId) {
        let durable = self.node(node).store.sync();
        self.turn(node, In::Durable(durable));
    }

    pub(super) fn connect(&mut self, a: NodeId, b: NodeId) {
        self.turn(a, In::PeerUp(b));
        self.turn(b, In::PeerUp(a));
    }

    /// Both ends notice; what was under way is gone.
    pub(super) fn disconnect(&mut self, a: NodeId, b: NodeId) {
        let between = |from, to| (from, to) == (a, b) || (from, to) == (b, a);
        self.streams.retain(|(from, to, _), _| !between(*from, *to));
        self.turn(a, In::PeerDown(b));
        self.turn(b, In::PeerDown(a));
        self.streams.retain(|(from, to, _), _| !between(*from, *to));
    }

    /// Delivers the oldest frame of a stream.
    pub(super) fn deliver(&mut self, (from, to, class): (NodeId, NodeId, Class)) -> bool {
        let stream = self.streams.get_mut(&(from, to, class));
        let Some(body) = stream.and_then(VecDeque::pop_front) else { return false };
        let arrived = self.now;
        self.turn(to, In::Frame { from, body, arrived });
        true
    }

    /// Delivers and syncs until nothing more happens.
    pub(super) fn settle(&mut self) {
        loop {
            let mut delivered = false;
            for stream in self.streams.keys().copied().collect::<Vec<_>>() {
                delivered |= self.deliver(stream);
            }
            for node in 1..=self.nodes.len() {
                if self.node(id(node)).shard.stats().waiting_for_log > 0 {
                    self.sync(id(node));
                    delivered = true;
                }
            }
            if !delivered {
                return;
            }
        }
    }

    /// Lets time pass, and wakes whoever wants to be woken.
    pub(super) fn pass(&mut self, span: Duration) {
        let until = self.now + span;
        loop {
            let wakeups = (1..=self.nodes.len()).filter_map(|n| {
                let deadline = self.nodes[n - 1].shard.next_deadline()?;
                Some((deadline, id(n)))
            });
            let Some((deadline, node)) = wakeups.min().filter(|(at, _)| *at <= until) else {
                break;
            };
            self.now = self.now.max(deadline);
            self.turn(node, In::Deadline);
        }
        self.now = until;
    }

    /// Lets time pass in which everything is delivered and synced.
    pub(super) fn live(&mut self, span: Duration) {
        let until = self.now + span;
        while self.now < until {
            self.pass(Duration::from_millis(5));
            self.settle();
        }
    }

    /// How many requests there have been.
    pub(super) fn asked(&self) -> u64 {
        self.tickets
    }

    /// The only answer to a request so far.
    pub(super) fn answer(&self, ticket: Ticket) -> Option<Outcome<Reply>> {
        let mut answers = self.replies.iter().filter(|(answered, _)| *answered == ticket);
        let answer = answers.next().map(|(_, outcome)| outcome.clone());
        assert!(answers.next().is_none(), "answered twice");
        answer
    }
}

pub(super) fn request(op: Op, deadline: Mono) -> Request {
    Request {
        identity: Identity::ANONYMOUS,
        keyspace: KeyspaceId::DEFAULT,
        op,
        consistency: None,
        min_version: None,
        key: None,
        deadline,
    }
}

pub(super) fn put(key: &str, value: &str) -> Op {
    Op::Put {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: Bytes::copy_from_slice(value.as_bytes()),
        expiry: kvorum_core::Expiry::Never,
        tag: 0,
    }
}

pub(super) fn get(key: &str) -> Op {
    let key = Bytes::copy_from_slice(key.as_bytes());
    Op::Get { key, want: kvorum_core::Want::Value }
}

/// A key of a partition.
pub(super) fn key_in(partition: usize) -> String {
    let layout = layout(1, 1);
    let belongs = |key: &String| {
        let slot = kvorum_core::Slot::of(key.as_bytes());
        let wanted = PartitionId { placement: 0, number: partition as u16 };
        layout.partition_of(KeyspaceId::DEFAULT, slot) == Some(wanted)
    };
    (0..).map(|n| format!("key{n}")).find(belongs).unwrap()
}
