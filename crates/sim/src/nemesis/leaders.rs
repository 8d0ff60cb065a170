//! Nodes that stop in order, and nodes that had better not lead.

use kvorum_shard::In;

use crate::world::{Event, World};

impl World {
    /// A node hands over what it leads, and ends soon: all of it is handed over by then, or some.
    pub(super) fn leave(&mut self, host: usize) {
        let Some(life) = self.host(host).filter(|h| h.node.is_some()).map(|h| h.life) else {
            return;
        };
        self.push(host, In::Leave);
        let wait = self.nemesis.chance.between(1_000, 1_000_000);
        self.after(wait, Event::Stop { host, life });
    }

    /// The others lose the connection to a node at once, while it hears nothing and goes on as if
    /// nothing had happened: what it led is led by others before its leases are over. Sometimes its
    /// clock is set back besides.
    pub(super) fn depose(&mut self, host: usize, sets_clocks: bool) {
        let Some(id) = self.host(host).map(|host| host.id) else { return };
        self.isolate(host);
        for (a, b) in self.network.pairs() {
            if a == id || b == id {
                self.close(a, b, if a == id { b } else { a });
            }
        }
        if sets_clocks && self.nemesis.chance.permille(500) {
            self.watch_clocks();
            if let Some(host) = self.host(host) {
                host.offset_ms -= 2_000;
            }
        }
    }

    /// A node that was to leave ends, and comes back.
    pub(crate) fn stop(&mut self, host: usize, life: u64) {
        if self.host(host).is_some_and(|host| host.life == life) {
            self.kill(host, false);
        }
    }

    /// A node finds its disk too slow for a leader, or well again.
    pub(super) fn judge_disk(&mut self, host: usize) {
        let slow = self.nemesis.chance.permille(600);
        self.push(host, In::SlowDisk(slow));
    }
}
