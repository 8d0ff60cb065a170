//! Drives the gossip: a UDP socket, timers, and the streams as a second way.
//!
//! It runs as a task of the shard thread, on purpose: a node whose shard thread hangs is no use to
//! anybody, and shall not be alive in the others' eyes because another thread answers for it. A
//! datagram costs microseconds; none of them ever waits for a turn or makes one wait.

mod metrics;
mod targets;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use kvorum_cluster::membership::{
    Addresses, Effect, Gossip, Incarnation, Options as Own, Path, Pulse, Refusal, Standing, View,
    fingerprint,
};
use kvorum_core::{Mono, NodeId};
use tokio::net::UdpSocket;
use tokio::sync::Notify;
use tokio::task::spawn_local;

use self::metrics::GossipMetrics;
use self::targets::Targets;
use crate::clock::Clock;
use crate::founding::Founding;
use crate::peer::{Announcement, Links};
use crate::{Advertised, Options};

/// The longest datagram that is read whole; longer ones are cut short, and refused.
const BUFFER_BYTES: usize = 2048;
/// How many datagrams are taken before others have their turn.
const AT_ONCE: usize = 64;

/// What the members of the cluster say of each other.
pub(crate) struct Members {
    options: Options,
    ourselves: Announcement,
    clock: Clock,
    socket: UdpSocket,
    links: Rc<Links>,
    founding: Rc<RefCell<Founding>>,
    /// There is none before this node serves, and after it has stopped.
    gossip: RefCell<Option<Gossip>>,
    opened: Notify,
    targets: Rc<Targets>,
    /// When the targets were looked after last.
    looked: Cell<Mono>,
    /// The processes that have answered since that was asked last.
    answered: RefCell<BTreeMap<NodeId, u64>>,
    metrics: GossipMetrics,
}

impl Members {
    /// Starts the task that takes part once this node serves.
    pub(crate) fn start(
        socket: UdpSocket,
        options: &Options,
        ourselves: &Announcement,
        founding: &Rc<RefCell<Founding>>,
        links: &Rc<Links>,
    ) -> Rc<Members> {
        let ipv6 = socket.local_addr().is_ok_and(|address| address.is_ipv6());
        let members = Rc::new(Members {
            options: options.clone(),
            ourselves: ourselves.clone(),
            clock: links.clock(),
            socket,
            links: Rc::clone(links),
            founding: Rc::clone(founding),
            gossip: RefCell::default(),
            opened: Notify::new(),
            targets: Rc::new(Targets::new(ipv6)),
            looked: Cell::new(Mono::default()),
            answered: RefCell::default(),
            metrics: GossipMetrics::new(),
        });
        spawn_local(Rc::clone(&members).run());
        members
    }

    /// This node serves in a cluster of these nodes, as the `start`th process of its log: from now
    /// on it takes part.
    pub(crate) fn open(&self, nodes: &[NodeId], start: u32) {
        let own = Own {
            me: self.options.id,
            nodes: nodes.to_vec(),
            cluster: fingerprint(&self.options.cluster, nodes),
            incarnation: Incarnation::of_start(start),
            process: self.links.node().process,
            secret: self.options.cluster_secret.clone(),
            interval: self.options.gossip_interval,
            addresses: published(&self.ourselves),
        };
        let gossip = Gossip::new(own, self.clock.mono());
        self.metrics.show(|standing| gossip.count(standing));
        self.gossip.replace(Some(gossip));
        self.opened.notify_one();
    }

    /// Tells the others that this node leaves, and takes no more part.
    pub(crate) fn close(&self) {
        let gossip = self.gossip.borrow_mut().take();
        if let Some(mut gossip) = gossip {
            gossip.leave(self.clock.mono());
            self.carry_out(gossip.take_effects());
        }
    }

    /// What is known of a node.
    pub(crate) fn view(&self, node: NodeId) -> View {
        let unknown = View { standing: Standing::Suspect, heartbeat: 0, seen_ms: 0, pulse: None };
        self.gossip.borrow().as_ref().and_then(|gossip| gossip.view(node)).unwrap_or(unknown)
    }

    /// How far the clocks of a majority are ahead of this node's, in milliseconds, and whether that
    /// is too far for this node to stamp anything.
    pub(crate) fn clock_error_ms(&self) -> (Option<i64>, bool) {
        self.gossip.borrow().as_ref().map_or((None, false), Gossip::clock_error_ms)
    }

    /// What this node tells of itself from now on.
    pub(crate) fn set_pulse(&self, pulse: Pulse) {
        if let Some(gossip) = self.gossip.borrow_mut().as_mut() {
            gossip.set_pulse(pulse);
        }
    }

    /// The processes that have answered since the last call.
    pub(crate) fn take_answered(&self) -> BTreeMap<NodeId, u64> {
        self.answered.take()
    }

