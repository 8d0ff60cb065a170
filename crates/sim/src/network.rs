//! The simulated network: one connection per pair of nodes, with delays, cuts and resets.
//!
//! A connection behaves like the real one: the frames of a class arrive in order or not at all,
//! frames of different classes overtake each other, a cut shows only after a while, and when a
//! connection is lost nobody knows which of the last frames arrived.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::{Mono, NodeId};
use kvorum_shard::Class;

use crate::chance::Chance;

/// A frame under way.
#[derive(Clone, Debug)]
pub struct Packet {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// The connection it belongs to.
    pub epoch: u64,
    /// The frame.
    pub body: Bytes,
}

/// The state of the connection between two nodes.
#[derive(Debug, Default)]
pub struct Link {
    /// Counts connections; packets of earlier ones are dropped.
    pub epoch: u64,
    /// Whether the lower and the higher node believe it open.
    open: (bool, bool),
    /// Whether packets from the lower and from the higher node are held back.
    cut: (bool, bool),
    /// Since when the other side has been silent.
    pub silent_since: Option<Mono>,
    /// How much news the two nodes had when they were last introduced.
    pub news: u64,
    /// Earliest arrival of the next packet, by direction and class: order is kept.
    arrival: BTreeMap<(bool, Class), Mono>,
    /// Packets held back by a cut or by a stopped receiver.
    pub held: Vec<Packet>,
}

/// All links, and how slow they are.
#[derive(Debug)]
pub struct Network {
    links: BTreeMap<(NodeId, NodeId), Link>,
    chance: Chance,
    /// The usual delay of a packet, in microseconds: lowest and highest.
    delay: (u64, u64),
    /// How many of a thousand packets take up to 200 ms more.
    stragglers: u64,
}

impl Network {
    /// A network between all pairs of `nodes`, not yet connected.
    #[must_use]
    pub fn new(nodes: &[NodeId], mut chance: Chance) -> Network {
        let mut links = BTreeMap::new();
        for &a in nodes {
            for &b in nodes.iter().filter(|&&b| a < b) {
                links.insert((a, b), Link::default());
            }
        }
        let low = chance.between(20, 500);
        let high = low + chance.between(100, 20_000);
        let stragglers = if chance.permille(300) { chance.between(5, 150) } else { 5 };
        Network { links, chance, delay: (low, high), stragglers }
    }

    /// The pairs of nodes, in order.
    #[must_use]
    pub fn pairs(&self) -> Vec<(NodeId, NodeId)> {
        self.links.keys().copied().collect()
    }

    /// The link between two nodes.
    pub fn link(&mut self, a: NodeId, b: NodeId) -> Option<&mut Link> {
        self.links.get_mut(&(a.min(b), a.max(b)))
    }

    /// When a packet sent now arrives, and a second time when a copy of it does.
    pub fn arrivals(&mut self, now: Mono, packet: &Packet, class: Class) -> (Mono, Option<Mono>) {
        let straggles = self.chance.permille(self.stragglers);
        let slow = if straggles { self.chance.between(0, 200_000) } else { 0 };
        let delay = self.chance.between(self.delay.0, self.delay.1) + slow;
        let copy = self.chance.permille(10).then(|| self.chance.between(0, 50_000));
        let key = (packet.from < packet.to, class);
        let Some(link) = self.link(packet.from, packet.to) else { return (now, None) };
        let earliest = link.arrival.get(&key).copied().unwrap_or_default();
        let at = Mono(now.0 + delay).max(Mono(earliest.0 + 1));
        let copy = copy.map(|more| Mono(at.0 + 1 + more));
        link.arrival.insert(key, copy.unwrap_or(at));
        (at, copy)
    }

    /// How long a message and the answer to it take, in microseconds, when nothing holds them up.
    pub fn round_trip(&mut self) -> (u64, u64) {
        let (low, high) = self.delay;
        (self.chance.between(low, high), self.chance.between(low, high))
    }

    /// Cuts or heals the direction from one node to another.
    pub fn cut(&mut self, from: NodeId, to: NodeId, cut: bool) {
        if let Some(link) = self.link(from, to) {
            if from < to {
                link.cut.0 = cut;
            } else {
                link.cut.1 = cut;
            }
        }
    }

    /// Heals every cut.
    pub fn heal(&mut self) {
        for link in self.links.values_mut() {
            link.cut = (false, false);
        }
    }
}

impl Link {
    /// Whether packets from a node (the lower of the pair or not) are held back.
    #[must_use]
    pub fn is_cut(&self, from_lower: bool) -> bool {
        if from_lower { self.cut.0 } else { self.cut.1 }
    }

    /// Whether packets pass in both directions.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.cut == (false, false)
    }

    /// Whether a side (the lower of the pair or not) believes the connection open.
    #[must_use]
    pub fn is_open(&self, lower: bool) -> bool {
        if lower { self.open.0 } else { self.open.1 }
    }

    /// Whether both sides know that there is no connection.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.open == (false, false)
    }

    /// Closes one side.
    pub fn close(&mut self, lower: bool) {
        if lower {
            self.open.0 = false;
        } else {
            self.open.1 = false;
        }
    }

    /// Opens a new connection.
    pub fn connect(&mut self) {
        self.epoch += 1;
        self.open = (true, true);
        self.silent_since = None;
        self.news = 0;
        self.arrival.clear();
        self.held.clear();
    }
}
