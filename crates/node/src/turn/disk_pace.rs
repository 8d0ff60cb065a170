//! Whether this node's disk is too slow for a leader.
//!
//! Every acknowledged write of a strong keyspace waits for the disk of its leader or for those of
//! two others, and clients wait for the leader in any case. A disk that fails slowly, without an
//! error, makes its node a bad leader long before it makes it a bad replica. The verdict needs
//! trouble that lasts, and health that lasts longer, so that leaders do not move to and fro.

use std::time::Duration;

use kvorum_core::Mono;

/// How long the syncs are looked at together.
const PERIOD: Duration = Duration::from_secs(5);
/// In a period of trouble more than one sync in a hundred takes longer than this.
const SLOW: Duration = Duration::from_millis(500);
/// In a period of health no more than one sync in a hundred takes longer than this.
const WELL: Duration = Duration::from_millis(250);
/// A disk is slow when all periods have been of trouble for so long.
const TROUBLE: Duration = Duration::from_secs(30);
/// It is well again when all periods with syncs have been of health for so long.
const HEALTH: Duration = Duration::from_secs(60);

/// The syncs of a disk as they come, and what they say.
#[derive(Debug)]
pub(super) struct DiskPace {
    /// When this period began.
    began: Mono,
    syncs: u64,
    /// How many of them took longer than [`SLOW`].
    slow: u64,
    /// How many of them took longer than [`WELL`].
    not_well: u64,
    /// Since when a sync is under way.
    under_way: Option<Mono>,
    /// Since when there has been trouble, if there is.
    trouble: Option<Mono>,
    /// Since when there has been none, if the disk is slow.
    health: Option<Mono>,
    is_slow: bool,
}

impl DiskPace {
    /// A disk of which nothing is known is not slow.
    pub(super) const fn new(now: Mono) -> DiskPace {
        DiskPace {
            began: now,
            syncs: 0,
            slow: 0,
            not_well: 0,
            under_way: None,
            trouble: None,
            health: None,
            is_slow: false,
        }
    }

    /// Whether the disk is slow.
    pub(super) const fn is_slow(&self) -> bool {
        self.is_slow
    }

    /// A sync has begun that ends later.
    pub(super) const fn begun(&mut self, now: Mono) {
        self.under_way = Some(now);
    }

    /// A sync has ended.
    pub(super) fn synced(&mut self, took: Duration) {
        self.under_way = None;
        self.count(took);
    }

    fn count(&mut self, took: Duration) {
        self.syncs += 1;
        self.slow += u64::from(took > SLOW);
        self.not_well += u64::from(took > WELL);
    }

    /// Time has passed. Tells whether the verdict has changed.
    pub(super) fn look(&mut self, now: Mono) -> bool {
        if now.since(self.began) < PERIOD {
            return false;
        }
        if let Some(hanging) = self.under_way.map(|began| now.since(began)).filter(|h| *h > SLOW) {
            self.count(hanging);
        }
        let trouble = self.slow * 100 > self.syncs;
        let healthy = self.not_well * 100 <= self.syncs;
        if trouble {
            self.trouble.get_or_insert(self.began);
        } else {
            self.trouble = None;
        }
        if !healthy {
            self.health = None;
        } else if self.syncs > 0 {
            self.health.get_or_insert(self.began);
        }
        let lasts = |since: Option<Mono>, span| since.is_some_and(|s| now.since(s) >= span);
        let was_slow = self.is_slow;
        self.is_slow = match was_slow {
            false => lasts(self.trouble, TROUBLE),
            true => !lasts(self.health, HEALTH),
        };
        (self.began, self.syncs, self.slow, self.not_well) = (now, 0, 0, 0);
        was_slow != self.is_slow
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk and its clock.
    struct Watched(DiskPace, Mono);

    impl Watched {
        fn new() -> Watched {
            Watched(DiskPace::new(Mono(0)), Mono(0))
        }

        /// Syncs of which one in a hundred and one more take this long, for so many seconds.
        fn live(&mut self, took_ms: u64, seconds: u64) -> bool {
            for _ in 0..seconds {
                for sync in 0..100 {
                    let took = if sync < 2 { took_ms } else { 1 };
                    self.0.synced(Duration::from_millis(took));
                }
                self.pass(1);
            }
            self.0.is_slow()
        }

        /// Nothing is synced for so many seconds.
        fn pass(&mut self, seconds: u64) {
            for _ in 0..seconds {
                self.1 = self.1 + Duration::from_secs(1);
                self.0.look(self.1);
            }
        }
    }

    #[test]
    fn a_disk_is_slow_after_thirty_seconds_of_slow_syncs_and_not_before() {
        let mut disk = Watched::new();
        assert!(!disk.live(501, 29));
        assert!(disk.live(501, 1));
        let mut disk = Watched::new();
        assert!(!disk.live(499, 300));
    }

    #[test]
    fn trouble_that_is_interrupted_is_none() {
        let mut disk = Watched::new();
        for _ in 0..5 {
            assert!(!disk.live(600, 25));
            assert!(!disk.live(1, 5));
        }
        for _ in 0..5 {
            assert!(!disk.live(600, 25));
            disk.pass(5);
        }
        assert!(!disk.0.is_slow());
    }

    #[test]
    fn a_slow_disk_must_be_well_for_a_minute() {
        let mut disk = Watched::new();
        assert!(disk.live(600, 30));
        assert!(disk.live(300, 300), "neither slow nor well");
        assert!(disk.live(100, 55));
        assert!(disk.live(300, 5));
        assert!(disk.live(100, 55));
        assert!(!disk.live(100, 5));
    }

    #[test]
    fn a_slow_disk_that_nobody_uses_stays_slow() {
        let mut disk = Watched::new();
        assert!(disk.live(600, 30));
        disk.pass(600);
        assert!(disk.0.is_slow());
    }

    #[test]
    fn a_sync_that_does_not_end_is_slow() {
        let mut disk = Watched::new();
        disk.0.begun(Mono(0));
        disk.pass(30);
        assert!(disk.0.is_slow());
    }
}
