//! What a node persists about the cluster it belongs to.

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{Layout, NodeId, PartitionId, digest};
use xxhash_rust::xxh3::xxh3_64;

use super::Candidate;
use super::hello::{Settled, put_settled, take_settled};
use crate::codec::{DecodeError, Reader, put_layout, put_list, put_node, put_text};

const FORMAT: u8 = 3;
/// How many settled losses are remembered: a loss older than this many others would at worst be
/// made good once more.
const MAX_SETTLED: usize = 16;

/// A cluster as it was founded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// The logs of all nodes at birth, by id.
    pub members: Vec<(NodeId, u128)>,
    /// The layout, as explicit lists: never computed again.
    pub layout: Layout,
    /// What the hashes are keyed with that replicas compare. Hashes of different seeds cannot be
    /// compared, so of two accounts the lower seed counts.
    pub digest_seed: digest::Seed,
}

/// A node's membership of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// The name of the cluster.
    pub cluster: String,
    /// The node.
    pub node: NodeId,
    /// Its log when this was written.
    pub log_id: u128,
    /// The cluster.
    pub founded: Founded,
    /// The node's data is incomplete.
    pub rebuilding: bool,
    /// The losses a rebuild has made, or is making, good; the oldest first.
    pub settled: Vec<Settled>,
    /// What is added to the start number of the log: the node may have had a log before that was
    /// started more often, and no start number is used twice.
    pub start_offset: u32,
}

impl Founded {
    /// The log a node had at birth.
    #[must_use]
    pub fn log_of(&self, node: NodeId) -> Option<u128> {
        self.members.iter().find(|(member, _)| *member == node).map(|(_, log_id)| *log_id)
    }

    /// The birth of a cluster. The logs' ids were drawn at random, so nobody can guess the seed.
    pub(super) fn new(members: Vec<(NodeId, u128)>, layout: Layout) -> Founded {
        let ids: Vec<u8> = members.iter().flat_map(|(_, id)| id.to_le_bytes()).collect();
        Founded { members, layout, digest_seed: digest::Seed(xxh3_64(&ids)) }
    }

    /// Agrees with another account on the seed of digests; true if this one has changed.
    pub(super) fn agree(&mut self, other: &Founded) -> bool {
        let ours = self.digest_seed;
        self.digest_seed.0 = ours.0.min(other.digest_seed.0);
        self.digest_seed != ours
    }

    /// Whether two nodes tell of the same birth. Their accounts may differ in a node that lost its
    /// disk between them, but clusters of the same name and nodes have no log in common.
    pub(super) fn is_the_birth_of(&self, other: &Founded) -> bool {
        self.members.iter().any(|member| other.members.contains(member))
    }

    pub(super) fn put(&self, out: &mut BytesMut) {
        put_list(out, &self.members, |out, (node, log_id)| {
            put_node(out, *node);
            out.put_u128_le(*log_id);
        });
        put_layout(out, &self.layout);
        out.put_u64_le(self.digest_seed.0);
    }

    pub(super) fn take(reader: &mut Reader) -> Result<Founded, DecodeError> {
        Ok(Founded {
            members: reader.list(|reader| Ok((reader.node()?, reader.u128()?)))?,
            layout: reader.layout()?,
            digest_seed: digest::Seed(reader.u64()?),
        })
    }
}

impl Membership {
    /// The membership of a node that joins a cluster now.
    pub(super) fn new(me: &Candidate, founded: Founded) -> Membership {
        // With another log than at the founding, this node has been replaced since. Others may know
        // no more of it than the founding: the rebuild that follows meets their objection as well.
        let founder = founded.log_of(me.node).filter(|log_id| *log_id != me.log_id);
        Membership {
            cluster: me.cluster.clone(),
            node: me.node,
            log_id: me.log_id,
            founded,
            rebuilding: me.damaged || founder.is_some(),
            settled: founder.map(|log_id| Settled { log_id, nonce: 0 }).into_iter().collect(),
            start_offset: 0,
        }
    }

    /// The bytes to persist.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        put_text(&mut out, &self.cluster);
        put_node(&mut out, self.node);
        out.put_u128_le(self.log_id);
        self.founded.put(&mut out);
        out.put_u8(u8::from(self.rebuilding));
        put_settled(&mut out, &self.settled);
        out.put_u32_le(self.start_offset);
        out.freeze()
    }

    /// Reads [`Membership::encode`].
    ///
    /// # Errors
    /// [`DecodeError`] if the bytes are not a membership.
    pub fn decode(bytes: Bytes) -> Result<Membership, DecodeError> {
        let mut reader = Reader(bytes);
        if reader.u8()? != FORMAT {
            return Err(DecodeError("unknown format version"));
        }
        let membership = Membership {
            cluster: reader.text()?,
            node: reader.node()?,
            log_id: reader.u128()?,
            founded: Founded::take(&mut reader)?,
            rebuilding: reader.flag()?,
            settled: take_settled(&mut reader)?,
            start_offset: reader.u32()?,
        };
        reader.end()?;
        Ok(membership)
    }

    /// Notes that a rebuild makes a loss good.
    pub(super) fn settle(&mut self, loss: Settled) {
        if self.settled.contains(&loss) {
            return;
        }
        if self.settled.len() >= MAX_SETTLED {
            self.settled.remove(0);
        }
        self.settled.push(loss);
    }

    /// Notes that another process of this node had the start number `used`; `start` is this
    /// one's, as its log counts. True if that changes this one's.
    pub(super) fn start_above(&mut self, used: u32, start: u32) -> bool {
        let offset = used.saturating_add(1).saturating_sub(start);
        let raised = offset > self.start_offset;
        self.start_offset = self.start_offset.max(offset);
        raised
    }
}

/// A fingerprint of a layout.
pub(super) fn fingerprint(layout: &Layout) -> u64 {
    let mut bytes = BytesMut::new();
    put_layout(&mut bytes, layout);
    xxh3_64(&bytes)
}

/// The replication factor of a layout.
pub(super) fn replication(layout: &Layout) -> u8 {
    let first = layout.replicas(PartitionId { placement: 0, number: 0 });
    u8::try_from(first.len()).unwrap_or(u8::MAX)
}
