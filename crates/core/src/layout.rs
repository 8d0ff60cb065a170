//! The layout: who holds what. An immutable value; the data path only reads it.

use std::ops::RangeInclusive;

use crate::{Keyspace, KeyspaceId, NodeId, SLOTS, Slot};

/// Identifies a partition: a contiguous range of slots of one placement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId {
    /// The index of the placement in the layout.
    pub placement: u16,
    /// The number of the partition inside the placement.
    pub number: u16,
}

/// Where the partitions of a group of keyspaces live.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// The replicas of each partition, preferred (primary) first. The length is a power of two.
    replicas: Vec<Vec<NodeId>>,
}

impl Placement {
    /// The most replicas a partition can have.
    pub const MAX_REPLICAS: usize = 8;

    /// A placement with the given replica lists.
    ///
    /// # Errors
    /// [`InvalidLayout`] unless there are 1 to 16384 lists, a power of two, none of them empty,
    /// longer than [`Placement::MAX_REPLICAS`] or with a node named twice.
    pub fn new(replicas: Vec<Vec<NodeId>>) -> Result<Placement, InvalidLayout> {
        let count = replicas.len();
        if !count.is_power_of_two() || count > usize::from(SLOTS) {
            return Err(InvalidLayout("the number of partitions is a power of two up to 16384"));
        }
        for list in &replicas {
            let mut sorted = list.clone();
            sorted.sort_unstable();
            sorted.dedup();
            if sorted.is_empty() || sorted.len() != list.len() {
                return Err(InvalidLayout("a partition has at least one replica, each once"));
            }
            if list.len() > Self::MAX_REPLICAS {
                return Err(InvalidLayout("a partition has at most eight replicas"));
            }
        }
        Ok(Placement { replicas })
    }

    fn slots_per_partition(&self) -> u16 {
        u16::try_from(usize::from(SLOTS) / self.replicas.len().max(1)).unwrap_or(SLOTS)
    }
}

/// The whole layout at one version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    version: u64,
    nodes: Vec<NodeId>,
    keyspaces: Vec<Keyspace>,
    placements: Vec<Placement>,
}

impl Layout {
    /// A layout of its parts; nodes and keyspaces are kept in the order of their ids.
    ///
    /// # Errors
    /// [`InvalidLayout`] if a keyspace has an id that is reserved or taken or names a placement
    /// that does not exist, or if a placement names a node that does not.
    pub fn new(
        version: u64,
        mut nodes: Vec<NodeId>,
        mut keyspaces: Vec<Keyspace>,
        placements: Vec<Placement>,
    ) -> Result<Layout, InvalidLayout> {
        nodes.sort_unstable();
        nodes.dedup();
        keyspaces.sort_unstable_by_key(|keyspace| keyspace.id);
        if keyspaces.iter().any(|ks| ks.id.is_local()) {
            return Err(InvalidLayout(
                "a keyspace has an id that is reserved for each node itself",
            ));
        }
        if !keyspaces.is_sorted_by(|one, next| one.id < next.id) {
            return Err(InvalidLayout("two keyspaces have the same id"));
        }
        if keyspaces.iter().any(|ks| usize::from(ks.placement) >= placements.len()) {
            return Err(InvalidLayout("a keyspace names a placement that does not exist"));
        }
        let mut members = placements.iter().flat_map(|p| p.replicas.iter().flatten());
        if members.any(|node| nodes.binary_search(node).is_err()) {
            return Err(InvalidLayout("a placement names a node that does not exist"));
        }
        Ok(Layout { version, nodes, keyspaces, placements })
    }

    /// The version of the layout; higher is newer.
    #[must_use]
    pub const fn version(&self) -> u64 {
        self.version
    }

    /// All nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// All keyspaces, by id.
    #[must_use]
    pub fn keyspaces(&self) -> &[Keyspace] {
        &self.keyspaces
    }

    /// The keyspace with an id.
    #[must_use]
    pub fn keyspace(&self, id: KeyspaceId) -> Option<&Keyspace> {
        let at = self.keyspaces.binary_search_by_key(&id, |keyspace| keyspace.id).ok()?;
        self.keyspaces.get(at)
    }

    /// The keyspace with a name.
    #[must_use]
    pub fn keyspace_named(&self, name: &str) -> Option<&Keyspace> {
        self.keyspaces.iter().find(|keyspace| keyspace.name == name)
    }

    /// The partition of a keyspace that a slot belongs to.
    #[must_use]
    pub fn partition_of(&self, keyspace: KeyspaceId, slot: Slot) -> Option<PartitionId> {
        let placement = self.keyspace(keyspace)?.placement;
        let width = self.placements.get(usize::from(placement))?.slots_per_partition();
        Some(PartitionId { placement, number: slot.get() / width })
    }

