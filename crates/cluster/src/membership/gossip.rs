//! The state of a node's gossip, and what goes in: datagrams, signs of life, time.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use foca::{AccumulatingRuntime, Foca, Timer};
use kvorum_core::{Mono, NodeId, Now};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::datagram::{Header, Kind, Refusal, Sealer};
use super::incarnation::{Id, Incarnation};
use super::peer::{Patience, Peer};
use super::report::{Board, Clerk, Pulse};
use super::swim::Codec;
use super::timing::{patience, swim_config};
use super::{Effect, Options, Path, Standing, View};
use crate::clocks::Clocks;

/// The gossip of one node.
pub struct Gossip {
    pub(super) options: Options,
    pub(super) patience: Patience,
    pub(super) sealer: Sealer,
    pub(super) foca: Foca<Id, Codec, ChaCha8Rng, Clerk>,
    pub(super) runtime: AccumulatingRuntime<Id>,
    pub(super) timers: BTreeMap<(Mono, u64), Timer<Id>>,
    pub(super) timers_set: u64,
    pub(super) board: Rc<RefCell<Board>>,
    pub(super) peers: BTreeMap<NodeId, Peer>,
    pub(super) clocks: Clocks,
    pub(super) chance: ChaCha8Rng,
    pub(super) pulse: Pulse,
    pub(super) votes: Vec<NodeId>,
    /// The number of the last report.
    pub(super) reported: u64,
    pub(super) report_due: bool,
    /// The number of the last datagram.
    pub(super) sent: u64,
    pub(super) majority: bool,
    pub(super) rounds: u64,
    pub(super) next_round: Mono,
    /// How long this process did not run although it wanted to.
    pub(super) asleep: Duration,
    pub(super) effects: Vec<Effect>,
}

impl std::fmt::Debug for Gossip {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gossip").field("me", &self.options.me).field("peers", &self.peers).finish()
    }
}

impl Gossip {
    /// Begins at `now`. Nobody is alive before he was heard.
    #[must_use]
    pub fn new(mut options: Options, now: Mono) -> Gossip {
        options.nodes.sort_unstable();
        let (me, nodes) = (options.me, options.nodes.clone());
        let others = nodes.iter().filter(|node| **node != me);
        let peers: BTreeMap<NodeId, Peer> = others.map(|node| (*node, Peer::new(now))).collect();
        let board: Rc<RefCell<Board>> = Rc::default();
        let id = Id { node: me, incarnation: options.incarnation };
        let clerk = Clerk { me, nodes: nodes.clone(), board: Rc::clone(&board) };
        let mut chance = ChaCha8Rng::seed_from_u64(options.process);
        let theirs = ChaCha8Rng::seed_from_u64(chance.next_u64());
        let config = swim_config(options.interval, nodes.len());
        let foca = Foca::with_custom_broadcast(id, config, theirs, Codec { nodes }, clerk);
        Gossip {
            patience: patience(options.interval, peers.len()),
            sealer: Sealer::new(options.secret.as_ref()),
            majority: peers.is_empty(),
            options,
            foca,
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            timers_set: 0,
            board,
            peers,
            clocks: Clocks::default(),
            chance,
            pulse: Pulse::default(),
            votes: Vec::new(),
            reported: 0,
            report_due: true,
            sent: 0,
            rounds: 0,
            next_round: now,
            asleep: Duration::ZERO,
            effects: Vec::new(),
        }
    }

    /// Takes a datagram; whose it is and what.
    ///
    /// # Errors
    /// [`Refusal`]: it was dropped.
    pub fn receive(
        &mut self,
        now: Now,
        path: Path,
        datagram: &[u8],
    ) -> Result<(NodeId, Kind), Refusal> {
        let at = self.wake(now.mono);
        let (header, content) = self.sealer.open(datagram)?;
        self.check(&header, at)?;
        if let Some(peer) = self.peers.get_mut(&header.from) {
            peer.seen_ms = peer.seen_ms.max(now.wall_ms);
            peer.incarnation = peer.incarnation.max(header.incarnation);
        }
        self.survive(header.known, at);
        let taken = match header.kind {
            Kind::Swim => self.foca.handle_data(&content, &mut self.runtime).is_ok(),
            Kind::Echo => self.answer(&header, path, content, now),
            Kind::EchoAnswer => self.answered(&header, path, content, now, at),
        };
        self.take_from_swim(at);
        self.invite(header.from, header.incarnation, at);
        self.judge(at);
        if taken { Ok((header.from, header.kind)) } else { Err(Refusal::Malformed) }
    }

    /// Whether a datagram is for this node, from a member, and new.
    fn check(&mut self, header: &Header, at: Mono) -> Result<(), Refusal> {
        if header.cluster != self.options.cluster {
            return Err(Refusal::OtherCluster);
        }
        let peer = self.peers.get_mut(&header.from).ok_or(Refusal::Stranger)?;
        if header.to != self.options.me {
            return Err(Refusal::Misaddressed);
        }
        if peer.window.take(header.process, header.incarnation, header.number) {
            return Ok(());
        }
        // A node that lost its data may have begun to count its starts anew: any datagram tells it
        // of the one that is known.
        let replaced = header.incarnation.start < peer.window.start();
        if replaced && peer.may_be_invited(at, self.options.interval) {
            self.ask(header.from, at);
        }
        Err(Refusal::Replayed)
    }

