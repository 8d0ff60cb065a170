//! Committed entries on their way through the state machine into the store.
//!
//! The store takes changes frame by frame. What does not fit waits for the next turn, and the
//! answers with it.

use std::collections::VecDeque;

use kvorum_core::{Change, Outcome, Reply, Store};
use raft::eraftpb::{Entry, EntryType};

use super::clients::Clients;
use super::consensus::{Consensus, Place};
use super::log::{Damaged, Log};
use super::machine::{Apply, Overlay};
use super::options::Options;
use super::payload::{Command, Payload};
use super::room::{entry_bytes, remembered_bytes};
use super::sessions::{At, COVERED, Sessions};
use super::snapshot::Sender;
use crate::wire::WireError;

/// What is on its way.
#[derive(Debug, Default)]
pub(super) struct Applying {
    entries: VecDeque<Entry>,
    /// Their bytes.
    bytes: usize,
    /// The first of the entries, decoded.
    current: Option<Current>,
    overlay: Overlay,
    /// What the changes in it take of a commit beside keys and values, at most.
    overhead: usize,
    /// Something has been applied that the store does not have, from this entry on.
    uncommitted: Option<u64>,
    /// That changes the members.
    changes_members: bool,
    /// The answers to that.
    answers: Vec<Applied>,
}

/// The entry whose commands are being applied.
#[derive(Debug)]
struct Current {
    place: Place,
    payload: Payload,
    /// The entry, if it changes the members. That counts with its end, so that no state that is
    /// stored has the members of one place and the index of another.
    change: Option<Entry>,
}

/// What was done before, by the names of writes.
struct Memory<'a> {
    sessions: &'a mut Sessions,
    clients: &'a mut Clients,
    majority: usize,
    options: &'a Options,
}

impl Memory<'_> {
    /// What to answer to a command instead of doing it; nothing if it must be done.
    fn answer(
        &self,
        command: &Command,
        fingerprint: u64,
    ) -> Result<Option<Outcome<Reply>>, WireError> {
        if self.options.applies_twice() {
            return Ok(None);
        }
        if let Some(attempt) = &command.attempt
            && let Some(answer) = self.sessions.answer(attempt, self.majority)?
        {
            return Ok(Some(answer));
        }
        let Some(key) = command.key else { return Ok(None) };
        self.clients.answer(key, fingerprint, self.majority)
    }

    /// Remembers what a command has answered.
    fn remember(&mut self, at: At, command: &Command, fingerprint: u64, reply: &Reply) {
        let most = remembered_bytes(&self.options.limits);
        if let Some(attempt) = &command.attempt {
            self.sessions.remember(at, attempt, reply, most);
        }
        if let Some(key) = command.key {
            // All writes of a session are one record.
            self.clients.remember(at, key, fingerprint, reply, most / PART);
        }
    }
}

/// Of what is remembered of an entry, the answer to one write of a client's session takes at most
/// one part in so many: it is written again with those of the session's other writes.
const PART: usize = 32;

/// A command that has been applied, or the end of an entry.
#[derive(Debug)]
pub(super) struct Applied {
    /// The entry.
    pub(super) place: Place,
    /// The number of the command in the entry, and what it answers; nothing for the entry's end.
    pub(super) reply: Option<(usize, Outcome<Reply>)>,
}

impl Applying {
    /// Adds entries that are committed.
    pub(super) fn push(&mut self, entries: Vec<Entry>) {
        self.bytes += entries.iter().map(|entry| entry.data.len()).sum::<usize>();
        self.entries.extend(entries);
    }

    /// Bytes of the entries that are not applied.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether everything has been applied and committed to the store.
    pub(super) fn is_done(&self) -> bool {
        self.entries.is_empty() && self.current.is_none() && self.uncommitted.is_none()
    }

