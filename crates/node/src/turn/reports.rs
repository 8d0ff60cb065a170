//! What replicas report to the operator: logged, and counted.

use kvorum_core::PartitionId;
use kvorum_replication::Report;
use metrics::{Counter, counter, describe_counter};

/// The counters of what was reported.
pub(super) struct Reports {
    late: Counter,
    quarantined: Counter,
    floors: Counter,
    purged: Counter,
    lost_promises: Counter,
}

impl Reports {
    pub(super) fn new() -> Reports {
        describe_counter!(
            "kvorum_late_writes_total",
            "Writes refused because everything up to their versions was settled"
        );
        describe_counter!("kvorum_quarantined_records_total", "Records taken out as leftovers");
        describe_counter!("kvorum_floors_raised_total", "Times the floor of a partition rose");
        describe_counter!(
            "kvorum_purged_records_total",
            "Tombstones and expired values removed below the floor"
        );
        describe_counter!(
            "kvorum_lost_promises_total",
            "Replicas that had lost what they promised"
        );
        Reports {
            late: counter!("kvorum_late_writes_total"),
            quarantined: counter!("kvorum_quarantined_records_total"),
            floors: counter!("kvorum_floors_raised_total"),
            purged: counter!("kvorum_purged_records_total"),
            lost_promises: counter!("kvorum_lost_promises_total"),
        }
    }

    /// Logs and counts what the replica of a partition reports.
    pub(super) fn take(&self, partition: PartitionId, report: &Report) {
        let PartitionId { placement, number } = partition;
        match report {
            Report::LateRefused { keyspace, slot, key, version, .. } => {
                self.late.increment(1);
                tracing::warn!(
                    "[REPLICATE] partition {number} of placement {placement} refused a late write \
                     of {:?} (keyspace {}, slot {}) with version {version}: everything up to it is \
                     settled",
                    String::from_utf8_lossy(key),
                    keyspace.0,
                    slot.get()
                );
            }
            Report::Quarantined { keyspace, slot, key, version } => {
                self.quarantined.increment(1);
                tracing::warn!(
                    "[REPLICATE] partition {number} of placement {placement} held {:?} (keyspace \
                     {}, slot {}) with version {version}, which the other replicas have deleted or \
                     overwritten for good: it is in quarantine",
                    String::from_utf8_lossy(key),
                    keyspace.0,
                    slot.get()
                );
            }
            Report::ReplayBegan { to, keys } => {
                tracing::info!(
                    "[REPLICATE] node {to} is back: {keys} keys that it may have missed"
                );
            }
            Report::HintsReplayed { to, keys } => {
                tracing::info!(
                    "[REPLICATE] node {to} has what it may have missed: it took {keys} keys"
                );
            }
            Report::HintsOverflowed { to } => {
                tracing::warn!(
                    "[REPLICATE] node {to} has missed more than is remembered by key; anti-entropy \
                     will look where the rest is"
                );
            }
            Report::FloorRaised { floor } => {
                self.floors.increment(1);
                tracing::debug!(
                    "[ANTI-ENTROPY] the floor of partition {number} of placement {placement} is \
                     {} ms since 1970",
                    floor.wall_ms()
                );
            }
            Report::Purged { items } => {
                self.purged.increment(*items as u64);
                tracing::debug!(
                    "[ANTI-ENTROPY] partition {number} of placement {placement}: {items} \
                     tombstones and expired values are removed"
                );
            }
            Report::LostPromise { peer, floor, promise } => {
                self.lost_promises.increment(1);
                tracing::error!(
                    "[REPLICATE] partition {number} of placement {placement} has lost what it \
                     promised: node {peer} has settled everything up to {} ms since 1970, this one \
                     remembers {}; it is copied from the other nodes",
                    floor.wall_ms(),
                    promise.wall_ms()
                );
            }
        }
    }
}
