//! Removes values whose time is over, so that they do not go on costing memory and disk.
//!
//! A value that has expired by the log's own time is gone for every command and every read, for
//! ever: that time does not go back. So each replica removes it by itself, whenever it comes along,
//! and nothing of it is in the log. Only the time must have come there: if the leader finds a value
//! that has expired by its clock alone, it proposes an entry that carries nothing but the time.
//!
//! **Invariant:** what is removed had expired when the last entry was applied that the store shows as
//! applied. After a crash nothing that is applied again could still have seen it; and while a copy is
//! sent, which shows the partition as it was, nothing is removed.

use kvorum_core::{Change, Cursor, Mono, ScanLimit, Want};

use super::options::Options;
use super::running::Running;
use crate::group::Context;

/// Ticks between two looks, unless there was something to do.
const TICKS: u32 = 20;
/// How much is looked at each time.
const LOOK: ScanLimit = ScanLimit { items: 128, bytes: 32 << 10 };

/// Where the walk through the partition stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// Which of the partition's keyspaces, and where in it; the beginning when absent.
    at: Option<(usize, Cursor)>,
    /// When to look again.
    next: Mono,
}

impl Running {
    /// Looks at the next part of the partition if it is time.
    pub(super) fn sweep(&mut self, options: &Options, ctx: &mut Context<'_>) {
        let state = &self.consensus.log().state;
        let moving = state.incomplete || self.receiver.is_some() || self.sender.is_some();
        if ctx.now.mono < self.sweep.next || moving || !self.applying.is_done() {
            return;
        }
        let log_ms = state.time_ms();
        let clock_ms = if self.consensus.leads() { self.clock_ms(ctx) } else { log_ms };
        let begin_of = |number| (number, Cursor::start_of(*options.slots.start()));
        let (number, from) = self.sweep.at.take().unwrap_or_else(|| begin_of(0));
        let Some(&keyspace) = options.keyspaces.get(number) else { return };
        let limit = ScanLimit { bytes: LOOK.bytes.min(ctx.store.max_commit_bytes() / 4), ..LOOK };
        let last = *options.slots.end();
        let page = ctx.store.page(keyspace, &from, last, b"", limit, Want::Header);
        let is_over = |time_ms: u64| {
            page.items.iter().filter(move |(_, stored)| !stored.header.live_at(time_ms))
        };
        let over: Vec<Change> = is_over(log_ms)
            .map(|(record, _)| Change::remove(keyspace, record.slot, record.key.clone()))
            .collect();
        let more = is_over(clock_ms).count() > over.len();
        if more {
            self.proposals.renew();
        }
        // What there is no room for now is found again, like what waits for its time; and nobody waits
        // until a removal is durable: what comes back with a crash is removed again.
        let removed = over.is_empty() || ctx.store.commit_unawaited(&over).is_ok();
        let next = if removed && !more {
            let behind = (number + 1 < options.keyspaces.len()).then(|| begin_of(number + 1));
            page.next.map(|next| (number, next)).or(behind)
        } else {
            Some((number, from))
        };
        self.sweep.at = next;
        let busy = more || !over.is_empty();
        self.sweep.next = ctx.now.mono + options.limits.tick * if busy { 1 } else { TICKS };
    }
}
