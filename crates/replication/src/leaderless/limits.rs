//! How long replicas of leaderless partitions wait, and how much they keep.

use std::time::Duration;

/// Times and sizes; the same for all leaderless partitions of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Whether hints are kept for members that miss a write. Without them anti-entropy alone
    /// brings them up to date.
    pub hints: bool,
    /// Keys remembered for one member, over all partitions of the node; of more only the slots are.
    pub hint_keys: usize,
    /// Bytes that these keys may take, likewise.
    pub hint_bytes: usize,
    /// How long a member may be away before its hints are given up for dirty slots.
    pub hint_window: Duration,
    /// Hinted records under way to one member at a time, over all partitions.
    pub hints_in_flight: usize,
    /// Records younger than this are writes under way: comparing replicas do not repair them.
    pub settle: Duration,
    /// Buckets, items and bytes that one session of two replicas compares or sends at most; the
    /// rest is for the next one.
    pub session_buckets: usize,
    /// See `session_buckets`.
    pub session_items: usize,
    /// See `session_buckets`.
    pub session_bytes: usize,
    /// How long a session waits for an answer before it is given up.
    pub session_patience: Duration,
    /// How far the floor stays behind the present. More than the longest deadline of a request and
    /// the largest error of a clock.
    pub gc_lag: Duration,
    /// How often a partition that has something to remove tries to raise its floor.
    pub gc_interval: Duration,
    /// Bytes of refused mutations that a node keeps for its operator.
    pub quarantine_bytes: usize,
}

impl Limits {
    /// The limits of a server.
    pub const SERVER: Limits = Limits {
        hints: true,
        hint_keys: 1_000_000,
        hint_bytes: 64 << 20,
        hint_window: Duration::from_secs(3 * 3600),
        hints_in_flight: 1024,
        settle: Duration::from_secs(5),
        session_buckets: 512,
        session_items: 10_000,
        session_bytes: 8 << 20,
        session_patience: Duration::from_secs(10),
        gc_lag: Duration::from_secs(3600),
        gc_interval: Duration::from_secs(600),
        quarantine_bytes: 16 << 20,
    };
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::SERVER
    }
}
