//! How a node goes: it hands over what it leads, then refuses, then ends.
//!
//! Handing over comes first and takes a fraction of a second, while the node answers as ever. When
//! it is told to stop it answers every request with "nothing was executed" for a moment before it
//! closes the connections: a connection that closes under a request leaves its client in doubt.

use std::time::Duration;

use kvorum_core::{Mono, Now};
use kvorum_shard::{In, Shard};
use tokio::sync::oneshot;

use super::Turn;

/// How long a node hands over at most.
const HAND_OVER_LIMIT: Duration = Duration::from_secs(5);
/// It gives up earlier if nobody takes anything for so long.
const HAND_OVER_STALL: Duration = Duration::from_secs(2);
/// How long a stopping node refuses requests before it closes its connections.
const FAREWELL: Duration = Duration::from_millis(500);
/// How long a stopping node waits for pending requests.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);

/// A node that is about to stop.
#[derive(Debug, Default)]
pub(super) struct Leaving {
    hand_over: Option<HandOver>,
    /// Everything is handed over that somebody takes.
    done: bool,
    /// Who wants to know when that is so.
    waiting: Vec<oneshot::Sender<()>>,
    /// Since when the node is stopping.
    stopping: Option<Mono>,
    /// The connections were told to close.
    closed: bool,
}

/// How far handing over has come.
#[derive(Clone, Copy, Debug)]
struct HandOver {
    since: Mono,
    left: usize,
    /// When `left` has become less.
    progress: Mono,
}

impl HandOver {
    /// Whether to go on, with so many partitions left.
    fn goes_on(&mut self, left: usize, now: Mono) -> bool {
        if left < self.left {
            self.progress = now;
        }
        self.left = left;
        let stalls = now.since(self.progress) >= HAND_OVER_STALL;
        left > 0 && !stalls && now.since(self.since) < HAND_OVER_LIMIT
    }
}

impl Turn {
    /// The node is to hand over what it leads, because it will stop.
    pub(super) fn leave(&mut self, now: Now, answer: oneshot::Sender<()>) {
        self.leaving.waiting.push(answer);
        if self.leaving.hand_over.is_none() {
            self.step(now, In::Leave);
            let left = self.to_hand_over();
            if left > 0 {
                tracing::info!("{left} partitions are handed over to other nodes");
            }
            let (since, progress) = (now.mono, now.mono);
            self.leaving.hand_over = Some(HandOver { since, left, progress });
            self.renew();
        }
    }

    /// The node is to stop.
    pub(super) fn stop(&mut self, now: Now) {
        self.leaving.stopping.get_or_insert(now.mono);
        self.renew();
    }

    /// Sees how far leaving has come. Called once in every turn.
    pub(super) fn see_off(&mut self, now: Now) {
        if let Some(mut hand_over) = self.leaving.hand_over.filter(|_| !self.leaving.done) {
            let left = self.to_hand_over();
            self.leaving.done = !hand_over.goes_on(left, now.mono);
            self.leaving.hand_over = Some(hand_over);
            if self.leaving.done && left > 0 {
                tracing::warn!("nobody has taken over {left} partitions that this node leads");
            }
        }
        if self.leaving.done {
            for answer in self.leaving.waiting.drain(..) {
                // Whoever does not wait any more need not know.
                let _ = answer.send(());
            }
        }
        let Some(since) = self.leaving.stopping else { return };
        let over = now.mono.since(since) >= FAREWELL || self.parts.connections.is_empty();
        if over && !self.leaving.closed {
            self.leaving.closed = true;
            self.parts.connections.close_all();
        }
    }

    /// Whether the node will stop soon: it is no good place for new connections.
    pub(super) const fn is_leaving(&self) -> bool {
        self.leaving.hand_over.is_some() || self.is_stopping()
    }

    /// Whether the node takes no requests any more.
    pub(super) const fn is_stopping(&self) -> bool {
        self.leaving.stopping.is_some()
    }

    /// Whether the node was told to stop and may: nobody waits for an answer, here or on another
    /// node, and nothing for a sync.
    pub(super) fn stopped(&self) -> bool {
        let Some(since) = self.leaving.stopping else { return false };
        let waited = self.parts.clock.mono().since(since);
        let pending = self.shard.as_ref().map_or(0, |shard| shard.stats().pending_requests);
        let unanswered = pending + self.callers.len() > 0 || !self.backlog.has_no_requests();
        let unsent = !self.parts.inbox.is_empty() || self.parts.links.queued() > 0;
        let idle = self.leaving.closed && !unanswered && !unsent;
        !self.syncing && (idle || waited > STOP_TIMEOUT)
    }

    fn to_hand_over(&self) -> usize {
        self.shard.as_ref().map_or(0, Shard::to_hand_over)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn begun(left: usize) -> HandOver {
        HandOver { since: Mono(SECOND), left, progress: Mono(SECOND) }
    }

    #[test]
    fn handing_over_ends_when_nothing_is_left() {
        assert!(!begun(0).goes_on(0, Mono(SECOND)));
        let mut three = begun(3);
        assert!(three.goes_on(1, Mono(SECOND + 1)));
        assert!(!three.goes_on(0, Mono(SECOND + 2)));
    }

    #[test]
    fn handing_over_ends_when_nobody_takes_anything_and_at_the_latest_after_the_limit() {
        assert!(begun(3).goes_on(3, Mono(3 * SECOND - 1)));
        assert!(!begun(3).goes_on(3, Mono(3 * SECOND)));
        let mut many = begun(100);
        let mut now = Mono(SECOND);
        while many.goes_on(many.left - 1, now) {
            now = now + Duration::from_millis(500);
        }
        assert_eq!(now, Mono(6 * SECOND));
    }
}
