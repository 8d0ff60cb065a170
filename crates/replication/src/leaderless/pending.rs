//! The operations a coordinator waits for, and when each wants to be woken.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_core::{Mono, Writer};

use crate::OpId;

/// Hands out operation ids.
///
/// An answer to a former life of this process may still arrive, so an id begins with the start
/// number of the writer: 12 bits, then 52 bits that count from one.
#[derive(Debug, Default)]
pub(super) struct OpIds {
    count: u64,
}

impl OpIds {
    const COUNTER_BITS: u32 = 52;

    /// An id never handed out before.
    pub(super) fn next(&mut self, writer: Writer) -> OpId {
        self.count += 1;
        OpId((u64::from(writer.start()) << Self::COUNTER_BITS) | self.count)
    }
}

/// Pending operations by id, each with one timer.
#[derive(Debug)]
pub(super) struct Pending<T> {
    operations: BTreeMap<OpId, (Mono, T)>,
    timers: BTreeSet<(Mono, OpId)>,
}

impl<T> Default for Pending<T> {
    fn default() -> Pending<T> {
        Pending { operations: BTreeMap::new(), timers: BTreeSet::new() }
    }
}

impl<T> Pending<T> {
    /// Adds an operation that wants to be woken at `wake`.
    pub(super) fn insert(&mut self, id: OpId, wake: Mono, operation: T) {
        self.timers.insert((wake, id));
        if let Some((former, _)) = self.operations.insert(id, (wake, operation)) {
            self.timers.remove(&(former, id));
        }
    }

    pub(super) fn get_mut(&mut self, id: OpId) -> Option<&mut T> {
        self.operations.get_mut(&id).map(|(_, operation)| operation)
    }

    pub(super) fn remove(&mut self, id: OpId) -> Option<T> {
        let (wake, operation) = self.operations.remove(&id)?;
        self.timers.remove(&(wake, id));
        Some(operation)
    }

    /// Changes when an operation wants to be woken.
    pub(super) fn wake_at(&mut self, id: OpId, wake: Mono) {
        let Some((former, _)) = self.operations.get_mut(&id) else { return };
        if *former != wake {
            self.timers.remove(&(*former, id));
            self.timers.insert((wake, id));
            *former = wake;
        }
    }

    /// When the first operation wants to be woken.
    pub(super) fn next_wake(&self) -> Option<Mono> {
        self.timers.first().map(|&(wake, _)| wake)
    }

    /// An operation whose time has come.
    pub(super) fn due(&self, now: Mono) -> Option<OpId> {
        self.timers.first().filter(|&&(wake, _)| wake <= now).map(|&(_, id)| id)
    }

    /// The ids of all operations, oldest first.
    pub(super) fn ids(&self) -> Vec<OpId> {
        self.operations.keys().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use kvorum_core::NodeId;

    use super::*;

    #[test]
    fn operations_are_woken_in_the_order_of_their_timers() {
        let mut pending = Pending::default();
        pending.insert(OpId(1), Mono(30), 'a');
        pending.insert(OpId(2), Mono(20), 'b');
        assert_eq!(pending.next_wake(), Some(Mono(20)));
        pending.wake_at(OpId(1), Mono(10));
        assert_eq!(pending.due(Mono(15)), Some(OpId(1)));
        assert_eq!(pending.remove(OpId(1)), Some('a'));
        assert_eq!(pending.due(Mono(15)), None);
        assert_eq!(pending.next_wake(), Some(Mono(20)));
    }

    #[test]
    fn ids_of_two_lives_differ() {
        let node = NodeId::new(1).unwrap();
        let first = OpIds::default().next(Writer::new(node, 1));
        let second = OpIds::default().next(Writer::new(node, 2));
        assert_ne!(first, second);
        assert_ne!(first, OpId::NONE);
    }
}
