//! Watches floors: they never go back, and nothing appears at or below them.

use std::collections::BTreeMap;

use bytes::Bytes;
use kvorum_core::{
    Cursor, Hlc, KeyspaceId, Mono, PartitionId, Record, ScanLimit, Slot, Store as _, Version, Want,
};

use super::World;
use crate::checkers::Property;

/// How often the nodes are looked at, in microseconds.
const EVERY: u64 = 500_000;
const EVERYTHING: ScanLimit = ScanLimit { items: usize::MAX, bytes: usize::MAX };

/// What was seen last of each replica of an eventual partition.
#[derive(Debug, Default)]
pub(super) struct Floors {
    next: Mono,
    seen: BTreeMap<(usize, PartitionId), Seen>,
}

/// What was seen of a replica.
#[derive(Debug)]
struct Seen {
    /// The life of the log it was seen in.
    log_id: u128,
    floor: Hlc,
    /// What it held at or below its floor, but for what may be removed.
    settled: BTreeMap<(Slot, Bytes), Version>,
}

impl World {
    /// Looks at the floors of all nodes, if it is time.
    pub(super) fn watch_floors(&mut self) {
        if self.now < self.floors.next {
            return;
        }
        self.floors.next = Mono(self.now.0 + EVERY);
        let partitions: Vec<PartitionId> = self.layout.partitions(KeyspaceId::DEFAULT).collect();
        for host in 0..self.hosts.len() {
            for partition in &partitions {
                if let Err(details) = self.watch_floor(host, *partition) {
                    self.violated(Property::FloorsHold, details);
                }
            }
        }
    }

    fn watch_floor(&mut self, host: usize, partition: PartitionId) -> Result<(), String> {
        let Some(slots) = self.layout.slots(partition) else { return Ok(()) };
        let Some(node) = self.hosts.get_mut(host).and_then(|host| host.node.as_mut()) else {
            return Ok(());
        };
        // What is rebuilt gets what is settled from the others.
        let whole = node.is_whole();
        let floor = node.shard.as_ref().and_then(|shard| shard.floor(partition));
        let Some(floor) = floor.filter(|_| whole) else {
            self.floors.seen.remove(&(host, partition));
            return Ok(());
        };
        let (from, keyspace) = (Cursor::start_of(*slots.start()), KeyspaceId::DEFAULT);
        let page = node.store.page(keyspace, &from, *slots.end(), b"", EVERYTHING, Want::Header);
        // What may be removed is gone for good when that is durable; until then a crash brings it
        // back.
        let settled = page.items.into_iter().filter(|(_, stored)| {
            let header = stored.header;
            header.version.hlc <= floor && !header.may_be_purged(floor)
        });
        let place = |record: Record| (record.slot, record.key);
        let settled =
            settled.map(|(record, stored)| (place(record), stored.header.version)).collect();
        let now = Seen { log_id: node.log_id(), floor, settled };
        let before = self.floors.seen.get(&(host, partition));
        let before = before.filter(|before| before.log_id == now.log_id);
        let result = before.map_or(Ok(()), |before| now.follows(before));
        self.floors.seen.insert((host, partition), now);
        result.map_err(|why| format!("{partition:?} of host {host}: {why}"))
    }
}

impl Seen {
    /// # Errors
    /// What must not have happened since.
    fn follows(&self, before: &Seen) -> Result<(), String> {
        if self.floor < before.floor {
            return Err(format!("the floor went back from {:?} to {:?}", before.floor, self.floor));
        }
        let below = self.settled.iter().filter(|(_, version)| version.hlc <= before.floor);
        for (place, version) in below {
            if before.settled.get(place) != Some(version) {
                return Err(format!("{version} of {place:?} appears below {:?}", before.floor));
            }
        }
        Ok(())
    }
}
