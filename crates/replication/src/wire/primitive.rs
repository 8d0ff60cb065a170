//! The pieces that messages are made of, and the envelopes of the shard around them: one way to
//! write each thing, whatever frame it travels in.
//!
//! Every `get_` takes what its `put_` has appended off the front of the input. It checks every
//! length against the input, allocates no more than the input justifies, and never panics.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut, TryGetError};
use kvorum_core::{Cursor, Header, Hlc, IdempotencyKey, Slot, Version, Want, Writer};

use super::WireError;

/// The input ends before what it should hold.
pub const TRUNCATED: WireError = WireError("it ends too early");
const TOO_LARGE: WireError = WireError("a number is too large");

impl From<TryGetError> for WireError {
    fn from(_: TryGetError) -> WireError {
        TRUNCATED
    }
}

/// What the flags of a head say.
mod flag {
    pub(super) const TOMBSTONE: u8 = 1;
    pub(super) const TAG: u8 = 2;
    pub(super) const EXPIRY: u8 = 4;
}

/// Appends a number: LEB128.
pub fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

/// Takes a number.
///
/// # Errors
/// [`WireError`] if there is none, or one that 64 bits do not hold.
pub fn get_varint(input: &mut Bytes) -> Result<u64, WireError> {
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

/// Appends a count or a size: a varint, whatever the width of the machine's words.
pub fn put_size(out: &mut BytesMut, size: usize) {
    put_varint(out, size as u64);
}

/// Takes a count or a size.
///
/// # Errors
/// [`WireError`] if there is none, or one that this machine cannot count to.
pub fn get_size(input: &mut Bytes) -> Result<usize, WireError> {
    usize::try_from(get_varint(input)?).map_err(|_| TOO_LARGE)
}

/// Appends a choice of two: 0 or 1.
pub fn put_flag(out: &mut BytesMut, flag: bool) {
    out.put_u8(u8::from(flag));
}

/// Takes a choice of two.
///
/// # Errors
/// [`WireError`] if it is neither 0 nor 1.
pub fn get_flag(input: &mut Bytes) -> Result<bool, WireError> {
    match input.try_get_u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError("a choice of two is neither 0 nor 1")),
    }
}

/// Appends a value that may be absent: 0, or 1 and the value as `put` writes it.
pub fn put_optional<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    put_flag(out, value.is_some());
    if let Some(value) = value {
        put(out, value);
    }
}

/// Takes a value that may be absent.
///
/// # Errors
/// Those of `get`, and [`WireError`] if nothing tells whether it is absent.
pub fn get_optional<T>(
    input: &mut Bytes,
    get: impl FnOnce(&mut Bytes) -> Result<T, WireError>,
) -> Result<Option<T>, WireError> {
    if get_flag(input)? { get(input).map(Some) } else { Ok(None) }
}

/// Appends a byte string: its length as a varint, and the bytes.
pub fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_size(out, bytes.len());
    out.put_slice(bytes);
}

/// Takes a byte string; it is a slice of the input.
///
/// # Errors
/// [`WireError`] if the input is shorter.
pub fn get_bytes(input: &mut Bytes) -> Result<Bytes, WireError> {
    let len = get_varint(input)?;
    get_slice(input, len)
}

/// Takes `len` bytes; they are a slice of the input.
///
/// # Errors
/// [`WireError`] if the input is shorter.
pub fn get_slice(input: &mut Bytes, len: u64) -> Result<Bytes, WireError> {
    match usize::try_from(len) {
        Ok(len) if len <= input.len() => Ok(input.split_to(len)),
        _ => Err(TRUNCATED),
    }
}

/// Appends a time span: a varint of microseconds.
pub fn put_duration(out: &mut BytesMut, span: Duration) {
    put_varint(out, u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
}

/// Takes a time span.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_duration(input: &mut Bytes) -> Result<Duration, WireError> {
    get_varint(input).map(Duration::from_micros)
}

/// Appends a clock reading: u64.
pub fn put_hlc(out: &mut BytesMut, reading: Hlc) {
    out.put_u64_le(reading.0);
}

/// Takes a clock reading.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_hlc(input: &mut Bytes) -> Result<Hlc, WireError> {
    Ok(Hlc(input.try_get_u64_le()?))
}