    /// The replicas of a partition, preferred first; empty if there is no such partition.
    #[must_use]
    pub fn replicas(&self, partition: PartitionId) -> &[NodeId] {
        self.placements
            .get(usize::from(partition.placement))
            .and_then(|placement| placement.replicas.get(usize::from(partition.number)))
            .map_or(&[], Vec::as_slice)
    }

    /// The slots of a partition; nothing if there is no such partition.
    #[must_use]
    pub fn slots(&self, partition: PartitionId) -> Option<RangeInclusive<Slot>> {
        let placement = self.placements.get(usize::from(partition.placement))?;
        if usize::from(partition.number) >= placement.replicas.len() {
            return None;
        }
        let width = placement.slots_per_partition();
        let first = partition.number.checked_mul(width)?;
        Some(Slot::new(first)?..=Slot::new(first + (width - 1))?)
    }

    /// The partitions of a keyspace, in slot order.
    pub fn partitions(&self, keyspace: KeyspaceId) -> impl Iterator<Item = PartitionId> + use<> {
        let placement = self.keyspace(keyspace).map(|keyspace| keyspace.placement);
        let count = placement
            .and_then(|index| self.placements.get(usize::from(index)))
            .map_or(0, |placement| placement.replicas.len());
        let count = u16::try_from(count).unwrap_or(u16::MAX);
        (0..count).map(move |number| PartitionId { placement: placement.unwrap_or(0), number })
    }

    /// The partitions of all placements that a node holds, in order.
    pub fn partitions_on(&self, node: NodeId) -> impl Iterator<Item = PartitionId> {
        self.placements.iter().enumerate().flat_map(move |(index, placement)| {
            let held = placement.replicas.iter().enumerate();
            held.filter(move |(_, list)| list.contains(&node)).map(move |(number, _)| PartitionId {
                placement: u16::try_from(index).unwrap_or(u16::MAX),
                number: u16::try_from(number).unwrap_or(u16::MAX),
            })
        })
    }
}

/// Parts that do not make a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid layout: {0}")]
pub struct InvalidLayout(&'static str);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Consistency, Mode};

    fn with_keyspaces(partitions: usize, ids: &[KeyspaceId]) -> Result<Layout, InvalidLayout> {
        let nodes: Vec<NodeId> = (1..=3).filter_map(NodeId::new).collect();
        let placement = Placement::new(vec![nodes.clone(); partitions])?;
        let keyspace = |id: &KeyspaceId| Keyspace {
            id: *id,
            name: format!("keyspace {}", id.0),
            mode: Mode::Eventual,
            placement: 0,
            read: Consistency::Quorum,
            write: Consistency::Quorum,
        };
        Layout::new(1, nodes, ids.iter().map(keyspace).collect(), vec![placement])
    }

    fn layout(partitions: usize) -> Layout {
        with_keyspaces(partitions, &[KeyspaceId::DEFAULT]).unwrap()
    }

    #[test]
    fn every_slot_lies_in_exactly_the_partition_that_claims_it() {
        for partitions in [1, 16, 256, 16384] {
            let layout = layout(partitions);
            for slot in (0..SLOTS).filter_map(Slot::new) {
                let partition = layout.partition_of(KeyspaceId::DEFAULT, slot).unwrap();
                assert!(layout.slots(partition).unwrap().contains(&slot));
            }
            assert_eq!(layout.partitions(KeyspaceId::DEFAULT).count(), partitions);
        }
    }

    #[test]
    fn no_keyspace_has_an_id_that_is_reserved_or_taken() {
        let refused = |ids: &[KeyspaceId]| with_keyspaces(1, ids).is_err();
        assert!(refused(&[KeyspaceId::LOCAL]));
        assert!(refused(&[KeyspaceId::DEFAULT, KeyspaceId::RAFT]));
        assert!(refused(&[KeyspaceId(7), KeyspaceId::DEFAULT, KeyspaceId(7)]));
        assert!(!refused(&[KeyspaceId(u32::MAX - 2), KeyspaceId::DEFAULT]));
        assert!(refused(&[KeyspaceId::QUARANTINE]));
    }

    #[test]
    fn impossible_layouts_are_refused() {
        assert!(Placement::new(vec![]).is_err());
        assert!(Placement::new(vec![vec![]; 4]).is_err());
        let one = NodeId::new(1).unwrap();
        assert!(Placement::new(vec![vec![one, one]]).is_err());
        assert!(Placement::new(vec![vec![one]; 3]).is_err());
        let nine: Vec<NodeId> = (1..=9).filter_map(NodeId::new).collect();
        assert!(Placement::new(vec![nine]).is_err());
        let placement = Placement::new(vec![vec![one]]).unwrap();
        assert!(Layout::new(1, vec![], vec![], vec![placement]).is_err());
    }
}
