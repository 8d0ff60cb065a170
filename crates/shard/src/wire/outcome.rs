//! The encoding of a forwarded request's answer.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Error, Executed, NodeId, Outcome, Reply};
use kvorum_replication::wire::WireError;
use kvorum_replication::wire::primitive::{
    get_cursor, get_flag, get_optional, get_size, get_version, put_cursor, put_flag, put_optional,
    put_size, put_version,
};
use kvorum_replication::wire::txn::{get_answer, get_item, put_answer, put_item};

use super::{get_text, put_text};

/// The queues an [`Error::Overloaded`] of this crate names.
pub(crate) mod queue {
    /// Requests of clients (and of nodes that forward) which have no answer yet.
    pub(crate) const PENDING: &str = "the queue of pending requests";
    /// What a request would have to join on its way to another node.
    pub(crate) const PEER: &str = "the queue to the coordinating node";
    /// Requests that wait for their turn.
    pub(crate) const TURN: &str = "the queue for this node's turn";
    /// Effects that wait for the log.
    pub(crate) const LOG: &str = "the queue behind the log";
    /// Any queue of a node whose name for it this node does not know.
    pub(crate) const OTHER: &str = "a queue of the coordinating node";
}

/// Texts of errors are static on every node, so only known ones can be told apart again: this
/// crate's and those of the groups.
const KNOWN_QUEUES: [&str; 8] = [
    queue::PENDING,
    queue::PEER,
    queue::TURN,
    queue::LOG,
    queue::OTHER,
    "the queue to a replica",
    "a replica",
    "the log of the partition",
];
const SOME_OPERATION: &str = "this operation";

/// Appends an answer.
pub(super) fn encode(outcome: &Outcome<Reply>, out: &mut BytesMut) {
    match outcome {
        Ok(reply) => {
            put_flag(out, false);
            encode_reply(reply, out);
        }
        Err(error) => {
            put_flag(out, true);
            encode_error(error, out);
        }
    }
}

/// Takes an answer off the front of `input`.
pub(super) fn decode(input: &mut Bytes) -> Result<Outcome<Reply>, WireError> {
    Ok(if get_flag(input)? { Err(decode_error(input)?) } else { Ok(decode_reply(input)?) })
}

fn encode_reply(reply: &Reply, out: &mut BytesMut) {
    match reply {
        Reply::Found(item) => {
            out.put_u8(1);
            put_item(out, item);
        }
        Reply::Missing(version) => {
            out.put_u8(2);
            put_optional(out, *version, put_version);
        }
        Reply::Written { version, acked, was_live } => {
            out.put_u8(3);
            put_version(out, *version);
            put_size(out, *acked);
            put_flag(out, *was_live);
        }
        Reply::Page(items, next) => {
            out.put_u8(4);
            put_size(out, items.len());
            for item in items {
                put_item(out, item);
            }
            put_optional(out, next.as_ref(), put_cursor);
        }
        Reply::Count(count) => {
            out.put_u8(5);
            out.put_u64_le(*count);
        }
        Reply::Txn(answer) => {
            out.put_u8(6);
            put_answer(out, answer);
        }
    }
}

fn decode_reply(input: &mut Bytes) -> Result<Reply, WireError> {
    match input.try_get_u8()? {
        1 => Ok(Reply::Found(get_item(input)?)),
        2 => Ok(Reply::Missing(get_optional(input, get_version)?)),
        3 => Ok(Reply::Written {
            version: get_version(input)?,
            acked: get_size(input)?,
            was_live: get_flag(input)?,
        }),
        4 => {
            let mut items = Vec::new();
            for _ in 0..get_size(input)? {
                items.push(get_item(input)?);
            }
            Ok(Reply::Page(items, get_optional(input, get_cursor)?))
        }
        5 => Ok(Reply::Count(input.try_get_u64_le()?)),
        6 => Ok(Reply::Txn(get_answer(input)?)),
        _ => Err(WireError("unknown reply")),
    }
}

fn encode_error(error: &Error, out: &mut BytesMut) {
    match error {
        Error::Invalid(text) => {
            out.put_u8(1);
            put_text(out, text);
        }
        Error::NoKeyspace(name) => {
            out.put_u8(2);
            put_text(out, name);
        }
        Error::NotStrong(_) => out.put_u8(3),
        Error::Unavailable { need, live } => {
            out.put_u8(4);
            put_size(out, *need);
            put_size(out, *live);
        }
        Error::Timeout { need, acked, executed } => {
            out.put_u8(5);
            put_size(out, *need);
            put_size(out, *acked);
            put_executed(out, *executed);
        }
        Error::Overloaded { what, executed } => {
            out.put_u8(6);
            put_text(out, what);
            put_executed(out, *executed);
        }
        Error::DiskFull { executed } => put_kind(out, 7, *executed),
        Error::IndexFull { executed } => put_kind(out, 8, *executed),
        Error::ClockSkew { executed } => put_kind(out, 9, *executed),
        Error::Corrupt { executed } => put_kind(out, 10, *executed),
        Error::NotServing(text) => {
            out.put_u8(11);
            put_text(out, text);
        }
        Error::CoordinatorLost { executed } => put_kind(out, 12, *executed),
        Error::NotLeader { leader } => {
            out.put_u8(13);
            out.put_u32_le(leader.map_or(0, NodeId::get));
        }
        Error::CrossSlot => out.put_u8(14),
        Error::SessionLost => out.put_u8(15),
        Error::KeyReused => out.put_u8(16),
    }
}

fn decode_error(input: &mut Bytes) -> Result<Error, WireError> {
    Ok(match input.try_get_u8()? {
        1 => Error::invalid(get_text(input)?),
        2 => Error::NoKeyspace(get_text(input)?),
        3 => Error::NotStrong(SOME_OPERATION),
        4 => Error::Unavailable { need: get_size(input)?, live: get_size(input)? },
        5 => Error::Timeout {
            need: get_size(input)?,
            acked: get_size(input)?,
            executed: get_executed(input)?,
        },
        6 => Error::Overloaded {
            what: known_queue(&get_text(input)?),
            executed: get_executed(input)?,
        },
        7 => Error::DiskFull { executed: get_executed(input)? },
        8 => Error::IndexFull { executed: get_executed(input)? },
        9 => Error::ClockSkew { executed: get_executed(input)? },
        10 => Error::Corrupt { executed: get_executed(input)? },
        11 => Error::NotServing(get_text(input)?.into()),
        12 => Error::CoordinatorLost { executed: get_executed(input)? },
        13 => Error::NotLeader { leader: NodeId::new(input.try_get_u32_le()?) },
        14 => Error::CrossSlot,
        15 => Error::SessionLost,
        16 => Error::KeyReused,
        _ => return Err(WireError("unknown error")),
    })
}

fn known_queue(text: &str) -> &'static str {
    KNOWN_QUEUES.into_iter().find(|known| *known == text).unwrap_or(queue::OTHER)
}

fn put_kind(out: &mut BytesMut, kind: u8, executed: Executed) {
    out.put_u8(kind);
    put_executed(out, executed);
}

fn put_executed(out: &mut BytesMut, executed: Executed) {
    put_flag(out, executed == Executed::Unknown);
}

fn get_executed(input: &mut Bytes) -> Result<Executed, WireError> {
    Ok(if get_flag(input)? { Executed::Unknown } else { Executed::No })
}
