//! What clients that name their writes themselves were answered: each key of theirs is a session
//! with few numbered writes, kept for an hour of the log's time.
//!
//! Unlike the window over the last entries ([`super::sessions`]) this costs a record of the store
//! per session, which is written again with each write that has a key; only they pay.
//!
//! **Invariant:** the table is a function of the log. What is forgotten, because there are too many
//! sessions or because they are too old, is decided by the stamps of entries alone.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Error, Hlc, IdempotencyKey, Outcome, Reply};

use super::kept::Kept;
use super::sessions::At;
use super::state::get_ordinal;
use crate::wire::WireError;
use crate::wire::primitive::{
    get_optional, get_size, get_varint, put_optional, put_size, put_varint,
};

/// How many sessions a partition keeps.
const MOST: usize = 10_000;
/// Bytes of answers and numbers they keep together.
const MOST_BYTES: usize = 8 << 20;
/// How many writes a session keeps.
const WRITES: usize = 16;
/// How long a session is kept, in milliseconds of the log's time.
const KEPT_MS: u64 = 60 * 60 * 1000;
/// How many sessions are forgotten at once: each is a change of the store.
const AT_ONCE: usize = 8;
/// Bytes of a session, and of one of its writes, beside answers.
const OVERHEAD: usize = 64;
/// Bytes that a change of the store takes beside the session.
const CHANGE: usize = 128;

const FORMAT: u8 = 1;

/// The sessions of clients.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Clients {
    sessions: BTreeMap<u128, Session>,
    /// The sessions by their last write.
    order: BTreeMap<(Hlc, u32), u128>,
    bytes: usize,
    /// What the store does not have.
    changed: BTreeSet<u128>,
    /// Bytes of a commit that this takes, at most.
    changed_bytes: usize,
}

/// One session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Session {
    /// The last write that was done: stamp and number of the command.
    pub(super) used: (Hlc, u32),
    /// The largest number that is forgotten.
    forgotten: Option<u64>,
    /// By their numbers.
    writes: BTreeMap<u64, Write>,
}

/// A write that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Write {
    /// What tells its request from another one.
    fingerprint: u64,
    stamp: Hlc,
    ordinal: u32,
    kept: Kept,
}

impl Clients {
    /// What to answer to a write instead of doing it; nothing if it must be done.
    ///
    /// # Errors
    /// [`WireError`] if what is remembered makes no sense.
    pub(super) fn answer(
        &self,
        key: IdempotencyKey,
        fingerprint: u64,
        majority: usize,
    ) -> Result<Option<Outcome<Reply>>, WireError> {
        let Some(session) = self.sessions.get(&key.client) else { return Ok(None) };
        match session.writes.get(&key.seq) {
            Some(write) if write.fingerprint != fingerprint => Ok(Some(Err(Error::KeyReused))),
            Some(write) => write.kept.outcome(write.stamp, write.ordinal, majority).map(Some),
            None if session.forgotten.is_some_and(|last| key.seq <= last) => {
                Ok(Some(Err(Error::SessionLost)))
            }
            None => Ok(None),
        }
    }

    /// Remembers what a write has answered, in up to `most` bytes, and forgets what is too much.
    pub(super) fn remember(
        &mut self,
        at: At,
        key: IdempotencyKey,
        fingerprint: u64,
        reply: &Reply,
        most: usize,
    ) {
        let At { stamp, ordinal, .. } = at;
        let kept = Kept::of(reply, most);
        let former = self.take(key.client);
        let before = former.as_ref().map_or(0, Session::weight);
        let mut session = former.unwrap_or_default();
        session.used = (stamp, ordinal);
        session.writes.insert(key.seq, Write { fingerprint, stamp, ordinal, kept });
        if session.writes.len() > WRITES
            && let Some((seq, _)) = session.writes.pop_first()
        {
            session.forgotten = session.forgotten.max(Some(seq));
        }
        self.note_change(key.client, before, session.weight());
        self.put(key.client, session);
        for _ in 0..AT_ONCE {
            let Some((&(used, _), &oldest)) = self.order.first_key_value() else { break };
            let too_old = used.wall_ms().saturating_add(KEPT_MS) <= stamp.wall_ms();
            let too_many = self.sessions.len() > MOST || self.bytes > MOST_BYTES;
            if !too_old && !too_many {
                break;
            }
            let before = self.take(oldest).map_or(0, |session| session.weight());
            self.note_change(oldest, before, 0);
        }
    }

    /// Notes that the store lacks what became of a session, and how much that weighed and weighs.
    fn note_change(&mut self, client: u128, before: usize, now: usize) {
        let counted = if self.changed.insert(client) { 0 } else { CHANGE + before };
        self.changed_bytes = self.changed_bytes + CHANGE + now - counted;
    }

    /// Adds a session as it is.
    pub(super) fn put(&mut self, client: u128, session: Session) {
        self.bytes += session.weight();
        self.order.insert(session.used, client);
        self.sessions.insert(client, session);
    }

    fn take(&mut self, client: u128) -> Option<Session> {
        let session = self.sessions.remove(&client)?;
        self.order.remove(&session.used);
        self.bytes -= session.weight();
        Some(session)
    }

    /// All sessions.
    pub(super) fn all(&self) -> impl Iterator<Item = (u128, &Session)> {
        self.sessions.iter().map(|(client, session)| (*client, session))
    }

    /// The sessions that the store does not have as they are; nothing for those that are forgotten.
    pub(super) fn changed(&self) -> impl Iterator<Item = (u128, Option<&Session>)> {
        self.changed.iter().map(|client| (*client, self.sessions.get(client)))
    }

    /// Bytes of a commit that the changes take, at most.
    pub(super) const fn changed_bytes(&self) -> usize {
        self.changed_bytes
    }

    /// The store has all changes.
    pub(super) fn committed(&mut self) {
        self.changed.clear();
        self.changed_bytes = 0;
    }
}

impl Session {
    fn weight(&self) -> usize {
        OVERHEAD + self.writes.values().map(|write| OVERHEAD + write.kept.len()).sum::<usize>()
    }

    /// The value of its record.
    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.weight());
        out.put_u8(FORMAT);
        put_varint(&mut out, self.used.0.0);
        put_varint(&mut out, self.used.1.into());
        put_optional(&mut out, self.forgotten, put_varint);
        put_size(&mut out, self.writes.len());
        for (seq, write) in &self.writes {
            put_varint(&mut out, *seq);
            out.put_u64_le(write.fingerprint);
            put_varint(&mut out, write.stamp.0);
            put_varint(&mut out, write.ordinal.into());
            out.put_u8(write.kept.kind());
            write.kept.put(&mut out);
        }
        out.freeze()
    }

    /// # Errors
    /// [`WireError`] if the value is no session.
    pub(super) fn decode(mut value: Bytes) -> Result<Session, WireError> {
        let input = &mut value;
        if input.try_get_u8()? != FORMAT {
            return Err(WireError("unknown format of a session"));
        }
        let mut session = Session {
            used: (Hlc(get_varint(input)?), get_ordinal(input)?),
            forgotten: get_optional(input, get_varint)?,
            writes: BTreeMap::new(),
        };
        for _ in 0..get_size(input)? {
            let seq = get_varint(input)?;
            let fingerprint = input.try_get_u64_le()?;
            let (stamp, ordinal) = (Hlc(get_varint(input)?), get_ordinal(input)?);
            let kind = input.try_get_u8()?;
            let kept = Kept::get(kind, input)?;
            session.writes.insert(seq, Write { fingerprint, stamp, ordinal, kept });
        }
        Ok(session)
    }
}

#[cfg(test)]
mod tests;
