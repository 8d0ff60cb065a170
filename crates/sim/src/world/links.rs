//! Connections between the nodes of a world: packets, cuts, introductions, echoes.

use std::time::Duration;

use kvorum_cluster::founding::{Hello, Refusal};
use kvorum_core::{Mono, NodeId};
use kvorum_shard::In;

use super::{SILENCE, World};
use crate::network::Packet;
use crate::node::Node;

impl World {
    pub(super) fn arrive(&mut self, packet: Packet) {
        let (from, to) = (packet.from, packet.to);
        let host = self.host_of(to);
        let stopped = self.hosts.get(host).is_none_or(|host| host.paused);
        let Some(link) = self.network.link(from, to) else { return };
        if link.epoch != packet.epoch || !link.is_open(to < from) {
            return;
        }
        if link.is_cut(from < to) || (stopped && link.held.len() < 10_000) {
            link.held.push(packet);
            return;
        }
        let arrived = self.now;
        self.push(host, In::Frame { from, body: packet.body, arrived });
    }

    /// Delivers what was held back and no longer is.
    pub(crate) fn release(&mut self) {
        for (a, b) in self.network.pairs() {
            let Some(link) = self.network.link(a, b) else { continue };
            for packet in std::mem::take(&mut link.held) {
                self.arrive(packet);
            }
        }
    }

    /// Closes the side of `id` of the link between two nodes.
    pub(crate) fn close(&mut self, a: NodeId, b: NodeId, id: NodeId) {
        let Some(link) = self.network.link(a, b) else { return };
        let lower = id == a;
        if !link.is_open(lower) {
            return;
        }
        link.close(lower);
        let peer = if lower { b } else { a };
        let host = self.host_of(id);
        self.trace.note(self.now, || format!("node {id} loses {peer}"));
        if let Some(node) = self.host(host).and_then(|host| host.node.as_mut()) {
            node.disconnected(peer);
        }
        self.wake(host);
    }

    /// Opens, or gives up, the connection between two nodes.
    pub(super) fn look_after(&mut self, a: NodeId, b: NodeId) {
        let works = |world: &World, id| {
            let host = world.hosts.get(world.host_of(id));
            host.map_or((false, false), |host| (host.node.is_some(), !host.paused))
        };
        let ((a_runs, a_acts), (b_runs, b_acts)) = (works(self, a), works(self, b));
        let now = self.now;
        let Some(link) = self.network.link(a, b) else { return };
        let healthy = link.is_whole() && a_runs && b_runs && a_acts && b_acts;
        if link.is_closed() {
            if healthy && self.chance.permille(300) {
                self.connect(a, b);
            }
            return;
        }
        if healthy && link.is_open(true) && link.is_open(false) {
            link.silent_since = None;
            self.keep(a, b);
            return;
        }
        let since = *link.silent_since.get_or_insert(now);
        // A process that died is noticed at once unless the network hides it.
        let reset = link.is_whole() && (!a_runs || !b_runs || (a_acts && b_acts));
        if reset || now.since(since) > SILENCE {
            for (id, acts) in [(a, a_acts), (b, b_acts)] {
                if acts {
                    self.close(a, b, id);
                }
            }
        }
    }

    /// Introduces two nodes to each other. Returns whether they will work together.
    pub(super) fn introduce(&mut self, a: NodeId, b: NodeId) -> bool {
        let hellos = (self.hello(a, b), self.hello(b, a));
        let (Some(from_a), Some(from_b)) = hellos else { return false };
        let met = (self.receive(a, &from_b), self.receive(b, &from_a));
        for (id, refusal) in [(b, met.0.as_ref().err()), (a, met.1.as_ref().err())] {
            let host = self.host_of(id);
            if let (Some(refusal), Some(node)) =
                (refusal, self.host(host).and_then(|host| host.node.as_mut()))
            {
                node.refused(refusal.clone());
            }
        }
        self.trace.note(self.now, || format!("{a} and {b} meet: {met:?}"));
        self.advance(self.host_of(a));
        self.advance(self.host_of(b));
        met.0.is_ok() && met.1.is_ok()
    }

    pub(super) fn hello(&self, from: NodeId, to: NodeId) -> Option<Hello> {
        self.hosts.get(self.host_of(from))?.node.as_ref().map(|node| node.hello(to))
    }

    pub(super) fn receive(&mut self, id: NodeId, hello: &Hello) -> Result<(), Refusal> {
        let mono = self.now;
        let host = self.host_of(id);
        let Some(target) = self.host(host) else { return Ok(()) };
        let now = target.now(mono);
        target.node.as_mut().map_or(Ok(()), |node| node.receive(hello, now))
    }

    /// Connects two nodes that have met and serve.
    pub(super) fn connect(&mut self, a: NodeId, b: NodeId) {
        let serves = |world: &World, id| {
            let host = world.hosts.get(world.host_of(id));
            host.and_then(|host| host.node.as_ref()).is_some_and(|node| node.shard.is_some())
        };
        if !self.introduce(a, b) || !serves(self, a) || !serves(self, b) {
            return;
        }
        if let Some(link) = self.network.link(a, b) {
            link.connect();
        }
        self.trace.note(self.now, || format!("{a} and {b} connect"));
        let mono = self.now;
        for (id, peer) in [(a, b), (b, a)] {
            let other = self.host_of(peer);
            let nonce = self.hosts.get(other).and_then(|host| host.node.as_ref()).map(Node::nonce);
            let host = self.host_of(id);
            let Some(target) = self.host(host) else { continue };
            let now = target.now(mono);
            if let (Some(node), Some(nonce)) = (&mut target.node, nonce) {
                node.connected(peer, nonce, now);
            }
            self.wake(host);
        }
    }

    /// The echoes of a healthy connection, and an introduction when there is news.
    pub(super) fn keep(&mut self, a: NodeId, b: NodeId) {
        let mono = self.now;
        let mut news = 0;
        for (id, peer) in [(a, b), (b, a)] {
            let other = self.host_of(peer);
            let Some(node) = self.hosts.get(other).and_then(|host| host.node.as_ref()) else {
                continue;
            };
            news += node.news;
            let nonce = node.nonce();
            // The answer to an echo: the peer has read its clock as it left there.
            let (there, back) = self.network.round_trip();
            let theirs_ms =
                self.hosts.get(other).map_or(0, |host| host.now(Mono(mono.0 - back)).wall_ms);
            let host = self.host_of(id);
            let Some(target) = self.host(host) else { continue };
            let now = target.now(mono);
            if let Some(node) = &mut target.node {
                node.heard(peer, nonce, now);
                node.compare_clocks(peer, theirs_ms, now, Duration::from_micros(there + back));
            }
        }
        let Some(link) = self.network.link(a, b) else { return };
        if link.news != news {
            link.news = news;
            self.introduce(a, b);
        }
    }
}
