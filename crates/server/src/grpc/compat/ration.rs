//! How much of a node's time calls may take that read a whole keyspace: one at a time, and in the
//! long run a quarter of the time.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How much time may be taken at once after a rest.
const BURST: Duration = Duration::from_secs(10);
/// One second in so many may be taken.
const SHARE: u32 = 4;

/// The account of one node. Clones share it.
#[derive(Clone, Debug)]
pub struct Ration(Arc<Mutex<Account>>);

#[derive(Debug)]
struct Account {
    /// A call is under way.
    busy: bool,
    /// The time that was taken and is not paid back yet.
    owed: Duration,
    /// When `owed` was right.
    at: Instant,
}

/// The right to read, for one call; what it took is owed when it is dropped.
#[derive(Debug)]
pub struct Portion {
    ration: Ration,
    begun: Instant,
}

/// Why a call may not read now: try again after so many seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TryAgain {
    seconds: u64,
}

impl fmt::Display for TryAgain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let TryAgain { seconds } = self;
        write!(f, "this node reads one chunk at a time, and not always; try again in {seconds} s")
    }
}

impl Ration {
    pub fn new() -> Ration {
        let account = Account { busy: false, owed: Duration::ZERO, at: Instant::now() };
        Ration(Arc::new(Mutex::new(account)))
    }

    /// Begins a call.
    ///
    /// # Errors
    /// [`TryAgain`] if another is under way, or if the calls before have taken too much.
    pub fn begin(&self) -> Result<Portion, TryAgain> {
        let mut account = self.account();
        let now = Instant::now();
        account.pay_back(now);
        if account.busy {
            return Err(TryAgain { seconds: 1 });
        }
        if account.owed >= BURST {
            let wait = (account.owed - BURST) * SHARE;
            return Err(TryAgain { seconds: wait.as_secs() + 1 });
        }
        account.busy = true;
        Ok(Portion { ration: self.clone(), begun: now })
    }

    fn account(&self) -> MutexGuard<'_, Account> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn pay_back(&mut self, now: Instant) {
        self.owed = self.owed.saturating_sub((now - self.at) / SHARE);
        self.at = now;
    }
}

impl Drop for Portion {
    fn drop(&mut self) {
        let mut account = self.ration.account();
        let now = Instant::now();
        account.pay_back(now);
        account.owed += now - self.begun;
        account.busy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    #[tokio::test(start_paused = true)]
    async fn one_call_reads_at_a_time() {
        let ration = Ration::new();
        let portion = ration.begin().unwrap();
        assert_eq!(ration.begin().unwrap_err(), TryAgain { seconds: 1 });
        drop(portion);
        ration.begin().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_taken_much_waits_until_a_quarter_of_the_time_has_paid_for_it() {
        let ration = Ration::new();
        let portion = ration.begin().unwrap();
        advance(Duration::from_secs(20)).await;
        drop(portion);
        let refused = ration.begin().unwrap_err();
        assert_eq!(refused, TryAgain { seconds: 41 });
        assert!(refused.to_string().ends_with("try again in 41 s"));
        advance(Duration::from_secs(41)).await;
        ration.begin().unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn short_calls_are_never_refused() {
        let ration = Ration::new();
        for _ in 0..1000 {
            let portion = ration.begin().unwrap();
            advance(Duration::from_millis(5)).await;
            drop(portion);
            advance(Duration::from_millis(15)).await;
        }
    }
}
