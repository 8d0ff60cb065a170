//! The replica groups of this node and when each wants to be woken.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use kvorum_core::{Hlc, Keyspace, Layout, Mode, Mono, PartitionId, Store};
use kvorum_replication::{Group, Leadership, Root, leaderless, raft};

use crate::Options;

/// Makes the group of a partition that `layout` gives to this node.
pub(crate) type Factory = fn(&Options, &Layout, PartitionId) -> Option<Box<dyn Group + Send>>;

/// The groups of one node. A group keeps its index for as long as the node holds its partition.
#[derive(Debug)]
pub(crate) struct Groups {
    factory: Factory,
    /// The index of each partition's group, by placement and number.
    indices: Vec<Vec<Option<usize>>>,
    entries: Vec<Option<Entry>>,
    /// At most one per group; may be early, never late. Early ones are put right when they come
    /// due, which is cheaper than to follow every change of a deadline.
    wakeups: BTreeSet<(Mono, usize)>,
    /// How many rebuilds have been ordered.
    rebuilds: u64,
    /// Groups that have handled something in this turn, and not been told its end.
    gathering: Vec<usize>,
}

/// A group and what the shard keeps beside it.
pub(crate) struct Entry {
    /// The partition.
    pub(crate) partition: PartitionId,
    /// The group.
    pub(crate) group: Box<dyn Group + Send>,
    /// The number of the rebuild under way, while its data is incomplete.
    pub(crate) rebuild: Option<u64>,
    wakeup: Option<Mono>,
    /// It has handled something in this turn and must be told that the turn ends.
    gathers: bool,
}

impl Groups {
    /// No groups yet.
    pub(crate) fn new(factory: Factory) -> Groups {
        let (indices, entries) = (Vec::new(), Vec::new());
        let (wakeups, gathering) = (BTreeSet::new(), Vec::new());
        Groups { factory, indices, entries, wakeups, rebuilds: 0, gathering }
    }

    /// The index of the group of a partition, if this node holds the partition.
    pub(crate) fn index(&self, partition: PartitionId) -> Option<usize> {
        let placement = self.indices.get(usize::from(partition.placement))?;
        *placement.get(usize::from(partition.number))?
    }

    /// The group with an index.
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut Entry> {
        self.entries.get_mut(index)?.as_mut()
    }

    /// What the clock of a strong group's log shows here.
    pub(crate) fn reached(&self, index: usize) -> Hlc {
        let entry = self.entries.get(index).and_then(Option::as_ref);
        entry.map_or(Hlc::default(), |entry| entry.group.reached())
    }

    /// What a group compares with the other replicas.
    pub(crate) fn root(&self, index: usize, store: &dyn Store) -> Option<Root> {
        self.entries.get(index).and_then(Option::as_ref)?.group.root(store)
    }