/// Appends a version: `hlc u64 | writer u32`.
pub fn put_version(out: &mut BytesMut, version: Version) {
    put_hlc(out, version.hlc);
    out.put_u32_le(version.writer.0);
}

/// Takes a version.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_version(input: &mut Bytes) -> Result<Version, WireError> {
    let hlc = get_hlc(input)?;
    let writer = Writer(input.try_get_u32_le()?);
    Ok(Version { hlc, writer })
}

/// Appends a client's name for a write: `session u128 | number`.
pub fn put_idempotency_key(out: &mut BytesMut, key: IdempotencyKey) {
    out.put_u128_le(key.client);
    put_varint(out, key.seq);
}

/// Takes a client's name for a write.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_idempotency_key(input: &mut Bytes) -> Result<IdempotencyKey, WireError> {
    Ok(IdempotencyKey { client: input.try_get_u128_le()?, seq: get_varint(input)? })
}

/// Appends a slot: u16.
pub fn put_slot(out: &mut BytesMut, slot: Slot) {
    out.put_u16_le(slot.get());
}

/// Takes a slot.
///
/// # Errors
/// [`WireError`] if there is none, or one out of range.
pub fn get_slot(input: &mut Bytes) -> Result<Slot, WireError> {
    Slot::new(input.try_get_u16_le()?).ok_or(WireError("no such slot"))
}

/// Appends a place in a scan: slot, key bytes.
pub fn put_cursor(out: &mut BytesMut, cursor: &Cursor) {
    put_slot(out, cursor.slot);
    put_bytes(out, &cursor.key);
}

/// Takes a place in a scan.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_cursor(input: &mut Bytes) -> Result<Cursor, WireError> {
    Ok(Cursor { slot: get_slot(input)?, key: get_bytes(input)? })
}

/// Appends what is wanted of a record: 0 for its value, 1 for its header.
pub fn put_want(out: &mut BytesMut, want: Want) {
    put_flag(out, want == Want::Header);
}

/// Takes what is wanted of a record.
///
/// # Errors
/// [`WireError`] if it is neither.
pub fn get_want(input: &mut Bytes) -> Result<Want, WireError> {
    Ok(if get_flag(input)? { Want::Header } else { Want::Value })
}

/// Appends a header: its head, and the length of the value as a varint.
pub fn put_header(out: &mut BytesMut, header: &Header) {
    put_head(out, header);
    put_varint(out, header.value_len.into());
}

/// Takes a header.
///
/// # Errors
/// [`WireError`] if there is none.
pub fn get_header(input: &mut Bytes) -> Result<Header, WireError> {
    let head = get_head(input)?;
    let value_len = u32::try_from(get_varint(input)?).map_err(|_| TOO_LARGE)?;
    Ok(Header { value_len, ..head })
}

/// Appends a head, which is a header without the length of the value:
/// `flags u8 | version | [tag u32] | [expiry u64]`.
pub fn put_head(out: &mut BytesMut, header: &Header) {
    let mut flags = 0;
    if header.tombstone {
        flags |= flag::TOMBSTONE;
    }
    if header.tag != 0 {
        flags |= flag::TAG;
    }
    if header.expire_ms != 0 {
        flags |= flag::EXPIRY;
    }
    out.put_u8(flags);
    put_version(out, header.version);
    if header.tag != 0 {
        out.put_u32_le(header.tag);
    }
    if header.expire_ms != 0 {
        out.put_u64_le(header.expire_ms);
    }
}

/// Takes a head: a header whose value has the length zero.
///
/// # Errors
/// [`WireError`] if there is none, or one with unknown flags.
pub fn get_head(input: &mut Bytes) -> Result<Header, WireError> {
    let flags = input.try_get_u8()?;
    if flags & !(flag::TOMBSTONE | flag::TAG | flag::EXPIRY) != 0 {
        return Err(WireError("unknown flags of a record"));
    }
    let version = get_version(input)?;
    let tag = if flags & flag::TAG != 0 { input.try_get_u32_le()? } else { 0 };
    let expire_ms = if flags & flag::EXPIRY != 0 { input.try_get_u64_le()? } else { 0 };
    let tombstone = flags & flag::TOMBSTONE != 0;
    Ok(Header { version, tombstone, tag, expire_ms, value_len: 0 })
}
