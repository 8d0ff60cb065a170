//! What the replicas of strong partitions hold when everything has come to rest.

use kvorum_core::{
    Cursor, Header, NodeId, PartitionId, ReadError, ScanLimit, Slot, Store as _, Want,
};

use super::World;
use crate::strong;

const EVERYTHING: ScanLimit = ScanLimit { items: usize::MAX, bytes: usize::MAX };

/// A record: its key, its header, and its value unless the disk has lost that.
type Held = (Vec<u8>, Header, Option<Vec<u8>>);

impl World {
    /// Compares what the replicas of each strong partition hold.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn compare_replicas(&mut self) -> Result<(), String> {
        let partitions: Vec<PartitionId> = self.layout.partitions(strong::KEYSPACE).collect();
        for partition in partitions {
            let members = self.layout.replicas(partition).to_vec();
            let held: Vec<(NodeId, Vec<Held>)> = members
                .into_iter()
                .filter_map(|node| Some((node, self.held(node, partition)?)))
                .collect();
            let pairs = held.iter().zip(held.iter().skip(1));
            for ((one, here), (other, there)) in pairs {
                if let Some(difference) = difference(here, there) {
                    return Err(format!("{partition:?} on {one} and {other}: {difference}"));
                }
            }
        }
        Ok(())
    }

    /// What a node holds of a partition; nothing if it is down.
    fn held(&mut self, node: NodeId, partition: PartitionId) -> Option<Vec<Held>> {
        let slots = self.layout.slots(partition)?;
        let host = self.host_of(node);
        let store = &mut self.host(host)?.node.as_mut()?.store;
        let from = Cursor::start_of(*slots.start());
        let last = *slots.end();
        let page = store.page(strong::KEYSPACE, &from, last, b"", EVERYTHING, Want::Header);
        // What has expired is removed by each replica in its own time.
        let wall_ms = self.hosts.iter().map(|host| host.now(self.now).wall_ms).max().unwrap_or(0);
        let present = page.items.into_iter().filter(|(_, stored)| {
            stored.header.expire_ms == 0 || stored.header.expire_ms > wall_ms
        });
        let present: Vec<_> = present.collect();
        let store = &mut self.host(host)?.node.as_mut()?.store;
        let mut held = Vec::new();
        for (record, stored) in present {
            let value = match store.value(strong::KEYSPACE, Slot::of(&record.key), &record.key) {
                Ok(found) => found.map(|(_, value)| value.to_vec()),
                Err(ReadError::Corrupt(_)) => None,
            };
            held.push((record.key.to_vec(), stored.header, value));
        }
        Some(held)
    }
}

/// Where two replicas differ. Values that a disk has lost are no difference: they are repaired when
/// they are noticed.
fn difference(here: &[Held], there: &[Held]) -> Option<String> {
    let text = |held: Option<&Held>| {
        held.map(|(key, header, _)| format!("{} {header:?}", String::from_utf8_lossy(key)))
    };
    for at in 0..here.len().max(there.len()) {
        let (one, other) = (here.get(at), there.get(at));
        let same = one.zip(other).is_some_and(|(one, other)| {
            let values = one.2.as_ref().zip(other.2.as_ref());
            one.0 == other.0 && one.1 == other.1 && values.is_none_or(|(a, b)| a == b)
        });
        if !same {
            return Some(format!("{:?} against {:?}", text(one), text(other)));
        }
    }
    None
}
