//! Reads by lease: the log is the lease.
//!
//! A leader answers reads by itself while the newest entry of its own term that is committed is
//! younger than the lease. Whoever leads after it may win its election and replicate at once, but
//! answers nothing until every lease that an earlier leader could have is over. No vote is refused
//! for it, and no two clocks are compared. (Davis et al., "LeaseGuard: Raft Leases Done Right", 2025;
//! there the new leader does not commit. Here it commits and keeps silent, which clients cannot
//! tell apart.)
//!
//! Why that holds:
//!
//! - The leader counts the age of its entry from before the entry leaves the node. Every replica
//!   counts from when it received the newest entry that others had created: later. A replica that
//!   has started since counts from its start: later still.
//! - A new leader has every entry that is committed, so it has the one on which the newest lease
//!   rests, and has received it before it was elected. It keeps silent for the length of a lease and
//!   [`DRIFT`] from its newest receipt.
//! - Silence concerns every answer, also to what this replica proposed and another leader has
//!   committed since, and what a follower asks it.
//! - Both count with their own monotonic clocks. What is needed is that these measure half a second
//!   alike; a machine that stops together with its monotonic clock finds its wall clock ahead when
//!   it goes on, and the lease void. A clock that is known to be wrong gives none.
//! - A leader that asks another replica to lead at once has no lease any more for as long as its
//!   term lasts, whatever comes of that, and says so in the same message: then the next term need
//!   not wait for it.
//!
//! **Invariant:** the present ([`Context::now`](crate::Context::now)) is read after what the turn
//! handles has arrived. A lease that holds then holds after each of these reads began.

use std::collections::VecDeque;
use std::time::Duration;

use kvorum_core::{Mono, Now};

use super::options::Options;

/// Of how many parts of a lease the silence lasts one more: clocks may differ that much.
const DRIFT: u32 = 100;

/// How many ticks of the last few must have seen reads for a lease to be worth an entry of its own.
const BUSY_TICKS: u32 = 3;
/// The last few: a bit for each.
const LAST_TICKS: u8 = 0b1_1111;

/// What a replica knows of leases: its own, and those it must wait for.
#[derive(Debug)]
pub(super) struct Lease {
    /// When it received an entry of another leader last, at the latest.
    received: Option<Mono>,
    /// The newest term whose leader has told this replica that it has no lease any more.
    released: Option<u64>,
    /// It answers nothing before.
    silent_until: Option<Mono>,
    /// The term in which it leads and has not given up its lease.
    term: Option<u64>,
    /// Its entries of this term that are not known to be committed: index and time.
    created: VecDeque<(u64, Now)>,
    /// When the newest committed one was created.
    newest: Option<Now>,
    /// In which of the last ticks reads have arrived that want a lease; the lowest bit is the
    /// present one.
    wanted: u8,
}

impl Lease {
    /// That of a replica that starts now. It may have received what its log holds just before.
    pub(super) fn new(holds_entries: bool, now: Mono) -> Lease {
        Lease {
            received: holds_entries.then_some(now),
            released: None,
            silent_until: None,
            term: None,
            created: VecDeque::new(),
            newest: None,
            wanted: 0,
        }
    }

    /// Entries of another leader have arrived.
    pub(super) const fn received(&mut self, now: Mono) {
        self.received = Some(now);
    }

    /// The leader of a term has said that it has no lease any more.
    pub(super) fn is_released(&mut self, term: u64) {
        self.released = self.released.max(Some(term));
    }

    /// This replica leads from now on.
    pub(super) fn begin(&mut self, options: &Options, term: u64, now: Mono) {
        self.end();
        self.term = Some(term);
        if options.does_not_wait_for_leases() || self.released.is_some_and(|last| last + 1 == term)
        {
            return;
        }
        let span = options.limits.lease;
        let over = self.received.map(|received| received + span + span / DRIFT);
        self.silent_until = self.silent_until.max(over).filter(|over| *over > now);
    }

    /// This replica does not lead, or no more. What it must be silent for is not over by that.
    pub(super) fn end(&mut self) {
        self.term = None;
        self.created.clear();
        self.newest = None;
    }

    /// It asks another replica to lead: it has no lease again in this term.
    pub(super) fn release(&mut self, options: &Options) {
        if !options.keeps_released_lease() {
            self.end();
        }
    }

    /// Notes what a leader has created and what is committed of it. To be called before anything
    /// new leaves the node.
    pub(super) fn note(&mut self, last: u64, committed: u64, now: Now) {
        if self.term.is_none() {
            return;
        }
        if self.created.back().is_none_or(|(index, _)| *index < last) && last > committed {
            self.created.push_back((last, now));
        }
        while let Some((_, created)) = self.created.pop_front_if(|(at, _)| *at <= committed) {
            self.newest = Some(created);
        }
    }

    /// The newest of its entries that are not known to be committed.
    #[cfg(test)]
    pub(super) fn last_noted(&self) -> Option<u64> {
        self.created.back().map(|(index, _)| *index)
    }

    /// Whether this replica must not answer anything yet.
    pub(super) fn is_silent(&self, now: Mono) -> bool {
        self.silent_until.is_some_and(|until| now < until)
    }

    /// When it may answer, if it waits for that.
    pub(super) const fn silent_until(&self) -> Option<Mono> {
        self.silent_until
    }

    /// Time has passed.
    pub(super) fn speak(&mut self, now: Mono) {
        self.silent_until.take_if(|until| *until <= now);
    }

    /// Whether it may answer reads by itself.
    pub(super) fn holds(&self, options: &Options, now: Now, clock_suspect: bool) -> bool {
        let Some(created) = self.newest.filter(|_| self.term.is_some()) else { return false };
        let span = options.limits.lease;
        let by_wall = Duration::from_millis(now.wall_ms.saturating_sub(created.wall_ms));
        let young = now.mono.since(created.mono) < span || options.leases_by_wall_clock();
        young && by_wall < span && !clock_suspect && !self.is_silent(now.mono)
    }

    /// A read has arrived that wants a lease.
    pub(super) const fn want(&mut self) {
        self.wanted |= 1;
    }

    /// A tick has passed. Tells whether an entry is due only so that the lease goes on: while reads
    /// keep arriving, one every half lease.
    pub(super) fn renews(&mut self, options: &Options, now: Mono) -> bool {
        let wanted = (self.wanted & LAST_TICKS).count_ones() >= BUSY_TICKS;
        self.wanted <<= 1;
        let last = self.created.back().map(|(_, created)| *created).or(self.newest);
        let old = |last: Now| now.since(last.mono) >= options.limits.lease / 2;
        self.term.is_some() && wanted && last.is_none_or(old)
    }
}
