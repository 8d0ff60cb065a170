//! What the last entries of the log have answered, so that a write which is sent again under the
//! name it had before is answered again and not done again.
//!
//! A node that takes writes from clients is a session in each of its lives, and numbers what it
//! takes ([`Attempt`]). Only a write that may have been executed is looked for here: it says what
//! the clock of the log showed before it was first sent. If all entries since then are remembered and
//! none holds it, it has not been done. If some are forgotten, nobody can tell. So there is no table of
//! sessions that could be lost or overflow, only a window over the log.
//!
//! A first attempt is new, unless one that was sent again has overtaken it on the way: it is looked for
//! among those in the window that were done when they were sent again, which are few or none.
//!
//! **Invariant:** the window is a function of the log: which entries are forgotten depends on their
//! number and on the bytes of what they answered, never on how a replica happened to apply them.
//!
//! What one commit to the store applies is one record there, in place of a ring of [`RING`]. It says
//! how far the log is applied too, so to remember costs no record of its own:
//! `format u8 | applied | commands of the entry behind it | clock | forgotten | count | entries`, an
//! entry being `index | stamp | bytes of what was done`, all numbers varints. What was done is a list of
//! `kind u8 | commands skipped | session u32 | number | answer bytes`, the middle three only as the
//! kind says, and the number as the difference from the one before if the session is the same.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Attempt, Error, Hlc, Outcome, Reply, Writer};

use super::kept::{KINDS, Kept};
use super::state::get_ordinal;
use crate::wire::WireError;
use crate::wire::primitive::{get_bytes, get_size, get_varint, put_bytes, put_size, put_varint};

/// How many records the ring has.
pub(super) const RING: u64 = 512;
/// How many entries one record is about, at most.
pub(super) const COVERED: u64 = 64;
/// How many entries are remembered. A record is overwritten by one about entries that begin `RING`
/// later, when nothing it is about is within the window any more.
const WINDOW: u64 = RING - COVERED;
/// Bytes of what was done that are remembered.
const WINDOW_BYTES: usize = 256 << 10;

/// Bytes of an entry in a record beside what was done, at most.
const ENTRY: usize = 24;

const FORMAT: u8 = 1;

/// What else the kind of a remembered command says, above the bits of its answer.
mod flag {
    /// The session is another one than that of the command before.
    pub(super) const SESSION: u8 = 4;
    /// Commands lie between that are not remembered.
    pub(super) const SKIPS: u8 = 8;
    /// It was done when it was sent again.
    pub(super) const AGAIN: u8 = 16;
    pub(super) const ALL: u8 = SESSION | SKIPS | AGAIN;
}

/// What the last entries have answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sessions {
    entries: VecDeque<Remembered>,
    bytes: usize,
    /// What was done when it was sent again, and the stamp of its entry.
    again: BTreeMap<(Writer, u64), Hlc>,
    /// The stamp of the last entry that is forgotten; no write can be found that was done by then.
    forgotten: Hlc,
}

/// Where a command stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    /// The index of its entry.
    pub(super) index: u64,
    /// The stamp of its entry.
    pub(super) stamp: Hlc,
    /// The number of the command in the entry.
    pub(super) ordinal: u32,
}

/// What one entry has answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Remembered {
    index: u64,
    stamp: Hlc,
    done: BytesMut,
    /// Bytes of answers in it.
    answers: usize,
    /// What of it was done when it was sent again.
    again: Vec<(Writer, u64)>,
    last: Last,
}

/// The command before, from which the next one is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Last {
    session: Writer,
    seq: u64,
    /// The number of the next command.
    next: u32,
}

/// One command that is remembered.
struct Done {
    ordinal: u32,
    session: Writer,
    seq: u64,
    /// It was done when it was sent again.
    again: bool,
    kept: Kept,
}

/// A record of the ring.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) applied: u64,
    pub(super) ordinal: u32,
    pub(super) clock: Hlc,
    forgotten: Hlc,
    entries: Vec<(u64, Hlc, Bytes)>,
}

impl Sessions {
    /// What to answer to a write instead of doing it; nothing if it must be done.
    ///
    /// # Errors
    /// [`WireError`] if what is remembered makes no sense.
    pub(super) fn answer(
        &self,
        attempt: &Attempt,
        majority: usize,
    ) -> Result<Option<Outcome<Reply>>, WireError> {
        let name = (attempt.session, attempt.seq);
        let overtaken = || self.again.get(&name).map(|stamp| Hlc(stamp.0.saturating_sub(1)));
        let Some(since) = attempt.since.or_else(overtaken) else { return Ok(None) };
        let from = self.entries.partition_point(|entry| entry.stamp <= since);
        for entry in self.entries.iter().skip(from) {
            let (mut input, mut last) = (entry.done.clone().freeze(), Last::default());
            while !input.is_empty() {
                let done = get_done(&mut input, &mut last)?;
                if (done.session, done.seq) == name {
                    return done.kept.outcome(entry.stamp, done.ordinal, majority).map(Some);
                }
            }
        }
        Ok((since < self.forgotten).then_some(Err(Error::SessionLost)))
    }

