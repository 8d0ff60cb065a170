//! When and how often a request is repeated.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The most repetitions that can be saved up.
const MAX_SAVED: u32 = 10;
/// A repetition costs ten tokens, so that a request can earn tenths of one.
const COST: u32 = 10;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(640);

/// A budget for repetitions: requests fill it, repetitions empty it, so that a cluster in trouble
/// is not given a multiple of its load (the token bucket of gRPC proposal A6, "Retry throttling").
#[derive(Debug)]
pub(crate) struct Budget {
    tokens: AtomicU32,
    per_request: u32,
}

impl Budget {
    /// A full budget that earns `per_ten` repetitions with every ten requests.
    pub(crate) const fn new(per_ten: u32) -> Budget {
        let full = if per_ten == 0 { 0 } else { MAX_SAVED * COST };
        Budget { tokens: AtomicU32::new(full), per_request: per_ten }
    }

    /// Notes a new request.
    pub(crate) fn earn(&self) {
        let earned =
            |tokens: u32| Some(tokens.saturating_add(self.per_request).min(MAX_SAVED * COST));
        // The function never declines, so there is no failure to handle.
        let _ = self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earned);
    }

    /// Takes one repetition out of the budget, if there is one.
    pub(crate) fn spend(&self) -> bool {
        let spent = |tokens: u32| tokens.checked_sub(COST);
        self.tokens.fetch_update(Ordering::Relaxed, Ordering::Relaxed, spent).is_ok()
    }
}

/// The pause before repetition number `repetition` (from zero): exponential with full jitter, so
/// that clients that failed together do not come back together.
pub(crate) fn pause(repetition: u32, random: u64) -> Duration {
    let ceiling = (FIRST_PAUSE * 2_u32.saturating_pow(repetition.min(6))).min(LONGEST_PAUSE);
    let micros = u64::try_from(ceiling.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random % micros.saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_runs_dry_and_requests_fill_it() {
        let budget = Budget::new(2);
        assert_eq!((0..20).filter(|_| budget.spend()).count(), 10);
        for _ in 0..4 {
            budget.earn();
        }
        assert!(!budget.spend());
        budget.earn();
        assert!(budget.spend());
        assert!(!budget.spend());
    }

    #[test]
    fn without_a_budget_nothing_is_repeated() {
        let budget = Budget::new(0);
        budget.earn();
        assert!(!budget.spend());
    }

    #[test]
    fn pauses_grow_up_to_a_limit_and_are_jittered() {
        assert_eq!(pause(0, 10_000), Duration::from_millis(10));
        assert_eq!(pause(3, 80_000), Duration::from_millis(80));
        assert_eq!(pause(60, 640_000), LONGEST_PAUSE);
        assert_eq!(pause(3, 0), Duration::ZERO);
        assert!((0..1000).all(|random| pause(60, random * 7919) <= LONGEST_PAUSE));
    }
}
