//! What a node does without being asked by a client, and how much of it.
//!
//! Hints, sessions of anti-entropy and the pages of a rebuild send through one allowance. It is a
//! token bucket over bytes; an item costs a fixed number of bytes more, for the time that the
//! shard takes over it. The bucket holds no more than a *slice*, about a millisecond of such work,
//! so no turn that clients wait for is longer by more than that.
//!
//! How fast it fills follows the requests of clients, as the rate of a sender follows the loss of
//! packets (Chiu and Jain, *Analysis of the Increase and Decrease Algorithms*, 1989): it grows
//! by the same amount in every second, and is halved by every interval in which all requests had to
//! wait. It never falls below a floor, so that whatever was begun ends.

use std::time::Duration;

use kvorum_core::{Mono, NodeId};

/// Bytes that an item costs beside its own: what the shard could send in the time it takes to
/// look up, encode and count one.
const ITEM_COST: usize = 128;
/// Requests that wait less than this for their turn are not held up.
const WAIT: Duration = Duration::from_millis(5);
/// All requests must wait for as long as this before the rate is halved. As often it is halved
/// while that lasts.
const INTERVAL: Duration = Duration::from_millis(100);
/// From the floor to the ceiling the rate takes so many seconds.
const GROWTH_SECONDS: u64 = 5;
/// How long a bucket may have been left alone before it is certainly full.
const FULL_AFTER: Duration = Duration::from_secs(60);

/// How much a node does in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackgroundLimits {
    /// Bytes per second while no request waits.
    pub ceiling: u64,
    /// Bytes per second whatever waits; at least one.
    pub floor: u64,
    /// Bytes per second of hints to one node, at most.
    pub hints_to_one: u64,
    /// Bytes that can be had at once.
    pub slice: u64,
}

impl BackgroundLimits {
    /// The limits of a server.
    pub const SERVER: BackgroundLimits = BackgroundLimits {
        ceiling: 64 << 20,
        floor: 1 << 20,
        hints_to_one: 10 << 20,
        slice: 64 << 10,
    };
}

impl Default for BackgroundLimits {
    fn default() -> BackgroundLimits {
        BackgroundLimits::SERVER
    }
}

/// Whether something may be done in the background now.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// Yes, and it has been paid for.
    Granted,
    /// No, and not before this time.
    NotBefore(Mono),
}

impl Grant {
    /// Whether it may be done.
    #[must_use]
    pub const fn is_granted(self) -> bool {
        matches!(self, Grant::Granted)
    }
}

/// The allowance of one node.
#[derive(Debug)]
pub struct Background {
    limits: BackgroundLimits,
    /// Bytes per second, as they were when the rate was set last.
    rate: u64,
    /// When that was.
    set: Mono,
    all: Bucket,
    /// Hints alone, by target.
    hints: Vec<(NodeId, Bucket)>,
    /// The interval under way; none while there are no requests.
    interval: Option<Interval>,
}

#[derive(Clone, Copy, Debug)]
struct Interval {
    since: Mono,
    latest: Mono,
    /// The shortest wait so far.
    least: Duration,
}

impl Default for Background {
    fn default() -> Background {
        Background::new(BackgroundLimits::SERVER)
    }
}

impl Background {
    /// An allowance that has a slice, at the highest rate.
    #[must_use]
    pub fn new(limits: BackgroundLimits) -> Background {
        Background {
            limits,
            rate: limits.ceiling,
            set: Mono(0),
            all: Bucket::full(limits.slice),
            hints: Vec::new(),
            interval: None,
        }
    }

    /// The requests of a turn have waited for up to `waited`.
    pub fn waited(&mut self, now: Mono, waited: Duration) {
        let fresh = Interval { since: now, latest: now, least: waited };
        let Some(interval) = &mut self.interval else {
            self.interval = Some(fresh);
            return;
        };
        if now.since(interval.latest) > INTERVAL {
            // There was nothing to wait for in between.
            *interval = fresh;
            return;
        }
        interval.latest = now;
        interval.least = interval.least.min(waited);
        if now.since(interval.since) < INTERVAL {
            return;
        }
        let held_up = interval.least > WAIT;
        *interval = fresh;
        if held_up {
            self.rate = (self.rate(now) / 2).max(self.floor());
            self.set = now;
        }
    }

    /// Asks to do something with `items` records of `bytes` together. What is larger than a slice
    /// is granted as well, and whoever comes next waits the longer.
    pub fn take(&mut self, now: Mono, items: usize, bytes: usize) -> Grant {
        let (rate, slice) = (self.rate(now), self.limits.slice);
        let ready = self.all.ready(now, rate, slice);
        if ready <= now {
            self.all.spend(cost(items, bytes));
            return Grant::Granted;
        }
        Grant::NotBefore(ready)
    }

