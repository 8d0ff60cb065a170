//! Whether a history of operations on one key could have happened one after the other.
//!
//! The search of Wing and Gong ("Testing and Verifying Concurrent Objects", 1993) with the memory
//! of Lowe ("Testing for Linearizability", 2017): operations are taken in every order that real
//! time allows, and a set of taken operations is not looked at twice with the same value.

use std::collections::HashSet;

/// What an operation did, as its client was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Did {
    /// Read this value.
    Read(Option<u64>),
    /// Stored this value; without an answer it may have, then or later, or not.
    Wrote(u64),
    /// Deleted.
    Deleted,
    /// Stored the second value if the first one was there; whether it was.
    Swapped(Option<u64>, u64, Option<bool>),
    /// Added one to a number, which absent is zero; the sum.
    Added(Option<u64>),
}

/// One operation.
#[derive(Clone, Debug)]
pub(super) struct Operation {
    pub(super) began: u64,
    /// When the answer came; nothing if it is not known whether it was executed.
    pub(super) ended: Option<u64>,
    pub(super) did: Did,
}

/// Whether the operations could have happened one after the other.
pub(super) fn is_linearizable(operations: &[Operation]) -> bool {
    let mut seen = HashSet::new();
    search(operations, &vec![false; operations.len()], None, &mut seen)
}

fn search(
    operations: &[Operation],
    taken: &[bool],
    value: Option<u64>,
    seen: &mut HashSet<(Vec<bool>, Option<u64>)>,
) -> bool {
    let left = || operations.iter().zip(taken).filter(|(_, taken)| !**taken);
    if left().all(|(operation, _)| operation.ended.is_none()) {
        return true;
    }
    if !seen.insert((taken.to_vec(), value)) {
        return false;
    }
    // Nothing may be taken before something that had ended when it began.
    let first_end = left().filter_map(|(operation, _)| operation.ended).min().unwrap_or(u64::MAX);
    for (at, operation) in operations.iter().enumerate() {
        if taken[at] || operation.began > first_end {
            continue;
        }
        if let Some(next) = apply(operation, value) {
            let mut taken = taken.to_vec();
            taken[at] = true;
            if search(operations, &taken, next, seen) {
                return true;
            }
        }
    }
    false
}

/// The value behind the operation; nothing if its answer does not fit the value before.
fn apply(operation: &Operation, value: Option<u64>) -> Option<Option<u64>> {
    match &operation.did {
        Did::Read(read) => (*read == value).then_some(value),
        Did::Wrote(new) => Some(Some(*new)),
        Did::Deleted => Some(None),
        Did::Swapped(old, new, told) => {
            let swaps = *old == value;
            let fits = told.is_none_or(|told| told == swaps);
            fits.then_some(if swaps { Some(*new) } else { value })
        }
        Did::Added(told) => {
            let sum = value.unwrap_or(0) + 1;
            told.is_none_or(|told| told == sum).then_some(Some(sum))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation(began: u64, ended: u64, did: Did) -> Operation {
        Operation { began, ended: (ended > 0).then_some(ended), did }
    }

    #[test]
    fn what_overlaps_may_take_any_order() {
        let history = [
            operation(1, 10, Did::Wrote(1)),
            operation(2, 9, Did::Wrote(2)),
            operation(11, 12, Did::Read(Some(1))),
            operation(11, 13, Did::Swapped(Some(1), 3, Some(true))),
            operation(14, 15, Did::Added(Some(4))),
        ];
        assert!(is_linearizable(&history));
    }

    #[test]
    fn a_stale_read_and_a_lost_write_are_noticed() {
        let stale = [
            operation(1, 2, Did::Wrote(1)),
            operation(3, 4, Did::Wrote(2)),
            operation(5, 6, Did::Read(Some(1))),
        ];
        assert!(!is_linearizable(&stale));
        let lost = [operation(1, 2, Did::Wrote(1)), operation(3, 4, Did::Read(None))];
        assert!(!is_linearizable(&lost));
        let twice = [operation(1, 0, Did::Added(None)), operation(2, 3, Did::Read(Some(2)))];
        assert!(!is_linearizable(&twice));
    }

    #[test]
    fn what_has_no_answer_may_happen_late_or_never() {
        let unknown = operation(1, 0, Did::Wrote(1));
        let before = operation(2, 3, Did::Read(None));
        let after = operation(4, 5, Did::Read(Some(1)));
        assert!(is_linearizable(&[unknown.clone(), before.clone(), after]));
        assert!(is_linearizable(&[unknown, before]));
    }
}
