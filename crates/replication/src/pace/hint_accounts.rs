//! What a node remembers for members that missed writes, over all its partitions.
//!
//! The limits are those of a node and a target, while the keys lie with the partitions. So each
//! partition holds a share of the account of a target, and what it kept is free when it is gone.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

use kvorum_core::{Mono, NodeId};

/// Writes that a node waits for after their clients were answered, at most. Of others it does not
/// wait to see whether the last members store them, and takes it that they do not.
const MOST_LINGERING: usize = 8192;

/// The accounts of all targets.
#[derive(Debug, Default)]
pub struct HintAccounts {
    /// By node id.
    accounts: Vec<(NodeId, Arc<Account>)>,
    lingering: Arc<()>,
}

/// A write that lingers after its client was answered. It counts as long as this is held.
#[derive(Debug)]
pub struct Lingering(#[allow(dead_code, reason = "only counted")] Arc<()>);

/// What waits for one target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PendingHints {
    /// The target.
    pub node: NodeId,
    /// Keys that it must be sent, those under way included.
    pub keys: usize,
    /// Bytes that these take here.
    pub bytes: usize,
    /// Those of them that are under way.
    pub in_flight: usize,
    /// Slots in which more than these may differ.
    pub dirty_slots: usize,
}

#[derive(Debug, Default)]
struct Account {
    keys: AtomicUsize,
    bytes: AtomicUsize,
    in_flight: AtomicUsize,
    dirty_slots: AtomicUsize,
    /// Partitions that remember keys.
    holders: AtomicUsize,
    /// Since when the target is away: microseconds, and one; zero while it is not.
    away: AtomicU64,
    /// Keys that it took since the replay began.
    replayed: AtomicUsize,
    replaying: AtomicBool,
    overflowed: AtomicBool,
}

/// One partition's share of the account of a target.
#[derive(Debug)]
pub struct HintShare {
    account: Arc<Account>,
    keys: usize,
    bytes: usize,
    in_flight: usize,
    dirty_slots: usize,
}

impl HintAccounts {
    /// The share of a partition that remembers nothing yet.
    #[must_use]
    pub fn share(&mut self, node: NodeId) -> HintShare {
        let at = self.accounts.partition_point(|(known, _)| *known < node);
        if self.accounts.get(at).is_none_or(|(known, _)| *known != node) {
            self.accounts.insert(at, (node, Arc::default()));
        }
        let account = self.accounts.get(at).map(|(_, account)| Arc::clone(account));
        let account = account.unwrap_or_default();
        HintShare { account, keys: 0, bytes: 0, in_flight: 0, dirty_slots: 0 }
    }

    /// What waits for each target, by id.
    pub fn pending(&self) -> impl Iterator<Item = PendingHints> {
        self.accounts.iter().map(|(node, account)| account.pending(*node))
    }

    /// How many slots may differ between this node and another because writes were missed that
    /// are not remembered by key.
    #[must_use]
    pub fn dirty_slots(&self, node: NodeId) -> usize {
        let at = self.accounts.binary_search_by_key(&node, |(known, _)| *known).ok();
        let account = at.and_then(|at| self.accounts.get(at));
        account.map_or(0, |(_, account)| account.dirty_slots.load(Relaxed))
    }

    /// Leave to wait for the last members of a write; nothing while too many writes do.
    #[must_use]
    pub fn linger(&self) -> Option<Lingering> {
        // This itself holds one, and so does each of them.
        let few = Arc::strong_count(&self.lingering) <= MOST_LINGERING;
        few.then(|| Lingering(Arc::clone(&self.lingering)))
    }
}

impl Account {
    fn pending(&self, node: NodeId) -> PendingHints {
        PendingHints {
            node,
            keys: self.keys.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            in_flight: self.in_flight.load(Relaxed),
            dirty_slots: self.dirty_slots.load(Relaxed),
        }
    }
}

// The groups of a node take turns, so nothing changes between a look and what follows from it.
impl HintShare {
    /// Whether one more key of `bytes` keeps the account within its limits.
    #[must_use]
    pub fn has_room(&self, bytes: usize, most_keys: usize, most_bytes: usize) -> bool {
        self.account.keys.load(Relaxed) < most_keys
            && self.account.bytes.load(Relaxed).saturating_add(bytes) <= most_bytes
    }

    /// A key of `bytes` is remembered.
    pub fn add(&mut self, bytes: usize) {
        self.set_kept(self.keys + 1, self.bytes.saturating_add(bytes));
    }

    /// A key of `bytes` is forgotten.
    pub fn remove(&mut self, bytes: usize) {
        self.set_kept(self.keys.saturating_sub(1), self.bytes.saturating_sub(bytes));
    }

    fn set_kept(&mut self, keys: usize, bytes: usize) {
        let Account { holders, .. } = &*self.account;
        match (self.keys, keys) {
            (0, 1..) => drop(holders.fetch_add(1, Relaxed)),
            (1.., 0) => drop(holders.fetch_sub(1, Relaxed)),
            _ => {}
        }
        change(&self.account.keys, &mut self.keys, keys);
        change(&self.account.bytes, &mut self.bytes, bytes);
    }

