//! Messages to bytes.

use std::time::Duration;

use bytes::{BufMut, BytesMut};
use kvorum_core::{Cursor, Header, KeyspaceId, Slot, Version, Want};

use super::{flag, found, kind, status};
use crate::{Found, Message, OpId, PageItem, Status, WriteKind};

/// Appends a message.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::Write { op, record, kind, patience } => {
            begin(out, kind::WRITE, *op);
            out.put_u8(match kind {
                WriteKind::Client => 0,
                WriteKind::Repair => 1,
            });
            put_patience(out, *patience);
            put_place(out, record.keyspace, record.slot);
            put_head(out, &record.header());
            put_bytes(out, &record.key);
            if let Some(value) = &record.value {
                put_bytes(out, value);
            }
        }
        Message::Written { op, status } => {
            begin(out, kind::WRITTEN, *op);
            put_status(out, *status);
        }
        Message::Read { op, keyspace, slot, key, want, patience } => {
            begin(out, kind::READ, *op);
            put_want(out, *want);
            put_patience(out, *patience);
            put_place(out, *keyspace, *slot);
            put_bytes(out, key);
        }
        Message::Held { op, found } => {
            begin(out, kind::HELD, *op);
            put_found(out, found);
        }
        Message::Scan { op, keyspace, from, prefix, limit, want, patience } => {
            begin(out, kind::SCAN, *op);
            put_want(out, *want);
            put_patience(out, *patience);
            put_place(out, *keyspace, from.slot);
            put_bytes(out, &from.key);
            put_bytes(out, prefix);
            put_varint(out, limit.items as u64);
            put_varint(out, limit.bytes as u64);
        }
        Message::Scanned { op, page } => {
            begin(out, kind::SCANNED, *op);
            let Some((items, next)) = page else { return out.put_u8(0) };
            out.put_u8(1);
            put_next(out, next.as_ref());
            put_varint(out, items.len() as u64);
            for item in items {
                put_item(out, item);
            }
        }
    }
}

fn begin(out: &mut BytesMut, kind: u8, op: OpId) {
    out.put_u8(kind);
    out.put_u64_le(op.0);
}

fn put_status(out: &mut BytesMut, status: Status) {
    out.put_u8(match status {
        Status::Applied { was_live: false } => status::APPLIED,
        Status::Applied { was_live: true } => status::APPLIED_OVER_LIVE,
        Status::Superseded(_) => status::SUPERSEDED,
        Status::Rebuilding => status::REBUILDING,
        Status::ClockSkew => status::CLOCK_SKEW,
        Status::DiskFull => status::DISK_FULL,
        Status::IndexFull => status::INDEX_FULL,
        Status::Overloaded => status::OVERLOADED,
        Status::NotReplica => status::NOT_REPLICA,
    });
    if let Status::Superseded(version) = status {
        put_version(out, version);
    }
}

fn put_found(out: &mut BytesMut, found: &Found) {
    match found {
        Found::Absent => out.put_u8(found::ABSENT),
        Found::Header(header) => {
            out.put_u8(found::HEADER);
            put_header(out, header);
        }
        Found::Record(header, value) => {
            out.put_u8(found::RECORD);
            put_header(out, &of_value(header, value));
            out.put_slice(value);
        }
        Found::Corrupt(header) => {
            out.put_u8(found::CORRUPT);
            put_header(out, header);
        }
        Found::Rebuilding => out.put_u8(found::REBUILDING),
        Found::NotReplica => out.put_u8(found::NOT_REPLICA),
    }
}

fn put_next(out: &mut BytesMut, next: Option<&Cursor>) {
    let Some(Cursor { slot, key }) = next else { return out.put_u8(0) };
    out.put_u8(1);
    out.put_u16_le(slot.get());
    put_bytes(out, key);
}

fn put_item(out: &mut BytesMut, item: &PageItem) {
    out.put_u16_le(item.slot.get());
    put_bytes(out, &item.key);
    match &item.value {
        None => {
            put_header(out, &item.header);
            out.put_u8(0);
        }
        Some(value) => {
            put_header(out, &of_value(&item.header, value));
            out.put_u8(1);
            out.put_slice(value);
        }
    }
}

/// The header with the length the value really has, by which it will be taken off the input.
fn of_value(header: &Header, value: &[u8]) -> Header {
    Header { value_len: u32::try_from(value.len()).unwrap_or(u32::MAX), ..*header }
}

fn put_header(out: &mut BytesMut, header: &Header) {
    put_head(out, header);
    put_varint(out, header.value_len.into());
}

fn put_head(out: &mut BytesMut, header: &Header) {
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

fn put_version(out: &mut BytesMut, version: Version) {
    out.put_u64_le(version.hlc.0);
    out.put_u32_le(version.writer.0);
}

fn put_want(out: &mut BytesMut, want: Want) {
    out.put_u8(match want {
        Want::Value => 0,
        Want::Header => 1,
    });
}

fn put_place(out: &mut BytesMut, keyspace: KeyspaceId, slot: Slot) {
    out.put_u32_le(keyspace.0);
    out.put_u16_le(slot.get());
}

fn put_patience(out: &mut BytesMut, patience: Duration) {
    put_varint(out, u64::try_from(patience.as_micros()).unwrap_or(u64::MAX));
}

fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.put_slice(bytes);
}

fn put_varint(out: &mut BytesMut, mut number: u64) {
    while number > 0x7f {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}
