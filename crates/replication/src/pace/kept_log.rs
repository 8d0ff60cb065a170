//! How many bytes of log entries the groups of a node keep in memory together.
//!
//! One group keeps many for a follower that lags; when a node is slow or was away, it lags in all
//! groups at once. So they share a budget. Whoever looks when it is used up keeps no more than
//! every group may, and a follower that lacks what is dropped gets a copy.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What the groups of a node keep together, in bytes.
#[derive(Debug, Default)]
pub struct KeptLogs(Arc<AtomicUsize>);

/// What one group keeps. It counts until this is dropped.
#[derive(Debug)]
pub struct KeptLog {
    all: Arc<AtomicUsize>,
    own: usize,
}

impl KeptLogs {
    /// A group that keeps nothing yet.
    #[must_use]
    pub fn group(&self) -> KeptLog {
        KeptLog { all: Arc::clone(&self.0), own: 0 }
    }

    /// Bytes that all groups keep, as they told last.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl KeptLog {
    /// The group keeps so many bytes now.
    pub fn set(&mut self, bytes: usize) {
        // Groups of a node take turns, so nobody else changes it in between.
        self.all.fetch_add(bytes, Ordering::Relaxed);
        self.all.fetch_sub(self.own, Ordering::Relaxed);
        self.own = bytes;
    }
}

impl Drop for KeptLog {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_group_kept_is_free_when_it_is_gone() {
        let all = KeptLogs::default();
        let (mut one, mut other) = (all.group(), all.group());
        one.set(10);
        other.set(5);
        one.set(3);
        assert_eq!(all.bytes(), 8);
        drop(one);
        assert_eq!(all.bytes(), 5);
    }
}