    /// As [`Background::take`], for hints to a node: these have a limit of their own as well, so that
    /// a node that has just come back is not flooded.
    pub fn take_hints(&mut self, now: Mono, to: NodeId, items: usize, bytes: usize) -> Grant {
        let (rate, slice) = (self.rate(now), self.limits.slice);
        let own_rate = self.limits.hints_to_one.clamp(1, rate);
        let ready = self.all.ready(now, rate, slice);
        let own = self.hints_to(to);
        let ready = own.ready(now, own_rate, slice).max(ready);
        if ready <= now {
            own.spend(cost(items, bytes));
            self.all.spend(cost(items, bytes));
            return Grant::Granted;
        }
        Grant::NotBefore(ready)
    }

    /// What was taken for `expected` bytes turned out to have `items` records of `bytes` together.
    pub fn correct(&mut self, expected: usize, items: usize, bytes: usize) {
        let (expected, real) = (as_u64(expected), cost(items, bytes));
        self.all.spend(real.saturating_sub(expected));
        self.all.give_back(expected.saturating_sub(real), self.limits.slice);
    }

    /// Bytes per second, at present.
    #[must_use]
    pub fn rate(&self, now: Mono) -> u64 {
        let span = self.limits.ceiling.saturating_sub(self.limits.floor);
        let micros = micros(now.since(self.set).min(FULL_AFTER));
        let grown = u128::from(span) * u128::from(micros) / u128::from(GROWTH_SECONDS * 1_000_000);
        let grown = u64::try_from(grown).unwrap_or(u64::MAX);
        self.rate.saturating_add(grown).min(self.limits.ceiling).max(self.floor())
    }

    /// Forgets what is known of a node.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.hints.retain(|(known, _)| *known != node);
    }

    fn floor(&self) -> u64 {
        self.limits.floor.max(1)
    }

    fn hints_to(&mut self, node: NodeId) -> &mut Bucket {
        let at = self.hints.partition_point(|(known, _)| *known < node);
        if self.hints.get(at).is_none_or(|(known, _)| *known != node) {
            self.hints.insert(at, (node, Bucket::full(self.limits.slice)));
        }
        // The entry has just been made if it was missing.
        #[allow(clippy::indexing_slicing)]
        &mut self.hints[at].1
    }
}

/// What may be spent. Whoever finds anything in it may take more than there is.
#[derive(Debug)]
struct Bucket {
    /// Millionths of a byte, so that no microsecond is too short to count; negative is debt.
    balance: i128,
    /// When it was filled last.
    filled: Mono,
}

impl Bucket {
    const MILLION: i128 = 1_000_000;

    fn full(slice: u64) -> Bucket {
        Bucket { balance: i128::from(slice.max(1)) * Self::MILLION, filled: Mono(0) }
    }

    /// Fills it at `rate` bytes per second, and tells when there is something in it.
    fn ready(&mut self, now: Mono, rate: u64, slice: u64) -> Mono {
        let elapsed = micros(now.since(self.filled));
        self.filled = self.filled.max(now);
        let filled = self.balance + i128::from(elapsed) * i128::from(rate);
        self.balance = filled.min(i128::from(slice.max(1)) * Self::MILLION);
        if self.balance > 0 {
            return now;
        }
        let wait = (1 - self.balance) / i128::from(rate.max(1)) + 1;
        now + Duration::from_micros(u64::try_from(wait).unwrap_or(u64::MAX))
    }

    fn spend(&mut self, bytes: u64) {
        self.balance -= i128::from(bytes) * Self::MILLION;
    }

    fn give_back(&mut self, bytes: u64, slice: u64) {
        let more = self.balance + i128::from(bytes) * Self::MILLION;
        self.balance = more.min(i128::from(slice.max(1)) * Self::MILLION);
    }
}

fn cost(items: usize, bytes: usize) -> u64 {
    as_u64(items.saturating_mul(ITEM_COST).saturating_add(bytes))
}

