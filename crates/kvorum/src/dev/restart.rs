//! When a node that died is started again.

use std::time::Duration;

use crate::exit::Exit;

/// The pause before a node is started again.
pub const PAUSE: Duration = Duration::from_secs(1);
/// The longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// A node that lived shorter than this died quickly.
const QUICK: Duration = Duration::from_secs(10);
/// After so many quick deaths in a row the pause doubles with each further one.
const PATIENCE: u32 = 5;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// By itself, with an exit code.
    Exited(i32),
    /// By a signal.
    Killed(i32),
}

/// What happens next to a node that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It is started again after a pause.
    Restart(Duration),
    /// It stays down: it refused to start, or restarting is off.
    StayDown,
}

/// The history of one node's deaths.
#[derive(Clone, Copy, Debug)]
pub struct Restarts {
    enabled: bool,
    quick_deaths: u32,
}

impl Restarts {
    /// A node that has not died yet.
    #[must_use]
    pub const fn new(enabled: bool) -> Restarts {
        Restarts { enabled, quick_deaths: 0 }
    }

    /// Notes a death after a life of `lived` and tells what to do.
    pub fn after(&mut self, death: Death, lived: Duration) -> Next {
        if !self.enabled || death == Death::Exited(i32::from(Exit::Refused.code())) {
            return Next::StayDown;
        }
        self.quick_deaths = if lived < QUICK { self.quick_deaths.saturating_add(1) } else { 0 };
        let doublings = self.quick_deaths.saturating_sub(PATIENCE).min(16);
        Next::Restart((PAUSE * (1 << doublings)).min(LONGEST_PAUSE))
    }

    /// Whether the node keeps dying as soon as it is started.
    #[must_use]
    pub const fn hopeless(&self) -> bool {
        self.quick_deaths >= PATIENCE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KILLED: Death = Death::Killed(9);

    fn pause(next: Next) -> u64 {
        match next {
            Next::Restart(pause) => pause.as_secs(),
            Next::StayDown => panic!("the node stays down"),
        }
    }

    #[test]
    fn a_killed_node_comes_back_after_one_second() {
        let mut restarts = Restarts::new(true);
        assert_eq!(pause(restarts.after(KILLED, Duration::from_secs(30))), 1);
        assert_eq!(pause(restarts.after(Death::Exited(1), Duration::from_secs(30))), 1);
    }

    #[test]
    fn the_pause_doubles_after_five_quick_deaths_up_to_a_minute() {
        let mut restarts = Restarts::new(true);
        let pauses: Vec<u64> =
            (0..13).map(|_| pause(restarts.after(KILLED, Duration::from_millis(20)))).collect();
        assert_eq!(pauses, [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
        assert!(restarts.hopeless());
    }

    #[test]
    fn a_long_life_makes_up_for_quick_deaths() {
        let mut restarts = Restarts::new(true);
        for _ in 0..7 {
            restarts.after(KILLED, Duration::ZERO);
        }
        assert_eq!(pause(restarts.after(KILLED, QUICK)), 1);
        assert!(!restarts.hopeless());
    }

    #[test]
    fn a_node_that_refused_to_start_stays_down() {
        let mut restarts = Restarts::new(true);
        assert_eq!(restarts.after(Death::Exited(78), Duration::ZERO), Next::StayDown);
        assert_eq!(Restarts::new(false).after(KILLED, QUICK), Next::StayDown);
    }
}
