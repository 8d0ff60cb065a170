//! How far the log is applied and what was answered, as records of the node's store: a ring for the
//! last entries, and a record for each session of a client.

use bytes::Bytes;
use kvorum_core::{Change, Cursor, Hlc, KeyspaceId, Record, Store, Version, Want, Writer};

use super::clients::{Clients, Session};
use super::log::{Damaged, Home, Log, PAGE};
use super::sessions::{Progress, RING, Sessions};
use super::state::State;
use crate::wire::WireError;

/// The kind of the records of the ring.
const RECENT: u8 = b'r';
/// The kind of the records of clients' sessions.
const CLIENT: u8 = b'c';

/// What records tell of what was done before.
#[derive(Debug, Default)]
pub(super) struct Known {
    progress: Vec<Progress>,
    clients: Clients,
}

impl Known {
    /// Takes what a record says.
    ///
    /// # Errors
    /// [`WireError`] if that makes no sense.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), WireError> {
        let value = record.value.clone().unwrap_or_default();
        match record.key.get(Home::PREFIX..).and_then(|rest| rest.try_into().ok()) {
            Some(client) => {
                let session = Session::decode(value)?;
                self.clients.put(u128::from_be_bytes(client), session);
            }
            None => self.progress.push(Progress::decode(value)?),
        }
        Ok(())
    }

    /// Whether everything is about the end of one entry.
    pub(super) fn is_of(&self, index: u64) -> bool {
        self.progress.iter().all(|p| (p.applied, p.ordinal) == (index, 0))
    }

    /// What it comes to.
    ///
    /// # Errors
    /// [`WireError`] if that makes no sense.
    pub(super) fn restore(self) -> Result<(Sessions, Clients), WireError> {
        Ok((Sessions::restore(self.progress)?, self.clients))
    }
}

impl Home {
    /// The key of a client's session.
    fn client(self, client: u128) -> Bytes {
        [&self.key(CLIENT, None)[..], &client.to_be_bytes()].concat().into()
    }

    /// Whether a record could be one of these.
    pub(super) fn holds_session(self, record: &Record) -> bool {
        let recent = |at| self.key(RECENT, Some(at));
        let key = &record.key;
        let of_ring = key.len() == recent(0).len() && *key >= recent(0) && *key < recent(RING);
        let (first, last) = (self.client(0), self.client(u128::MAX));
        let of_client = key.len() == first.len() && *key >= first && *key <= last;
        let ours = record.keyspace == KeyspaceId::RAFT && record.slot == self.slot;
        ours && (of_ring || of_client)
    }
}

impl Log {
    /// Reads what was done before, and how far the log is applied by now.
    ///
    /// # Errors
    /// [`Damaged`] if that cannot be read.
    pub(super) fn load_sessions(&mut self, store: &mut dyn Store) -> Result<(), Damaged> {
        if self.state.incomplete {
            // What is there is part of a copy that has yet to arrive as a whole.
            return Ok(());
        }
        let mut known = Known::default();
        for kind in [RECENT, CLIENT] {
            let (slot, prefix) = (self.home.slot, self.home.key(kind, None));
            let mut next = Some(Cursor { slot, key: prefix.clone() });
            while let Some(from) = next {
                let page = store.page(KeyspaceId::RAFT, &from, slot, &prefix, PAGE, Want::Value);
                if page.items.iter().any(|(_, stored)| stored.corrupt) {
                    return Err(Damaged("what is remembered fails its checksum"));
                }
                for (record, _) in &page.items {
                    known.take(record)?;
                }
                next = page.next;
            }
        }
        for Progress { applied, ordinal, clock, .. } in &known.progress {
            let state = &mut self.state;
            if (*applied, *ordinal) > (state.applied, state.ordinal) {
                (state.applied, state.ordinal) = (*applied, *ordinal);
                state.clock = *clock;
            }
        }
        (self.sessions, self.clients) = known.restore()?;
        Ok(())
    }

    /// The record of what has been applied since the entry `first` began.
    pub(super) fn progress_record(&self, first: u64) -> Change {
        let State { applied, ordinal, clock, .. } = self.state;
        let (at, value) = self.sessions.record(first, (applied, ordinal), clock);
        let version = Version { hlc: Hlc(applied), writer: Writer(ordinal) };
        Change::Put(self.home.record(self.home.key(RECENT, Some(at)), version, value))
    }

    /// What the store lacks of clients' sessions.
    pub(super) fn client_changes(&self) -> impl Iterator<Item = Change> {
        let home = self.home;
        self.clients.changed().map(move |(client, session)| match session {
            Some(session) => Change::Put(client_record(home, client, session)),
            None => Change::remove(KeyspaceId::RAFT, home.slot, home.client(client)),
        })
    }

    /// What was done before, for a copy of the partition as it is; without what was answered if
    /// `emptied`.
    pub(super) fn session_records(&self, emptied: bool) -> Vec<Record> {
        let State { applied, clock, .. } = self.state;
        let version = Version { hlc: Hlc(applied), writer: Writer(0) };
        let sessions = if emptied { &self.sessions.emptied() } else { &self.sessions };
        let recent = sessions.records(applied, clock).into_iter();
        let key = |at| self.home.key(RECENT, Some(at));
        let recent = recent.map(|(at, value)| self.home.record(key(at), version, value));
        let clients = self.clients.all().filter(|_| !emptied);
        let clients = clients.map(|(client, session)| client_record(self.home, client, session));
        recent.chain(clients).collect()
    }

    /// The removal of what is remembered.
    pub(super) fn forget_sessions(&self) -> [Change; 2] {
        [RECENT, CLIENT].map(|kind| {
            let (from, to) = (self.home.key(kind, None), self.home.key(kind + 1, None));
            Change::Remove { keyspace: KeyspaceId::RAFT, slot: self.home.slot, from, to }
        })
    }
}

fn client_record(home: Home, client: u128, session: &Session) -> Record {
    let (hlc, ordinal) = session.used;
    let version = Version { hlc, writer: Writer(ordinal) };
    home.record(home.client(client), version, session.encode())
}
