//! The links to the other nodes: batching into frames, and flow control.
//!
//! Every frame with envelopes carries a sequence number in its class, and every frame tells which
//! numbers its sender has received. What was sent and is not yet acknowledged, and what waits in
//! an open frame, is *under way*; beyond `max_peer_bytes` a node has no room, and groups send it
//! no more requests. Answers are still sent, up to twice that; then the link is choked and the
//! peer's requests are dropped before they can cause any.
//!
//! All counting belongs to one life of the connection and starts anew with the next.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{Lsn, NodeId};
use kvorum_replication::{Peers, Willingness};

use crate::frame::{self, HEADER, Header};
use crate::wire::Envelope;
use crate::{Class, Options, Out};

/// A receiver with nothing else to send acknowledges after this many frames at the latest.
const ACK_FRAMES: usize = 64;
/// ... or after this part of `max_peer_bytes`.
const ACK_SHARE: usize = 8;
/// Where answers stop too, in units of `max_peer_bytes`.
const CHOKED: usize = 2;

/// The links to all other nodes.
#[derive(Debug)]
pub(crate) struct Links {
    me: NodeId,
    max_peer_bytes: usize,
    frame_bytes: usize,
    bulk_bytes: usize,
    /// How many envelopes a frame holds at most: as many as its header can count.
    envelopes: u16,
    stamp: Stamp,
    lives: u64,
    /// By node id.
    links: Vec<Link>,
}

/// What every frame tells of its sender.
#[derive(Clone, Copy, Debug)]
struct Stamp {
    layout: u64,
    durable: Lsn,
    willingness: Willingness,
}

/// One connection of many to the same node, in the order of time. Whatever belongs to an earlier
/// life must not be sent in a later one: the peer may have restarted and count its operations
/// from the beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life(u64);

/// Where an envelope was put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    class: Class,
    seq: u64,
}

/// What became of a received frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Its envelopes are to be handled.
    Fresh,
    /// There is nothing in it to handle.
    Nothing,
    /// It is not a frame this node understands; the link is unusable until it is up again.
    Bad(&'static str),
}

#[derive(Debug)]
struct Link {
    node: NodeId,
    /// The present life, while the connection is usable.
    life: Option<Life>,
    /// Of the data class and of the bulk class.
    lanes: [Lane; 2],
    owed_bytes: usize,
    owed_frames: usize,
    /// How far the peer's log is durable, as far as its frames have told.
    durable: Lsn,
    /// Whether the peer should lead, as its last frame has told.
    willingness: Willingness,
}

/// One class of a link.
#[derive(Debug)]
struct Lane {
    open: BytesMut,
    count: u16,
    /// The sequence number of the open frame.
    next_seq: u64,
    /// The highest sequence number received.
    received: u64,
    unacknowledged: VecDeque<(u64, usize)>,
    unacknowledged_bytes: usize,
}

impl Links {
    pub(crate) fn new(options: &Options, layout: u64) -> Links {
        Links {
            me: options.me,
            max_peer_bytes: options.max_peer_bytes,
            frame_bytes: options.frame_bytes,
            bulk_bytes: options.bulk_bytes,
            envelopes: if options.overfills_frames() { 0 } else { u16::MAX },
            stamp: Stamp { layout, durable: Lsn(0), willingness: Willingness::Willing },
            lives: 0,
            links: Vec::new(),
        }
    }

    /// Begins a new life of the connection to a node.
    pub(crate) fn up(&mut self, node: NodeId) {
        self.lives += 1;
        self.down(node);
        let at = self.links.partition_point(|link| link.node < node);
        self.links.insert(at, Link::new(node, Life(self.lives)));
    }

    /// Ends the life of the connection to a node, if it has one; what was not sent will not be.
    pub(crate) fn down(&mut self, node: NodeId) -> bool {
        let at = self.links.binary_search_by_key(&node, |link| link.node);
        at.map(|at| self.links.remove(at)).is_ok()
    }

    /// The present life of the connection to a node, if it is usable.
    pub(crate) fn life(&self, node: NodeId) -> Option<Life> {
        self.link(node)?.life
    }

    /// Whether what was put at `place` has left this node.
    pub(crate) fn has_left(&self, node: NodeId, place: Place) -> bool {
        self.link(node).is_none_or(|link| link.lane(place.class).next_seq > place.seq)
    }

