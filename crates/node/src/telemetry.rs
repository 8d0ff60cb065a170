//! The metrics of a node. Handles are looked up once; nothing here runs per operation.

use std::time::Duration;

use kvorum_core::NodeId;
use kvorum_replication::Event;
use metrics::{
    Counter, Gauge, Histogram, counter, describe_counter, describe_gauge, describe_histogram,
    gauge, histogram,
};

/// The metrics of the turn.
pub(crate) struct TurnMetrics {
    /// From the arrival of the oldest input of a turn to the turn.
    pub(crate) queue: Histogram,
    /// From there until its last request was handed to the shard.
    pub(crate) wait: Histogram,
    /// A turn without its sync.
    pub(crate) turn: Histogram,
    /// Inputs per turn.
    pub(crate) inputs: Histogram,
    /// Bytes of each frame sent to a peer.
    pub(crate) frame_bytes: Histogram,
    /// Messages in each of them.
    pub(crate) frame_messages: Histogram,
    /// One write and sync of the log.
    pub(crate) sync: Histogram,
    /// Records made durable by one sync.
    pub(crate) sync_records: Histogram,
    /// Writes and entries that should reach another replica, once for each.
    pub(crate) attempts: Counter,
    /// Writes that were not sent to a replica.
    pub(crate) failures: Counter,
    /// Slots whose sums were found wrong.
    pub(crate) wrong_sums: Counter,
}

impl TurnMetrics {
    pub(crate) fn new() -> TurnMetrics {
        describe();
        TurnMetrics {
            queue: histogram!("kvorum_queue_seconds"),
            wait: histogram!("kvorum_request_wait_seconds"),
            turn: histogram!("kvorum_turn_seconds"),
            inputs: histogram!("kvorum_turn_inputs"),
            frame_bytes: histogram!("kvorum_peer_frame_bytes"),
            frame_messages: histogram!("kvorum_peer_frame_messages"),
            sync: histogram!("kvorum_wal_sync_seconds"),
            sync_records: histogram!("kvorum_wal_sync_records"),
            attempts: counter!("kv_replication_attempts_total"),
            failures: counter!("kv_replication_failures_total"),
            wrong_sums: counter!("kvorum_wrong_sums_total"),
        }
    }
}

