//! The last look: when all faults are over and everything has settled, every node serves and
//! nothing is lost.

use kvorum_core::KeyspaceId;
use kvorum_shard::In;

use super::{Event, World};
use crate::checkers::Property;
use crate::host::Host;
use crate::node::Node;
use crate::{strong, trace};

/// How often clients try one of the last operations on a strong object.
const LOOKS: usize = 3;
/// How long after one try the next one comes, in microseconds: longer than an operation may take.
const LOOK_MICROS: u64 = 1_000_000;

impl World {
    /// The last look: everything serves, and nothing is lost.
    pub(super) fn look(&mut self) {
        self.healed = Some(self.now);
        let whole = |host: &Host| host.node.as_ref().is_some_and(Node::is_whole);
        if let Some(host) = self.hosts.iter().find(|host| !whole(host)) {
            let details = format!("node {} does not serve all it holds", host.id);
            self.violated(Property::RecoversAfterHealing, details);
        }
        self.incomplete = (0..self.hosts.len()).collect();
        // One after the other: all at once would be more than a short queue holds.
        let (keys, objects) = (self.clients.keys(), self.strong.objects());
        for (key, wait) in (0..keys).zip((0..).step_by(10_000)) {
            self.after(wait, Event::LookAt { key });
        }
        let all = LOOKS as u64 * LOOK_MICROS;
        let writing = objects as u64 * 10_000 + all;
        for (object, wait) in (0..objects).zip((0..).step_by(10_000)) {
            let look = |write| Event::LookAtStrong { object, write, earlier: 0 };
            self.after(wait, look(true));
            self.after(writing + wait, look(false));
        }
        self.after(all + writing + keys.max(objects) as u64 * 10_000, Event::End);
    }

    /// Looks whether nodes hold all they should. Not once and at the same time at all of them: what a
    /// disk has lost may be found at any moment, and the partition is rebuilt then.
    pub(super) fn look_at_nodes(&mut self) {
        let hosts = &self.hosts;
        let rebuilds = |host: &Host| host.node.as_ref().is_none_or(Node::rebuilds);
        self.incomplete.retain(|&host| hosts.get(host).is_some_and(rebuilds));
        let hinting = |host: &Host| Some((host.id, host.node.as_ref()?.too_many_hints()?));
        if let Some((id, what)) = hosts.iter().find_map(hinting) {
            self.violated(Property::HintsAreBounded, format!("node {id} remembers {what}"));
        }
    }

    pub(super) fn look_at(&mut self, key: usize) {
        let host = self.chance.index(self.hosts.len());
        let (ticket, request) = self.clients.look(key, host, self.now);
        self.push(host, In::Request { ticket, request });
    }

    /// Looks as a client does, which tries again what failed: it may be this look that finds a
    /// value that the disk has lost, for which a leader gives up its replica.
    pub(super) fn look_at_strong(&mut self, object: usize, write: bool, earlier: usize) {
        if earlier > 0 && !self.strong.look_failed(object, write) {
            return;
        }
        // Each node in turn, and another one for the read than for the write.
        let host = (object + usize::from(!write) + earlier) % self.hosts.len().max(1);
        let (ticket, request) = self.strong.look(object, host, write, self.now);
        self.trace.note(self.now, || {
            let request = trace::request(&request);
            format!("last look {} at host {host}: {request}", ticket.0)
        });
        let earlier = earlier + 1;
        if earlier < LOOKS {
            self.after(LOOK_MICROS, Event::LookAtStrong { object, write, earlier });
        }
        self.push(host, In::Request { ticket, request });
    }

    /// The end: no node has been rebuilding all the time, and all replicas of a partition hold the
    /// same.
    pub(super) fn end(&mut self) {
        self.ended = true;
        let incomplete = self.incomplete.first().and_then(|host| self.hosts.get(*host));
        if let Some(id) = incomplete.map(|host| host.id) {
            let details = format!("node {id} goes on rebuilding a partition");
            self.violated(Property::RecoversAfterHealing, details);
        }
        if let Err(details) = self.compare_replicas(strong::KEYSPACE) {
            self.violated(Property::StrongRecoversAfterHealing, details);
        }
        let eventual = KeyspaceId::DEFAULT;
        let sums = self.recompute_sums(eventual);
        if let Err(details) = sums.and_then(|()| self.compare_replicas(eventual)) {
            self.violated(Property::ReplicasConverge, details);
        }
    }
}