    /// So many keys of the partition are under way.
    pub fn set_in_flight(&mut self, keys: usize) {
        change(&self.account.in_flight, &mut self.in_flight, keys);
    }

    /// So many slots of the partition are dirty.
    pub fn set_dirty(&mut self, slots: usize) {
        change(&self.account.dirty_slots, &mut self.dirty_slots, slots);
    }

    /// Keys of all partitions.
    #[must_use]
    pub fn all_keys(&self) -> usize {
        self.account.keys.load(Relaxed)
    }

    /// Keys of all partitions that are under way.
    #[must_use]
    pub fn all_in_flight(&self) -> usize {
        self.account.in_flight.load(Relaxed)
    }

    /// How many partitions remember keys for the target.
    #[must_use]
    pub fn holders(&self) -> usize {
        self.account.holders.load(Relaxed)
    }

    /// The target is away; tells since when.
    pub fn away(&self, now: Mono) -> Mono {
        let known = self.account.away.load(Relaxed);
        if known > 0 {
            return Mono(known - 1);
        }
        self.account.away.store(now.0.saturating_add(1), Relaxed);
        now
    }

    /// The target is there.
    pub fn back(&self) {
        self.account.away.store(0, Relaxed);
    }

    /// Something is sent; tells whether the replay begins with it.
    pub fn begins(&self) -> bool {
        !self.account.replaying.swap(true, Relaxed)
    }

    /// The target has taken a key.
    pub fn replayed(&self) {
        self.account.replayed.fetch_add(1, Relaxed);
    }

    /// If nothing waits for the target any more in any partition, and something has: how many
    /// keys it took.
    pub fn ends(&self) -> Option<usize> {
        if self.all_keys() > 0 || !self.account.replaying.swap(false, Relaxed) {
            return None;
        }
        self.account.overflowed.store(false, Relaxed);
        Some(self.account.replayed.swap(0, Relaxed))
    }

    /// A key was not remembered; tells whether it is the first one.
    pub fn overflows(&self) -> bool {
        !self.account.overflowed.swap(true, Relaxed)
    }
}

impl Drop for HintShare {
    fn drop(&mut self) {
        self.set_kept(0, 0);
        self.set_in_flight(0);
        self.set_dirty(0);
    }
}

fn change(all: &AtomicUsize, own: &mut usize, new: usize) {
    all.fetch_add(new, Relaxed);
    all.fetch_sub(*own, Relaxed);
    *own = new;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    #[test]
    fn partitions_share_the_limits_of_a_target_and_leave_nothing_behind() {
        let mut accounts = HintAccounts::default();
        let (mut one, mut other) = (accounts.share(node(2)), accounts.share(node(2)));
        one.add(100);
        other.add(50);
        other.set_dirty(3);
        other.set_in_flight(1);
        assert!(one.has_room(50, 3, 200));
        assert!(!one.has_room(51, 3, 200));
        assert!(!one.has_room(1, 2, 200));
        assert!(accounts.share(node(3)).has_room(200, 1, 200), "each target has limits of its own");
        assert_eq!(one.holders(), 2);
        assert_eq!(accounts.dirty_slots(node(2)), 3);
        drop(other);
        one.remove(100);
        let nothing =
            PendingHints { node: node(2), keys: 0, bytes: 0, in_flight: 0, dirty_slots: 0 };
        assert_eq!(accounts.pending().next(), Some(nothing));
        assert_eq!(one.holders(), 0);
    }

    #[test]
    fn a_replay_ends_once_with_the_last_key_of_all_partitions() {
        let mut accounts = HintAccounts::default();
        let (mut one, mut other) = (accounts.share(node(2)), accounts.share(node(2)));
        one.add(1);
        other.add(1);
        assert!(one.begins());
        assert!(!other.begins());
        one.replayed();
        one.remove(1);
        assert_eq!(one.ends(), None);
        other.replayed();
        other.remove(1);
        assert_eq!(other.ends(), Some(2));
        assert_eq!(one.ends(), None);
    }

    #[test]
    fn a_target_is_away_since_it_was_first_missed() {
        let mut accounts = HintAccounts::default();
        let share = accounts.share(node(2));
        assert_eq!(share.away(Mono(0)), Mono(0));
        assert_eq!(share.away(Mono(7)), Mono(0));
        share.back();
        assert_eq!(share.away(Mono(9)), Mono(9));
    }

    #[test]
    fn few_writes_linger() {
        let accounts = HintAccounts::default();
        let lingering: Vec<Lingering> = std::iter::from_fn(|| accounts.linger()).collect();
        assert_eq!(lingering.len(), MOST_LINGERING);
        drop(lingering);
        assert!(accounts.linger().is_some());
    }
}
