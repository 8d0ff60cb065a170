//! The connections in force, and what is known of each peer.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Mono, NodeId};
use kvorum_proto::kvorum::peer::v1::Frame;
use kvorum_proto::kvorum::peer::v1::frame::Content;
use kvorum_replication::pace::PendingHints;
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

/// How many datagrams that came through streams wait for the gossip; of more the oldest are dropped,
/// as those by UDP are.
const WAITING_DATAGRAMS: usize = 64;

/// All connections to peers. Lives on the shard thread.
pub(crate) struct Links {
    node: LocalNode,
    clock: Clock,
    inbox: Rc<Inbox>,
    /// Streams are taken only once this node serves.
    open: Cell<bool>,
    epochs: Cell<u64>,
    /// What came through streams and belongs to the gossip.
    datagrams: RefCell<VecDeque<Bytes>>,
    /// Wakes the gossip: there are datagrams, or connections have changed.
    stirred: Notify,
    peers: RefCell<BTreeMap<NodeId, Peer>>,
}

/// A peer, connected or not.
struct Peer {
    link: Option<Link>,
    /// The process that has introduced itself last: only it may connect.
    introduced: Option<u64>,
    /// When a frame of it was read last.
    heard: Mono,
    /// Wakes the task that keeps the peer connected.
    knock: Rc<Notify>,
    metrics: PeerMetrics,
}

/// The signs of life that a peer's streams give.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sign {
    /// Whether it is connected.
    pub(crate) connected: bool,
    /// When a frame of it was read last.
    pub(crate) heard: Mono,
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
            node,
            clock,
            inbox,
            open: Cell::new(false),
            epochs: Cell::new(0),
            datagrams: RefCell::default(),
            stirred: Notify::new(),
            peers: RefCell::default(),
        }
    }

    pub(crate) fn node(&self) -> &LocalNode {
        &self.node
    }

    pub(crate) const fn clock(&self) -> Clock {
        self.clock
    }

    pub(crate) fn mono(&self) -> Mono {
        self.clock.mono()
    }

    /// From now on streams with these peers are taken: this node serves.
    pub(crate) fn open(&self, peers: &[NodeId]) {
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
            heard: Mono::default(),
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

    /// The signs of life of all peers, by id.
    pub(crate) fn signs(&self) -> Vec<(NodeId, Sign)> {
        let sign = |peer: &Peer| Sign { connected: peer.link.is_some(), heard: peer.heard };
        self.peers.borrow().iter().map(|(id, peer)| (*id, sign(peer))).collect()
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
        let readers = [(data.incoming, data.channel), (bulk.incoming, bulk.channel)].map(
            |(incoming, channel)| {
                let links = Rc::clone(self);
                let read = async move {
                    let reason = links.read(id, epoch, incoming).await;
                    links.lose(id, Some(epoch), &reason);
                    drop(channel);
                };
                tokio::task::spawn_local(read).abort_handle()
            },
        );
        let mut peers = self.peers.borrow_mut();
        let Some(peer) = peers.get_mut(&id) else { return };
        peer.link = Some(Link { epoch, data: data.outgoing, bulk: bulk.outgoing, readers });
        peer.heard = self.clock.mono();
        peer.metrics.up.set(1.0);
        tracing::info!("node {id} is connected");
        self.inbox.push(Arrival::PeerUp { peer: id, epoch, process: heard.process });
        self.stirred.notify_one();
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
        peer.metrics.up.set(0.0);
        peer.knock.notify_one();
        tracing::warn!("node {id} is not connected any more: {reason}");
        self.stirred.notify_one();
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

    /// Shows how many bytes are under way to a peer.
    pub(crate) fn set_in_flight(&self, id: NodeId, bytes: usize) {
        if let Some(peer) = self.peers.borrow().get(&id) {
            peer.metrics.in_flight.set(bytes as f64);
        }
    }

    /// Shows what waits for a node that has missed writes.
    pub(crate) fn set_hints(&self, hints: &PendingHints) {
        if let Some(peer) = self.peers.borrow().get(&hints.node) {
            peer.metrics.hint_keys.set(hints.keys as f64);
            peer.metrics.hint_bytes.set(hints.bytes as f64);
            peer.metrics.dirty_slots.set(hints.dirty_slots as f64);
        }
    }

    /// Shows how many bytes the streams have not taken yet.
    pub(crate) fn show_queues(&self) {
        for peer in self.peers.borrow().values() {
            let queued =
                peer.link.as_ref().map_or(0, |link| link.data.queued() + link.bulk.queued());
            peer.metrics.queued.set(queued as f64);
        }
    }

    /// Shows how long a peer took to answer.
    pub(crate) fn show_round_trip(&self, id: NodeId, took: Duration) {
        if let Some(peer) = self.peers.borrow().get(&id) {
            peer.metrics.round_trip.record(took.as_secs_f64());
        }
    }

    /// Sends a datagram of the gossip to a peer, if it is connected. Its loss is no news: nobody
    /// waits for a datagram.
    pub(crate) fn tell(&self, id: NodeId, datagram: Bytes) {
        if let Some(link) = self.peers.borrow().get(&id).and_then(|peer| peer.link.as_ref()) {
            let _ = link.data.send(Content::Datagram(datagram));
        }
    }

    /// Waits until there are datagrams for the gossip, or connections have changed.
    pub(crate) async fn stirred(&self) {
        self.stirred.notified().await;
    }

    /// A peer is judged otherwise than before: the turn shows it.
    pub(crate) fn judged(&self) {
        self.inbox.push(Arrival::Members);
    }

    /// Takes the oldest datagram that came through a stream.
    pub(crate) fn take_datagram(&self) -> Option<Bytes> {
        self.datagrams.borrow_mut().pop_front()
    }

    fn keep_datagram(&self, datagram: Bytes) {
        let mut datagrams = self.datagrams.borrow_mut();
        if datagrams.len() == WAITING_DATAGRAMS {
            datagrams.pop_front();
        }
        datagrams.push_back(datagram);
        self.stirred.notify_one();
    }

    /// Reads a stream until it ends; says why it did.
    async fn read(&self, id: NodeId, epoch: u64, mut incoming: Streaming<Frame>) -> String {
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
            if peer.link.as_ref().is_none_or(|link| link.epoch != epoch) {
                return "it was replaced".to_owned();
            }
            peer.heard = self.clock.mono();
            match content {
                Content::Body(body) => {
                    peer.metrics.received.increment(body.len() as u64);
                    self.inbox.push(Arrival::Frame { from: id, epoch, body });
                }
                Content::Datagram(datagram) => self.keep_datagram(datagram),
                Content::Handshake(_) | Content::Refusal(_) => {
                    return "it sent a second handshake".to_owned();
                }
            }
        }
    }
}
