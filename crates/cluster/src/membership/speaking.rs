//! What a node says: SWIM messages, invitations, reports, each sealed.

use foca::{OwnedNotification, State};
use kvorum_core::{Mono, NodeId};

use super::datagram::{Header, Kind};
use super::gossip::Gossip;
use super::incarnation::{Id, Incarnation};
use super::peer::Peer;
use super::report::Report;
use super::{Effect, Path};

impl Gossip {
    /// Invites a node that speaks, and does not take part, to do so.
    pub(super) fn invite(&mut self, node: NodeId, incarnation: Incarnation, at: Mono) {
        let interval = self.options.interval;
        let due = |peer: &mut Peer| !peer.takes_part() && peer.may_be_invited(at, interval);
        if self.peers.get_mut(&node).is_some_and(due) {
            // Ids can always be written: this cannot fail.
            let _ = self.foca.announce(Id { node, incarnation }, &mut self.runtime);
            self.take_from_swim(at);
        }
    }

    /// Tells all nodes how this one is, beginning with a few.
    pub(super) fn report(&mut self, at: Mono) {
        self.report_due = false;
        self.reported += 1;
        let report = Report {
            node: self.options.me,
            incarnation: self.foca.identity().incarnation,
            number: self.reported,
            addresses: self.options.addresses.clone(),
            pulse: self.pulse,
            down: self.votes.clone(),
        };
        // A report is shorter than a datagram and can be read: neither fails.
        let _ = self.foca.add_broadcast(&report.encode());
        let _ = self.foca.gossip(&mut self.runtime);
        self.take_from_swim(at);
    }

    /// Takes what the SWIM library wants done and knows.
    pub(super) fn take_from_swim(&mut self, at: Mono) {
        while let Some((id, content)) = self.runtime.to_send() {
            let peer = self.peers.get(&id.node);
            let both = peer.is_some_and(|peer| peer.needs_stream(at, &self.patience));
            let paths: &[Path] = if both { &[Path::Udp, Path::Stream] } else { &[Path::Udp] };
            self.send(id.node, Kind::Swim, &content, paths);
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.timers_set += 1;
            self.timers.insert((at + after, self.timers_set), timer);
        }
        while let Some(news) = self.runtime.to_notify() {
            // Who has just come has heard no report yet.
            let came =
                matches!(news, OwnedNotification::MemberUp(_) | OwnedNotification::Rename(..));
            self.report_due |= came;
        }
        let mut doubted = Vec::new();
        for member in self.foca.iter_membership_state() {
            let Some(peer) = self.peers.get_mut(&member.id().node) else { continue };
            peer.incarnation = peer.incarnation.max(member.id().incarnation);
            let before = peer.swim.replace(member.state());
            if before == Some(State::Alive) && member.state() != State::Alive {
                doubted.push(member.id().node);
            }
        }
        // Before this node believes it, it asks.
        for node in doubted {
            self.ask(node, at);
        }
    }

    /// Seals a datagram, once for every path.
    pub(super) fn send(&mut self, to: NodeId, kind: Kind, content: &[u8], paths: &[Path]) {
        let Some(peer) = self.peers.get(&to) else { return };
        for &path in paths {
            self.sent += 1;
            let header = Header {
                kind,
                cluster: self.options.cluster,
                from: self.options.me,
                incarnation: self.foca.identity().incarnation,
                process: self.options.process,
                to,
                known: peer.incarnation,
                number: self.sent,
            };
            let datagram = self.sealer.seal(&header, content);
            self.effects.push(Effect::Send { to, path, kind, datagram });
        }
    }
}
