//! Records that were not taken, or taken out, because everything up to them is settled: kept for the
//! operator, who alone can tell whether something of them is still wanted.
//!
//! An entry is a record of [`KeyspaceId::QUARANTINE`] in slot 0. Its key is the version of the record
//! it keeps, 12 bytes, big endian: a version names one record, so nothing is kept twice, and the
//! order of the keys is that of age. The value is little endian:
//!
//! | field | what |
//! |---|---|
//! | u8 | format version, 1 |
//! | u8 | cause: 0 a client's write, 1 a copy of another replica, 2 a leftover |
//! | u64 | when it was put here, milliseconds since 1970 |
//! | u32, u16 | keyspace and slot |
//! | head | version, flags, tag, expiry, as in messages ([`primitive`](crate::wire::primitive)) |
//! | bytes | key |
//! | u8, bytes | 1 and the value; or 0 for a tombstone, or a value that could not be read or is too long |
//!
//! All entries of a node together are bounded in bytes; the oldest records give way.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{
    Change, Cursor, Header, Hlc, Intent, KeyspaceId, Lsn, Record, Refused, ScanLimit, Slot, Store,
    Stored, Version, Want, Writer,
};

use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_head, get_optional, get_slot, put_bytes, put_head, put_optional, put_slot,
};
use crate::{Context, Event};

const FORMAT: u8 = 1;
/// How many entries are counted, or given up, at a time.
const LOOK: ScanLimit = ScanLimit { items: 1024, bytes: usize::MAX };

/// Why a record lies in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A client's write that came when everything up to it was settled.
    Client,
    /// A copy that another replica sent.
    Repair,
    /// This replica held it when it was rebuilt, and the others had deleted or overwritten it.
    Leftover,
}

/// A record in quarantine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Why it is here.
    pub cause: Cause,
    /// Since when, in milliseconds since 1970.
    pub since_ms: u64,
    /// The keyspace of the key.
    pub keyspace: KeyspaceId,
    /// The slot of the key.
    pub slot: Slot,
    /// The key.
    pub key: Bytes,
    /// Version, flags, tag and expiry; the length of the value is not told.
    pub header: Header,
    /// The value; nothing for a tombstone, or if it could not be kept.
    pub value: Option<Bytes>,
}

/// What the entries of a node take together, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Size {
    bytes: Option<usize>,
}

impl Entry {
    fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        out.put_u8(FORMAT);
        out.put_u8(match self.cause {
            Cause::Client => 0,
            Cause::Repair => 1,
            Cause::Leftover => 2,
        });
        out.put_u64_le(self.since_ms);
        out.put_u32_le(self.keyspace.0);
        put_slot(&mut out, self.slot);
        put_head(&mut out, &self.header);
        put_bytes(&mut out, &self.key);
        put_optional(&mut out, self.value.as_ref(), |out, value| put_bytes(out, value));
        out.freeze()
    }

    fn decode(mut input: Bytes) -> Result<Entry, WireError> {
        let input = &mut input;
        if input.try_get_u8()? != FORMAT {
            return Err(WireError("an entry of another format"));
        }
        let cause = match input.try_get_u8()? {
            0 => Cause::Client,
            1 => Cause::Repair,
            2 => Cause::Leftover,
            _ => return Err(WireError("an unknown cause")),
        };
        Ok(Entry {
            cause,
            since_ms: input.try_get_u64_le()?,
            keyspace: KeyspaceId(input.try_get_u32_le()?),
            slot: get_slot(input)?,
            header: get_head(input)?,
            key: get_bytes(input)?,
            value: get_optional(input, get_bytes)?,
        })
    }
}

/// The entries of a node, oldest record first, from the one of version `from` on, and where to go on.
/// Entries that cannot be read are left out.
pub fn entries(
    store: &mut dyn Store,
    from: Version,
    limit: ScanLimit,
) -> (Vec<Entry>, Option<Version>) {
    let from = Cursor { slot: Slot::default(), key: name(from) };
    let page = store.page(KeyspaceId::QUARANTINE, &from, from.slot, b"", limit, Want::Value);
    let readable = page.items.into_iter().filter(|(_, stored)| !stored.corrupt);
    let values = readable.filter_map(|(record, _)| Entry::decode(record.value?).ok());
    (values.collect(), page.next.and_then(|next| named(next.key)))
}

