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