    /// Somebody knows a later incarnation of this node, although this is the process that runs: it
    /// goes on as a still later one.
    fn survive(&mut self, known: Incarnation, at: Mono) {
        let ours = self.foca.identity().incarnation;
        if known <= ours {
            return;
        }
        let next = if known.start > ours.start {
            Incarnation::of_start(known.start.saturating_add(1))
        } else {
            known.renewed().unwrap_or(known)
        };
        let id = Id { node: self.options.me, incarnation: next };
        // It is another identity, and ids can always be written: this cannot fail.
        let _ = self.foca.change_identity(id, &mut self.runtime);
        self.report_due = true;
        self.take_from_swim(at);
    }

    /// Answers an echo, the way it came.
    fn answer(&mut self, header: &Header, path: Path, mut content: Bytes, now: Now) -> bool {
        let (Ok(token), true) = (content.try_get_u64_le(), content.is_empty()) else {
            return false;
        };
        let answer = [token.to_le_bytes(), now.wall_ms.to_le_bytes()].concat();
        self.send(header.from, Kind::EchoAnswer, &answer, &[path]);
        true
    }

    fn answered(
        &mut self,
        header: &Header,
        path: Path,
        mut content: Bytes,
        now: Now,
        at: Mono,
    ) -> bool {
        let (Ok(token), Ok(wall_ms), true) =
            (content.try_get_u64_le(), content.try_get_u64_le(), content.is_empty())
        else {
            return false;
        };
        let node = header.from;
        let asked = self.peers.get_mut(&node).and_then(|peer| peer.answered(token, path, at));
        // The answer to a question that was forgotten, or never asked, tells nothing.
        if let Some(asked) = asked {
            let (process, round_trip) = (header.process, at.since(asked));
            self.clocks.heard(node, wall_ms, now.wall_ms, round_trip);
            self.effects.push(Effect::Answered { node, process, round_trip });
        }
        true
    }

    /// A frame of a stream was received at `at`, or a stream completed: a sign of life.
    pub fn heard(&mut self, node: NodeId, at: Mono, wall_ms: u64) {
        let at = Mono(at.0.saturating_sub(micros(self.asleep)));
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.alive_at(at);
            peer.seen_ms = peer.seen_ms.max(wall_ms);
        }
    }

    /// Whether there is a stream with a node.
    pub fn set_connected(&mut self, node: NodeId, connected: bool) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.connected = connected;
        }
    }

    /// What this node tells of itself from now on.
    pub fn set_pulse(&mut self, pulse: Pulse) {
        let told = |pulse: &Pulse| {
            (pulse.layout, pulse.serving, pulse.rebuilding, pulse.disk_full, pulse.disk_slow)
        };
        self.report_due |= told(&pulse) != told(&self.pulse);
        self.pulse = pulse;
    }

    /// The time of [`Gossip::next_deadline`] has come (or any other time).
    pub fn tick(&mut self, now: Mono) {
        let at = self.wake(now);
        while let Some(entry) = self.timers.first_entry().filter(|entry| entry.key().0 <= at) {
            // Its errors are those of a probe that this process slept through; it begins anew.
            let _ = self.foca.handle_timer(entry.remove(), &mut self.runtime);
            self.take_from_swim(at);
        }
        if at >= self.next_round {
            self.next_round = at + self.options.interval;
            self.round(at);
        }
        self.judge(at);
        if self.report_due {
            self.report(at);
        }
    }

    /// When [`Gossip::tick`] is wanted next.
    #[must_use]
    pub fn next_deadline(&self) -> Mono {
        self.next_due() + self.asleep
    }

    fn next_due(&self) -> Mono {
        let timer = self.timers.first_key_value().map(|((at, _), _)| *at);
        timer.map_or(self.next_round, |at| at.min(self.next_round))
    }

    /// The present, without the time in which this process did not run.
    fn wake(&mut self, now: Mono) -> Mono {
        let at = Mono(now.0.saturating_sub(micros(self.asleep)));
        let late = at.since(self.next_due());
        if late <= self.options.interval {
            return at;
        }
        self.asleep += late;
        self.next_due()
    }

    /// Tells the others that this node leaves.
    pub fn leave(&mut self, now: Mono) {
        let at = self.wake(now);
        // Ids can always be written: this cannot fail.
        let _ = self.foca.leave_cluster(&mut self.runtime);
        self.take_from_swim(at);
    }

    /// Takes what the driver shall do, in order.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        let moved = self.board.borrow_mut().take_moved();
        for node in moved {
            if let Some(report) = self.board.borrow().get(node) {
                self.effects.push(Effect::Moved(node, report.addresses.clone()));
            }
        }
        std::mem::take(&mut self.effects)
    }

    /// What is known of another node.
    #[must_use]
    pub fn view(&self, node: NodeId) -> Option<View> {
        let peer = self.peers.get(&node)?;
        Some(View {
            standing: peer.standing,
            heartbeat: peer.answers,
            seen_ms: peer.seen_ms,
            pulse: self.board.borrow().get(node).map(|report| report.pulse),
        })
    }

    /// How many of the other nodes are judged so.
    #[must_use]
    pub fn count(&self, standing: Standing) -> usize {
        self.peers.values().filter(|peer| peer.standing == standing).count()
    }

    /// How far the clocks of a majority are ahead of this node's, in milliseconds, if that is
    /// known, and whether it is too far for this node to stamp anything.
    #[must_use]
    pub fn clock_error_ms(&self) -> (Option<i64>, bool) {
        let nodes = self.options.nodes.len();
        (self.clocks.majority_ahead_ms(nodes), self.clocks.is_suspect(nodes))
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}