/// Drops the entry of the record of this version; durable with the LSN. Without such an entry
/// nothing happens.
///
/// # Errors
/// The frame of this turn is full.
pub fn discard(store: &mut dyn Store, size: &mut Size, version: Version) -> Result<Lsn, Refused> {
    let lsn = store.commit(&[removal(name(version))])?;
    // Counted anew when it is needed.
    size.bytes = None;
    Ok(lsn)
}

/// Keeps a record, together with the `changes` that take it out of where it was: both or none.
///
/// # Errors
/// The frame of this turn is full.
pub(super) fn keep(
    ctx: &mut Context<'_>,
    most: usize,
    mut entry: Entry,
    mut changes: Vec<Change>,
) -> Result<Lsn, Refused> {
    let key = name(entry.header.version);
    let (keyspace, slot) = (KeyspaceId::QUARANTINE, Slot::default());
    if ctx.store.header(keyspace, slot, &key).is_some() {
        return ctx.store.commit(&changes);
    }
    let room = most.min(ctx.store.max_commit_bytes() / 2);
    let fits = |value: &Bytes| {
        let bytes = value.len() + entry.key.len();
        bytes <= room / 2 && ctx.store.room_for(Intent::Value, 1, bytes).is_ok()
    };
    if !entry.value.as_ref().is_some_and(fits) {
        entry.value = None;
    }
    let record = Record {
        keyspace,
        slot,
        version: entry.header.version,
        tag: 0,
        expire_ms: 0,
        value: Some(entry.encode()),
        key,
    };
    let weight = record.weight();
    make_room(ctx, most.saturating_sub(weight))?;
    changes.insert(0, Change::Put(record));
    let lsn = ctx.store.commit(&changes)?;
    let size = &mut ctx.pace.quarantine;
    size.bytes = size.bytes.map(|bytes| bytes + weight);
    Ok(lsn)
}

/// Drops the oldest entries until the rest takes at most `most` bytes.
fn make_room(ctx: &mut Context<'_>, most: usize) -> Result<(), Refused> {
    let first = Cursor::start_of(Slot::default());
    let mut bytes = match ctx.pace.quarantine.bytes {
        Some(bytes) => bytes,
        None => count(ctx.store),
    };
    while bytes > most {
        let page = oldest(ctx.store, &first);
        let mut dropped = Vec::new();
        for (key, weight) in page.0 {
            if bytes <= most {
                break;
            }
            bytes = bytes.saturating_sub(weight);
            dropped.push(removal(key));
        }
        if dropped.is_empty() {
            bytes = 0;
            break;
        }
        ctx.store.commit(&dropped)?;
        for _ in dropped {
            ctx.out.count(Event::QuarantineDropped);
        }
    }
    ctx.pace.quarantine.bytes = Some(bytes);
    Ok(())
}

fn count(store: &mut dyn Store) -> usize {
    let (mut bytes, mut from) = (0, Some(Cursor::start_of(Slot::default())));
    while let Some(start) = from {
        let (items, next) = oldest(store, &start);
        bytes += items.iter().map(|(_, weight)| weight).sum::<usize>();
        from = next;
    }
    bytes
}

/// Keys and weights of the entries from here on.
fn oldest(store: &mut dyn Store, from: &Cursor) -> (Vec<(Bytes, usize)>, Option<Cursor>) {
    let page = store.page(KeyspaceId::QUARANTINE, from, from.slot, b"", LOOK, Want::Header);
    let weigh = |(record, stored): (Record, Stored)| {
        let weight = record.key.len() + stored.header.value_len as usize;
        (record.key, weight)
    };
    (page.items.into_iter().map(weigh).collect(), page.next)
}

fn removal(key: Bytes) -> Change {
    Change::remove(KeyspaceId::QUARANTINE, Slot::default(), key)
}

/// The key of the entry of a version: sorts like the version.
fn name(version: Version) -> Bytes {
    let mut out = BytesMut::with_capacity(Version::LEN);
    out.put_u64(version.hlc.0);
    out.put_u32(version.writer.0);
    out.freeze()
}

fn named(mut key: Bytes) -> Option<Version> {
    let hlc = key.try_get_u64().ok()?;
    // A place directly behind a key is longer than a key.
    let writer = key.try_get_u32().ok()?;
    Some(Version { hlc: Hlc(hlc), writer: Writer(writer) })
}