/// Says what the metrics mean that do not say it themselves.
fn describe() {
    describe_histogram!("kvorum_queue_seconds", "From the arrival of a turn's oldest input to it");
    describe_histogram!(
        "kvorum_request_wait_seconds",
        "From the arrival of a turn's oldest input until its last request was taken on"
    );
    describe_histogram!("kvorum_turn_seconds", "A turn of the shard thread, without its sync");
    describe_histogram!("kvorum_turn_inputs", "Requests, frames and events of one turn");
    describe_histogram!("kvorum_wal_sync_seconds", "One write and sync of the log");
    describe_histogram!("kvorum_wal_sync_records", "Records made durable by one sync");
    describe_histogram!("kvorum_peer_frame_bytes", "Bytes of a frame sent to a peer");
    describe_histogram!("kvorum_peer_frame_messages", "Messages of a frame sent to a peer");
    describe_histogram!(
        "kvorum_peer_round_trip_seconds",
        "From an echo of the gossip to its answer"
    );
    describe_counter!(
        "kvorum_restamps_total",
        "Writes stamped again: a replica held something newer"
    );
    describe_counter!("kvorum_superseded_total", "Writes that a replica held something newer than");
    describe_counter!("kvorum_read_repairs_total", "Reads that found replicas which disagree");
    describe_counter!(
        "kvorum_under_replicated_total",
        "Writes not sent to a replica, down or full"
    );
    describe_counter!(
        "kvorum_hints_recorded_total",
        "Keys remembered for a node that may have missed a write"
    );
    describe_counter!("kvorum_hints_replayed_total", "Keys that such a node has taken");
    describe_counter!(
        "kvorum_hints_overflowed_total",
        "Missed writes of which only the slot was remembered"
    );
    describe_counter!("kvorum_hints_dropped_total", "Keys forgotten: nothing is stored there now");
    describe_counter!(
        "kvorum_quarantine_drops_total",
        "Records in quarantine that gave way to newer ones"
    );
    describe_counter!("kvorum_late_acks_total", "Answers to operations that were over");
    describe_counter!("kvorum_corrupt_records_total", "Stored records that failed their checksum");
    describe_counter!("kvorum_wrong_sums_total", "Slots whose sums did not match their records");
    describe_counter!("kvorum_malformed_messages_total", "Messages of peers that make no sense");
    describe_counter!("kvorum_shed_total", "Messages of peers refused for want of room");
    describe_counter!("kvorum_expired_total", "Messages dropped: their senders wait no longer");
    describe_counter!(
        "kvorum_refused_requests_total",
        "Requests refused because requests wait too long for their turn"
    );
    describe_counter!(
        "kvorum_hurried_reads_total",
        "Reads that asked one replica more because another was slow"
    );
    describe_counter!("kvorum_raft_elections_total", "Times this node began to lead a partition");
    describe_counter!("kvorum_raft_hand_overs_total", "Times it began to hand one over");
    describe_counter!("kvorum_raft_proposals_total", "Entries that it appended as a leader");
    describe_counter!("kvorum_raft_read_rounds_total", "Rounds that confirmed its lead for reads");
    describe_counter!("kvorum_raft_copies_sent_total", "Copies of partitions that others took");
    describe_counter!("kvorum_raft_copies_received_total", "Copies that it took of others");
    describe_gauge!("kvorum_raft_groups_led", "Partitions of strong keyspaces that it leads");
    describe_gauge!("kvorum_raft_log_bytes", "Bytes of entries that are kept in memory");
    describe_gauge!("kvorum_disk_slow", "Whether the disk is too slow for a leader");
    describe_gauge!(
        "kvorum_background_bytes_per_second",
        "What repair may send at present; less while requests wait for their turn"
    );
    describe_gauge!("kvorum_waiting_for_log", "Answers and messages that wait for the log");
    describe_gauge!("kvorum_replay_bytes", "Bytes of log that a start would replay");
    describe_gauge!("kvorum_hint_keys", "Keys that wait for a peer, which may have missed them");
    describe_gauge!("kvorum_hint_bytes", "Bytes of memory that these keys take");
    describe_gauge!("kvorum_dirty_slots", "Slots in which a peer may have missed more than that");
    describe_gauge!("kvorum_peer_in_flight_bytes", "Bytes sent to a peer and not acknowledged");
    describe_gauge!(
        "kvorum_peer_queue_bytes",
        "Bytes that wait in this process to be sent to a peer"
    );
}

/// The counters of what happens inside the replica groups.
pub(crate) struct EventMetrics {
    restamps: Counter,
    superseded: Counter,
    read_repairs: Counter,
    hurried: Counter,
    under_replicated: Counter,
    hinted: Counter,
    hints_replayed: Counter,
    hints_overflowed: Counter,
    hints_dropped: Counter,
    quarantine_drops: Counter,
    late_acks: Counter,
    corrupt: Counter,
    malformed: Counter,
    shed: Counter,
    expired: Counter,
    refused: Counter,
    elected: Counter,
    handed_over: Counter,
    proposed: Counter,
    read_rounds: Counter,
    copies_sent: Counter,
    copies_taken: Counter,
}