    /// Applies as much as the present frame of the store has room for. The answers of what the
    /// store has are moved to `done`.
    ///
    /// # Errors
    /// [`Damaged`] if an entry or a value that is needed cannot be read.
    pub(super) fn run(
        &mut self,
        consensus: &mut Consensus,
        copy: &mut Option<Sender>,
        store: &mut dyn Store,
        options: &Options,
        done: &mut Vec<Applied>,
    ) -> Result<(), Damaged> {
        let most = entry_bytes(&options.limits, store);
        loop {
            let more = self.fetch(consensus)?;
            if let Some(first) = self.uncommitted
                && (!more || self.is_full(first, consensus.log(), most))
            {
                if let Some(copy) = copy
                    && !copy.set_aside(self.overlay.places(), store)?
                {
                    return Ok(());
                }
                let progress = self.progress(first, consensus.log(), options);
                if !self.overlay.commit(progress, store) {
                    return Ok(());
                }
                self.uncommitted = None;
                consensus.log_mut().clients.committed();
                self.changes_members = false;
                self.overhead = 0;
                consensus.applied();
                done.append(&mut self.answers);
            }
            if !more {
                return Ok(());
            }
            self.one(consensus, store, options)?;
        }
    }

    /// Whether what has been applied since the entry `first` began is enough for one commit.
    fn is_full(&self, first: u64, log: &Log, most: usize) -> bool {
        // What an entry that is not done has answered is written again with the rest of it.
        let remembered =
            if log.state.applied < first { 0 } else { log.sessions.weight_from(first) };
        let covered = log.state.applied + 1 - first;
        let clients = log.clients.changed_bytes();
        covered >= COVERED || self.overlay.bytes() + self.overhead + remembered + clients >= most
    }

    /// What is committed with the changes.
    fn progress(&self, first: u64, log: &Log, options: &Options) -> Vec<Change> {
        if options.forgets_applied() {
            return Vec::new();
        }
        let members = self.changes_members.then(|| log.state_record());
        let progress = members.into_iter().chain([log.progress_record(first)]);
        progress.chain(log.client_changes()).collect()
    }

    /// Decodes the next entry; false if there is none.
    fn fetch(&mut self, consensus: &mut Consensus) -> Result<bool, Damaged> {
        while self.current.is_none() {
            let Some(entry) = self.entries.pop_front() else { return Ok(false) };
            self.bytes -= entry.data.len();
            let place = Place { term: entry.term, index: entry.index };
            if entry.index != consensus.log().state.applied + 1 {
                return Err(Damaged("an entry to apply is missing"));
            }
            let changes_members = entry.get_entry_type() != EntryType::EntryNormal;
            let is_empty = entry.data.is_empty() || changes_members;
            let payload =
                if is_empty { Payload::default() } else { Payload::decode(entry.data.clone())? };
            let change = changes_members.then_some(entry);
            self.current = Some(Current { place, payload, change });
        }
        Ok(true)
    }

    /// Applies the next command, or ends the entry behind its last one.
    fn one(
        &mut self,
        consensus: &mut Consensus,
        store: &mut dyn Store,
        options: &Options,
    ) -> Result<(), Damaged> {
        let Some(Current { place, payload, change }) = &self.current else { return Ok(()) };
        let (place, majority) = (*place, consensus.majority());
        let Log { state, sessions, clients, .. } = consensus.log_mut();
        if state.ordinal == 0 {
            state.begin_entry(payload.time_ms);
        }
        self.uncommitted.get_or_insert(place.index);
        let Some(command) = payload.commands.get(state.ordinal as usize) else {
            if let Some(change) = change {
                consensus.change_members(change)?;
                self.changes_members = true;
            }
            let Log { state, sessions, .. } = consensus.log_mut();
            state.applied = place.index;
            state.ordinal = 0;
            sessions.forget(place.index);
            self.current = None;
            self.answers.push(Applied { place, reply: None });
            return Ok(());
        };
        let mut apply = Apply {
            store,
            overlay: &mut self.overlay,
            version: Apply::version(state.clock, state.ordinal),
            time_ms: state.time_ms(),
            max_bytes: options.limits.max_write_bytes,
        };
        let at = At { index: place.index, stamp: state.clock, ordinal: state.ordinal };
        let mut memory = Memory { sessions, clients, majority, options };
        let fingerprint = if command.key.is_some() { command.fingerprint() } else { 0 };
        let outcome = if let Some(answer) = memory.answer(command, fingerprint)? {
            answer
        } else {
            let reply = apply.run(command, majority)?;
            self.overhead += command.overhead();
            memory.remember(at, command, fingerprint, &reply);
            Ok(reply)
        };
        let number = state.ordinal as usize;
        state.ordinal += 1;
        self.answers.push(Applied { place, reply: Some((number, outcome)) });
        Ok(())
    }
}
