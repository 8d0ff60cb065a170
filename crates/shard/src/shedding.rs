//! Refusing requests while they wait too long for their turn.
//!
//! Limits in bytes keep a node alive; long before they are reached its clients wait longer than
//! they gain from. The measure is not how much waits but for how long, and not the longest wait
//! but the shortest of a while: a burst makes a queue that drains, overload one that stands
//! (Nichols and Jacobson, *Controlling Queue Delay*, ACM Queue 2012). As long as every turn of an
//! interval leaves its requests waiting beyond the target, a growing share of new requests is
//! refused, at once and not executed; the rest is served in a time worth waiting for.

use std::time::Duration;

use kvorum_core::Mono;

/// What share of requests is refused first, in 64ths; it doubles with every interval of overload
/// and is halved by every interval without.
const FIRST: u8 = 4;
/// The share that is refused at most: the rest shows whether the overload goes on.
const MOST: u8 = 60;

/// Decides which requests are refused.
#[derive(Debug)]
pub(crate) struct Shedding {
    target: Duration,
    interval: Duration,
    /// The share of requests refused, in 64ths.
    share: u8,
    /// The interval under way; none while there are no requests.
    interval_under_way: Option<Watch>,
    dice: Dice,
}

#[derive(Clone, Copy, Debug)]
struct Watch {
    since: Mono,
    latest: Mono,
    /// The shortest wait so far.
    least: Duration,
}

impl Shedding {
    /// Nothing is refused yet. `seed` decides which requests will be.
    pub(crate) const fn new(target: Duration, interval: Duration, seed: u64) -> Shedding {
        Shedding { target, interval, share: 0, interval_under_way: None, dice: Dice(seed) }
    }

    /// The requests of a turn have waited for up to `waited`.
    pub(crate) fn waited(&mut self, now: Mono, waited: Duration) {
        let fresh = Watch { since: now, latest: now, least: waited };
        let Some(watch) = &mut self.interval_under_way else {
            self.interval_under_way = Some(fresh);
            return;
        };
        if now.since(watch.latest) > self.interval {
            // There was nothing to wait for in between.
            self.share = 0;
            *watch = fresh;
            return;
        }
        watch.latest = now;
        watch.least = watch.least.min(waited);
        if now.since(watch.since) < self.interval {
            return;
        }
        self.share = if watch.least > self.target {
            (self.share * 2).clamp(FIRST, MOST)
        } else {
            Some(self.share / 2).filter(|share| *share >= FIRST).unwrap_or(0)
        };
        *watch = fresh;
    }

    /// Whether the next request is refused.
    pub(crate) fn sheds(&mut self) -> bool {
        self.share > 0 && self.dice.roll() % 64 < u64::from(self.share)
    }
}

/// A deterministic source of chance (`SplitMix64`; Steele, Lea and Flood, *Fast Splittable
/// Pseudorandom Number Generators*, 2014).
#[derive(Debug)]
struct Dice(u64);

impl Dice {
    const fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: Duration = Duration::from_millis(50);
    const INTERVAL: Duration = Duration::from_secs(1);

    fn millis(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// A node in whose turns, one every 20 ms, requests wait as told.
    struct Node {
        shedding: Shedding,
        now: Mono,
    }

    impl Node {
        fn new() -> Node {
            Node { shedding: Shedding::new(TARGET, INTERVAL, 1), now: Mono(1) }
        }

        fn turns(&mut self, count: u64, waited: impl Fn(u64) -> u64) {
            for n in 0..count {
                self.now = self.now + millis(20);
                self.shedding.waited(self.now, millis(waited(n)));
            }
        }

        /// How many of a thousand requests are refused now.
        fn refused(&mut self) -> usize {
            (0..1000).filter(|_| self.shedding.sheds()).count()
        }
    }

    #[test]
    fn a_node_without_a_standing_queue_refuses_nothing() {
        let mut node = Node::new();
        node.turns(500, |_| 49);
        assert_eq!(node.refused(), 0);
        // One turn of each interval in which nobody had to wait is enough.
        node.turns(500, |n| if n % 40 == 0 { 1 } else { 400 });
        assert_eq!(node.refused(), 0);
    }

    #[test]
    fn a_burst_is_served() {
        let mut node = Node::new();
        node.turns(1, |_| 900);
        node.turns(40, |_| 800);
        assert_eq!(node.refused(), 0);
        node.turns(1, |_| 2);
        node.turns(200, |_| 2);
        assert_eq!(node.refused(), 0);
    }

    #[test]
    fn two_bursts_with_nothing_between_are_not_one_overload() {
        let mut node = Node::new();
        for _ in 0..20 {
            node.turns(1, |_| 900);
            node.now = node.now + millis(1100);
        }
        assert_eq!(node.refused(), 0);
    }

    #[test]
    fn a_standing_queue_has_a_growing_share_refused_and_never_all() {
        let mut node = Node::new();
        let mut shares = Vec::new();
        for _ in 0..7 {
            node.turns(52, |_| 60);
            shares.push(node.refused() / 10);
        }
        let about = [6, 12, 25, 50, 93, 93, 93];
        for (share, about) in shares.iter().zip(about) {
            assert!(share.abs_diff(about) <= 4, "{shares:?}");
        }
        assert!(node.refused() < 1000);
    }

    #[test]
    fn the_share_shrinks_when_the_queue_drains_and_is_gone_after_a_pause() {
        let mut node = Node::new();
        node.turns(300, |_| 60);
        let worst = node.refused();
        node.turns(52, |_| 5);
        let better = node.refused();
        assert!(better < worst * 2 / 3, "{worst} {better}");
        node.turns(300, |_| 5);
        assert_eq!(node.refused(), 0);

        node.turns(300, |_| 60);
        node.now = node.now + millis(1500);
        node.turns(1, |_| 60);
        assert_eq!(node.refused(), 0);
    }

    #[test]
    fn the_seed_decides_which_requests_are_refused() {
        let refusals = |seed| {
            let mut node = Node { shedding: Shedding::new(TARGET, INTERVAL, seed), now: Mono(1) };
            node.turns(200, |_| 60);
            (0..64).map(|_| node.shedding.sheds()).collect::<Vec<bool>>()
        };
        assert_eq!(refusals(1), refusals(1));
        assert_ne!(refusals(1), refusals(2));
    }
}