impl EventMetrics {
    pub(crate) fn new() -> EventMetrics {
        EventMetrics {
            restamps: counter!("kvorum_restamps_total"),
            superseded: counter!("kvorum_superseded_total"),
            read_repairs: counter!("kvorum_read_repairs_total"),
            hurried: counter!("kvorum_hurried_reads_total"),
            under_replicated: counter!("kvorum_under_replicated_total"),
            hinted: counter!("kvorum_hints_recorded_total"),
            hints_replayed: counter!("kvorum_hints_replayed_total"),
            hints_overflowed: counter!("kvorum_hints_overflowed_total"),
            hints_dropped: counter!("kvorum_hints_dropped_total"),
            quarantine_drops: counter!("kvorum_quarantine_drops_total"),
            late_acks: counter!("kvorum_late_acks_total"),
            corrupt: counter!("kvorum_corrupt_records_total"),
            malformed: counter!("kvorum_malformed_messages_total"),
            shed: counter!("kvorum_shed_total"),
            expired: counter!("kvorum_expired_total"),
            refused: counter!("kvorum_refused_requests_total"),
            elected: counter!("kvorum_raft_elections_total"),
            handed_over: counter!("kvorum_raft_hand_overs_total"),
            proposed: counter!("kvorum_raft_proposals_total"),
            read_rounds: counter!("kvorum_raft_read_rounds_total"),
            copies_sent: counter!("kvorum_raft_copies_sent_total"),
            copies_taken: counter!("kvorum_raft_copies_received_total"),
        }
    }

    /// The counter of an event.
    pub(crate) const fn of(&self, event: Event) -> &Counter {
        match event {
            Event::Restamp => &self.restamps,
            Event::Superseded => &self.superseded,
            Event::ReadRepair => &self.read_repairs,
            Event::Hurried => &self.hurried,
            Event::UnderReplicated => &self.under_replicated,
            Event::Hinted => &self.hinted,
            Event::HintReplayed => &self.hints_replayed,
            Event::HintOverflow => &self.hints_overflowed,
            Event::HintDropped => &self.hints_dropped,
            Event::QuarantineDropped => &self.quarantine_drops,
            Event::LateAck => &self.late_acks,
            Event::Corrupt => &self.corrupt,
            Event::Malformed => &self.malformed,
            Event::Shed => &self.shed,
            Event::Expired => &self.expired,
            Event::Refused => &self.refused,
            Event::Elected => &self.elected,
            Event::HandedOver => &self.handed_over,
            Event::Proposed => &self.proposed,
            Event::ReadRound => &self.read_rounds,
            Event::CopySent => &self.copies_sent,
            Event::CopyTaken => &self.copies_taken,
        }
    }
}

/// The metrics of one peer.
pub(crate) struct PeerMetrics {
    /// One while it is connected.
    pub(crate) up: Gauge,
    pub(crate) sent: Counter,
    pub(crate) received: Counter,
    /// Bytes its streams have not taken yet.
    pub(crate) queued: Gauge,
    /// Bytes it has not acknowledged yet.
    pub(crate) in_flight: Gauge,
    /// Keys that are remembered for it.
    pub(crate) hint_keys: Gauge,
    /// Bytes that these take.
    pub(crate) hint_bytes: Gauge,
    /// Slots in which it may have missed more than that.
    pub(crate) dirty_slots: Gauge,
    pub(crate) round_trip: Histogram,
}

impl PeerMetrics {
    pub(crate) fn new(peer: NodeId) -> PeerMetrics {
        let id = peer.to_string();
        let metrics = PeerMetrics {
            up: node_up(peer),
            sent: counter!("kvorum_peer_sent_bytes_total", "peer" => id.clone()),
            received: counter!("kvorum_peer_received_bytes_total", "peer" => id.clone()),
            queued: gauge!("kvorum_peer_queue_bytes", "peer" => id.clone()),
            in_flight: gauge!("kvorum_peer_in_flight_bytes", "peer" => id.clone()),
            hint_keys: gauge!("kvorum_hint_keys", "peer" => id.clone()),
            hint_bytes: gauge!("kvorum_hint_bytes", "peer" => id.clone()),
            dirty_slots: gauge!("kvorum_dirty_slots", "peer" => id.clone()),
            round_trip: histogram!("kvorum_peer_round_trip_seconds", "peer" => id),
        };
        metrics.up.set(0.0);
        metrics
    }
}

/// Whether a node is up; its label is the name that a node has unless told otherwise.
pub(crate) fn node_up(id: NodeId) -> Gauge {
    gauge!("kv_node_up", "node_id" => format!("node-{id}"))
}

/// Seconds, as histograms want them.
pub(crate) fn seconds(span: Duration) -> f64 {
    span.as_secs_f64()
}
