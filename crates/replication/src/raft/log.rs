//! The log of a group and what else it must remember, as records of the node's store.
//!
//! Everything is a record of [`KeyspaceId::RAFT`] in the first slot of the partition, so
//! checkpoints, compaction, checksums and recovery are those of all records. A key is
//! `placement u16 | partition u16 | kind u8`, big endian, and for an entry its index.
//!
//! | kind | record | version |
//! |---|---|---|
//! | `e` | an entry | its term, so that index and term identify its bytes, as in Raft |
//! | `h` | term and vote | counts up |
//! | `s` | [`State`]: where the log begins, who is a member, and how far it was applied then | applied index and commands |
//! | `c` | with the number of a client's session: what that was answered; see [`super::clients`] | the last write's |
//! | `a` | what is set aside while a copy is sent; see [`super::aside`] | the same for all |
//! | `r` | one of a ring: how far the log is applied, and what that answered; see [`super::ring`] | applied index and commands |
//!
//! The entries that are kept are in memory too; how many that may be is the replica's concern.

use std::collections::VecDeque;

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{
    Change, Cursor, Hlc, KeyspaceId, PartitionId, Record, ScanLimit, Slot, Store, Version, Want,
    Writer,
};
use raft::eraftpb::{Entry, HardState, Snapshot};
use raft::{Error, GetEntriesContext, RaftState, Storage, StorageError};

use super::clients::Clients;
use super::letter::{get_entry, put_entry};
use super::sessions::Sessions;
use super::state::State;
use crate::wire::WireError;
use crate::wire::primitive::{get_varint, put_varint};

/// How much of the log is read at a time when a replica starts.
pub(super) const PAGE: ScanLimit = ScanLimit { items: 1024, bytes: 4 << 20 };

/// Where the records of a group lie.
#[derive(Clone, Copy, Debug)]
pub(super) struct Home {
    pub(super) slot: Slot,
    pub(super) partition: PartitionId,
}

/// The log of one group.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub(super) home: Home,
    hard: HardState,
    /// How often the hard state has been written.
    hard_writes: u64,
    pub(super) state: State,
    /// What the last entries have answered.
    pub(super) sessions: Sessions,
    /// What clients were answered that name their writes.
    pub(super) clients: Clients,
    /// Those behind `state.dropped`.
    entries: VecDeque<Entry>,
    /// Bytes of the entries.
    bytes: usize,
}

