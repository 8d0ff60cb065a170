//! A seeded world of nodes that gossip: datagrams are lost, doubled and overtake each other; nodes
//! are killed, restarted and stopped for a while; directions and networks are cut.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kvorum_core::{Mono, NodeId, Now};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::membership::{
    Addresses, Effect, Gossip, Incarnation, Options, Path, Pulse, Refusal, Secret, Standing,
    fingerprint,
};

/// How soon after its loss a stream is tried again.
const REDIAL: Duration = Duration::from_millis(500);
/// How many bytes of datagrams a process that does not run finds when it runs again.
const SOCKET_BUFFER: usize = 200 << 10;

pub fn id(node: u32) -> NodeId {
    NodeId::new(node).unwrap()
}

enum Event {
    Arrive { to: NodeId, path: Path, datagram: Vec<u8> },
    Dial,
}

struct Node {
    gossip: Gossip,
    start: u32,
    paused: bool,
    buffer: Vec<Vec<u8>>,
}

pub struct World {
    pub now: Mono,
    nodes: BTreeMap<NodeId, Node>,
    all: Vec<NodeId>,
    chance: ChaCha8Rng,
    events: BTreeMap<(Mono, u64), Event>,
    counted: u64,
    /// Of a thousand datagrams so many are lost.
    pub lost_per_mille: u64,
    /// Directions in which no datagram gets through.
    pub udp_cut: BTreeSet<(NodeId, NodeId)>,
    /// Directions in which nothing gets through.
    pub cut: BTreeSet<(NodeId, NodeId)>,
    /// Streams, the lower id first.
    streams: BTreeSet<(NodeId, NodeId)>,
    /// What happened, for comparisons.
    pub log: Vec<(Mono, NodeId, NodeId, Standing)>,
    pub refused: BTreeMap<Refusal, u64>,
    /// Streams that were closed because of what a node thinks of another one.
    pub closed: u64,
    pub secret: Option<Secret>,
}

impl World {
    pub fn new(nodes: u32, seed: u64) -> World {
        let all: Vec<NodeId> = (1..=nodes).map(id).collect();
        let mut world = World {
            now: Mono(1_000_000),
            nodes: BTreeMap::new(),
            all: all.clone(),
            chance: ChaCha8Rng::seed_from_u64(seed),
            events: BTreeMap::new(),
            counted: 0,
            lost_per_mille: 0,
            udp_cut: BTreeSet::new(),
            cut: BTreeSet::new(),
            streams: BTreeSet::new(),
            log: Vec::new(),
            refused: BTreeMap::new(),
            closed: 0,
            secret: None,
        };
        world.push(Duration::ZERO, Event::Dial);
        for node in all {
            world.start(node, 1);
        }
        world
    }

    /// Starts a process of a node with its log's start number.
    pub fn start(&mut self, node: NodeId, start: u32) {
        let options = Options {
            me: node,
            nodes: self.all.clone(),
            cluster: fingerprint("test", &self.all),
            incarnation: Incarnation::of_start(start),
            process: self.chance.next_u64(),
            secret: self.secret.clone(),
            interval: Duration::from_millis(500),
            addresses: Addresses { name: format!("node-{node}"), ..Addresses::default() },
        };
        let gossip = Gossip::new(options, self.now);
        self.nodes.insert(node, Node { gossip, start, paused: false, buffer: Vec::new() });
    }

    pub fn kill(&mut self, node: NodeId) -> u32 {
        for other in self.all.clone() {
            self.disconnect(node, other);
        }
        self.nodes.remove(&node).unwrap().start
    }

    pub fn pause(&mut self, node: NodeId) {
        self.nodes.get_mut(&node).unwrap().paused = true;
    }

    pub fn resume(&mut self, node: NodeId) {
        let one = self.nodes.get_mut(&node).unwrap();
        one.paused = false;
        for datagram in std::mem::take(&mut one.buffer) {
            self.deliver(node, Path::Udp, &datagram);
        }
    }

    /// Cuts every connection between these nodes and all others.
    pub fn part(&mut self, away: &[u32]) {
        let away: Vec<NodeId> = away.iter().map(|node| id(*node)).collect();
        for &one in &self.all.clone() {
            for &other in &self.all.clone() {
                if away.contains(&one) != away.contains(&other) {
                    self.cut.insert((one, other));
                }
            }
        }
    }

    pub fn heal(&mut self) {
        self.cut.clear();
        self.udp_cut.clear();
    }

    pub fn gossip(&mut self, node: NodeId) -> &mut Gossip {
        &mut self.nodes.get_mut(&node).unwrap().gossip
    }

    /// What a node thinks of another one.
    pub fn standing(&self, by: NodeId, of: NodeId) -> Standing {
        self.nodes[&by].gossip.view(of).unwrap().standing
    }

    /// What a node was told by another one.
    pub fn pulse(&self, by: NodeId, of: NodeId) -> Option<Pulse> {
        self.nodes[&by].gossip.view(of).unwrap().pulse
    }

    /// The nodes that run.
    pub fn running(&self) -> Vec<NodeId> {
        self.nodes.keys().copied().collect()
    }

