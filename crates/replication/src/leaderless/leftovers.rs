//! Leftovers: records that a replica holds although the others have deleted or overwritten them for
//! good.
//!
//! A replica whose floor lies at T holds, of everything up to T that was ever acknowledged or seen,
//! the same as the others. So what a replica that lost something still holds up to there, and such a
//! source does not, would come back from the dead. It goes into quarantine.

use std::collections::BTreeSet;

use bytes::Bytes;
use kvorum_core::{Change, Cursor, Hlc, KeyspaceId, Lsn, Refused, ScanLimit, Slot, Stored, Want};

use super::Options;
use super::quarantine::{self, Cause, Entry};
use crate::{Context, Report};

/// How much is looked at in one step.
const LOOK: ScanLimit = ScanLimit { items: 256, bytes: 64 << 10 };

/// A stretch of keys of which a source has told everything it holds.
#[derive(Debug)]
pub(super) struct Stretch {
    pub(super) keyspace: KeyspaceId,
    /// Where to go on.
    pub(super) from: Cursor,
    /// Where it ends; nothing for the end of the partition.
    pub(super) to: Option<Cursor>,
    /// The keys that the source holds in it.
    pub(super) held: BTreeSet<(Slot, Bytes)>,
}

impl Stretch {
    /// Takes out what lies at or below the floor and is not held by the source, a few records at a
    /// time. Tells whether the end is reached; what must be durable is noted in `last`.
    pub(super) fn step(
        &mut self,
        options: &Options,
        ctx: &mut Context<'_>,
        floor: Hlc,
        last: &mut Option<Lsn>,
    ) -> bool {
        let end = *options.slots.end();
        let page = ctx.store.page(self.keyspace, &self.from, end, b"", LOOK, Want::Header);
        for (record, stored) in page.items {
            let place = Cursor { slot: record.slot, key: record.key };
            if self.ends_before(&place) {
                return true;
            }
            let held = self.held.contains(&(place.slot, place.key.clone()));
            if held || stored.header.version.hlc > floor || options.keeps_leftovers() {
                continue;
            }
            match take_out(options, ctx, self.keyspace, &place, stored, floor) {
                Ok(lsn) => *last = (*last).max(Some(lsn)),
                // The next turn has another frame.
                Err(_) => {
                    self.from = place;
                    return false;
                }
            }
        }
        match page.next {
            Some(next) if !self.ends_before(&next) => {
                self.from = next;
                false
            }
            _ => true,
        }
    }

    fn ends_before(&self, place: &Cursor) -> bool {
        self.to.as_ref().is_some_and(|to| place >= to)
    }
}

/// Moves a leftover into quarantine. What shows nothing any more just goes.
///
/// # Errors
/// The frame of this turn is full.
pub(super) fn take_out(
    options: &Options,
    ctx: &mut Context<'_>,
    keyspace: KeyspaceId,
    place: &Cursor,
    stored: Stored,
    floor: Hlc,
) -> Result<Lsn, Refused> {
    let Cursor { slot, key } = place.clone();
    let removal = Change::remove(keyspace, slot, key.clone());
    let header = stored.header;
    if header.may_be_purged(floor) {
        return ctx.store.commit(&[removal]);
    }
    let value = match ctx.store.value(keyspace, slot, &key) {
        Ok(Some((_, value))) if !header.tombstone => Some(value),
        // Damaged, it may still be missed.
        _ => None,
    };
    let since_ms = ctx.now.wall_ms;
    let cause = Cause::Leftover;
    let entry = Entry { cause, since_ms, keyspace, slot, key: key.clone(), header, value };
    let most = options.limits.quarantine_bytes;
    let lsn = quarantine::keep(ctx, most, entry, vec![removal])?;
    ctx.out.report(Report::Quarantined { keyspace, slot, key, version: header.version });
    Ok(lsn)
}