/// What is stored makes no sense, or cannot be read: this replica has lost something it may have
/// promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log of the replica is damaged: {0}")]
pub(super) struct Damaged(pub(super) &'static str);

impl From<WireError> for Damaged {
    fn from(WireError(what): WireError) -> Damaged {
        Damaged(what)
    }
}

impl Home {
    /// Bytes of a key before what tells records of one kind apart.
    pub(super) const PREFIX: usize = 5;

    pub(super) fn key(self, kind: u8, index: Option<u64>) -> Bytes {
        let mut key = BytesMut::with_capacity(13);
        key.put_u16(self.partition.placement);
        key.put_u16(self.partition.number);
        key.put_u8(kind);
        if let Some(index) = index {
            key.put_u64(index);
        }
        key.freeze()
    }

    pub(super) fn record(self, key: Bytes, version: Version, value: Bytes) -> Record {
        let (keyspace, slot) = (KeyspaceId::RAFT, self.slot);
        let value = Some(value);
        Record { keyspace, slot, key, version, tag: 0, expire_ms: 0, value }
    }

    /// Removes the entries `from..to`.
    fn remove(self, from: u64, to: u64) -> Change {
        let (from, to) = (self.key(b'e', Some(from)), self.key(b'e', Some(to)));
        Change::Remove { keyspace: KeyspaceId::RAFT, slot: self.slot, from, to }
    }
}

impl Log {
    /// Bytes of the entries in memory.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Reads the log; a new one if there is none.
    ///
    /// # Errors
    /// [`Damaged`] if something is missing or unreadable.
    pub(super) fn load(home: Home, voters: &[u64], store: &mut dyn Store) -> Result<Log, Damaged> {
        let mut log = Log::empty(home);
        log.state.conf.voters = voters.to_vec();
        if let Some((_, mut value)) = read(store, home, b's')? {
            log.state = State::decode(&mut value)?;
        }
        log.load_sessions(store)?;
        if let Some((version, mut value)) = read(store, home, b'h')? {
            log.hard.term = get_varint(&mut value)?;
            log.hard.vote = get_varint(&mut value)?;
            log.hard_writes = version.hlc.0;
        }
        log.load_entries(store)?;
        if log.last() < log.state.applied || log.state.applied < log.state.dropped {
            return Err(Damaged("entries that were applied are missing"));
        }
        let in_order = log.entries.iter().map(|entry| entry.term);
        let terms = std::iter::once(log.state.dropped_term).chain(in_order);
        if !terms.chain([log.hard.term]).is_sorted() {
            return Err(Damaged("terms go back in the log"));
        }
        log.hard.commit = log.state.applied;
        Ok(log)
    }

    /// The log of a replica that takes the place of one that lost something. It has promised
    /// nothing, holds nothing and is no member yet. What it must write is in `out`.
    pub(super) fn reborn(home: Home, generation: u32, out: &mut Vec<Change>) -> Log {
        let mut log = Log::empty(home);
        log.state.incomplete = true;
        log.state.generation = generation;
        let (from, to) = (home.key(0, None), home.key(u8::MAX, None));
        out.push(Change::Remove { keyspace: KeyspaceId::RAFT, slot: home.slot, from, to });
        out.push(log.state_record());
        log
    }

    fn empty(home: Home) -> Log {
        Log {
            home,
            hard: HardState::default(),
            hard_writes: 0,
            state: State::default(),
            sessions: Sessions::default(),
            clients: Clients::default(),
            entries: VecDeque::new(),
            bytes: 0,
        }
    }

    fn load_entries(&mut self, store: &mut dyn Store) -> Result<(), Damaged> {
        let (slot, prefix) = (self.home.slot, self.home.key(b'e', None));
        let mut next = Some(Cursor { slot, key: prefix.clone() });
        while let Some(from) = next {
            let page = store.page(KeyspaceId::RAFT, &from, slot, &prefix, PAGE, Want::Value);
            for (record, stored) in page.items {
                let mut value = record.value.filter(|_| !stored.corrupt);
                let value = value.as_mut().ok_or(Damaged("an entry fails its checksum"))?;
                let entry = get_entry(value)?;
                if entry.index != self.last() + 1 {
                    return Err(Damaged("entries are missing"));
                }
                self.bytes += weight(&entry);
                self.entries.push_back(entry);
            }
            next = page.next;
        }
        Ok(())
    }

    /// The index of the last entry.
    pub(super) fn last(&self) -> u64 {
        self.state.dropped + self.entries.len() as u64
    }

    /// The index up to which entries must be dropped so that at most `bytes` stay.
    pub(super) fn excess(&self, bytes: usize) -> u64 {
        let mut left = self.bytes;
        let surplus = self.entries.iter().take_while(|entry| {
            let over = left > bytes;
            left -= weight(entry);
            over
        });
        self.state.dropped + surplus.count() as u64
    }

    /// Takes entries over; those that stood in their place, and all behind, are gone.
    pub(super) fn append(&mut self, entries: &[Entry], out: &mut Vec<Change>) {
        let Some(first) = entries.first() else { return };
        if first.index <= self.last() {
            out.push(self.home.remove(first.index, self.last() + 1));
            while self.last() >= first.index {
                let Some(gone) = self.entries.pop_back() else { break };
                self.bytes -= weight(&gone);
            }
        }
        for entry in entries {
            let mut value = BytesMut::with_capacity(entry.data.len() + 32);
            put_entry(&mut value, entry);
            let key = self.home.key(b'e', Some(entry.index));
            let version = Version { hlc: Hlc(entry.term), writer: Writer(0) };
            out.push(Change::Put(self.home.record(key, version, value.freeze())));
            self.bytes += weight(entry);
            self.entries.push_back(entry.clone());
        }
    }

    /// Takes term and vote over. What is committed is learned again after a start.
    pub(super) fn set_hard(&mut self, hard: &HardState, out: &mut Vec<Change>) {
        let changed = hard.term != self.hard.term || hard.vote != self.hard.vote;
        self.hard = hard.clone();
        if changed {
            self.hard_writes += 1;
            let mut value = BytesMut::new();
            put_varint(&mut value, hard.term);
            put_varint(&mut value, hard.vote);
            let version = Version { hlc: Hlc(self.hard_writes), writer: Writer(0) };
            let record = self.home.record(self.home.key(b'h', None), version, value.freeze());
            out.push(Change::Put(record));
        }
    }

    /// Forgets the entries up to `index`, which are applied.
    pub(super) fn drop_to(&mut self, index: u64, out: &mut Vec<Change>) {
        let from = self.state.dropped + 1;
        while self.state.dropped < index {
            let Some(gone) = self.entries.pop_front() else { break };
            self.bytes -= weight(&gone);
            self.state.dropped = gone.index;
            self.state.dropped_term = gone.term;
        }
        if self.state.dropped >= from {
            out.push(self.home.remove(from, self.state.dropped + 1));
            out.push(self.state_record());
        }
    }

    /// Begins anew behind a place up to which everything has been copied.
    pub(super) fn replace(&mut self, state: State, out: &mut Vec<Change>) {
        out.push(self.home.remove(self.state.dropped + 1, self.last() + 1));
        self.entries.clear();
        self.bytes = 0;
        // Whatever was known to be committed lies before that.
        self.hard.commit = state.applied;
        self.state = state;
        out.push(self.state_record());
    }

    /// The record of the present state.
    pub(super) fn state_record(&self) -> Change {
        let State { applied, ordinal, dropped, incomplete, .. } = self.state;
        // Each state has a version of its own: what it consists of only grows, and becoming
        // incomplete is followed by growing.
        let hlc = Hlc(2 * (applied + dropped) + u64::from(incomplete));
        let version = Version { hlc, writer: Writer(ordinal) };
        Change::Put(self.home.record(self.home.key(b's', None), version, self.state.encode()))
    }

    fn entry(&self, index: u64) -> Option<&Entry> {
        let at = usize::try_from(index.checked_sub(self.state.dropped + 1)?).ok()?;
        self.entries.get(at)
    }
}

impl Storage for Log {
    fn initial_state(&self) -> raft::Result<RaftState> {
        Ok(RaftState::new(self.hard.clone(), self.state.conf.clone()))
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _context: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        if low <= self.state.dropped {
            return Err(Error::Store(StorageError::Compacted));
        }
        let max = max_size.into().unwrap_or(u64::MAX);
        let mut size = 0;
        let wanted = (low..high).map_while(|index| self.entry(index));
        // The first one is always given.
        let fitting = wanted.take_while(|entry| {
            let first = size == 0;
            size += weight(entry) as u64;
            first || size <= max
        });
        Ok(fitting.cloned().collect())
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.state.dropped {
            return Ok(self.state.dropped_term);
        }
        match self.entry(index) {
            Some(entry) => Ok(entry.term),
            None if index < self.state.dropped => Err(Error::Store(StorageError::Compacted)),
            None => Err(Error::Store(StorageError::Unavailable)),
        }
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.state.dropped + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.last())
    }

    /// Says what a snapshot would hold; its data travels in pieces beside Raft.
    fn snapshot(&self, request_index: u64, _to: u64) -> raft::Result<Snapshot> {
        let applied = self.state.applied;
        let term = self.term(applied)?;
        if applied < request_index || applied == 0 {
            return Err(Error::Store(StorageError::SnapshotTemporarilyUnavailable));
        }
        let mut snapshot = Snapshot::default();
        let metadata = snapshot.mut_metadata();
        metadata.index = applied;
        metadata.term = term;
        metadata.set_conf_state(self.state.conf.clone());
        Ok(snapshot)
    }
}

fn weight(entry: &Entry) -> usize {
    entry.data.len() + 64
}

fn read(store: &mut dyn Store, home: Home, kind: u8) -> Result<Option<(Version, Bytes)>, Damaged> {
    let found = store.value(KeyspaceId::RAFT, home.slot, &home.key(kind, None));
    let found = found.map_err(|_| Damaged("a record fails its checksum"))?;
    Ok(found.map(|(stored, value)| (stored.header.version, value)))
}
