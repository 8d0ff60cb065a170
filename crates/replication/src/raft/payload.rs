//! What an entry of the log says: the commands that arrived in one turn of the leader.
//!
//! `format u8 | time u64 | count varint | commands`, little endian; a command is
//! `kind u8 | session u32 | number varint | since varint | client's session u128 | client's number
//! varint | keyspace u32 | fields`. The kind says which parts of its name it has: commands of one
//! turn are mostly of one session, which is then said once, and their numbers as differences. An
//! entry without bytes is the one by which a new leader learns what is committed.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Attempt, Change, Expiry, Hlc, IdempotencyKey, KeyspaceId, Txn, Writer};
use xxhash_rust::xxh3::xxh3_64;

use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_idempotency_key, get_size, get_varint, put_bytes, put_idempotency_key, put_size,
    put_varint,
};
use crate::wire::txn::{get_expiry, get_txn, put_expiry, put_txn};

const FORMAT: u8 = 2;

/// What the name of a command is, in the high bits of its kind.
mod named {
    /// Session and number.
    pub(super) const ANEW: u8 = 0x10;
    /// The session of the last command that had one, and the difference to its number.
    pub(super) const ALIKE: u8 = 0x20;
    /// It is sent again: since when it may be in the log.
    pub(super) const AGAIN: u8 = 0x40;
    /// Its client named it: session u128 and number.
    pub(super) const KEY: u8 = 0x80;
    pub(super) const MASK: u8 = 0xf0;
}

/// A change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) keyspace: KeyspaceId,
    /// Its name, if it must not be done twice.
    pub(super) attempt: Option<Attempt>,
    /// The name that its client gave it.
    pub(super) key: Option<IdempotencyKey>,
    pub(super) what: What,
}

/// What a command does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum What {
    Put { key: Bytes, value: Bytes, expiry: Expiry, tag: u32 },
    Delete { key: Bytes },
    Txn(Txn),
}

/// The commands of an entry and the time at which they happen, wherever and whenever they are
/// applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payload {
    /// Milliseconds since 1970, by the clock of the leader.
    pub(super) time_ms: u64,
    pub(super) commands: Vec<Command>,
}

impl Command {
    /// What tells it from commands that say something else, whatever they are called.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut said = BytesMut::new();
        said.put_u8(self.kind());
        put_what(&mut said, self);
        xxh3_64(&said)
    }

    const fn kind(&self) -> u8 {
        match self.what {
            What::Put { .. } => 1,
            What::Delete { .. } => 2,
            What::Txn(_) => 3,
        }
    }

    /// What its changes take of a commit beside values, at most.
    pub(super) fn overhead(&self) -> usize {
        match &self.what {
            What::Put { key, .. } | What::Delete { key } => overhead(std::iter::once(key)),
            What::Txn(txn) => overhead(txn.keys()),
        }
    }
}

/// What changes of these keys take of an entry or of a commit beside values, at most.
pub(super) fn overhead<'a>(keys: impl Iterator<Item = &'a Bytes>) -> usize {
    keys.map(|key| Change::OVERHEAD + 2 * key.len() + 1).sum()
}

impl Payload {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_u64_le(self.time_ms);
        put_size(&mut out, self.commands.len());
        let mut last = (Writer(0), 0);
        for command in &self.commands {
            put_command(&mut out, command, &mut last);
        }
        out.into()
    }

    /// # Errors
    /// [`WireError`] if the bytes are not a payload: another version wrote them.
    pub(super) fn decode(mut input: Bytes) -> Result<Payload, WireError> {
        if input.try_get_u8()? != FORMAT {
            return Err(WireError("unknown format of a log entry"));
        }
        let time_ms = input.try_get_u64_le()?;
        let (mut commands, mut last) = (Vec::new(), (Writer(0), 0));
        for _ in 0..get_size(&mut input)? {
            commands.push(get_command(&mut input, &mut last)?);
        }
        if !input.is_empty() {
            return Err(WireError("a log entry goes on behind its end"));
        }
        Ok(Payload { time_ms, commands })
    }
}

/// Session and number of the last command that had any.
type Last = (Writer, u64);

fn put_command(out: &mut BytesMut, command: &Command, last: &mut Last) {
    let key = if command.key.is_some() { named::KEY } else { 0 };
    put_name(out, command.kind() | key, command.attempt.as_ref(), last);
    if let Some(key) = command.key {
        put_idempotency_key(out, key);
    }
    put_what(out, command);
}

fn put_what(out: &mut BytesMut, command: &Command) {
    out.put_u32_le(command.keyspace.0);
    match &command.what {
        What::Put { key, value, expiry, tag } => {
            put_bytes(out, key);
            put_bytes(out, value);
            put_expiry(out, *expiry);
            out.put_u32_le(*tag);
        }
        What::Delete { key } => put_bytes(out, key),
        What::Txn(txn) => put_txn(out, txn),
    }
}

fn put_name(out: &mut BytesMut, kind: u8, attempt: Option<&Attempt>, last: &mut Last) {
    let Some(Attempt { session, seq, since }) = attempt else { return out.put_u8(kind) };
    let again = if since.is_some() { named::AGAIN } else { 0 };
    let (known, before) = *last;
    *last = (*session, *seq);
    if *session == known {
        out.put_u8(kind | again | named::ALIKE);
        put_varint(out, seq.wrapping_sub(before));
    } else {
        out.put_u8(kind | again | named::ANEW);
        out.put_u32_le(session.0);
        put_varint(out, *seq);
    }
    if let Some(since) = since {
        put_varint(out, since.0);
    }
}

fn get_name(input: &mut Bytes, kind: u8, last: &mut Last) -> Result<Option<Attempt>, WireError> {
    *last = match kind & (named::ANEW | named::ALIKE) {
        0 => return Ok(None),
        named::ANEW => (Writer(input.try_get_u32_le()?), get_varint(input)?),
        named::ALIKE => (last.0, last.1.wrapping_add(get_varint(input)?)),
        _ => return Err(WireError("unknown kind of name")),
    };
    let since = if kind & named::AGAIN == 0 { None } else { Some(Hlc(get_varint(input)?)) };
    Ok(Some(Attempt { session: last.0, seq: last.1, since }))
}

fn get_command(input: &mut Bytes, last: &mut Last) -> Result<Command, WireError> {
    let kind = input.try_get_u8()?;
    let attempt = get_name(input, kind, last)?;
    let key = if kind & named::KEY == 0 { None } else { Some(get_idempotency_key(input)?) };
    let keyspace = KeyspaceId(input.try_get_u32_le()?);
    let what = match kind & !named::MASK {
        1 => What::Put {
            key: get_bytes(input)?,
            value: get_bytes(input)?,
            expiry: get_expiry(input)?,
            tag: input.try_get_u32_le()?,
        },
        2 => What::Delete { key: get_bytes(input)? },
        3 => What::Txn(get_txn(input)?),
        _ => return Err(WireError("unknown command")),
    };
    Ok(Command { keyspace, attempt, key, what })
}
