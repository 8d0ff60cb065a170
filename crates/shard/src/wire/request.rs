//! The encoding of a forwarded request.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Consistency, Identity, KeyspaceId, Mono, Op, Request, ScanLimit};
use kvorum_replication::wire::WireError;
use kvorum_replication::wire::primitive::{
    get_bytes, get_cursor, get_idempotency_key, get_optional, get_size, get_version, get_want,
    put_bytes, put_cursor, put_idempotency_key, put_optional, put_size, put_version, put_want,
};
use kvorum_replication::wire::txn::{get_expiry, get_txn, put_expiry, put_txn};

use super::{get_partition, get_text, put_partition, put_text};

/// Appends everything of a request but its deadline.
pub(super) fn encode(request: &Request, out: &mut BytesMut) {
    put_optional(out, request.identity.user(), put_text);
    out.put_u32_le(request.keyspace.0);
    put_consistency(out, request.consistency);
    put_optional(out, request.min_version, put_version);
    put_optional(out, request.key, put_idempotency_key);
    encode_op(&request.op, out);
}

/// Takes a request off the front of `input`; its deadline is left at zero.
pub(super) fn decode(input: &mut Bytes) -> Result<Request, WireError> {
    let user = get_optional(input, get_text)?;
    let identity = user.map_or(Identity::ANONYMOUS, Identity::named);
    let keyspace = KeyspaceId(input.try_get_u32_le()?);
    let consistency = get_consistency(input)?;
    let min_version = get_optional(input, get_version)?;
    let key = get_optional(input, get_idempotency_key)?;
    let op = decode_op(input)?;
    let deadline = Mono::default();
    Ok(Request { identity, keyspace, op, consistency, min_version, key, deadline })
}

fn put_consistency(out: &mut BytesMut, level: Option<Consistency>) {
    out.put_u8(match level {
        None => 0,
        Some(Consistency::One) => 1,
        Some(Consistency::Quorum) => 2,
        Some(Consistency::All) => 3,
        Some(Consistency::Lease) => 4,
        Some(Consistency::Safe) => 5,
        Some(Consistency::Follower) => 6,
        Some(Consistency::Stale { .. }) => 7,
    });
    if let Some(Consistency::Stale { max_ms }) = level {
        out.put_u32_le(max_ms);
    }
}

fn get_consistency(input: &mut Bytes) -> Result<Option<Consistency>, WireError> {
    Ok(match input.try_get_u8()? {
        0 => None,
        1 => Some(Consistency::One),
        2 => Some(Consistency::Quorum),
        3 => Some(Consistency::All),
        4 => Some(Consistency::Lease),
        5 => Some(Consistency::Safe),
        6 => Some(Consistency::Follower),
        7 => Some(Consistency::Stale { max_ms: input.try_get_u32_le()? }),
        _ => return Err(WireError("unknown consistency level")),
    })
}

fn encode_op(op: &Op, out: &mut BytesMut) {
    match op {
        Op::Get { key, want } => {
            out.put_u8(1);
            put_bytes(out, key);
            put_want(out, *want);
        }
        Op::Put { key, value, expiry, tag } => {
            out.put_u8(2);
            put_bytes(out, key);
            put_bytes(out, value);
            put_expiry(out, *expiry);
            out.put_u32_le(*tag);
        }
        Op::Delete { key } => {
            out.put_u8(3);
            put_bytes(out, key);
        }
        Op::Scan { partition, from, prefix, limit, want } => {
            out.put_u8(4);
            put_partition(out, *partition);
            put_cursor(out, from);
            put_bytes(out, prefix);
            put_size(out, limit.items);
            put_size(out, limit.bytes);
            put_want(out, *want);
        }
        Op::Count { partition } => {
            out.put_u8(5);
            put_partition(out, *partition);
        }
        Op::Txn(txn) => {
            out.put_u8(6);
            put_txn(out, txn);
        }
    }
}

fn decode_op(input: &mut Bytes) -> Result<Op, WireError> {
    match input.try_get_u8()? {
        1 => Ok(Op::Get { key: get_bytes(input)?, want: get_want(input)? }),
        2 => Ok(Op::Put {
            key: get_bytes(input)?,
            value: get_bytes(input)?,
            expiry: get_expiry(input)?,
            tag: input.try_get_u32_le()?,
        }),
        3 => Ok(Op::Delete { key: get_bytes(input)? }),
        4 => Ok(Op::Scan {
            partition: get_partition(input)?,
            from: get_cursor(input)?,
            prefix: get_bytes(input)?,
            limit: ScanLimit { items: get_size(input)?, bytes: get_size(input)? },
            want: get_want(input)?,
        }),
        5 => Ok(Op::Count { partition: get_partition(input)? }),
        6 => Ok(Op::Txn(get_txn(input)?)),
        _ => Err(WireError("unknown operation")),
    }
}
