//! Bytes to messages.

use bytes::{Buf, Bytes};
use kvorum_core::{Cursor, Header, KeyspaceId, Record, ScanLimit, Slot};

use super::floor::get_letter;
use super::primitive::{
    get_bytes, get_cursor, get_duration, get_flag, get_head, get_header, get_hlc, get_optional,
    get_size, get_slice, get_slot, get_varint, get_version, get_want,
};
use super::{WireError, found, kind, status, sync};
use crate::{Found, Message, OpId, PageItem, ScannedPage, Status, WriteKind};

/// Takes one message off the front of `input`; keys and values are slices of it.
///
/// # Errors
/// [`WireError`] if the bytes are not a message; `input` is then in an unspecified place.
pub fn decode(input: &mut Bytes) -> Result<Message, WireError> {
    let kind = input.try_get_u8()?;
    if kind == kind::RAFT {
        return get_bytes(input).map(Message::Raft);
    }
    let op = OpId(input.try_get_u64_le()?);
    match kind {
        kind::WRITE => write(input, op),
        kind::WRITTEN => Ok(Message::Written { op, status: status(input)? }),
        kind::READ => {
            let (want, patience) = (get_want(input)?, get_duration(input)?);
            let (keyspace, slot) = place(input)?;
            let key = get_bytes(input)?;
            Ok(Message::Read { op, keyspace, slot, key, want, patience })
        }
        kind::HELD => Ok(Message::Held { op, found: found(input)? }),
        kind::SCAN => {
            let (want, patience) = (get_want(input)?, get_duration(input)?);
            let (keyspace, slot) = place(input)?;
            let from = Cursor { slot, key: get_bytes(input)? };
            let prefix = get_bytes(input)?;
            let limit = ScanLimit { items: get_size(input)?, bytes: get_size(input)? };
            Ok(Message::Scan { op, keyspace, from, prefix, limit, want, patience })
        }
        kind::SYNC => {
            let step = u32::try_from(get_varint(input)?);
            let step = step.map_err(|_| WireError("a number is too large"))?;
            Ok(Message::Sync { session: op, step, letter: sync::get_letter(input)? })
        }
        kind::SCANNED => {
            let page = get_optional(input, page)?;
            Ok(Message::Scanned { op, page })
        }
        kind::FLOOR => Ok(Message::Floor { op, letter: get_letter(input)? }),
        _ => Err(WireError("unknown kind of message")),
    }
}

fn write(input: &mut Bytes, op: OpId) -> Result<Message, WireError> {
    let kind = if get_flag(input)? { WriteKind::Repair } else { WriteKind::Client };
    let patience = get_duration(input)?;
    let record = record(input)?;
    Ok(Message::Write { op, record, kind, patience })
}

/// Takes what [`encode::put_record`](super::encode::put_record) has appended.
pub(super) fn record(input: &mut Bytes) -> Result<Record, WireError> {
    let (keyspace, slot) = place(input)?;
    let Header { version, tombstone, tag, expire_ms, .. } = get_head(input)?;
    let key = get_bytes(input)?;
    let value = if tombstone { None } else { Some(get_bytes(input)?) };
    Ok(Record { keyspace, slot, key, version, tag, expire_ms, value })
}

fn status(input: &mut Bytes) -> Result<Status, WireError> {
    Ok(match input.try_get_u8()? {
        status::APPLIED => Status::Applied { was_live: false },
        status::APPLIED_OVER_LIVE => Status::Applied { was_live: true },
        status::SUPERSEDED => Status::Superseded(get_version(input)?),
        status::REBUILDING => Status::Rebuilding,
        status::LATE => Status::Late(get_hlc(input)?),
        status::CLOCK_SKEW => Status::ClockSkew,
        status::DISK_FULL => Status::DiskFull,
        status::INDEX_FULL => Status::IndexFull,
        status::OVERLOADED => Status::Overloaded,
        status::NOT_REPLICA => Status::NotReplica,
        _ => return Err(WireError("unknown status of a write")),
    })
}

fn found(input: &mut Bytes) -> Result<Found, WireError> {
    Ok(match input.try_get_u8()? {
        found::ABSENT => Found::Absent { floor: get_hlc(input)? },
        found::HEADER => Found::Header(get_header(input)?),
        found::RECORD => {
            let header = get_header(input)?;
            Found::Record(header, get_slice(input, header.value_len.into())?)
        }
        found::CORRUPT => Found::Corrupt(get_header(input)?),
        found::REBUILDING => Found::Rebuilding,
        found::NOT_REPLICA => Found::NotReplica,
        _ => return Err(WireError("unknown answer to a read")),
    })
}

fn page(input: &mut Bytes) -> Result<ScannedPage, WireError> {
    let next = get_optional(input, get_cursor)?;
    let (floor, promise) = (get_hlc(input)?, get_hlc(input)?);
    // The count is only a promise; the list grows as items really appear.
    let count = get_varint(input)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok(ScannedPage { items, next, floor, promise })
}

fn item(input: &mut Bytes) -> Result<PageItem, WireError> {
    let slot = get_slot(input)?;
    let key = get_bytes(input)?;
    let header = get_header(input)?;
    let value = get_optional(input, |input| get_slice(input, header.value_len.into()))?;
    Ok(PageItem { slot, key, header, value })
}

fn place(input: &mut Bytes) -> Result<(KeyspaceId, Slot), WireError> {
    Ok((KeyspaceId(input.try_get_u32_le()?), get_slot(input)?))
}
