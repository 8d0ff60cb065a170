//! Storing what a source has sent.

use bytes::Bytes;
use kvorum_core::{Cursor, Hlc, KeyspaceId, Lsn, Record, Refused, Slot, Version};

use crate::leaderless::Options;
use crate::leaderless::leftovers::take_out;
use crate::{Context, PageItem};

/// One version of one key.
#[derive(Debug)]
pub(super) struct RecordId {
    keyspace: KeyspaceId,
    slot: Slot,
    key: Bytes,
    version: Version,
}

/// Why the rest of a page was not stored.
pub(super) enum Stop {
    /// The source cannot show the record at this place.
    Damaged(RecordId, Cursor),
    /// The store takes no more in this turn.
    FrameFull(Cursor),
    /// The store takes no more until something is deleted.
    NoSpace(Cursor),
}

impl Stop {
    /// The first place of the page that was not stored.
    pub(super) const fn place(&self) -> &Cursor {
        let (Stop::Damaged(_, place) | Stop::FrameFull(place) | Stop::NoSpace(place)) = self;
        place
    }
}

/// Stores the items of a page that are newer than what is stored, or whole where it is damaged; or
/// where what is stored is a leftover.
pub(super) fn copy(
    options: &Options,
    ctx: &mut Context<'_>,
    keyspace: KeyspaceId,
    items: Vec<PageItem>,
    settled: Hlc,
    last: &mut Option<Lsn>,
) -> Result<(), Stop> {
    for PageItem { slot, key, header, value } in items {
        let here = ctx.store.header(keyspace, slot, &key);
        let over = |version: Version| version > header.version && version.hlc <= settled;
        if let Some(leftover) = here.filter(|stored| over(stored.header.version))
            && !options.keeps_leftovers()
        {
            let place = Cursor { slot, key: key.clone() };
            if take_out(options, ctx, keyspace, &place, leftover, settled).is_err() {
                return Err(Stop::FrameFull(place));
            }
        }
        let id = RecordId { keyspace, slot, key, version: header.version };
        if let Some(pending) = stored(ctx, &id) {
            *last = (*last).max(pending);
            continue;
        }
        let place = Cursor { slot, key: id.key.clone() };
        let Some(value) = value else { return Err(Stop::Damaged(id, place)) };
        let record = Record {
            keyspace,
            slot,
            key: id.key,
            version: header.version,
            tag: header.tag,
            expire_ms: header.expire_ms,
            value: (!header.tombstone).then_some(value),
        };
        let lsn = ctx.store.put(record).map_err(|refused| match refused {
            Refused::FrameFull => Stop::FrameFull(place),
            Refused::DiskFull | Refused::IndexFull | Refused::TooLarge => Stop::NoSpace(place),
        })?;
        ctx.clock.observe(header.version.hlc);
        *last = (*last).max(Some(lsn));
    }
    Ok(())
}

/// Whether this version or a newer one is stored here, whole; and if so, the LSN that must be
/// durable for it to stay. A newer one that is damaged still tells that this one is out of date.
pub(super) fn stored(ctx: &Context<'_>, id: &RecordId) -> Option<Option<Lsn>> {
    let stored = ctx.store.header(id.keyspace, id.slot, &id.key)?;
    let newer = stored.header.version > id.version;
    let whole = stored.header.version == id.version && !stored.corrupt;
    (newer || whole).then_some(stored.pending)
}
