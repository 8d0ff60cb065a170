//! The store as a shard sees it: an ordered index over one durable log.

use bytes::Bytes;

use crate::digest::Seed;
use crate::{Header, KeyspaceId, Record, Slot, Want};

/// A log sequence number: the position of a record in a node's log, counted from one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

/// What the store holds for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Version, flags and sizes.
    pub header: Header,
    /// The record is not on disk yet: nothing may reveal it before this LSN is durable.
    pub pending: Option<Lsn>,
    /// The record on disk is known to fail its checksum. The key exists; its value is lost here.
    /// A record of the same version written over it repairs it.
    pub corrupt: bool,
}

/// A place in (slot, key) order: the first item at or behind it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    /// The slot.
    pub slot: Slot,
    /// The key inside the slot; empty for its beginning.
    pub key: Bytes,
}

impl Cursor {
    /// The beginning of a slot.
    #[must_use]
    pub const fn start_of(slot: Slot) -> Cursor {
        Cursor { slot, key: Bytes::new() }
    }

    /// The place directly behind a key.
    #[must_use]
    pub fn after(slot: Slot, key: &[u8]) -> Cursor {
        let mut successor = Vec::with_capacity(key.len() + 1);
        successor.extend_from_slice(key);
        successor.push(0);
        Cursor { slot, key: successor.into() }
    }
}

/// How much one page of a scan may hold; the first item always fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanLimit {
    /// Items.
    pub items: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// One page of records, tombstones and expired ones included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The records with what is known of them, in (slot, key) order. A record whose value was
    /// not wanted or is corrupt has an empty value; its [`Stored`] tells.
    pub items: Vec<(Record, Stored)>,
    /// Where to go on; nothing at the end.
    pub next: Option<Cursor>,
}

/// Why a record could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// The record failed its checksum and is marked corrupt from now on.
    #[error("the record of version {} failed its checksum", .0.version)]
    Corrupt(Header),
}

/// One change of a [`Store::commit`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The key has this record from now on, whatever it had before.
    Put(Record),
    /// Every key of the slot with `from <= key < to` disappears, without a tombstone.
    Remove {
        /// The keyspace of the keys.
        keyspace: KeyspaceId,
        /// The slot of the keys.
        slot: Slot,
        /// The first key.
        from: Bytes,
        /// The key behind the last; nothing disappears if it is not above `from`.
        to: Bytes,
    },
}

impl Change {
    /// What a change takes in the log beside its keys and its value, in bytes, at most.
    pub const OVERHEAD: usize = 64;

    /// The removal of one key.
    #[must_use]
    pub fn remove(keyspace: KeyspaceId, slot: Slot, key: Bytes) -> Change {
        let to = Cursor::after(slot, &key).key;
        Change::Remove { keyspace, slot, from: key, to }
    }

    /// Bytes that the change takes in the log at most: the measure of
    /// [`Store::max_commit_bytes`] and [`Store::room_for`].
    #[must_use]
    pub fn weight(&self) -> usize {
        Self::OVERHEAD
            + match self {
                Change::Put(record) => record.weight(),
                Change::Remove { from, to, .. } => from.len() + to.len(),
            }
    }
}

/// What is to be written, when [`Store::room_for`] is asked. As disk and memory run out, the ones
/// named first are refused first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Intent {
    /// A client wants to store a value under a key that is not there.
    NewKey,
    /// A client wants to replace a value.
    Value,
    /// A client wants to delete a key.
    Delete,
    /// A Raft leader wants this replica to log entries, whatever is in them.
    Append,
}

/// Why a record was not taken. Nothing was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// No disk space for this kind of record.
    #[error("no disk space")]
    DiskFull,
    /// No index memory for another key.
    #[error("the index is full")]
    IndexFull,
    /// The turn's frame is full: try again in the next turn.
    #[error("the frame of this turn is full")]
    FrameFull,
    /// No frame will ever hold it.
    #[error("it is larger than a frame of the log")]
    TooLarge,
}

/// The store of one node.
///
/// Changes are visible to reads at once and durable later; the driver reports the LSN up to
/// which the log is durable, and nothing that depends on a record may leave the node before.
/// Reads never touch the disk except for values ([`Store::value`], [`Store::page`] with values).
pub trait Store {
    /// What is stored for a key, without its value.
    fn header(&self, keyspace: KeyspaceId, slot: Slot, key: &[u8]) -> Option<Stored>;