    /// Remembers what a command has answered. Of its entry at most so many bytes of answers are
    /// kept.
    pub(super) fn remember(&mut self, at: At, attempt: &Attempt, reply: &Reply, most: usize) {
        let At { index, stamp, ordinal } = at;
        if self.entries.back().is_none_or(|entry| entry.index != index) {
            self.entries.push_back(Remembered { index, stamp, ..Remembered::default() });
        }
        let Some(entry) = self.entries.back_mut() else { return };
        let before = entry.done.len();
        entry.put(ordinal, attempt, reply, most);
        if attempt.since.is_some() {
            let name = (attempt.session, attempt.seq);
            entry.again.push(name);
            self.again.insert(name, stamp);
        }
        self.bytes += entry.done.len() - before;
    }

    /// An entry is applied: forgets what has left the window.
    pub(super) fn forget(&mut self, applied: u64) {
        let (last, most) = (applied.saturating_sub(WINDOW), WINDOW_BYTES);
        let leaves = |entry: &Remembered, bytes: usize| entry.index <= last || bytes > most;
        while let Some(entry) = self.entries.front().filter(|entry| leaves(entry, self.bytes)) {
            self.forgotten = entry.stamp;
            self.bytes -= entry.done.len();
            for name in &entry.again {
                self.again.remove(name);
            }
            self.entries.pop_front();
        }
    }

    /// Bytes that a record about the entries from `first` on takes at most.
    pub(super) fn weight_from(&self, first: u64) -> usize {
        self.from(first).map(|entry| entry.done.len() + ENTRY).sum()
    }

    fn from(&self, first: u64) -> impl Iterator<Item = &Remembered> {
        // A record is about the newest entries, which are few.
        let newest = self.entries.iter().rev().take_while(move |entry| entry.index >= first);
        let skipped = self.entries.len() - newest.count();
        self.entries.iter().skip(skipped)
    }

    /// The record about the entries from `first` on, and its place in the ring.
    pub(super) fn record(&self, first: u64, place: (u64, u32), clock: Hlc) -> (u64, Bytes) {
        let entries: Vec<_> = self.from(first).collect();
        (first % RING, self.encode(&entries, place, clock))
    }

    /// The whole window as records, for a copy of the partition that shows the place `applied`.
    pub(super) fn records(&self, applied: u64, clock: Hlc) -> Vec<(u64, Bytes)> {
        let mut records = Vec::new();
        let mut entries = self.entries.iter().peekable();
        while let Some(first) = entries.next() {
            let mut some = vec![first];
            let mut bytes = first.done.len();
            while let Some(next) = entries.next_if(|next| {
                let fits = bytes + next.done.len() <= WINDOW_BYTES / 16;
                fits && next.index < first.index + COVERED
            }) {
                bytes += next.done.len();
                some.push(next);
            }
            let value = self.encode(&some, (applied, 0), clock);
            records.push((first.index % RING, value));
        }
        if records.is_empty() {
            // What is forgotten must be known even then.
            records.push((applied % RING, self.encode(&[], (applied, 0), clock)));
        }
        records
    }

    fn encode(&self, entries: &[&Remembered], place: (u64, u32), clock: Hlc) -> Bytes {
        let bytes: usize = entries.iter().map(|entry| entry.done.len() + ENTRY).sum();
        let mut out = BytesMut::with_capacity(bytes + 40);
        out.put_u8(FORMAT);
        put_varint(&mut out, place.0);
        put_varint(&mut out, place.1.into());
        put_varint(&mut out, clock.0);
        put_varint(&mut out, self.forgotten.0);
        put_size(&mut out, entries.len());
        for entry in entries {
            put_varint(&mut out, entry.index);
            put_varint(&mut out, entry.stamp.0);
            put_bytes(&mut out, &entry.done);
        }
        out.freeze()
    }

