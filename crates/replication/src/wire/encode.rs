//! Messages to bytes.

use bytes::{BufMut, BytesMut};
use kvorum_core::{Header, KeyspaceId, Record, Slot};

use super::floor::put_letter;
use super::primitive::{
    put_bytes, put_cursor, put_duration, put_flag, put_head, put_header, put_hlc, put_optional,
    put_size, put_slot, put_varint, put_version, put_want,
};
use super::{found, kind, status, sync};
use crate::{Found, Message, OpId, PageItem, Status, WriteKind};

/// Appends a message.
pub fn encode(message: &Message, out: &mut BytesMut) {
    match message {
        Message::Raft(letter) => {
            out.put_u8(kind::RAFT);
            put_bytes(out, letter);
        }
        Message::Floor { op, letter } => {
            begin(out, kind::FLOOR, *op);
            put_letter(out, letter);
        }
        Message::Write { op, record, kind, patience } => {
            begin(out, kind::WRITE, *op);
            out.put_u8(match kind {
                WriteKind::Client => 0,
                WriteKind::Repair => 1,
            });
            put_duration(out, *patience);
            put_record(out, record);
        }
        Message::Written { op, status } => {
            begin(out, kind::WRITTEN, *op);
            put_status(out, *status);
        }
        Message::Read { op, keyspace, slot, key, want, patience } => {
            begin(out, kind::READ, *op);
            put_want(out, *want);
            put_duration(out, *patience);
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
            put_duration(out, *patience);
            put_place(out, *keyspace, from.slot);
            put_bytes(out, &from.key);
            put_bytes(out, prefix);
            put_size(out, limit.items);
            put_size(out, limit.bytes);
        }
        Message::Sync { session, step, letter } => {
            begin(out, kind::SYNC, *session);
            put_varint(out, u64::from(*step));
            sync::put_letter(out, letter);
        }
        Message::Scanned { op, page } => {
            begin(out, kind::SCANNED, *op);
            let Some(page) = page else { return put_flag(out, false) };
            put_flag(out, true);
            put_optional(out, page.next.as_ref(), put_cursor);
            put_hlc(out, page.floor);
            put_hlc(out, page.promise);
            put_size(out, page.items.len());
            for item in &page.items {
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
        Status::Late(_) => status::LATE,
        Status::ClockSkew => status::CLOCK_SKEW,
        Status::DiskFull => status::DISK_FULL,
        Status::IndexFull => status::INDEX_FULL,
        Status::Overloaded => status::OVERLOADED,
        Status::NotReplica => status::NOT_REPLICA,
    });
    match status {
        Status::Superseded(version) => put_version(out, version),
        Status::Late(reading) => put_hlc(out, reading),
        _ => {}
    }
}

fn put_found(out: &mut BytesMut, found: &Found) {
    match found {
        Found::Absent { floor } => {
            out.put_u8(found::ABSENT);
            put_hlc(out, *floor);
        }
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

fn put_item(out: &mut BytesMut, item: &PageItem) {
    put_slot(out, item.slot);
    put_bytes(out, &item.key);
    match &item.value {
        None => {
            put_header(out, &item.header);
            put_flag(out, false);
        }
        Some(value) => {
            put_header(out, &of_value(&item.header, value));
            put_flag(out, true);
            out.put_slice(value);
        }
    }
}

/// The header with the length the value really has, by which it will be taken off the input.
fn of_value(header: &Header, value: &[u8]) -> Header {
    Header { value_len: u32::try_from(value.len()).unwrap_or(u32::MAX), ..*header }
}

/// Place, head, key, and value unless it is a tombstone.
pub(super) fn put_record(out: &mut BytesMut, record: &Record) {
    put_place(out, record.keyspace, record.slot);
    put_head(out, &record.header());
    put_bytes(out, &record.key);
    if let Some(value) = &record.value {
        put_bytes(out, value);
    }
}

fn put_place(out: &mut BytesMut, keyspace: KeyspaceId, slot: Slot) {
    out.put_u32_le(keyspace.0);
    put_slot(out, slot);
}
