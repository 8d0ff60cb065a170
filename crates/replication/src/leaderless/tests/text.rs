//! How messages and answers look in scripts.

use kvorum_core::{Cursor, Header, Hlc, Item, Outcome, Record, Reply, Version, Want};

use super::world::BEGINNING;
use crate::leaderless::FloorLetter;
use crate::leaderless::sync::{Bucket, Letter, Prints, Unmatched};
use crate::{Found, Message, OpId, PageItem, Report, Status, WriteKind};

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
        Message::Scanned { op, page: Some(page) } => {
            let items: Vec<String> = page.items.iter().map(page_item).collect();
            let next = page.next.as_ref().map_or("end".to_owned(), cursor);
            format!("{} page [{}] then {next}", operation(*op), items.join(", "))
        }
        Message::Sync { session, step, letter } => {
            format!("session {}.{step} {}", operation(*session), self::letter(letter))
        }
        Message::Floor { op, letter } => format!("{} {}", operation(*op), floor(letter)),
        Message::Raft(letter) => format!("{} bytes of Raft", letter.len()),
    }
}

fn letter(letter: &Letter) -> String {
    match letter {
        Letter::Open(_) => "open".to_owned(),
        Letter::Opened(_) => "opened".to_owned(),
        Letter::Declined(decline) => format!("declined: {decline:?}"),
        Letter::Compare(ranges) => {
            let (first, last) = (ranges.first.get(), ranges.last.get());
            format!("compare slots {first} to {last}, {} each", ranges.width)
        }
        Letter::Unequal(unequal) => {
            let ranges: Vec<String> = unequal.ranges.iter().map(|(at, _)| at.to_string()).collect();
            format!("{} compared, unequal: [{}]", unequal.compared, ranges.join(", "))
        }
        Letter::List(listing) => {
            let buckets: Vec<String> = listing.buckets.iter().map(prints).collect();
            format!("list {}", buckets.join(", "))
        }
        Letter::Unmatched(buckets) => {
            let buckets: Vec<String> = buckets.iter().map(unmatched).collect();
            format!("unmatched: {}", buckets.join(", "))
        }
        Letter::Fetch { hashes, .. } => format!("fetch {}", hashes.len()),
        Letter::Fetched { records, .. } => {
            let record = |record: &Record| {
                let value = record.value.as_ref().map_or("(deleted)".to_owned(), |v| string(v));
                format!("{}={value} @{}", string(&record.key), version(record.version))
            };
            let records: Vec<String> = records.iter().map(record).collect();
            format!("fetched [{}]", records.join(", "))
        }
        Letter::Close(verdict) => match (verdict.through, verdict.complete) {
            (None, _) => "close: not clean".to_owned(),
            (Some(_), false) => "close: clean as far as it matters".to_owned(),
            (Some(_), true) => "close: clean".to_owned(),
        },
    }
}

fn prints(listed: &Prints) -> String {
    let Bucket { slot, bits, number } = listed.bucket;
    format!("slot {} bucket {number} of {} ({})", slot.get(), 1 << bits, listed.prints.len())
}

fn unmatched(unmatched: &Unmatched) -> String {
    let items: Vec<String> = unmatched.items.iter().map(|item| version(item.version)).collect();
    let more = if unmatched.more { " and more" } else { "" };
    format!("missing {:?}, here [{}]{more}", unmatched.missing, items.join(", "))
}

fn floor(letter: &FloorLetter) -> String {
    let members = |with: String| format!("[{with}]");
    match letter {
        FloorLetter::Propose(at) => format!("promise {}?", reading(*at)),
        FloorLetter::Promised { life } => format!("promised in life {}", version(*life)),
        FloorLetter::Ask => "clean with whom?".to_owned(),
        FloorLetter::Clean { life, promise, with } => {
            let with = with.iter().map(|(node, through)| format!("n{node} {}", reading(*through)));
            let with = members(with.collect::<Vec<_>>().join(", "));
            format!("clean with {with}, promised {}, life {}", reading(*promise), version(*life))
        }
        FloorLetter::Commit { floor, .. } => format!("commit {}", reading(*floor)),
        FloorLetter::Compare(floor) => format!("floor here {}, and there?", reading(*floor)),
        FloorLetter::Told { floor, promise } => {
            format!("floor {}, promised {}", reading(*floor), reading(*promise))
        }
        FloorLetter::Declined => "declined".to_owned(),
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

/// When it was stamped, and by whom.
pub(super) fn version(version: Version) -> String {
    format!("{}/n{}", reading(version.hlc), version.writer.0 >> 12)
}

pub(super) fn report(report: &Report) -> String {
    match report {
        Report::LateRefused { key, version: v, kind, .. } => {
            format!("refuses {}'s {} @{}, late", writer(*kind), string(key), version(*v))
        }
        Report::Quarantined { key, version: v, .. } => {
            format!("puts {} @{} into quarantine", string(key), version(*v))
        }
        Report::ReplayBegan { to, keys } => format!("replays {keys} keys to n{to}"),
        Report::HintsReplayed { to, keys } => format!("has replayed {keys} keys to n{to}"),
        Report::HintsOverflowed { to } => format!("remembers only slots for n{to}"),
        Report::FloorRaised { floor } => format!("floor {}", reading(*floor)),
        Report::Purged { items } => format!("purges {items}"),
        Report::LostPromise { peer, floor, promise } => format!(
            "has lost its promise: n{peer} has the floor {}, it promised {}",
            reading(*floor),
            reading(*promise)
        ),
        Report::SessionBegun { with } => format!("compares itself with n{with}"),
        Report::Mismatch { with, slot, .. } => {
            format!("slot {} differs from that of n{with}", slot.get())
        }
        Report::SessionFailed { with, reason } => format!("gives n{with} up: {reason}"),
        Report::SessionEnded { with, clean, sent, received, .. } => {
            let verdict = if *clean { "clean" } else { "not clean" };
            format!("is done with n{with}, {verdict}: {sent} sent, {received} received")
        }
        Report::Clean { with, .. } => format!("is clean with n{with}"),
    }
}

const fn writer(kind: WriteKind) -> &'static str {
    match kind {
        WriteKind::Client => "a client",
        WriteKind::Repair => "a repair",
    }
}

/// Milliseconds since the beginning, and the counter if it is not zero.
fn reading(hlc: Hlc) -> String {
    if hlc == Hlc(0) {
        return "none".to_owned();
    }
    let ms = hlc.wall_ms() as i64 - BEGINNING as i64;
    match hlc.0 - Hlc::from_wall_ms(hlc.wall_ms()).0 {
        0 => format!("{ms}"),
        counter => format!("{ms}.{counter}"),
    }
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
        Status::Late(above) => format!("late: nothing is taken up to {}", reading(above)),
        other => format!("{other:?}"),
    }
}

fn found(found: &Found) -> String {
    match found {
        Found::Absent { floor: Hlc(0) } => "Absent".to_owned(),
        Found::Absent { floor } => format!("Absent, settled up to {}", reading(*floor)),
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