    /// Whether so much is under way to a node that not even answers can be queued.
    pub(crate) fn is_choked(&self, node: NodeId) -> bool {
        let limit = self.max_peer_bytes.saturating_mul(CHOKED);
        self.link(node).is_some_and(|link| link.under_way() >= limit)
    }

    /// Bytes under way to each connected node.
    pub(crate) fn under_way(&self) -> Vec<(NodeId, usize)> {
        self.links.iter().map(|link| (link.node, link.under_way())).collect()
    }

    /// Queues an envelope, and closes the frame it is in when that is full. Nothing happens
    /// unless the node is up.
    pub(crate) fn push(
        &mut self,
        to: NodeId,
        envelope: &Envelope,
        out: &mut Vec<Out>,
    ) -> Option<Place> {
        let (frame_bytes, bulk_bytes, stamp) = (self.frame_bytes, self.bulk_bytes, self.stamp);
        let envelopes = self.envelopes;
        let link = self.link_mut(to).filter(|link| link.life.is_some())?;
        let weight = envelope.weight();
        let class = if weight > bulk_bytes { Class::Bulk } else { Class::Data };
        if link.lane(class).open.len() + weight > frame_bytes {
            link.close(class, stamp, out);
        }
        let lane = link.lane_mut(class);
        if lane.open.is_empty() {
            lane.open.put_bytes(0, HEADER);
        }
        envelope.encode(&mut lane.open);
        lane.count = lane.count.saturating_add(1);
        let place = Place { class, seq: lane.next_seq };
        if lane.open.len() >= frame_bytes || lane.count == envelopes {
            link.close(class, stamp, out);
        }
        Some(place)
    }

    /// Takes a frame of a peer: notes what it acknowledges and decodes its envelopes into
    /// `envelopes`.
    pub(crate) fn receive(
        &mut self,
        from: NodeId,
        frame: Bytes,
        envelopes: &mut Vec<Envelope>,
    ) -> Received {
        let Some(link) = self.link_mut(from).filter(|link| link.life.is_some()) else {
            return Received::Nothing;
        };
        let received = link.receive(frame, envelopes).unwrap_or_else(Received::Bad);
        if matches!(received, Received::Bad(_)) {
            link.life = None;
        }
        received
    }

    /// Closes the open frames, and acknowledges where much is owed and nothing else is sent.
    pub(crate) fn flush(&mut self, out: &mut Vec<Out>) {
        let (stamp, share) = (self.stamp, self.max_peer_bytes / ACK_SHARE);
        for link in self.links.iter_mut().filter(|link| link.life.is_some()) {
            link.close(Class::Data, stamp, out);
            link.close(Class::Bulk, stamp, out);
            if link.owed_frames >= ACK_FRAMES || link.owed_bytes > share {
                link.acknowledge(stamp, out);
            }
        }
    }

    /// Sends a frame to every node, so that all know what frames tell of this one.
    pub(crate) fn acknowledge_all(&mut self, out: &mut Vec<Out>) {
        for link in self.links.iter_mut().filter(|link| link.life.is_some()) {
            link.acknowledge(self.stamp, out);
        }
    }

    /// Closes the open frames and stamps later ones with a new layout version.
    pub(crate) fn set_layout(&mut self, layout: u64, out: &mut Vec<Out>) {
        self.flush(out);
        self.stamp.layout = layout;
    }

    /// Tells in later frames that this node's log is durable up to here. What depends on it is
    /// sent no earlier, so whoever gets an answer knows how much log stands behind it.
    pub(crate) const fn set_durable(&mut self, durable: Lsn) {
        self.stamp.durable = durable;
    }

    /// Tells in later frames whether this node should lead.
    pub(crate) const fn set_willingness(&mut self, willingness: Willingness) {
        self.stamp.willingness = willingness;
    }

    /// How far a connected node's log is durable, as far as its frames have told.
    pub(crate) fn durable(&self, node: NodeId) -> Option<Lsn> {
        Some(self.link(node)?.durable)
    }

    fn link(&self, node: NodeId) -> Option<&Link> {
        let at = self.links.binary_search_by_key(&node, |link| link.node).ok()?;
        self.links.get(at)
    }

    fn link_mut(&mut self, node: NodeId) -> Option<&mut Link> {
        let at = self.links.binary_search_by_key(&node, |link| link.node).ok()?;
        self.links.get_mut(at)
    }
}

impl Peers for Links {
    fn is_up(&self, node: NodeId) -> bool {
        node == self.me || self.life(node).is_some()
    }

