//! Whether a history of operations on one object could have happened one after the other. For
//! tests and the simulation; no product build contains it.
//!
//! The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory
//! of Lowe ("Testing for Linearizability", 2017): operations are taken in every order that real
//! time allows, and a set of taken operations is not looked at twice with the same state.

use std::collections::HashSet;
use std::hash::Hash;

/// What an operation does to an object, and what its client was told.
pub trait Act {
    /// What the object can be.
    type State: Clone + Eq + Hash;

    /// The state behind the operation; nothing if what was told does not fit the state before.
    fn act(&self, before: &Self::State) -> Option<Self::State>;

    /// Whether it changes no state whatever.
    fn only_reads(&self) -> bool;
}

/// One operation of a history.
#[derive(Clone, Debug)]
pub struct Operation<A> {
    /// When it was asked for.
    pub began: u64,
    /// When the answer came. Nothing if there was none: it may have happened or may yet, at any
    /// time since it began, or never.
    pub ended: Option<u64>,
    /// What it does.
    pub act: A,
}

/// Whether the operations could have happened one after the other, each between its beginning and
/// its end, on an object that was in state `first`.
///
/// The effort grows with the number of operations that overlap, and exponentially with the number
/// of those without an answer: histories must be short.
#[must_use]
pub fn is_linearizable<A: Act>(operations: &[Operation<A>], first: &A::State) -> bool {
    // What has an answer is tried first: most of the rest has not happened.
    let mut ordered: Vec<&Operation<A>> = operations.iter().collect();
    ordered.sort_by_key(|operation| operation.ended.unwrap_or(u64::MAX));
    let taken = Taken(vec![0; operations.len().div_ceil(64)]);
    Search { operations: ordered, seen: HashSet::new() }.goes_on(&taken, first)
}

/// The operations that have been taken, a bit each.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Taken(Vec<u64>);

impl Taken {
    fn has(&self, at: usize) -> bool {
        self.0.get(at / 64).is_some_and(|word| word >> (at % 64) & 1 == 1)
    }

    fn with(&self, at: usize) -> Taken {
        let mut more = self.clone();
        if let Some(word) = more.0.get_mut(at / 64) {
            *word |= 1 << (at % 64);
        }
        more
    }
}

struct Search<'a, A: Act> {
    /// In the order of their ends.
    operations: Vec<&'a Operation<A>>,
    seen: HashSet<(Taken, A::State)>,
}

impl<A: Act> Search<'_, A> {
    /// Whether what is left can follow when these have been taken and led to this state.
    fn goes_on(&mut self, taken: &Taken, state: &A::State) -> bool {
        let left = (0..self.operations.len()).filter(|at| !taken.has(*at));
        let left: Vec<usize> = left.collect();
        let operation = |at: &usize| self.operations.get(*at).copied();
        // Nothing may be taken before something that had ended when it began.
        let Some(first_end) = left.first().and_then(operation).and_then(|first| first.ended) else {
            return true;
        };
        if !self.seen.insert((taken.clone(), state.clone())) {
            return false;
        }
        let mut steps = Vec::new();
        for at in left {
            let Some(operation) = self.operations.get(at).filter(|o| o.began <= first_end) else {
                continue;
            };
            let Some(next) = operation.act.act(state) else { continue };
            // A read that fits now is in nobody's way.
            if operation.act.only_reads() && operation.ended.is_some() {
                return self.goes_on(&taken.with(at), &next);
            }
            // What need not happen does only if that makes a difference.
            if operation.ended.is_some() || next != *state {
                steps.push((at, next));
            }
        }
        steps.into_iter().any(|(at, next)| self.goes_on(&taken.with(at), &next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An operation on a register.
    #[derive(Clone, Copy, Debug)]
    enum Register {
        Read(Option<u64>),
        Write(u64),
        /// The sum that was told.
        Add(Option<u64>),
    }

    impl Act for Register {
        type State = Option<u64>;

        fn act(&self, before: &Option<u64>) -> Option<Option<u64>> {
            match *self {
                Register::Read(told) => (told == *before).then_some(*before),
                Register::Write(value) => Some(Some(value)),
                Register::Add(told) => {
                    let sum = before.unwrap_or(0) + 1;
                    told.is_none_or(|told| told == sum).then_some(Some(sum))
                }
            }
        }

        fn only_reads(&self) -> bool {
            matches!(self, Register::Read(_))
        }
    }

    use Register::{Add, Read, Write};

    const fn answered(began: u64, ended: u64, act: Register) -> Operation<Register> {
        Operation { began, ended: Some(ended), act }
    }

    const fn unanswered(began: u64, act: Register) -> Operation<Register> {
        Operation { began, ended: None, act }
    }

    fn holds(history: &[Operation<Register>]) -> bool {
        is_linearizable(history, &None)
    }

    #[test]
    fn what_overlaps_may_take_any_order() {
        let history = [
            answered(1, 10, Write(1)),
            answered(2, 9, Write(2)),
            answered(11, 12, Read(Some(1))),
            answered(13, 15, Add(Some(2))),
        ];
        assert!(holds(&history));
    }

    #[test]
    fn a_stale_read_a_lost_write_and_a_doubled_one_are_noticed() {
        let stale =
            [answered(1, 2, Write(1)), answered(3, 4, Write(2)), answered(5, 6, Read(Some(1)))];
        assert!(!holds(&stale));
        assert!(!holds(&[answered(1, 2, Write(1)), answered(3, 4, Read(None))]));
        assert!(!holds(&[answered(1, 2, Add(Some(1))), answered(3, 4, Read(Some(2)))]));
        assert!(!holds(&[unanswered(2, Add(None)), answered(1, 3, Add(Some(3)))]));
    }

    #[test]
    fn what_has_no_answer_may_happen_late_or_never() {
        let (before, after) = (answered(2, 3, Read(None)), answered(4, 5, Read(Some(1))));
        assert!(holds(&[unanswered(1, Write(1)), before.clone(), after.clone()]));
        assert!(holds(&[unanswered(1, Write(1)), before]));
        assert!(!holds(&[unanswered(1, Write(1)), after, answered(6, 7, Read(None))]));
        assert!(!holds(&[unanswered(4, Write(1)), answered(2, 3, Read(Some(1)))]));
    }

    #[test]
    fn more_than_a_word_of_operations_is_searched() {
        let mut history: Vec<_> =
            (0..100).map(|n| answered(2 * n, 2 * n + 1, Add(Some(n + 1)))).collect();
        history.push(answered(200, 201, Read(Some(100))));
        assert!(holds(&history));
        history.push(answered(202, 203, Read(Some(99))));
        assert!(!holds(&history));
    }
}
