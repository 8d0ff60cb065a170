//! The side of a session that answers. It keeps no more than the name of the session.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{KeyspaceId, Record, Slot, Stored, digest};

use super::diff::{self, View};
use super::letter::{
    Decline, FAN_OUT, Letter, Listing, Opening, Ranges, Unequal, Unmatched, record_weight,
};
use super::newest;
use crate::leaderless::Options;
use crate::leaderless::floor::Floor;
use crate::leaderless::serve::PAGE;
use crate::pace::Grant;
use crate::{Context, Event};

/// How many sums of buckets an answer holds at most, unless the first slot has more.
const SUMS: usize = 512;
/// How many items an answer tells at most.
const ITEMS: usize = 4096;
/// How many items are looked at for an answer, unless the first slot has more.
const LOOKED_AT: usize = 4 * ITEMS;

/// The replica while it answers one letter.
pub(super) struct Answerer<'a, 'c> {
    pub(super) options: &'a Options,
    pub(super) floor: &'a Floor,
    pub(super) ctx: &'a mut Context<'c>,
}

impl Answerer<'_, '_> {
    /// The answer to a letter that asks something; nothing if it does not.
    pub(super) fn answer(&mut self, letter: &Letter) -> Option<Letter> {
        match letter {
            Letter::Open(_) => Some(Letter::Opened(opening(self.options, self.floor, self.ctx))),
            Letter::Compare(ranges) => Some(self.compare(ranges)),
            Letter::List(listing) => Some(self.list(listing)),
            Letter::Fetch { keyspace, slot, hashes } => Some(self.fetch(*keyspace, *slot, hashes)),
            _ => None,
        }
    }

    fn compare(&mut self, ranges: &Ranges) -> Letter {
        let Ranges { keyspace, first, last, width, ref sums } = *ranges;
        let here = |slot| self.options.holds(keyspace, slot);
        if !here(first) || !here(last) || first > last || width == 0 {
            return Letter::Declined(Decline::NotReplica);
        }
        let store = &*self.ctx.store;
        let mut unequal = Unequal { compared: 0, ranges: Vec::new() };
        let mut room = SUMS;
        for (number, sum) in (0_u8..).zip(sums).take(FAN_OUT) {
            let Some((first, last)) = ranges.range(number) else { break };
            if store.sum(keyspace, first, last) != *sum {
                let buckets = match first == last {
                    true => store.bucket_sums(keyspace, first, digest::MAX_BITS),
                    false => Vec::new(),
                };
                if buckets.len() > room && !unequal.ranges.is_empty() {
                    break;
                }
                room = room.saturating_sub(buckets.len());
                unequal.ranges.push((number, buckets));
            }
            unequal.compared = number + 1;
        }
        Letter::Unequal(unequal)
    }

    fn list(&mut self, listing: &Listing) -> Letter {
        let Listing { keyspace, upper, ref buckets } = *listing;
        if !buckets.iter().all(|asked| self.options.holds(keyspace, asked.bucket.slot)) {
            return Letter::Declined(Decline::NotReplica);
        }
        let shows_corrupt = self.options.shows_corrupt();
        let view = View { keyspace, upper, floor: self.floor.floor(), shows_corrupt };
        let asked: Vec<_> = buckets.iter().map(|asked| asked.bucket).collect();
        let contents = diff::contents(self.ctx.store, view, &asked, LOOKED_AT);
        let mut room = ITEMS;
        let unmatched = |(contents, asked)| diff::unmatched(contents, asked, upper, &mut room);
        Letter::Unmatched(contents.iter().zip(buckets).map(unmatched).collect::<Vec<Unmatched>>())
    }

    fn fetch(&mut self, keyspace: KeyspaceId, slot: Slot, hashes: &[u64]) -> Letter {
        if !self.options.holds(keyspace, slot) {
            return Letter::Declined(Decline::NotReplica);
        }
        let (now, mut records, mut bytes) = (self.ctx.now.mono, Vec::new(), 0);
        if let Grant::NotBefore(then) = self.ctx.pace.background.take(now, 0, 0) {
            // At least a microsecond: no pause means that there is no more to come.
            let pause = then.since(now).max(Duration::from_micros(1));
            return Letter::Fetched { records, pause };
        }
        for key in diff::keys(self.ctx.store, keyspace, slot, hashes) {
            if bytes > PAGE.bytes {
                break;
            }
            if let Some((record, _)) = read(self.ctx, keyspace, slot, key) {
                bytes += record_weight(&record);
                records.push(record);
            }
        }
        self.ctx.pace.background.correct(0, records.len(), bytes);
        Letter::Fetched { records, pause: Duration::ZERO }
    }

    /// What must be durable before anybody is told.
    pub(super) fn after(&mut self) -> Result<Option<kvorum_core::Lsn>, kvorum_core::Refused> {
        if self.options.reveals_before_durable() { Ok(None) } else { newest(self.ctx).map(Some) }
    }
}

/// What this replica tells when a session begins.
pub(super) fn opening(options: &Options, floor: &Floor, ctx: &Context<'_>) -> Opening {
    let (first, last) = (*options.slots.start(), *options.slots.end());
    let sum =
        |&(keyspace, ..): &(KeyspaceId, _, _)| (keyspace, ctx.store.sum(keyspace, first, last));
    let sums = options.keyspaces.iter().map(sum).collect();
    Opening { floor: floor.floor(), promise: floor.promise(), sums }
}

/// What is stored for a key, if it can be read.
pub(super) fn read(
    ctx: &mut Context<'_>,
    keyspace: KeyspaceId,
    slot: Slot,
    key: Bytes,
) -> Option<(Record, Stored)> {
    match ctx.store.value(keyspace, slot, &key) {
        Ok(Some((stored, value))) => {
            let header = stored.header;
            let (version, tag, expire_ms) = (header.version, header.tag, header.expire_ms);
            let value = (!header.tombstone).then_some(value);
            Some((Record { keyspace, slot, key, version, tag, expire_ms, value }, stored))
        }
        Ok(None) => None,
        Err(_) => {
            ctx.out.count(Event::Corrupt);
            None
        }
    }
}