fn as_u64(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: BackgroundLimits = BackgroundLimits::SERVER;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    /// How many bytes a greedy duty gets from `from` for `span`, in pieces of `piece` bytes.
    fn greedy(background: &mut Background, from: Mono, span: Duration, piece: usize) -> u64 {
        let (mut now, mut got) = (from, 0);
        while now < from + span {
            match background.take(now, 0, piece) {
                Grant::Granted => got += piece as u64,
                Grant::NotBefore(at) => {
                    assert!(at > now);
                    now = at;
                }
            }
        }
        got
    }

    /// Turns of 10 ms in which all requests wait for `wait`.
    fn requests(background: &mut Background, from: Mono, turns: u64, wait: Duration) -> Mono {
        let mut now = from;
        for _ in 0..turns {
            background.waited(now, wait);
            now = now + Duration::from_millis(10);
        }
        now
    }

    #[test]
    fn while_no_request_waits_the_rate_is_the_ceiling_and_a_moment_has_a_slice() {
        let mut background = Background::default();
        let got = greedy(&mut background, Mono(0), Duration::from_micros(1), 1024);
        assert!((LIMITS.slice..=LIMITS.slice + 1024).contains(&got), "{got}");
        let now = requests(&mut background, Mono(0), 300, Duration::from_millis(4));
        let got = greedy(&mut background, now, Duration::from_secs(10), 1024);
        assert!(got.abs_diff(10 * LIMITS.ceiling) <= LIMITS.slice + 1024, "{got}");
    }

    #[test]
    fn while_all_requests_wait_the_rate_falls_to_the_floor_and_no_further() {
        let mut background = Background::new(BackgroundLimits { ceiling: 4 << 20, ..LIMITS });
        let now = requests(&mut background, Mono(0), 6000, Duration::from_millis(6));
        assert!(background.rate(now) < 2 * LIMITS.floor, "{}", background.rate(now));
        assert!(background.rate(now) >= LIMITS.floor);
    }

    #[test]
    fn one_request_that_does_not_wait_is_enough_and_a_pause_is_no_waiting() {
        let mut background = Background::default();
        let mut now = Mono(0);
        for _ in 0..100 {
            now = requests(&mut background, now, 7, Duration::from_millis(50));
            now = requests(&mut background, now, 1, Duration::from_millis(1));
        }
        for _ in 0..100 {
            now = requests(&mut background, now, 1, Duration::from_millis(50));
            now = now + Duration::from_millis(200);
        }
        assert_eq!(background.rate(now), LIMITS.ceiling);
    }

    #[test]
    fn the_rate_grows_back_within_seconds_once_nobody_waits() {
        let mut background = Background::default();
        let now = requests(&mut background, Mono(0), 1000, Duration::from_millis(6));
        let low = background.rate(now);
        assert!(low < LIMITS.ceiling / 8, "{low}");
        assert_eq!(background.rate(now + Duration::from_secs(GROWTH_SECONDS)), LIMITS.ceiling);
    }

    #[test]
    fn hints_to_one_node_have_a_rate_of_their_own() {
        let mut background = Background::default();
        let (mut now, mut got) = (Mono(0), [0u64; 2]);
        while now < Mono(10_000_000) {
            for (got, to) in got.iter_mut().zip([node(2), node(3)]) {
                while background.take_hints(now, to, 0, 1000).is_granted() {
                    *got += 1000;
                }
            }
            now = now + Duration::from_millis(1);
        }
        for got in got {
            assert!(got.abs_diff(10 * LIMITS.hints_to_one) <= LIMITS.slice + 20_000, "{got}");
        }
    }

    #[test]
    fn what_was_taken_for_more_than_it_was_is_given_back() {
        let mut background = Background::default();
        assert!(background.take(Mono(0), 0, 10 << 20).is_granted());
        assert!(!background.take(Mono(0), 0, 1).is_granted());
        background.correct(10 << 20, 0, 100);
        assert!(background.take(Mono(0), 0, 1).is_granted());
        background.correct(1, 1000, 10 << 20);
        assert!(!background.take(Mono(0), 0, 1).is_granted());
    }

    proptest! {
        /// In no span more than its share and one slice and one piece, and never nothing for ever.
        #[test]
        fn nobody_gets_more_than_the_ceiling_or_less_than_the_floor(
            piece in 1usize..200_000,
            waits in proptest::collection::vec(0u64..20, 0..200),
            millis in 1u64..5000,
        ) {
            let mut background = Background::default();
            let mut now = Mono(0);
            for wait in waits {
                background.waited(now, Duration::from_millis(wait));
                now = now + Duration::from_millis(7);
            }
            let span = Duration::from_millis(millis);
            let got = greedy(&mut background, now, span, piece);
            let most = LIMITS.ceiling * millis / 1000 + LIMITS.slice + 2 * piece as u64;
            prop_assert!(got <= most, "{got} of {most}");
            prop_assert!(got + LIMITS.slice >= LIMITS.floor * millis / 1000, "{got}");
        }
    }
}