    fn has_room(&self, node: NodeId) -> bool {
        node == self.me
            || self
                .link(node)
                .is_some_and(|link| link.life.is_some() && link.under_way() < self.max_peer_bytes)
    }

    fn queue(&self, node: NodeId) -> usize {
        self.link(node).map_or(0, Link::under_way)
    }

    fn willingness(&self, node: NodeId) -> Willingness {
        match self.link(node) {
            Some(link) => link.willingness,
            None if node == self.me => self.stamp.willingness,
            None => Willingness::Willing,
        }
    }
}

impl Link {
    fn new(node: NodeId, life: Life) -> Link {
        let lanes = [Lane::new(), Lane::new()];
        Link {
            node,
            life: Some(life),
            lanes,
            owed_bytes: 0,
            owed_frames: 0,
            durable: Lsn(0),
            willingness: Willingness::Willing,
        }
    }

    const fn lane(&self, class: Class) -> &Lane {
        let [data, bulk] = &self.lanes;
        match class {
            Class::Data => data,
            Class::Bulk => bulk,
        }
    }

    const fn lane_mut(&mut self, class: Class) -> &mut Lane {
        let [data, bulk] = &mut self.lanes;
        match class {
            Class::Data => data,
            Class::Bulk => bulk,
        }
    }

    fn under_way(&self) -> usize {
        self.lanes.iter().map(|lane| lane.unacknowledged_bytes + lane.open.len()).sum()
    }

    /// What this node has received, as every frame to the peer tells; nothing is owed any more.
    fn acks(&mut self) -> [u64; 2] {
        (self.owed_bytes, self.owed_frames) = (0, 0);
        self.lanes.each_ref().map(|lane| lane.received)
    }

    /// Closes the open frame of a class, if there is one.
    fn close(&mut self, class: Class, stamp: Stamp, out: &mut Vec<Out>) {
        if self.lane(class).count == 0 {
            return;
        }
        let acks = self.acks();
        let to = self.node;
        let lane = self.lane_mut(class);
        let Stamp { layout, durable, willingness } = stamp;
        let (count, seq) = (lane.count, lane.next_seq);
        let header = Header { class, count, layout, seq, acks, durable, willingness };
        let frame = frame::seal(&header, &mut lane.open);
        lane.unacknowledged.push_back((lane.next_seq, frame.len()));
        lane.unacknowledged_bytes += frame.len();
        lane.next_seq += 1;
        lane.count = 0;
        out.push(Out::Send { to, class, frame });
    }

    /// Sends a frame that only acknowledges.
    fn acknowledge(&mut self, stamp: Stamp, out: &mut Vec<Out>) {
        let Stamp { layout, durable, willingness } = stamp;
        let (class, count, seq, acks) = (Class::Data, 0, 0, self.acks());
        let header = Header { class, count, layout, seq, acks, durable, willingness };
        let frame = frame::seal(&header, &mut BytesMut::zeroed(HEADER));
        out.push(Out::Send { to: self.node, class, frame });
    }

    fn receive(
        &mut self,
        frame: Bytes,
        envelopes: &mut Vec<Envelope>,
    ) -> Result<Received, &'static str> {
        let len = frame.len();
        let (header, body) = frame::open(frame)?;
        if self.lanes.iter().zip(header.acks).any(|(lane, ack)| ack >= lane.next_seq) {
            return Err("the frame acknowledges what was never sent");
        }
        let fresh = header.seq > self.lane(header.class).received;
        if fresh {
            frame::decode(header.count, body, envelopes)?;
            self.lane_mut(header.class).received = header.seq;
            self.owed_bytes += len;
            self.owed_frames += 1;
        }
        for (lane, ack) in self.lanes.iter_mut().zip(header.acks) {
            lane.acknowledged(ack);
        }
        self.durable = self.durable.max(header.durable);
        self.willingness = header.willingness;
        Ok(if fresh { Received::Fresh } else { Received::Nothing })
    }
}

impl Lane {
    fn new() -> Lane {
        Lane {
            open: BytesMut::new(),
            count: 0,
            next_seq: 1,
            received: 0,
            unacknowledged: VecDeque::new(),
            unacknowledged_bytes: 0,
        }
    }

    /// The peer has received everything up to `seq`.
    fn acknowledged(&mut self, seq: u64) {
        while let Some(&(sent, bytes)) = self.unacknowledged.front() {
            if sent > seq {
                break;
            }
            self.unacknowledged.pop_front();
            self.unacknowledged_bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests;
