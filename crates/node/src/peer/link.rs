//! The connections in force, and what is known of each peer.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use kvorum_cluster::clocks::Clocks;
use kvorum_cluster::liveness::{Event, Liveness};
use kvorum_core::{Lsn, Mono, NodeId};
use kvorum_proto::kvorum::peer::v1::frame::Content;
use kvorum_proto::kvorum::peer::v1::{Frame, Ping};
use kvorum_shard::Class;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tonic::Streaming;

use super::Streams;
use super::handshake::{Handshake, LocalNode};
use super::outgoing::Outgoing;
use crate::clock::Clock;
use crate::telemetry::PeerMetrics;
use crate::turn::inbox::{Arrival, Inbox};

/// All connections to peers. Lives on the shard thread.
pub(crate) struct Links {
    node: LocalNode,
    clock: Clock,
    inbox: Rc<Inbox>,
    /// Streams are taken only once this node serves.
    open: Cell<bool>,
    /// How far this node's log is durable, told with every ping.
    durable: Cell<Lsn>,
    epochs: Cell<u64>,
    /// A peer that is silent for too long is down, also if its sockets are still open (a stopped
    /// process, a cut cable).
    liveness: RefCell<Liveness>,
    clocks: RefCell<Clocks>,
    peers: RefCell<BTreeMap<NodeId, Peer>>,
}

/// A peer, connected or not.
struct Peer {
    link: Option<Link>,
    /// The process that has introduced itself last: only it may connect.
    introduced: Option<u64>,
    sight: Sight,
    /// How far its log is durable, if it has told since that was asked last.
    durable: Option<Lsn>,
    /// Wakes the task that keeps the peer connected.
    knock: Rc<Notify>,
    metrics: PeerMetrics,
}

/// What is known of a peer.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sight {
    /// Whether it is connected.
    pub(crate) up: bool,
    /// How many answers to pings it has given.
    pub(crate) heartbeat: u64,
    /// When it was last heard of, in milliseconds since 1970; zero for never.
    pub(crate) last_seen_ms: u64,
}

/// A connection in force.
struct Link {
    epoch: u64,
    data: Outgoing,
    bulk: Outgoing,
    readers: [AbortHandle; 2],
}

impl Drop for Link {
    fn drop(&mut self) {
        for reader in &self.readers {
            reader.abort();
        }
    }
}

impl Links {
    pub(crate) fn new(node: LocalNode, clock: Clock, inbox: Rc<Inbox>) -> Links {
        Links {
            durable: Cell::new(Lsn::default()),
            node,
            clock,
            inbox,
            open: Cell::new(false),
            epochs: Cell::new(0),
            liveness: RefCell::new(Liveness::new(Default::default(), &[], clock.mono())),
            clocks: RefCell::default(),
            peers: RefCell::default(),
        }
    }

    pub(crate) fn node(&self) -> &LocalNode {
        &self.node
    }

    pub(crate) fn mono(&self) -> Mono {
        self.clock.mono()
    }

    /// From now on streams with these peers are taken: this node serves.
    pub(crate) fn open(&self, peers: &[NodeId]) {
        self.liveness.replace(Liveness::new(Default::default(), peers, self.clock.mono()));
        self.open.set(true);
        for &peer in peers {
            self.meet(peer);
            self.knock(peer);
        }
    }

    /// Whether streams are taken.
    pub(crate) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Notes how far this node's log is durable.
    pub(crate) fn set_durable(&self, lsn: Lsn) {
        self.durable.set(lsn);
    }

    /// A process has introduced itself as a peer, and was accepted as such.
    pub(crate) fn introduced(&self, id: NodeId, process: u64) {
        self.meet(id);
        if let Some(peer) = self.peers.borrow_mut().get_mut(&id) {
            peer.introduced = Some(process);
        }
    }

    /// Begins to keep account of a peer.
    fn meet(&self, id: NodeId) {
        self.peers.borrow_mut().entry(id).or_insert_with(|| Peer {
            link: None,
            introduced: None,
            sight: Sight::default(),
            durable: None,
            knock: Rc::default(),
            metrics: PeerMetrics::new(id),
        });
    }

    /// Wakes the task that keeps a peer connected: there is news of it.
    pub(crate) fn knock(&self, id: NodeId) {
        if let Some(peer) = self.peers.borrow().get(&id) {
            peer.knock.notify_one();
        }
    }

    /// What wakes when the peer shall be dialled.
    pub(crate) fn knocker(&self, id: NodeId) -> Option<Rc<Notify>> {
        self.peers.borrow().get(&id).map(|peer| Rc::clone(&peer.knock))
    }