    /// Takes part for as long as the shard thread runs.
    async fn run(self: Rc<Self>) {
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let deadline = self.gossip.borrow().as_ref().map(Gossip::next_deadline);
            let Some(deadline) = deadline else {
                self.opened.notified().await;
                continue;
            };
            let deadline = tokio::time::Instant::from_std(self.clock.instant(deadline));
            tokio::select! {
                // An error is met again, and reported, when the socket is read.
                _ = self.socket.readable() => {}
                () = self.links.stirred() => {}
                () = tokio::time::sleep_until(deadline) => {}
            }
            // What has arrived comes first: it may be what would be missed otherwise.
            self.drain(&mut buffer);
            self.tick();
        }
    }

    /// Takes the datagrams that have arrived, by UDP and through streams.
    fn drain(&self, buffer: &mut [u8]) {
        for _ in 0..AT_ONCE {
            match self.socket.try_recv_from(buffer) {
                Ok((len, source)) => {
                    let datagram = buffer.get(..len).unwrap_or_default();
                    self.take(Path::Udp, datagram, Some(source));
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
                Err(error) => {
                    tracing::debug!("[GOSSIP] nothing can be received: {error}");
                    break;
                }
            }
        }
        while let Some(datagram) = self.links.take_datagram() {
            self.take(Path::Stream, &datagram, None);
        }
    }

    fn take(&self, path: Path, datagram: &[u8], source: Option<SocketAddr>) {
        let now = self.clock.now();
        let (taken, effects) = {
            let mut gossip = self.gossip.borrow_mut();
            let Some(gossip) = gossip.as_mut() else { return };
            (gossip.receive(now, path, datagram), gossip.take_effects())
        };
        match taken {
            Ok((from, kind)) => {
                self.metrics.received(kind);
                if let Some(source) = source {
                    self.targets.learn(from, source);
                }
            }
            Err(refusal) => self.refused(refusal, source, now.mono),
        }
        self.carry_out(effects);
    }

    fn refused(&self, refusal: Refusal, source: Option<SocketAddr>, now: Mono) {
        if let Some(count) = self.metrics.refused(refusal, now) {
            let source = source.map_or_else(|| "a stream".to_owned(), |from| from.to_string());
            let reason = refusal.name();
            tracing::warn!("[GOSSIP] {count} datagrams were refused, last from {source}: {reason}");
        }
    }

    fn tick(&self) {
        let now = self.clock.now();
        let effects = {
            let mut gossip = self.gossip.borrow_mut();
            let Some(gossip) = gossip.as_mut() else { return };
            for (node, sign) in self.links.signs() {
                gossip.set_connected(node, sign.connected);
                if sign.connected {
                    let ago = now.mono.since(sign.heard).as_millis();
                    let ago = u64::try_from(ago).unwrap_or(u64::MAX);
                    gossip.heard(node, sign.heard, now.wall_ms.saturating_sub(ago));
                }
            }
            if gossip.next_deadline() <= now.mono {
                gossip.tick(now.mono);
            }
            gossip.take_effects()
        };
        if now.mono.since(self.looked.get()) >= self.options.gossip_interval {
            self.looked.set(now.mono);
            self.look_after_targets(now.mono);
        }
        self.carry_out(effects);
    }

    /// Sees where the others are to be found now.
    fn look_after_targets(&self, now: Mono) {
        for (node, _) in self.links.signs() {
            let lost = self.view(node).standing != Standing::Alive;
            let (_, advertised) = self.founding.borrow().address(node);
            Targets::look(&self.targets, node, &advertised, lost, now);
        }
    }

    fn carry_out(&self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Send { to, path: Path::Stream, kind, datagram } => {
                    self.metrics.sent(kind);
                    self.links.tell(to, datagram);
                }
                Effect::Send { to, path: Path::Udp, kind, datagram } => {
                    self.metrics.sent(kind);
                    self.send(to, &datagram);
                }
                Effect::Changed(node, standing) => self.changed(node, standing),
                Effect::Lost(node) => {
                    self.links.lose(node, None, "it is suspect and does not answer");
                }
                Effect::Majority(true) => {
                    tracing::info!("[GOSSIP] a majority of the nodes is alive");
                }
                Effect::Majority(false) => tracing::warn!(
                    "[GOSSIP] lost majority: most nodes are not alive, or this one is cut off"
                ),
                Effect::Answered { node, process, round_trip } => {
                    self.links.show_round_trip(node, round_trip);
                    self.answered.borrow_mut().insert(node, process);
                }
                Effect::Moved(node, addresses) => {
                    self.founding.borrow_mut().published(node, &announced(addresses));
                }
            }
        }
    }

    fn changed(&self, node: NodeId, standing: Standing) {
        match standing {
            Standing::Alive => tracing::info!("[GOSSIP] node {node} is alive"),
            Standing::Suspect => tracing::warn!("[GOSSIP] node {node} is suspect: no answer"),
            Standing::Down => {
                tracing::warn!("[GOSSIP] node {node} is down: a majority of the nodes say so");
            }
        }
        if let Some(gossip) = self.gossip.borrow().as_ref() {
            self.metrics.show(|standing| gossip.count(standing));
        }
        // What the status shows has changed.
        self.links.judged();
    }

    /// Sends a datagram. One that the socket does not take is lost, as others are on their way.
    fn send(&self, to: NodeId, datagram: &Bytes) {
        let alive = self.view(to).standing == Standing::Alive;
        let Some(target) = self.targets.of(to, alive) else { return };
        if let Err(error) = self.socket.try_send_to(datagram, target) {
            tracing::debug!("[GOSSIP] a datagram to node {to} at {target} was not sent: {error}");
        }
    }
}

/// This node's addresses, as gossip tells them.
fn published(ourselves: &Announcement) -> Addresses {
    let Advertised { host, resp_port, grpc_port, http_port, peer_port, gossip_port } =
        ourselves.advertised.clone();
    let ports = [resp_port, grpc_port, http_port, peer_port, gossip_port];
    Addresses { name: ourselves.name.clone(), host, ports }
}

/// Another node's addresses, as if it had introduced itself.
fn announced(addresses: Addresses) -> Announcement {
    let [resp_port, grpc_port, http_port, peer_port, gossip_port] = addresses.ports;
    let host = addresses.host;
    let advertised = Advertised { host, resp_port, grpc_port, http_port, peer_port, gossip_port };
    Announcement { name: addresses.name, advertised, body: Bytes::new() }
}