    /// What is stored for a key, with its value (empty for a tombstone).
    ///
    /// # Errors
    /// [`ReadError::Corrupt`] if the stored bytes fail their checksum: never "absent".
    fn value(
        &mut self,
        keyspace: KeyspaceId,
        slot: Slot,
        key: &[u8],
    ) -> Result<Option<(Stored, Bytes)>, ReadError>;

    /// Records of the slots `from.slot..=last` that begin with `prefix`, in order, from `from` on.
    /// A record that fails its checksum is in the page, marked corrupt.
    fn page(
        &mut self,
        keyspace: KeyspaceId,
        from: &Cursor,
        last: Slot,
        prefix: &[u8],
        limit: ScanLimit,
        want: Want,
    ) -> Page;

    /// How many records of the slots `first..=last` are not tombstones.
    fn live(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64;

    /// How many records of the slots `first..=last` are tombstones.
    fn tombstones(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64;

    /// The first of the slots `from..=last` that holds a tombstone or a record that expires, so
    /// something that may be purged some day. The slots in between take one look each.
    fn next_mortal(&self, keyspace: KeyspaceId, from: Slot, last: Slot) -> Option<Slot>;

    /// What the hashes of [`Store::sum`] and [`Store::bucket_sums`] are keyed with.
    fn digest_seed(&self) -> Seed;

    /// The wrapping sum of the item hashes ([`crate::digest`]) of all records of the slots
    /// `first..=last`, tombstones and expired ones included. It takes one addition per slot and
    /// reads no record. Zero for local keyspaces ([`KeyspaceId::is_local`]).
    fn sum(&self, keyspace: KeyspaceId, first: Slot, last: Slot) -> u64;

    /// How finely a slot is divided: in 2^bits buckets, at most 2^9
    /// ([`digest::MAX_BITS`](crate::digest::MAX_BITS)).
    fn bucket_bits(&self, keyspace: KeyspaceId, slot: Slot) -> u8;

    /// The sums of the 2^`bits` buckets of a slot; of the 2^[`Store::bucket_bits`] that it has if
    /// those are fewer, so the length tells. May hash some thousands of keys, which takes a
    /// fraction of a millisecond.
    fn bucket_sums(&self, keyspace: KeyspaceId, slot: Slot, bits: u8) -> Vec<u64>;

    /// Adds a record to the log and the index, and returns its LSN.
    ///
    /// The caller has compared versions: the record is newer than what is stored, or equal to a
    /// corrupt one. Records of local keyspaces ([`KeyspaceId::is_local`]) are never refused for
    /// space.
    ///
    /// # Errors
    /// [`Refused`] says why the record was not taken.
    fn put(&mut self, record: Record) -> Result<Lsn, Refused>;

    /// Makes all changes, one behind the other, and returns the LSN of the last (without any, that
    /// of the newest record in the log). After a crash either all of them are there or none.
    ///
    /// Versions are not compared. A key that was removed is simply not there: nothing about it
    /// says since when, so the caller knows which LSN must be durable before that is revealed.
    /// Later the key may be put again, even with a version it had before.
    ///
    /// Space is never a reason to refuse: what has been agreed on must be applied. So before
    /// something is promised that ends in a commit, [`Store::room_for`] is asked.
    ///
    /// # Errors
    /// [`Refused::FrameFull`], and [`Refused::TooLarge`] if the changes weigh more than
    /// [`Store::max_commit_bytes`], or one of them has a key that is longer than 65535 bytes.
    fn commit(&mut self, changes: &[Change]) -> Result<Lsn, Refused>;

    /// As [`Store::commit`], for changes that nobody waits for, because they could be made again
    /// from what is durable: no write to the disk is made for their sake alone. They become durable
    /// with the next record that somebody waits for, or a moment later.
    ///
    /// # Errors
    /// Those of [`Store::commit`].
    fn commit_unawaited(&mut self, changes: &[Change]) -> Result<Lsn, Refused>;

    /// How much the changes of one commit may weigh together ([`Change::weight`]).
    fn max_commit_bytes(&self) -> usize;

    /// Whether there is room for something to be written later, in at most so many `commits` that
    /// weigh `bytes` together ([`Change::weight`]). Nothing is set aside: both figures include all
    /// that was promised earlier and is not written yet. An entry of a Raft log counts twice, as
    /// the entry and as what applying it will write.
    ///
    /// # Errors
    /// [`Refused::DiskFull`] and [`Refused::IndexFull`].
    fn room_for(&self, intent: Intent, commits: usize, bytes: usize) -> Result<(), Refused>;
}