    /// Whether a peer is connected.
    pub(crate) fn is_up(&self, id: NodeId) -> bool {
        self.peers.borrow().get(&id).is_some_and(|peer| peer.link.is_some())
    }

    /// What is known of all peers, by id.
    pub(crate) fn sights(&self) -> Vec<(NodeId, Sight)> {
        self.peers.borrow().iter().map(|(id, peer)| (*id, peer.sight)).collect()
    }

    /// Decides whether a peer whose handshake is in order may connect now.
    ///
    /// # Errors
    /// Why not, in words for both sides' logs.
    pub(super) fn admit(&self, heard: &Handshake) -> Result<(), String> {
        let (me, them) = (self.node.me, heard.from);
        if !self.open.get() {
            return Err(format!("node {me} does not serve yet"));
        }
        let peers = self.peers.borrow();
        let peer = peers.get(&them).ok_or_else(|| format!("node {me} knows no node {them}"))?;
        if peer.introduced != Some(heard.process) {
            return Err(format!("this process of node {them} has not introduced itself"));
        }
        Ok(())
    }

    /// Puts a connection into force; an older one to the same peer ends.
    pub(super) fn install(self: &Rc<Self>, heard: &Handshake, streams: Streams) {
        let id = heard.from;
        self.lose(id, None, "a new connection took its place");
        let epoch = self.epochs.get() + 1;
        self.epochs.set(epoch);
        let Streams { data, bulk } = streams;
        let readers = [
            (Class::Data, data.incoming, data.channel),
            (Class::Bulk, bulk.incoming, bulk.channel),
        ]
        .map(|(class, incoming, channel)| {
            let links = Rc::clone(self);
            let read = async move {
                let reason = links.read(id, epoch, class, incoming).await;
                links.lose(id, Some(epoch), &reason);
                drop(channel);
            };
            tokio::task::spawn_local(read).abort_handle()
        });
        let mut peers = self.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&id) else { return };
        peer.link = Some(Link { epoch, data: data.outgoing, bulk: bulk.outgoing, readers });
        peer.sight.up = true;
        peer.sight.last_seen_ms = self.clock.now().wall_ms;
        peer.metrics.up.set(1.0);
        self.liveness.borrow_mut().heard(id, self.clock.mono());
        tracing::info!("[GOSSIP] node {id} is up");
        self.inbox.push(Arrival::PeerUp { peer: id, epoch, process: heard.process });
        drop(peers);
        // Its clock is to be known soon.
        self.send_ping(id, self.clock.mono());
    }

    /// Ends a connection (the one of `epoch` only, if given).
    pub(crate) fn lose(&self, id: NodeId, epoch: Option<u64>, reason: &str) {
        let mut peers = self.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&id) else { return };
        let Some(link) = peer.link.take_if(|link| epoch.is_none_or(|epoch| epoch == link.epoch))
        else {
            return;
        };
        drop(link);
        peer.sight.up = false;
        peer.metrics.up.set(0.0);
        self.liveness.borrow_mut().lost(id);
        self.clocks.borrow_mut().lost(id);
        peer.knock.notify_one();
        tracing::warn!("[GOSSIP] node {id} is down: {reason}");
        self.inbox.push(Arrival::PeerDown { peer: id });
    }

    /// Ends all connections and takes no new ones.
    pub(crate) fn close(&self) {
        self.open.set(false);
        let ids: Vec<NodeId> = self.peers.borrow().keys().copied().collect();
        for id in ids {
            self.lose(id, None, "this node is stopping");
        }
    }

    /// Sends a frame of the shard. A frame for a peer that is not connected is dropped: the
    /// shard learns of the loss by `PeerDown`.
    pub(crate) fn send(&self, to: NodeId, class: Class, frame: Bytes) {
        let rejected = {
            let peers = self.peers.borrow();
            let Some((peer, link)) = peers.get(&to).and_then(|p| Some((p, p.link.as_ref()?)))
            else {
                return;
            };
            peer.metrics.sent.increment(frame.len() as u64);
            let outgoing = match class {
                Class::Data => &link.data,
                Class::Bulk => &link.bulk,
            };
            outgoing.body(frame)
        };
        if let Err(reason) = rejected {
            self.lose(to, None, &reason.to_string());
        }
    }

    /// Bytes of frames that streams have not taken yet.
    pub(crate) fn queued(&self) -> usize {
        let peers = self.peers.borrow();
        let links = peers.values().filter_map(|peer| peer.link.as_ref());
        links.map(|link| link.data.queued() + link.bulk.queued()).sum()
    }

    /// Whether `epoch` is the connection in force.
    pub(crate) fn is_current(&self, id: NodeId, epoch: u64) -> bool {
        let peers = self.peers.borrow();
        peers.get(&id).and_then(|peer| peer.link.as_ref()).is_some_and(|link| link.epoch == epoch)
    }

    /// The peers that have told since the last call how far their logs are durable.
    pub(crate) fn take_told(&self) -> Vec<(NodeId, Lsn)> {
        let mut peers = self.peers.borrow_mut();
        peers.iter_mut().filter_map(|(id, peer)| Some((*id, peer.durable.take()?))).collect()
    }

    /// How far the clocks of a majority are ahead of this node's, in milliseconds, if that is too
    /// far for this node to stamp anything.
    pub(crate) fn clock_error_ms(&self) -> Option<i64> {
        let (clocks, nodes) = (self.clocks.borrow(), self.peers.borrow().len() + 1);
        clocks.majority_ahead_ms(nodes).filter(|_| clocks.is_suspect(nodes))
    }

    /// Shows how many bytes are under way to a peer.
    pub(crate) fn set_in_flight(&self, id: NodeId, bytes: usize) {
        if let Some(peer) = self.peers.borrow().get(&id) {
            peer.metrics.in_flight.set(bytes as f64);
        }
    }

    /// Sends the pings that are due and gives up those who have been silent for too long.
    pub(crate) fn ping(&self) {
        let mut events = Vec::new();
        let now = self.clock.mono();
        self.liveness.borrow_mut().tick(now, &mut events);
        for event in events {
            match event {
                Event::Ping(id) => self.send_ping(id, now),
                Event::Down(id) => self.lose(id, None, "it was silent for too long"),
                Event::Up(_) => {}
            }
        }
    }

    fn send_ping(&self, id: NodeId, now: Mono) {
        let sent = {
            let peers = self.peers.borrow();
            let Some((peer, link)) = peers.get(&id).and_then(|p| Some((p, p.link.as_ref()?)))
            else {
                return;
            };
            peer.metrics.pings.increment(1);
            peer.metrics.queued.set((link.data.queued() + link.bulk.queued()) as f64);
            let wall_ms = self.clock.now().wall_ms;
            let ping = Ping { sent_us: now.0, durable: self.durable.get().0, wall_ms };
            link.data.send(Content::Ping(ping))
        };
        if let Err(reason) = sent {
            self.lose(id, None, &reason.to_string());
        }
    }

    /// Reads a stream until it ends; says why it did.
    async fn read(
        &self,
        id: NodeId,
        epoch: u64,
        class: Class,
        mut incoming: Streaming<Frame>,
    ) -> String {
        loop {
            self.inbox.room().await;
            let content = match incoming.message().await {
                Ok(Some(Frame { content: Some(content) })) => content,
                Ok(Some(Frame { content: None })) => return "it sent an empty frame".to_owned(),
                Ok(None) => return "it closed the stream".to_owned(),
                Err(status) => return format!("the stream broke: {}", status.message()),
            };
            let mut peers = self.peers.borrow_mut();
            let Some(peer) = peers.get_mut(&id) else { return "it is no peer".to_owned() };
            let Some(link) = peer.link.as_ref().filter(|link| link.epoch == epoch) else {
                return "it was replaced".to_owned();
            };
            if class == Class::Data {
                self.liveness.borrow_mut().heard(id, self.clock.mono());
            }
            match content {
                Content::Body(body) => {
                    peer.metrics.received.increment(body.len() as u64);
                    self.inbox.push(Arrival::Frame { from: id, epoch, body });
                }
                Content::Ping(ping) => {
                    peer.durable = Some(Lsn(ping.durable));
                    let wall_ms = self.clock.now().wall_ms;
                    let pong = Ping { sent_us: ping.sent_us, durable: 0, wall_ms };
                    if link.data.send(Content::Pong(pong)).is_err() {
                        return "the stream was closed".to_owned();
                    }
                }
                Content::Pong(pong) => {
                    let now = self.clock.now();
                    let round_trip = now.mono.since(Mono(pong.sent_us));
                    self.clocks.borrow_mut().heard(id, pong.wall_ms, now.wall_ms, round_trip);
                    peer.metrics.round_trip.record(round_trip.as_secs_f64());
                    peer.sight.heartbeat += 1;
                    peer.sight.last_seen_ms = now.wall_ms;
                }
                Content::Handshake(_) | Content::Refusal(_) => {
                    return "it sent a second handshake".to_owned();
                }
            }
        }
    }
}
