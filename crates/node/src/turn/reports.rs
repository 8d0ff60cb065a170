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
    sessions: Counter,
    failed_sessions: Counter,
    sent: Counter,
    received: Counter,
    bytes: Counter,
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
        describe_counter!(
            "kvorum_sync_sessions_total",
            "Comparisons of two replicas that this node has begun"
        );
        describe_counter!(
            "kvorum_sync_failed_sessions_total",
            "Comparisons that were given up or could not repair all they found"
        );
        describe_counter!(
            "kvorum_sync_sent_records_total",
            "Records that other replicas lacked and have taken"
        );
        describe_counter!(
            "kvorum_sync_received_records_total",
            "Records that were lacking here and were taken from other replicas"
        );
        describe_counter!(
            "kvorum_sync_bytes_total",
            "Bytes of comparisons and of the records they have moved"
        );
        Reports {
            sessions: counter!("kvorum_sync_sessions_total"),
            failed_sessions: counter!("kvorum_sync_failed_sessions_total"),
            sent: counter!("kvorum_sync_sent_records_total"),
            received: counter!("kvorum_sync_received_records_total"),
            bytes: counter!("kvorum_sync_bytes_total"),
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
            Report::SessionBegun { .. }
            | Report::Mismatch { .. }
            | Report::SessionFailed { .. }
            | Report::SessionEnded { .. }
            | Report::Clean { .. } => self.session(partition, report),
        }
    }

    /// Logs and counts what comparisons of replicas come to.
    fn session(&self, partition: PartitionId, report: &Report) {
        let PartitionId { placement, number } = partition;
        match report {
            Report::SessionBegun { with } => {
                self.sessions.increment(1);
                tracing::debug!(
                    "[ANTI-ENTROPY] partition {number} of placement {placement} differs from the \
                     one on node {with}: they are compared"
                );
            }
            Report::Mismatch { with, keyspace, slot } => tracing::debug!(
                "[ANTI-ENTROPY] slot {} of keyspace {} differs from the one on node {with}",
                slot.get(),
                keyspace.0
            ),
            Report::SessionFailed { with, reason } => {
                self.failed_sessions.increment(1);
                tracing::info!(
                    "[ANTI-ENTROPY] partition {number} of placement {placement} could not be \
                     compared with the one on node {with} to the end: {reason}"
                );
            }
            Report::SessionEnded { with, clean, sent, received, bytes } => {
                self.sent.increment(*sent);
                self.received.increment(*received);
                self.bytes.increment(*bytes);
                let verdict = if *clean { "the same" } else { "not yet the same" };
                tracing::debug!(
                    "[ANTI-ENTROPY] partition {number} of placement {placement} and the one on node \
                     {with} are {verdict}: {sent} records sent, {received} received, {bytes} bytes"
                );
            }
            Report::Clean { with, through } => tracing::trace!(
                "[ANTI-ENTROPY] partition {number} of placement {placement} is the same as on node \
                 {with} up to {} ms since 1970",
                through.wall_ms()
            ),
            _ => {}
        }
    }
}