    /// What the records of a ring tell together.
    ///
    /// # Errors
    /// [`WireError`] if one makes no sense.
    pub(super) fn restore(records: Vec<Progress>) -> Result<Sessions, WireError> {
        let forgotten = records.iter().map(|record| record.forgotten).max();
        let forgotten = forgotten.unwrap_or_default();
        let mut newest: BTreeMap<u64, (Hlc, Bytes)> = BTreeMap::new();
        let entries = records.into_iter().flat_map(|record| record.entries);
        for (index, stamp, done) in entries.filter(|(_, stamp, _)| *stamp > forgotten) {
            // An entry that took two commits is in two records; the later one holds more.
            let known = newest.entry(index).or_default();
            if known.1.len() < done.len() {
                *known = (stamp, done);
            }
        }
        let mut sessions = Sessions { forgotten, ..Sessions::default() };
        for (index, (stamp, done)) in newest {
            sessions.bytes += done.len();
            let entry = Remembered::read(index, stamp, &done)?;
            sessions.again.extend(entry.again.iter().map(|name| (*name, stamp)));
            sessions.entries.push_back(entry);
        }
        Ok(sessions)
    }

    /// Nothing but what is forgotten.
    pub(super) fn emptied(&self) -> Sessions {
        Sessions { forgotten: self.forgotten, ..Sessions::default() }
    }
}

impl Remembered {
    fn put(&mut self, ordinal: u32, attempt: &Attempt, reply: &Reply, most: usize) {
        let kept = Kept::of(reply, most.saturating_sub(self.answers));
        let skipped = ordinal.saturating_sub(self.last.next);
        let other = self.done.is_empty() || self.last.session != attempt.session;
        let flags = if other { flag::SESSION } else { 0 };
        let skips = if skipped > 0 { flag::SKIPS } else { 0 };
        let again = if attempt.since.is_some() { flag::AGAIN } else { 0 };
        self.done.put_u8(kept.kind() | flags | skips | again);
        if skipped > 0 {
            put_varint(&mut self.done, skipped.into());
        }
        if other {
            self.done.put_u32_le(attempt.session.0);
        }
        let base = if other { 0 } else { self.last.seq };
        put_varint(&mut self.done, attempt.seq.wrapping_sub(base));
        self.answers += kept.len();
        kept.put(&mut self.done);
        self.last = Last { session: attempt.session, seq: attempt.seq, next: ordinal + 1 };
    }

    fn read(index: u64, stamp: Hlc, done: &Bytes) -> Result<Remembered, WireError> {
        let mut entry = Remembered { index, stamp, ..Remembered::default() };
        let mut input = done.clone();
        while !input.is_empty() {
            let done = get_done(&mut input, &mut entry.last)?;
            entry.answers += done.kept.len();
            entry.again.extend(done.again.then_some((done.session, done.seq)));
        }
        entry.done = BytesMut::from(&done[..]);
        Ok(entry)
    }
}

fn get_done(input: &mut Bytes, last: &mut Last) -> Result<Done, WireError> {
    let flags = input.try_get_u8()?;
    if flags > KINDS | flag::ALL {
        return Err(WireError("unknown kind of a remembered command"));
    }
    let skipped = if flags & flag::SKIPS == 0 { 0 } else { get_ordinal(input)? };
    let too_many = WireError("too many commands");
    let ordinal = last.next.checked_add(skipped).ok_or(too_many)?;
    let other = flags & flag::SESSION != 0;
    let session = if other { Writer(input.try_get_u32_le()?) } else { last.session };
    let base = if other { 0 } else { last.seq };
    let seq = get_varint(input)?.wrapping_add(base);
    let kind = flags & KINDS;
    let kept = Kept::get(kind, input)?;
    *last = Last { session, seq, next: ordinal.checked_add(1).ok_or(too_many)? };
    let again = flags & flag::AGAIN != 0;
    Ok(Done { ordinal, session, seq, again, kept })
}

impl Progress {
    /// # Errors
    /// [`WireError`] if the value is no record of a ring.
    pub(super) fn decode(mut value: Bytes) -> Result<Progress, WireError> {
        let input = &mut value;
        if input.try_get_u8()? != FORMAT {
            return Err(WireError("unknown format of what is remembered"));
        }
        let mut progress = Progress {
            applied: get_varint(input)?,
            ordinal: get_ordinal(input)?,
            clock: Hlc(get_varint(input)?),
            forgotten: Hlc(get_varint(input)?),
            entries: Vec::new(),
        };
        for _ in 0..get_size(input)? {
            let (index, stamp) = (get_varint(input)?, Hlc(get_varint(input)?));
            progress.entries.push((index, stamp, get_bytes(input)?));
        }
        Ok(progress)
    }
}

#[cfg(test)]
mod tests;
