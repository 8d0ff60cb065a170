//! Time as an argument: the pure crates never read a clock.

use std::ops::Add;
use std::time::Duration;

/// A reading of a monotonic clock, in microseconds since an arbitrary start of the process.
///
/// Only differences between two readings of the same process mean anything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mono(pub u64);

impl Mono {
    /// The time from `earlier` to `self`; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Mono) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Mono {
    type Output = Mono;

    fn add(self, span: Duration) -> Mono {
        let micros = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        Mono(self.0.saturating_add(micros))
    }
}

/// The present, as the driver of a pure state machine sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic time: deadlines and durations.
    pub mono: Mono,
    /// Wall clock, milliseconds since 1970-01-01 UTC: versions and expiry.
    pub wall_ms: u64,
}
