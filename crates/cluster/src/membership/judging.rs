//! Asking the others, and judging them by what they answer.

use kvorum_core::{Mono, NodeId};
use rand_chacha::rand_core::Rng;

use foca::State;

use super::datagram::Kind;
use super::gossip::Gossip;
use super::peer::Peer;
use super::report::MOST_VOTES;
use super::timing::{ECHO_ROUNDS, ECHOES_AT_ONCE, REPORT_ROUNDS};
use super::{Effect, Path, Standing};

impl Gossip {
    /// What happens once per interval.
    pub(super) fn round(&mut self, at: Mono) {
        self.rounds += 1;
        self.report_due |= self.rounds.is_multiple_of(REPORT_ROUNDS);
        let is_alive = |peer: &Peer| peer.standing == Standing::Alive;
        let (calm, urgent): (Vec<_>, Vec<_>) = self
            .peers
            .iter()
            .map(|(node, peer)| (*node, is_alive(peer) && !self.is_quiet(peer, at)))
            .partition(|(_, calm)| *calm);
        let mut asked: Vec<NodeId> = urgent.into_iter().map(|(node, _)| node).collect();
        if self.rounds.is_multiple_of(ECHO_ROUNDS) {
            let turn = usize::try_from(self.rounds / ECHO_ROUNDS).unwrap_or_default();
            let first = turn.wrapping_mul(ECHOES_AT_ONCE) % calm.len().max(1);
            let some = calm.iter().cycle().skip(first).take(calm.len().min(ECHOES_AT_ONCE));
            asked.extend(some.map(|(node, _)| *node));
        }
        for node in asked {
            self.ask(node, at);
        }
    }

    /// Whether a connected node has given no sign of life for a while, and should be asked. Of a
    /// large cluster only a few are asked at a time, so silence means nothing there.
    fn is_quiet(&self, peer: &Peer, at: Mono) -> bool {
        self.peers.len() <= ECHOES_AT_ONCE
            && peer.connected
            && peer.silence(at) >= self.patience.quiet
    }

    /// Asks a node for an echo; through its stream as well if it is doubted or silent.
    pub(super) fn ask(&mut self, node: NodeId, at: Mono) {
        let token = self.chance.next_u64();
        let patience = self.patience;
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let by_stream = peer.connected
            && (peer.swim != Some(State::Alive) || peer.silence(at) >= patience.quiet);
        peer.ask(token, by_stream, at);
        let paths: &[Path] = if by_stream { &[Path::Udp, Path::Stream] } else { &[Path::Udp] };
        self.send(node, Kind::Echo, &token.to_le_bytes(), paths);
    }

    /// Judges everybody.
    pub(super) fn judge(&mut self, at: Mono) {
        let patience = self.patience;
        let mut alive = vec![self.options.me];
        let mut votes = Vec::new();
        for (node, peer) in &mut self.peers {
            let standing = peer.note(peer.is_alive(at, &patience), at);
            if standing == Standing::Alive {
                alive.push(*node);
            } else if peer.is_voted_down(at, &patience) && votes.len() < MOST_VOTES {
                votes.push(*node);
            }
            if standing != Standing::Alive && peer.is_mute(at, &patience) {
                self.effects.push(Effect::Lost(*node));
            }
            if peer.standing != standing {
                peer.standing = standing;
                self.effects.push(Effect::Changed(*node, standing));
                if standing != Standing::Alive {
                    // Its clock may be set before it is heard of again.
                    self.clocks.lost(*node);
                }
            }
        }
        let majority = alive.len() > self.options.nodes.len() / 2;
        if majority != self.majority {
            self.majority = majority;
            self.effects.push(Effect::Majority(majority));
        }
        if majority {
            self.count_votes(&alive, &votes);
        }
        self.report_due |= votes != self.votes;
        self.votes = votes;
    }

    /// Calls down whom a majority of the living vote down, this node among them.
    fn count_votes(&mut self, alive: &[NodeId], ours: &[NodeId]) {
        let board = self.board.borrow();
        for node in ours {
            let votes_it = |voter: &&NodeId| {
                **voter == self.options.me
                    || board.get(**voter).is_some_and(|report| report.down.contains(node))
            };
            let votes = alive.iter().filter(votes_it).count();
            let Some(peer) = self.peers.get_mut(node) else { continue };
            if votes > alive.len() / 2 && peer.standing != Standing::Down {
                peer.standing = Standing::Down;
                self.effects.push(Effect::Changed(*node, Standing::Down));
            }
        }
    }
}
