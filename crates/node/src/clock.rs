//! The clocks of the machine, read in one place.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kvorum_core::{Mono, Now};

/// Reads the machine's clocks. Copies agree with each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose monotonic time begins now. Its first reading is one second, so that a
    /// moment shortly before it can be expressed.
    pub(crate) fn start() -> Clock {
        let now = Instant::now();
        Clock { origin: now.checked_sub(Duration::from_secs(1)).unwrap_or(now) }
    }

    /// The present.
    pub(crate) fn now(self) -> Now {
        Now { mono: self.mono(), wall_ms: wall_ms() }
    }

    /// The present on the monotonic clock.
    pub(crate) fn mono(self) -> Mono {
        self.reading(Instant::now())
    }

    /// What the monotonic clock read at a moment.
    pub(crate) fn reading(self, at: Instant) -> Mono {
        let micros = at.saturating_duration_since(self.origin).as_micros();
        Mono(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// The moment of a monotonic reading, for timers.
    pub(crate) fn instant(self, at: Mono) -> Instant {
        // A deadline too far away to be expressed is as good as one in a year.
        const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);
        self.origin + Duration::from_micros(at.0).min(YEAR)
    }
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
