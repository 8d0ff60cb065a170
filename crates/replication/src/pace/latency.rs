//! An estimate of how long one node takes to answer reads: the usual case and the bad one.

use std::time::Duration;

use kvorum_core::Mono;

/// Estimates are kept in 256ths of a microsecond, so that small steps are not rounded away.
const FRACTION: u64 = 256;
/// The tail that is assumed of a node before it has answered.
const FIRST_TAIL: Duration = Duration::from_millis(20);
/// No estimate lies above this, so that none needs long to come down again.
const CEILING: Duration = Duration::from_secs(1);
/// Without news, the mean is halved as often as this passes.
const HALF_LIFE_MICROS: u64 = 1_000_000;

/// How long a node takes to answer.
///
/// The *mean* is an exponentially weighted moving average with weight 1/8 (as TCP's smoothed
/// round-trip time, RFC 6298 §2). It is halved for every second without news, so that a node that
/// was slow is tried again, and doubled whenever the node lets a read wait too long, which a mean
/// of answers alone would never show.
///
/// The *tail* follows the 99th percentile without keeping samples: an answer that takes longer
/// raises it by 99 parts of a small step, any other lowers it by one part, so it rests where one
/// in a hundred takes longer (stochastic approximation, Robbins and Monro 1951; steps in
/// proportion to the estimate, as in Ma, Muthukrishnan and Sandler, *Frugal Streaming*, 2013).
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    mean: u64,
    tail: u64,
    /// When there was news last.
    news: Mono,
}

impl Default for Latency {
    fn default() -> Latency {
        Latency { mean: 0, tail: scaled(FIRST_TAIL), news: Mono(0) }
    }
}

impl Latency {
    /// The node has answered within `took`.
    pub fn answered(&mut self, now: Mono, took: Duration) {
        // Zero stands for no knowledge.
        let took = scaled(took).max(FRACTION);
        let mean = self.faded(now);
        self.mean = if mean == 0 { took } else { mean - mean / 8 + took / 8 };
        let step = self.tail / 800;
        let tail = if took > self.tail { self.tail + 99 * step } else { self.tail - step };
        self.tail = tail.clamp(FRACTION * 800, scaled(CEILING));
        self.news = now;
    }

    /// The node has let a read wait for `waited`, and not answered yet.
    pub fn silent(&mut self, now: Mono, waited: Duration) {
        let doubled = self.faded(now).saturating_mul(2);
        self.mean = doubled.max(scaled(waited)).min(scaled(CEILING));
        self.news = now;
    }

    /// How long an answer usually takes; zero if nothing is known any more.
    #[must_use]
    pub fn mean(&self, now: Mono) -> Duration {
        Duration::from_micros(self.faded(now) / FRACTION)
    }

    /// How long all but one in a hundred answers take.
    #[must_use]
    pub const fn tail(&self) -> Duration {
        Duration::from_micros(self.tail / FRACTION)
    }

    fn faded(&self, now: Mono) -> u64 {
        let halvings = now.0.saturating_sub(self.news.0) / HALF_LIFE_MICROS;
        self.mean >> halvings.min(63)
    }
}

fn scaled(span: Duration) -> u64 {
    let micros = span.min(CEILING).as_micros();
    u64::try_from(micros).unwrap_or(u64::MAX).saturating_mul(FRACTION)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn micros(span: Duration) -> u64 {
        u64::try_from(span.as_micros()).unwrap()
    }

    /// The estimate after answers that take `took(n)` microseconds, one per millisecond.
    fn after(answers: u64, took: impl Fn(u64) -> u64) -> (Latency, Mono) {
        let mut latency = Latency::default();
        for n in 0..answers {
            latency.answered(Mono(n * 1000), Duration::from_micros(took(n)));
        }
        (latency, Mono(answers * 1000))
    }

    #[test]
    fn the_tail_rests_where_one_answer_in_a_hundred_takes_longer() {
        // One in two hundred is very slow: the 99th percentile lies among the others.
        let (latency, _) = after(50_000, |n| if n % 200 == 0 { 50_000 } else { 1000 + n % 100 });
        let tail = micros(latency.tail());
        assert!((1000..1600).contains(&tail), "{tail}");
        // Three in a hundred are: it lies among these.
        let (latency, _) = after(50_000, |n| if n % 33 == 0 { 50_000 } else { 1000 + n % 100 });
        let tail = micros(latency.tail());
        assert!((40_000..60_000).contains(&tail), "{tail}");
    }

    #[test]
    fn both_estimates_follow_a_node_that_becomes_slow_within_a_few_answers() {
        let (mut latency, mut now) = after(5000, |_| 500);
        assert_eq!(micros(latency.mean(now)), 500);
        for _ in 0..40 {
            now = Mono(now.0 + 1000);
            latency.answered(now, Duration::from_millis(30));
        }
        assert!(micros(latency.mean(now)) > 29_000);
        assert!(micros(latency.tail()) > 29_000, "{:?}", latency.tail());
    }

    #[test]
    fn the_mean_fades_without_news_and_the_tail_stays() {
        let (latency, now) = after(5000, |_| 800);
        let tail = latency.tail();
        assert_eq!(micros(latency.mean(Mono(now.0 + 2_000_000))), 200);
        assert_eq!(latency.mean(Mono(now.0 + 3600 * 1_000_000)), Duration::ZERO);
        assert_eq!(latency.tail(), tail);
    }

    #[test]
    fn no_silence_is_too_long_to_be_made_good() {
        let (mut latency, now) = after(5000, |_| 800);
        for _ in 0..100 {
            latency.silent(now, Duration::from_secs(3600));
        }
        assert_eq!(latency.mean(now), CEILING);
        for _ in 0..100 {
            latency.answered(now, Duration::from_micros(800));
        }
        assert!(micros(latency.mean(now)) < 900, "{:?}", latency.mean(now));
    }
}
