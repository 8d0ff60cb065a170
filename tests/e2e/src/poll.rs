//! Waiting for what other processes do.

use std::thread;
use std::time::{Duration, Instant};

/// How long anything may take that is not itself about time. Far above what an idle machine
/// needs, so that a busy one does not fail tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

const PAUSE: Duration = Duration::from_millis(20);

/// Asks again and again until there is an answer.
///
/// # Panics
/// There is none within [`PATIENCE`]; the message says what was waited for.
pub fn until<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    within(PATIENCE, what, ask)
}

/// [`until`] with a limit of its own.
///
/// # Panics
/// There is no answer within `limit`.
pub fn within<T>(limit: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(began.elapsed() < limit, "waited {limit:?} in vain: {what}");
        // Sleep, because another process does not tell this one when something changes.
        thread::sleep(PAUSE);
    }
}
