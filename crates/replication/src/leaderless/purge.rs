//! Removes what deletions and expiry have left behind, once the floor allows it.
//!
//! The replica walks through the slots that hold anything mortal, once for every floor, a few records
//! at a time. Nobody waits until a removal is durable: what comes back with a crash is removed again.
//!
//! **Invariant:** nothing is removed above the durable floor, and nothing while the replica is rebuilt.

use std::time::Duration;

use kvorum_core::{Change, Cursor, Hlc, Mono, ScanLimit, Slot, Want};

use super::Options;
use crate::{Context, Report};

/// How much is looked at in one step.
const LOOK: ScanLimit = ScanLimit { items: 256, bytes: 64 << 10 };
/// How long to wait between two steps.
const PAUSE: Duration = Duration::from_millis(20);

/// Where the walk through the partition stands.
#[derive(Debug, Default)]
pub(super) struct Purge {
    /// Which of the partition's keyspaces, and where in it; nothing when the walk is over.
    at: Option<(usize, Cursor)>,
    /// When to go on.
    next: Mono,
    /// What this walk has removed.
    removed: usize,
}

impl Purge {
    /// The floor has risen, or what is stored here has become complete: begins anew.
    pub(super) fn begin(&mut self, options: &Options, now: Mono) {
        self.at = Some((0, Cursor::start_of(*options.slots.start())));
        self.next = now;
    }

    /// Forgets the walk.
    pub(super) fn stop(&mut self) {
        self.at = None;
    }

    /// When this wants to be woken.
    pub(super) fn wake(&self) -> Option<Mono> {
        self.at.as_ref().map(|_| self.next)
    }

    /// Looks at the next records if it is time.
    pub(super) fn advance(&mut self, options: &Options, ctx: &mut Context<'_>, floor: Hlc) {
        if self.wake().is_none_or(|next| next > ctx.now.mono) {
            return;
        }
        self.next = ctx.now.mono + PAUSE;
        let Some((number, from)) = self.at.take() else { return };
        let Some(&(keyspace, ..)) = options.keyspaces.get(number) else { return self.end(ctx) };
        let last = *options.slots.end();
        let behind = (number + 1, Cursor::start_of(*options.slots.start()));
        let Some(slot) = ctx.store.next_mortal(keyspace, from.slot, last) else {
            self.at = Some(behind);
            return;
        };
        let from = if slot == from.slot { from } else { Cursor::start_of(slot) };
        let limit = ScanLimit { bytes: LOOK.bytes.min(ctx.store.max_commit_bytes() / 4), ..LOOK };
        let page = ctx.store.page(keyspace, &from, slot, b"", limit, Want::Header);
        let over = page.items.iter().filter(|(_, stored)| {
            let early = options.purges_too_early() && stored.header.tombstone;
            stored.header.may_be_purged(floor) || early
        });
        let over: Vec<Change> = over
            .map(|(record, _)| Change::remove(keyspace, record.slot, record.key.clone()))
            .collect();
        // What there is no room for now is found again.
        self.at = match over.is_empty() || ctx.store.commit_unawaited(&over).is_ok() {
            false => Some((number, from)),
            true => {
                self.removed += over.len();
                let next_slot = Slot::new(slot.get() + 1).filter(|next| *next <= last);
                let next = page.next.or_else(|| next_slot.map(Cursor::start_of));
                Some(next.map_or(behind, |next| (number, next)))
            }
        };
    }

    fn end(&mut self, ctx: &mut Context<'_>) {
        let items = std::mem::take(&mut self.removed);
        if items > 0 {
            ctx.out.report(Report::Purged { items });
        }
    }
}
