//! Bytes to messages.

use std::time::Duration;

use bytes::{Buf, Bytes, TryGetError};
use kvorum_core::{
    Cursor, Header, Hlc, KeyspaceId, Record, ScanLimit, Slot, Version, Want, Writer,
};

use super::{WireError, flag, found, kind, status};
use crate::{Found, Message, OpId, PageItem, Status, WriteKind};

/// Takes one message off the front of `input`; keys and values are slices of it.
///
/// # Errors
/// [`WireError`] if the bytes are not a message; `input` is then in an unspecified place.
pub fn decode(input: &mut Bytes) -> Result<Message, WireError> {
    let kind = input.try_get_u8()?;
    let op = OpId(input.try_get_u64_le()?);
    match kind {
        kind::WRITE => write(input, op),
        kind::WRITTEN => Ok(Message::Written { op, status: status(input)? }),
        kind::READ => {
            let (want, patience) = (want(input)?, patience(input)?);
            let (keyspace, slot) = place(input)?;
            let key = bytes(input)?;
            Ok(Message::Read { op, keyspace, slot, key, want, patience })
        }
        kind::HELD => Ok(Message::Held { op, found: found(input)? }),
        kind::SCAN => {
            let (want, patience) = (want(input)?, patience(input)?);
            let (keyspace, slot) = place(input)?;
            let from = Cursor { slot, key: bytes(input)? };
            let prefix = bytes(input)?;
            let limit = ScanLimit { items: number(input)?, bytes: number(input)? };
            Ok(Message::Scan { op, keyspace, from, prefix, limit, want, patience })
        }
        kind::SCANNED => {
            let page = if boolean(input)? { Some(page(input)?) } else { None };
            Ok(Message::Scanned { op, page })
        }
        _ => Err(WireError("unknown kind of message")),
    }
}

impl From<TryGetError> for WireError {
    fn from(_: TryGetError) -> WireError {
        WireError("it ends too early")
    }
}

fn write(input: &mut Bytes, op: OpId) -> Result<Message, WireError> {
    let kind = if boolean(input)? { WriteKind::Repair } else { WriteKind::Client };
    let patience = patience(input)?;
    let (keyspace, slot) = place(input)?;
    let Header { version, tombstone, tag, expire_ms, .. } = head(input)?;
    let key = bytes(input)?;
    let value = if tombstone { None } else { Some(bytes(input)?) };
    let record = Record { keyspace, slot, key, version, tag, expire_ms, value };
    Ok(Message::Write { op, record, kind, patience })
}

fn status(input: &mut Bytes) -> Result<Status, WireError> {
    Ok(match input.try_get_u8()? {
        status::APPLIED => Status::Applied { was_live: false },
        status::APPLIED_OVER_LIVE => Status::Applied { was_live: true },
        status::SUPERSEDED => Status::Superseded(version(input)?),
        status::REBUILDING => Status::Rebuilding,
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
        found::ABSENT => Found::Absent,
        found::HEADER => Found::Header(header(input)?),
        found::RECORD => {
            let header = header(input)?;
            Found::Record(header, slice(input, header.value_len.into())?)
        }
        found::CORRUPT => Found::Corrupt(header(input)?),
        found::REBUILDING => Found::Rebuilding,
        found::NOT_REPLICA => Found::NotReplica,
        _ => return Err(WireError("unknown answer to a read")),
    })
}

fn page(input: &mut Bytes) -> Result<(Vec<PageItem>, Option<Cursor>), WireError> {
    let next = if boolean(input)? {
        Some(Cursor { slot: slot(input)?, key: bytes(input)? })
    } else {
        None
    };
    // The count is only a promise; the list grows as items really appear.
    let count = varint(input)?;
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(item(input)?);
    }
    Ok((items, next))
}

fn item(input: &mut Bytes) -> Result<PageItem, WireError> {
    let slot = slot(input)?;
    let key = bytes(input)?;
    let header = header(input)?;
    let value = if boolean(input)? { Some(slice(input, header.value_len.into())?) } else { None };
    Ok(PageItem { slot, key, header, value })
}

fn header(input: &mut Bytes) -> Result<Header, WireError> {
    let head = head(input)?;
    let value_len = u32::try_from(varint(input)?).map_err(|_| TOO_LARGE)?;
    Ok(Header { value_len, ..head })
}

fn head(input: &mut Bytes) -> Result<Header, WireError> {
    let flags = input.try_get_u8()?;
    if flags & !(flag::TOMBSTONE | flag::TAG | flag::EXPIRY) != 0 {
        return Err(WireError("unknown flags of a record"));
    }
    let version = version(input)?;
    let tag = if flags & flag::TAG != 0 { input.try_get_u32_le()? } else { 0 };
    let expire_ms = if flags & flag::EXPIRY != 0 { input.try_get_u64_le()? } else { 0 };
    let tombstone = flags & flag::TOMBSTONE != 0;
    Ok(Header { version, tombstone, tag, expire_ms, value_len: 0 })
}

fn version(input: &mut Bytes) -> Result<Version, WireError> {
    let hlc = Hlc(input.try_get_u64_le()?);
    let writer = Writer(input.try_get_u32_le()?);
    Ok(Version { hlc, writer })
}

fn place(input: &mut Bytes) -> Result<(KeyspaceId, Slot), WireError> {
    Ok((KeyspaceId(input.try_get_u32_le()?), slot(input)?))
}

fn slot(input: &mut Bytes) -> Result<Slot, WireError> {
    Slot::new(input.try_get_u16_le()?).ok_or(WireError("no such slot"))
}

fn want(input: &mut Bytes) -> Result<Want, WireError> {
    Ok(if boolean(input)? { Want::Header } else { Want::Value })
}

fn patience(input: &mut Bytes) -> Result<Duration, WireError> {
    varint(input).map(Duration::from_micros)
}

fn boolean(input: &mut Bytes) -> Result<bool, WireError> {
    match input.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError("a choice of two is neither 0 nor 1")),
    }
}

fn bytes(input: &mut Bytes) -> Result<Bytes, WireError> {
    let len = varint(input)?;
    slice(input, len)
}

fn slice(input: &mut Bytes, len: u64) -> Result<Bytes, WireError> {
    match usize::try_from(len) {
        Ok(len) if len <= input.len() => Ok(input.split_to(len)),
        _ => Err(WireError("it ends too early")),
    }
}

fn number(input: &mut Bytes) -> Result<usize, WireError> {
    usize::try_from(varint(input)?).map_err(|_| TOO_LARGE)
}

fn varint(input: &mut Bytes) -> Result<u64, WireError> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let byte = input.try_get_u8()?;
        let bits = u64::from(byte & 0x7f);
        // The tenth byte has room for one bit.
        if shift == 63 && bits > 1 {
            return Err(TOO_LARGE);
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Ok(number);
        }
    }
    Err(TOO_LARGE)
}

const TOO_LARGE: WireError = WireError("a number is too large");
