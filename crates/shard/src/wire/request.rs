//! The encoding of a forwarded request.

use bytes::{BufMut, Bytes, BytesMut};
use kvorum_core::{
    Consistency, Cursor, Expiry, Hlc, Identity, KeyspaceId, Mono, Op, Request, ScanLimit, Slot,
    Version, Want, Writer,
};
use kvorum_replication::WireError;

use super::{
    get_bool, get_bytes, get_duration, get_partition, get_size, get_text, get_u8, get_u16, get_u32,
    get_u64, put_bytes, put_duration, put_partition, put_size, put_text,
};

/// Appends everything of a request but its deadline.
pub(super) fn encode(request: &Request, out: &mut BytesMut) {
    match request.identity.user() {
        Some(user) => {
            out.put_u8(1);
            put_text(out, user);
        }
        None => out.put_u8(0),
    }
    out.put_u32_le(request.keyspace.0);
    out.put_u8(match request.consistency {
        None => 0,
        Some(Consistency::One) => 1,
        Some(Consistency::Quorum) => 2,
        Some(Consistency::All) => 3,
    });
    put_optional_version(out, request.min_version);
    encode_op(&request.op, out);
}

/// Takes a request off the front of `input`; its deadline is left at zero.
pub(super) fn decode(input: &mut Bytes) -> Result<Request, WireError> {
    let identity =
        if get_bool(input)? { Identity::named(get_text(input)?) } else { Identity::ANONYMOUS };
    let keyspace = KeyspaceId(get_u32(input)?);
    let consistency = match get_u8(input)? {
        0 => None,
        1 => Some(Consistency::One),
        2 => Some(Consistency::Quorum),
        3 => Some(Consistency::All),
        _ => return Err(WireError("unknown consistency level")),
    };
    let min_version = get_optional_version(input)?;
    let op = decode_op(input)?;
    let deadline = Mono::default();
    Ok(Request { identity, keyspace, op, consistency, min_version, deadline })
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
    }
}

fn decode_op(input: &mut Bytes) -> Result<Op, WireError> {
    match get_u8(input)? {
        1 => Ok(Op::Get { key: get_bytes(input)?, want: get_want(input)? }),
        2 => Ok(Op::Put {
            key: get_bytes(input)?,
            value: get_bytes(input)?,
            expiry: get_expiry(input)?,
            tag: get_u32(input)?,
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
        _ => Err(WireError("unknown operation")),
    }
}

fn put_want(out: &mut BytesMut, want: Want) {
    out.put_u8(match want {
        Want::Header => 0,
        Want::Value => 1,
    });
}

fn get_want(input: &mut Bytes) -> Result<Want, WireError> {
    Ok(if get_bool(input)? { Want::Value } else { Want::Header })
}

fn put_expiry(out: &mut BytesMut, expiry: Expiry) {
    match expiry {
        Expiry::Never => out.put_u8(0),
        Expiry::After(span) => {
            out.put_u8(1);
            put_duration(out, span);
        }
        Expiry::At(wall_ms) => {
            out.put_u8(2);
            out.put_u64_le(wall_ms);
        }
    }
}

fn get_expiry(input: &mut Bytes) -> Result<Expiry, WireError> {
    match get_u8(input)? {
        0 => Ok(Expiry::Never),
        1 => Ok(Expiry::After(get_duration(input)?)),
        2 => Ok(Expiry::At(get_u64(input)?)),
        _ => Err(WireError("unknown expiry")),
    }
}

pub(super) fn put_version(out: &mut BytesMut, version: Version) {
    out.put_u64_le(version.hlc.0);
    out.put_u32_le(version.writer.0);
}

pub(super) fn get_version(input: &mut Bytes) -> Result<Version, WireError> {
    Ok(Version { hlc: Hlc(get_u64(input)?), writer: Writer(get_u32(input)?) })
}

pub(super) fn put_optional_version(out: &mut BytesMut, version: Option<Version>) {
    out.put_u8(u8::from(version.is_some()));
    if let Some(version) = version {
        put_version(out, version);
    }
}

pub(super) fn get_optional_version(input: &mut Bytes) -> Result<Option<Version>, WireError> {
    Ok(if get_bool(input)? { Some(get_version(input)?) } else { None })
}

pub(super) fn put_cursor(out: &mut BytesMut, cursor: &Cursor) {
    out.put_u16_le(cursor.slot.get());
    put_bytes(out, &cursor.key);
}

pub(super) fn get_cursor(input: &mut Bytes) -> Result<Cursor, WireError> {
    let slot = Slot::new(get_u16(input)?).ok_or(WireError("a slot is out of range"))?;
    Ok(Cursor { slot, key: get_bytes(input)? })
}
