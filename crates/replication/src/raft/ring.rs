//! How far the log is applied and what that answered, as a ring of records of the node's store.

use kvorum_core::{Change, Cursor, Hlc, KeyspaceId, Record, Store, Version, Want, Writer};

use super::log::{Damaged, Home, Log, PAGE};
use super::sessions::{Progress, RING, Sessions};
use super::state::State;

/// The kind of these records.
const KIND: u8 = b'r';

impl Home {
    /// Whether a record could be one of the ring.
    pub(super) fn holds_session(self, record: &Record) -> bool {
        let key = |at| self.key(KIND, Some(at));
        let ours = record.keyspace == KeyspaceId::RAFT && record.slot == self.slot;
        ours && record.key >= key(0) && record.key < key(RING) && record.key.len() == key(0).len()
    }
}

impl Log {
    /// Reads what the last entries have answered, and how far the log is applied by now.
    ///
    /// # Errors
    /// [`Damaged`] if that cannot be read.
    pub(super) fn load_sessions(&mut self, store: &mut dyn Store) -> Result<(), Damaged> {
        if self.state.incomplete {
            // What is there is part of a copy that has yet to arrive as a whole.
            return Ok(());
        }
        let (slot, prefix) = (self.home.slot, self.home.key(KIND, None));
        let mut records = Vec::new();
        let mut next = Some(Cursor { slot, key: prefix.clone() });
        while let Some(from) = next {
            let page = store.page(KeyspaceId::RAFT, &from, slot, &prefix, PAGE, Want::Value);
            for (record, stored) in page.items {
                let value = record.value.filter(|_| !stored.corrupt);
                let value = value.ok_or(Damaged("what is remembered fails its checksum"))?;
                records.push(Progress::decode(value)?);
            }
            next = page.next;
        }
        for Progress { applied, ordinal, clock, .. } in &records {
            let state = &mut self.state;
            if (*applied, *ordinal) > (state.applied, state.ordinal) {
                (state.applied, state.ordinal) = (*applied, *ordinal);
                state.clock = *clock;
            }
        }
        self.sessions = Sessions::restore(records)?;
        Ok(())
    }

    /// The record of what has been applied since the entry `first` began.
    pub(super) fn progress_record(&self, first: u64) -> Change {
        let State { applied, ordinal, clock, .. } = self.state;
        let (at, value) = self.sessions.record(first, (applied, ordinal), clock);
        let version = Version { hlc: Hlc(applied), writer: Writer(ordinal) };
        Change::Put(self.home.record(self.home.key(KIND, Some(at)), version, value))
    }

    /// What is remembered, for a copy of the partition as it is; without what was answered if
    /// `emptied`.
    pub(super) fn session_records(&self, emptied: bool) -> Vec<Record> {
        let State { applied, clock, .. } = self.state;
        let version = Version { hlc: Hlc(applied), writer: Writer(0) };
        let sessions = if emptied { &self.sessions.emptied() } else { &self.sessions };
        let records = sessions.records(applied, clock).into_iter();
        let key = |at| self.home.key(KIND, Some(at));
        records.map(|(at, value)| self.home.record(key(at), version, value)).collect()
    }

    /// The removal of what is remembered.
    pub(super) fn forget_sessions(&self) -> Change {
        let (from, to) = (self.home.key(KIND, None), self.home.key(KIND + 1, None));
        Change::Remove { keyspace: KeyspaceId::RAFT, slot: self.home.slot, from, to }
    }
}
