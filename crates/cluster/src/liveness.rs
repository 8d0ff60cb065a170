//! Who answers pings. A wrong verdict costs latency, never safety.

use std::time::Duration;

use kvorum_core::{Mono, NodeId};

/// How patient a node is with its peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// The time between two pings to a peer.
    pub ping_every: Duration,
    /// A peer that was silent for this long is down.
    pub down_after: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options { ping_every: Duration::from_millis(250), down_after: Duration::from_millis(1500) }
    }
}

/// What follows from the passing of time or from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// Send a ping to the node.
    Ping(NodeId),
    /// The node answers again, or for the first time.
    Up(NodeId),
    /// The node has been silent for too long.
    Down(NodeId),
}

/// The pings to all peers. Nobody is up before the first answer.
#[derive(Clone, Debug)]
pub struct Liveness {
    options: Options,
    next_ping: Mono,
    /// By id.
    peers: Vec<Peer>,
}

#[derive(Clone, Copy, Debug)]
struct Peer {
    node: NodeId,
    up: bool,
    heard: Mono,
}

impl Liveness {
    /// Starts with pings to `peers` (this node is not one of them) at once.
    #[must_use]
    pub fn new(options: Options, peers: &[NodeId], now: Mono) -> Liveness {
        let peer = |&node| Peer { node, up: false, heard: now };
        let mut peers: Vec<Peer> = peers.iter().map(peer).collect();
        peers.sort_unstable_by_key(|peer| peer.node);
        Liveness { options, next_ping: now, peers }
    }

    /// A node has given a sign of life.
    pub fn heard(&mut self, node: NodeId, now: Mono) -> Option<Event> {
        let at = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        let peer = self.peers.get_mut(at)?;
        peer.heard = peer.heard.max(now);
        let was_up = std::mem::replace(&mut peer.up, true);
        (!was_up).then_some(Event::Up(node))
    }

    /// The connection to a node broke: it is down until it answers again.
    pub fn lost(&mut self, node: NodeId) -> Option<Event> {
        let at = self.peers.binary_search_by_key(&node, |peer| peer.node).ok()?;
        let was_up = std::mem::replace(&mut self.peers.get_mut(at)?.up, false);
        was_up.then_some(Event::Down(node))
    }

    /// The time of [`Liveness::next_deadline`] has come (or any other time).
    pub fn tick(&mut self, now: Mono, events: &mut Vec<Event>) {
        if now >= self.next_ping {
            // A process that was stopped itself heard nobody meanwhile; that is not their fault.
            let asleep = now.since(self.next_ping);
            for peer in self.peers.iter_mut().filter(|_| asleep > self.options.ping_every) {
                peer.heard = (peer.heard + asleep).min(now);
            }
            events.extend(self.peers.iter().map(|peer| Event::Ping(peer.node)));
            self.next_ping = now + self.options.ping_every;
        }
        for peer in self.peers.iter_mut().filter(|peer| peer.up) {
            if now.since(peer.heard) >= self.options.down_after {
                peer.up = false;
                events.push(Event::Down(peer.node));
            }
        }
    }

    /// When [`Liveness::tick`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        let silent = self.peers.iter().filter(|peer| peer.up);
        let down = silent.map(|peer| peer.heard + self.options.down_after).min();
        down.map_or(self.next_ping, |down| down.min(self.next_ping))
    }

    /// Whether a node answers.
    #[must_use]
    pub fn is_up(&self, node: NodeId) -> bool {
        self.peers.iter().any(|peer| peer.node == node && peer.up)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn at_ms(ms: u64) -> Mono {
        Mono(ms * 1000)
    }

    fn tick(liveness: &mut Liveness, ms: u64) -> Vec<Event> {
        let mut events = Vec::new();
        liveness.tick(at_ms(ms), &mut events);
        events
    }

    #[test]
    fn a_silent_peer_goes_down_and_an_answer_brings_it_up() {
        let mut liveness = Liveness::new(Options::default(), &[node(2), node(3)], at_ms(0));
        assert_eq!(tick(&mut liveness, 0), [Event::Ping(node(2)), Event::Ping(node(3))]);
        assert!(!liveness.is_up(node(2)));
        assert_eq!(liveness.heard(node(2), at_ms(10)), Some(Event::Up(node(2))));
        assert_eq!(liveness.heard(node(2), at_ms(20)), None);
        let mut down = Vec::new();
        let mut ms = 20;
        while down.is_empty() {
            ms = liveness.next_deadline().0 / 1000;
            down = tick(&mut liveness, ms);
            down.retain(|event| !matches!(event, Event::Ping(_)));
        }
        assert_eq!((ms, down), (1520, vec![Event::Down(node(2))]));
        assert_eq!(liveness.heard(node(2), at_ms(1600)), Some(Event::Up(node(2))));
        assert_eq!(liveness.lost(node(2)), Some(Event::Down(node(2))));
        assert_eq!(liveness.lost(node(2)), None);
    }

    #[test]
    fn a_process_that_was_stopped_does_not_blame_the_others() {
        let mut liveness = Liveness::new(Options::default(), &[node(2)], at_ms(0));
        tick(&mut liveness, 0);
        liveness.heard(node(2), at_ms(5));
        assert_eq!(tick(&mut liveness, 20_000), [Event::Ping(node(2))]);
        assert!(liveness.is_up(node(2)));
        let later: Vec<Event> =
            (1..=8).flat_map(|n| tick(&mut liveness, 20_000 + n * 250)).collect();
        assert!(later.contains(&Event::Down(node(2))));
    }
}