    /// Lets time pass until a condition holds; how long that took, or nothing if it took longer
    /// than `most`.
    pub fn until(&mut self, most: Duration, holds: impl Fn(&World) -> bool) -> Option<Duration> {
        let begun = self.now;
        while !holds(self) {
            if self.now.since(begun) >= most {
                return None;
            }
            self.run(Duration::from_millis(50));
        }
        Some(self.now.since(begun))
    }

    /// Lets time pass until all nodes that run are alive for each other.
    pub fn settle(&mut self, most: Duration) -> Option<Duration> {
        self.until(most, |world| {
            let nodes = world.running();
            let pairs = nodes.iter().flat_map(|by| nodes.iter().map(move |of| (*by, *of)));
            pairs
                .filter(|(by, of)| by != of)
                .all(|(by, of)| world.standing(by, of) == Standing::Alive)
        })
    }

    pub fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            let deadlines = self.nodes.values().filter(|node| !node.paused);
            let tick = deadlines.map(|node| node.gossip.next_deadline()).min();
            let event = self.events.first_key_value().map(|((at, _), _)| *at);
            let next = tick.into_iter().chain(event).min().filter(|next| *next <= end);
            let Some(next) = next else { break };
            self.now = self.now.max(next);
            if event.is_some_and(|at| at <= self.now) {
                let (_, event) = self.events.pop_first().unwrap();
                self.happen(event);
            } else {
                self.tick_all();
            }
        }
        self.now = end;
    }

    fn tick_all(&mut self) {
        for node in self.running() {
            let one = self.nodes.get_mut(&node).unwrap();
            if !one.paused && one.gossip.next_deadline() <= self.now {
                one.gossip.tick(self.now);
                self.carry_out(node);
            }
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Arrive { to, path, datagram } => self.deliver(to, path, &datagram),
            Event::Dial => {
                self.dial();
                self.push(REDIAL, Event::Dial);
            }
        }
    }

    fn dial(&mut self) {
        let runs = |world: &World, node| world.nodes.get(&node).is_some_and(|node| !node.paused);
        for (one, other) in self.pairs() {
            let through = !self.cut.contains(&(one, other)) && !self.cut.contains(&(other, one));
            if !self.streams.contains(&(one, other))
                && through
                && runs(self, one)
                && runs(self, other)
            {
                self.streams.insert((one, other));
                for (by, of) in [(one, other), (other, one)] {
                    let now = self.present();
                    let gossip = self.gossip(by);
                    gossip.set_connected(of, true);
                    gossip.heard(of, now.mono, now.wall_ms);
                }
            }
        }
    }

    fn disconnect(&mut self, one: NodeId, other: NodeId) {
        if self.streams.remove(&(one.min(other), one.max(other))) {
            for (by, of) in [(one, other), (other, one)] {
                self.gossip(by).set_connected(of, false);
            }
        }
    }

    fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        let pairs =
            self.all.iter().flat_map(|one| self.all.iter().map(move |other| (*one, *other)));
        pairs.filter(|(one, other)| one < other).collect()
    }

    pub fn present(&self) -> Now {
        Now { mono: self.now, wall_ms: 1_700_000_000_000 + self.now.0 / 1000 }
    }

    fn deliver(&mut self, to: NodeId, path: Path, datagram: &[u8]) {
        let now = self.present();
        let Some(node) = self.nodes.get_mut(&to) else { return };
        if node.paused {
            if node.buffer.iter().map(Vec::len).sum::<usize>() < SOCKET_BUFFER {
                node.buffer.push(datagram.to_vec());
            }
            return;
        }
        if let Err(refusal) = node.gossip.receive(now, path, datagram) {
            *self.refused.entry(refusal).or_default() += 1;
        }
        self.carry_out(to);
    }

    fn carry_out(&mut self, from: NodeId) {
        for effect in self.gossip(from).take_effects() {
            match effect {
                Effect::Send { to, path, datagram, .. } => {
                    self.send(from, to, path, datagram.to_vec());
                }
                Effect::Changed(of, standing) => self.log.push((self.now, from, of, standing)),
                Effect::Lost(other) => {
                    self.closed += 1;
                    self.disconnect(from, other);
                }
                Effect::Majority(_) | Effect::Answered { .. } | Effect::Moved(..) => {}
            }
        }
    }

    fn send(&mut self, from: NodeId, to: NodeId, path: Path, datagram: Vec<u8>) {
        if self.cut.contains(&(from, to)) {
            return;
        }
        if path == Path::Stream {
            self.push(Duration::from_millis(1), Event::Arrive { to, path, datagram });
            return;
        }
        let copies = 1 + u64::from(self.chance.next_u64() % 1000 < self.lost_per_mille);
        for _ in 0..copies {
            let lost = self.chance.next_u64() % 1000 < self.lost_per_mille;
            if !lost && !self.udp_cut.contains(&(from, to)) {
                let delay = Duration::from_micros(100 + self.chance.next_u64() % 20_000);
                self.push(delay, Event::Arrive { to, path, datagram: datagram.clone() });
            }
        }
    }

    fn push(&mut self, after: Duration, event: Event) {
        self.counted += 1;
        self.events.insert((self.now + after, self.counted), event);
    }
}
