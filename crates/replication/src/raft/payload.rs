//! What an entry of the log says: the commands that arrived in one turn of the leader.
//!
//! `format u8 | time u64 | count varint | commands`, little endian; a command is
//! `kind u8 | keyspace u32 | fields`. An entry without bytes is the one by which a new leader
//! learns what is committed.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Change, Expiry, KeyspaceId, Txn};

use crate::wire::WireError;
use crate::wire::primitive::{get_bytes, get_size, put_bytes, put_size};
use crate::wire::txn::{get_expiry, get_txn, put_expiry, put_txn};

const FORMAT: u8 = 1;

/// A change of the state machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    pub(super) keyspace: KeyspaceId,
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
        for command in &self.commands {
            put_command(&mut out, command);
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
        let mut commands = Vec::new();
        for _ in 0..get_size(&mut input)? {
            commands.push(get_command(&mut input)?);
        }
        if !input.is_empty() {
            return Err(WireError("a log entry goes on behind its end"));
        }
        Ok(Payload { time_ms, commands })
    }
}

fn put_command(out: &mut BytesMut, command: &Command) {
    let kind = match command.what {
        What::Put { .. } => 1,
        What::Delete { .. } => 2,
        What::Txn(_) => 3,
    };
    out.put_u8(kind);
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

fn get_command(input: &mut Bytes) -> Result<Command, WireError> {
    let kind = input.try_get_u8()?;
    let keyspace = KeyspaceId(input.try_get_u32_le()?);
    let what = match kind {
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
    Ok(Command { keyspace, what })
}
