//! How messages and answers look in scripts.

use kvorum_core::{Cursor, Header, Hlc, Item, Outcome, Reply, Version, Want};

use super::world::BEGINNING;
use crate::{Found, Message, OpId, PageItem, Status, WriteKind};

pub(super) fn message(message: &Message) -> String {
    match message {
        Message::Write { op, record, kind, .. } => {
            let kind = match kind {
                WriteKind::Client => "write",
                WriteKind::Repair => "repair",
            };
            let value = record.value.as_ref().map(|value| string(value));
            let (key, what) = (string(&record.key), value.unwrap_or("(deleted)".to_owned()));
            format!("{kind} {} {key}={what} @{}", operation(*op), version(record.version))
        }
        Message::Written { op, status } => format!("{} {}", operation(*op), self::status(*status)),
        Message::Read { op, key, want, .. } => {
            format!("read {} {} of {}", operation(*op), part(*want), string(key))
        }
        Message::Held { op, found } => format!("{} {}", operation(*op), self::found(found)),
        Message::Scan { op, from, want, .. } => {
            format!("scan {} {}s from {}", operation(*op), part(*want), cursor(from))
        }
        Message::Scanned { op, page: None } => format!("{} no page: rebuilding", operation(*op)),
        Message::Scanned { op, page: Some((items, next)) } => {
            let items: Vec<String> = items.iter().map(page_item).collect();
            let next = next.as_ref().map_or("end".to_owned(), cursor);
            format!("{} page [{}] then {next}", operation(*op), items.join(", "))
        }
        Message::Raft(letter) => format!("{} bytes of Raft", letter.len()),
    }
}

pub(super) fn outcome(outcome: &Outcome<Reply>) -> String {
    match outcome {
        Ok(Reply::Found(item)) => format!("found {}", self::item(item)),
        Ok(Reply::Missing(None)) => "missing".to_owned(),
        Ok(Reply::Missing(Some(v))) => format!("missing @{}", version(*v)),
        Ok(Reply::Written { version: v, acked, was_live }) => {
            let live = if *was_live { ", was live" } else { "" };
            format!("written @{}, {acked} acked{live}", version(*v))
        }
        Ok(Reply::Page(items, next)) => {
            let items: Vec<String> = items.iter().map(item).collect();
            let next = next.as_ref().map_or("end".to_owned(), cursor);
            format!("page [{}] then {next}", items.join(", "))
        }
        Ok(Reply::Count(count)) => format!("count {count}"),
        Ok(Reply::Txn(answer)) => format!("{answer:?}"),
        Err(error) => format!("{}: {error}", error.code()),
    }
}

/// Milliseconds since the beginning, the counter if it is not zero, and who stamped it.
pub(super) fn version(version: Version) -> String {
    let Version { hlc, writer } = version;
    let ms = hlc.wall_ms() as i64 - BEGINNING as i64;
    let counter = hlc.0 - Hlc::from_wall_ms(hlc.wall_ms()).0;
    let node = writer.0 >> 12;
    if counter == 0 { format!("{ms}/n{node}") } else { format!("{ms}.{counter}/n{node}") }
}

fn operation(op: OpId) -> String {
    let (start, count) = (op.0 >> 52, op.0 & ((1 << 52) - 1));
    match start {
        0 => "#-".to_owned(),
        1 => format!("#{count}"),
        start => format!("#{count}({start})"),
    }
}

fn status(status: Status) -> String {
    match status {
        Status::Applied { was_live: false } => "applied".to_owned(),
        Status::Applied { was_live: true } => "applied over a live value".to_owned(),
        Status::Superseded(newer) => format!("superseded by @{}", version(newer)),
        other => format!("{other:?}"),
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Header(header) => format!("header {}", self::header(header)),
        Found::Record(header, value) => {
            format!("record {} {}", string(value), self::header(header))
        }
        Found::Corrupt(header) => format!("damaged {}", self::header(header)),
        other => format!("{other:?}"),
    }
}

fn header(header: &Header) -> String {
    let deleted = if header.tombstone { "(deleted) " } else { "" };
    format!("{deleted}@{}", version(header.version))
}

fn page_item(item: &PageItem) -> String {
    let value = item.value.as_ref().map_or("?".to_owned(), |value| string(value));
    format!("{}={value} {}", string(&item.key), header(&item.header))
}

fn item(item: &Item) -> String {
    format!("{}={} @{}", string(&item.key), string(&item.value), version(item.header.version))
}

fn cursor(cursor: &Cursor) -> String {
    match cursor.key.is_empty() {
        true => format!("slot {}", cursor.slot.get()),
        false => format!("{:?}", string(&cursor.key)),
    }
}

fn part(want: Want) -> &'static str {
    match want {
        Want::Value => "value",
        Want::Header => "header",
    }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