    /// Notes that a group has something to handle in this turn.
    pub(crate) fn gather(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index).and_then(Option::as_mut) else { return };
        if !entry.gathers && entry.group.gathers() {
            entry.gathers = true;
            self.gathering.push(index);
        }
    }

    /// Takes a group that must be told that the turn ends.
    pub(crate) fn next_gathering(&mut self) -> Option<usize> {
        let index = self.gathering.pop()?;
        if let Some(entry) = self.get_mut(index) {
            entry.gathers = false;
        }
        Some(index)
    }

    /// Notes that a group's data is incomplete, from now on.
    pub(crate) fn begin_rebuild(&mut self, index: usize) {
        self.rebuilds += 1;
        let number = self.rebuilds;
        if let Some(entry) = self.get_mut(index) {
            entry.rebuild = Some(number);
        }
    }

    /// Notes that a rebuild is complete. False if another one has been ordered meanwhile.
    pub(crate) fn end_rebuild(&mut self, index: usize, number: Option<u64>) -> bool {
        let entry = self.get_mut(index).filter(|entry| entry.rebuild == number);
        entry.is_some_and(|entry| entry.rebuild.take().is_some())
    }

    /// Notes when a group that has handled an input wants to be woken.
    pub(crate) fn schedule(&mut self, index: usize) {
        let Some(entry) = self.entries.get_mut(index).and_then(Option::as_mut) else { return };
        let Some(wanted) = entry.group.next_deadline() else { return };
        match entry.wakeup {
            Some(known) if known <= wanted => return,
            Some(known) => {
                self.wakeups.remove(&(known, index));
            }
            None => {}
        }
        entry.wakeup = Some(wanted);
        self.wakeups.insert((wanted, index));
    }

    /// Takes the indices of the groups whose deadline has come. Each must be handled and then
    /// scheduled again.
    pub(crate) fn due(&mut self, now: Mono) -> Vec<usize> {
        let later = self.wakeups.split_off(&(Mono(now.0.saturating_add(1)), 0));
        let woken = std::mem::replace(&mut self.wakeups, later);
        let mut due = Vec::new();
        for (_, index) in woken {
            let Some(entry) = self.get_mut(index) else { continue };
            entry.wakeup = None;
            if entry.group.next_deadline().is_some_and(|deadline| deadline <= now) {
                due.push(index);
            } else {
                self.schedule(index);
            }
        }
        due
    }

    /// When the next group wants to be woken, or earlier.
    pub(crate) fn next_wakeup(&self) -> Option<Mono> {
        self.wakeups.first().map(|(at, _)| *at)
    }

    /// The groups that have anything pending, in order: whatever is pending has a deadline.
    pub(crate) fn pending(&self) -> Vec<usize> {
        let mut pending: Vec<usize> = self.wakeups.iter().map(|(_, index)| *index).collect();
        pending.sort_unstable();
        pending
    }

    /// How many partitions are being rebuilt. Looks at every group: for status only.
    pub(crate) fn rebuilding(&self) -> usize {
        self.entries.iter().flatten().filter(|entry| entry.rebuild.is_some()).count()
    }

    /// The floor of a group that has one.
    pub(crate) fn floor(&self, partition: PartitionId) -> Option<Hlc> {
        self.entries.get(self.index(partition)?)?.as_ref()?.group.floor()
    }

    /// The lowest floor of the groups of each placement that have one.
    pub(crate) fn floors(&self) -> BTreeMap<u16, Hlc> {
        let mut lowest: BTreeMap<u16, Hlc> = BTreeMap::new();
        for entry in self.entries.iter().flatten() {
            let Some(floor) = entry.group.floor() else { continue };
            let known = lowest.entry(entry.partition.placement).or_insert(floor);
            *known = floor.min(*known);
        }
        lowest
    }

    /// What the groups with a leader tell of it, in the order of their indices.
    pub(crate) fn leadership(&self) -> impl Iterator<Item = (PartitionId, Leadership)> {
        let entries = self.entries.iter().flatten();
        entries.filter_map(|entry| Some((entry.partition, entry.group.leadership()?)))
    }

    /// Adopts a layout: groups of partitions that stay are kept as they are (the replicas of a
    /// partition do not change yet), missing ones are made, the others dropped. Returns the
    /// indices the dropped ones had.
    pub(crate) fn adopt(&mut self, options: &Options, layout: &Layout) -> Vec<usize> {
        let mut indices: Vec<Vec<Option<usize>>> = Vec::new();
        let mut kept = vec![false; self.entries.len()];
        for partition in layout.partitions_on(options.me) {
            let known = self.index(partition);
            let Some(index) = known.or_else(|| self.make(options, layout, partition)) else {
                continue;
            };
            if let Some(kept) = kept.get_mut(index) {
                *kept = true;
            }
            *cell(cell(&mut indices, partition.placement), partition.number) = Some(index);
        }
        self.indices = indices;
        let mut dropped = Vec::new();
        for (index, (place, kept)) in self.entries.iter_mut().zip(kept).enumerate() {
            if let Some(entry) = place.take_if(|_| !kept) {
                if let Some(wakeup) = entry.wakeup {
                    self.wakeups.remove(&(wakeup, index));
                }
                dropped.push(index);
            }
        }
        dropped
    }

    fn make(
        &mut self,
        options: &Options,
        layout: &Layout,
        partition: PartitionId,
    ) -> Option<usize> {
        let group = (self.factory)(options, layout, partition)?;
        self.entries.push(Some(Entry {
            partition,
            group,
            rebuild: None,
            wakeup: None,
            gathers: false,
        }));
        let index = self.entries.len() - 1;
        // It may want to act before anybody asks for it.
        self.schedule(index);
        Some(index)
    }
}

/// The replica of a partition, as the mode of its keyspaces wants it.
pub(crate) fn by_mode(
    options: &Options,
    layout: &Layout,
    partition: PartitionId,
) -> Option<Box<dyn Group + Send>> {
    let mut keyspaces = layout.keyspaces().iter();
    let strong = |ks: &Keyspace| ks.placement == partition.placement && ks.mode == Mode::Strong;
    match keyspaces.any(strong) {
        true => strongly(options, layout, partition),
        false => leaderless(options, layout, partition),
    }
}

/// The Raft replica of a partition.
fn strongly(
    options: &Options,
    layout: &Layout,
    partition: PartitionId,
) -> Option<Box<dyn Group + Send>> {
    let keyspaces = layout.keyspaces().iter().filter(|ks| ks.placement == partition.placement);
    let place = u64::from(partition.placement) << 16 | u64::from(partition.number);
    Some(Box::new(raft::Replica::new(raft::Options {
        partition,
        slots: layout.slots(partition)?,
        keyspaces: keyspaces.map(|keyspace| keyspace.id).collect(),
        members: layout.replicas(partition).to_vec(),
        seed: options.seed ^ place.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        limits: options.raft,
        mutation: options.raft_mutation,
    })))
}

/// The leaderless replica of a partition.
fn leaderless(
    options: &Options,
    layout: &Layout,
    partition: PartitionId,
) -> Option<Box<dyn Group + Send>> {
    let keyspaces = layout.keyspaces().iter().filter(|ks| ks.placement == partition.placement);
    Some(Box::new(leaderless::Replica::new(leaderless::Options {
        partition,
        slots: layout.slots(partition)?,
        members: layout.replicas(partition).to_vec(),
        keyspaces: keyspaces.map(|ks| (ks.id, ks.read, ks.write)).collect(),
        limits: options.leaderless,
        mutation: options.mutation,
    })))
}

/// The element `at` of a table that grows as far as it is asked for.
fn cell<T: Default>(table: &mut Vec<T>, at: u16) -> &mut T {
    let at = usize::from(at);
    if table.len() <= at {
        table.resize_with(at + 1, T::default);
    }
    // The table has just been made long enough.
    #[allow(clippy::indexing_slicing)]
    &mut table[at]
}

/// The group's state is its own affair; what the shard knows of it is enough here.
impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("partition", &self.partition)
            .field("rebuild", &self.rebuild)
            .field("wakeup", &self.wakeup)
            .finish_non_exhaustive()
    }
}
