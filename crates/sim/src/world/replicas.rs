//! What the replicas of partitions hold when everything has come to rest.

use kvorum_core::{
    Cursor, Header, KeyspaceId, NodeId, PartitionId, ReadError, SLOTS, ScanLimit, Slot, Store as _,
    Want, digest,
};

use super::World;

const EVERYTHING: ScanLimit = ScanLimit { items: usize::MAX, bytes: usize::MAX };

/// A record: its key, its header, and its value unless the disk has lost that.
type Held = (Vec<u8>, Header, Option<Vec<u8>>);

impl World {
    /// Compares what the replicas of each partition of a keyspace hold.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn compare_replicas(&mut self, keyspace: KeyspaceId) -> Result<(), String> {
        let partitions: Vec<PartitionId> = self.layout.partitions(keyspace).collect();
        for partition in partitions {
            let members = self.layout.replicas(partition).to_vec();
            let held: Vec<(NodeId, Vec<Held>)> = members
                .into_iter()
                .filter_map(|node| Some((node, self.held(node, keyspace, partition)?)))
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

    /// Compares the sums that each store keeps of a keyspace with those of what it holds.
    ///
    /// # Errors
    /// The first difference.
    pub(super) fn recompute_sums(&mut self, keyspace: KeyspaceId) -> Result<(), String> {
        for host in &mut self.hosts {
            let Some(node) = &mut host.node else { continue };
            for slot in (0..SLOTS).filter_map(Slot::new) {
                let from = Cursor::start_of(slot);
                let page = node.store.page(keyspace, &from, slot, b"", EVERYTHING, Want::Header);
                let items = page.items.iter().map(|(record, stored)| (&*record.key, stored.header));
                let bits = node.store.bucket_bits(keyspace, slot);
                let recomputed = digest::sums(node.store.digest_seed(), keyspace, items, bits);
                let kept = node.store.bucket_sums(keyspace, slot, bits);
                if kept != recomputed {
                    return Err(format!("node {} keeps wrong sums of slot {slot:?}", host.id));
                }
            }
        }
        Ok(())
    }

    /// What a node holds of a partition; nothing if it is down.
    fn held(
        &mut self,
        node: NodeId,
        keyspace: KeyspaceId,
        partition: PartitionId,
    ) -> Option<Vec<Held>> {
        let slots = self.layout.slots(partition)?;
        let host = self.host_of(node);
        let store = &mut self.host(host)?.node.as_mut()?.store;
        let from = Cursor::start_of(*slots.start());
        let last = *slots.end();
        let page = store.page(keyspace, &from, last, b"", EVERYTHING, Want::Header);
        // What is deleted or has expired is removed by each replica in its own time.
        let wall_ms = self.hosts.iter().map(|host| host.now(self.now).wall_ms).max().unwrap_or(0);
        let lag = self.settings.shard.leaderless.gc_lag.as_millis();
        let lag_ms = u64::try_from(lag).unwrap_or(u64::MAX);
        let remains = |header: &Header| match header.tombstone {
            true => header.version.hlc.wall_ms().saturating_add(lag_ms) > wall_ms,
            false => header.expire_ms == 0 || header.expire_ms > wall_ms,
        };
        let present: Vec<_> =
            page.items.into_iter().filter(|(_, stored)| remains(&stored.header)).collect();
        let store = &mut self.host(host)?.node.as_mut()?.store;
        let mut held = Vec::new();
        for (record, stored) in present {
            let value = match store.value(keyspace, record.slot, &record.key) {
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
