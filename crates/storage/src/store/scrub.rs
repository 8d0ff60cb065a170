//! Scrub: reading old segments again at a bounded rate, so that damage is found while other nodes
//! still have what was lost; and hashing the index again, so that wrong sums do not stay.

use std::time::Duration;

use kvorum_core::Mono;

use super::Store;
use super::compaction::extent;
use super::maintain::RETRY;
use super::work::{Chunk, Purpose, Task};
use crate::index::Check;
use crate::log::segment;

/// Where scrub is.
#[derive(Debug, Default)]
pub(super) struct Scrub {
    segment: u32,
    offset: u32,
    /// The rate allows no reading before this time.
    not_before: Mono,
    /// What of the index has been hashed in this round.
    sums: Check,
    /// No more is hashed before this time.
    sums_not_before: Mono,
    /// When the last round was over.
    done_at: Option<Mono>,
}

/// About how many keys are hashed again in one step.
const STEP_KEYS: usize = 1024;

/// How much time passes for each of them: a thousandth of a core hashes, and ten million keys are
/// through in ten minutes.
const PER_KEY: Duration = Duration::from_micros(60);

/// The pause between two rounds.
const ROUND: Duration = Duration::from_secs(3600);

impl Scrub {
    pub(super) const fn done_at(&self) -> Option<Mono> {
        self.done_at
    }

    /// After a failed read: try the same part again later.
    pub(super) fn postpone(&mut self, now: Mono) {
        self.not_before = now + RETRY;
    }
}

impl Store {
    /// The next read, if the rate allows one: segment after segment, then the checkpoint.
    pub(super) fn scrub_task(&mut self, now: Mono) -> Option<Task> {
        if self.options.scrub_bytes_per_second == 0 || now < self.maintenance.scrub.not_before {
            return None;
        }
        self.check_sums(now);
        let Scrub { segment: at, offset, .. } = self.maintenance.scrub;
        let mut closed = self.segments.range(at..self.tail.segment.max(at));
        let next = closed.find(|(n, segment)| **n != at || offset < segment.end);
        let Some((number, segment)) = next else {
            if !self.maintenance.scrub.sums.is_complete() {
                return None;
            }
            // One round is over; the next begins after a pause, so that a small store is not read
            // all the time.
            let (not_before, done_at) = (now + ROUND, Some(now));
            self.maintenance.scrub = Scrub { not_before, done_at, ..Scrub::default() };
            let number = self.maintenance.checkpoints.newest()?;
            return Some(Task::CheckpointRead { number });
        };
        let from =
            if *number == at { offset.max(segment::DATA as u32) } else { segment::DATA as u32 };
        let extent = extent(*number, segment, from)?;
        self.maintenance.scrub.segment = *number;
        Some(Task::Read(Purpose::Scrub, extent))
    }

    /// Hashes the next keys of the index, if the rate allows it.
    fn check_sums(&mut self, now: Mono) {
        let scrub = &mut self.maintenance.scrub;
        if now < scrub.sums_not_before {
            return;
        }
        let mut hashed = 0;
        while hashed < STEP_KEYS && !scrub.sums.is_complete() {
            let (keys, wrong) = self.index.check(&mut scrub.sums);
            hashed += keys;
            self.maintenance.wrong_sums += u64::from(wrong.is_some());
            self.maintenance.wrongly_summed.extend(wrong);
        }
        let keys = u32::try_from(hashed).unwrap_or(u32::MAX);
        scrub.sums_not_before = now + PER_KEY.saturating_mul(keys);
    }

    /// Takes what scrub has read. Records in a part that does not verify are looked at one by one.
    pub(super) fn scrubbed(&mut self, number: u32, chunk: &Chunk, now: Mono) {
        let read = u64::from(chunk.next.saturating_sub(chunk.offset));
        let rate = self.options.scrub_bytes_per_second.max(1);
        let pause = Duration::from_micros(read.saturating_mul(1_000_000) / rate);
        let scrub = &mut self.maintenance.scrub;
        scrub.offset = chunk.next;
        scrub.not_before = now + pause;
        let Some(segment) = self.segments.get(&number) else { return };
        if chunk.holes.is_empty() {
            return;
        }
        if segment.last > self.maintenance.checkpoints.covered() {
            // A start would have to replay what is gone: it must not have to.
            self.maintenance.checkpoints.want();
        }
        let from = chunk.holes.first().map_or(0, |hole| hole.0);
        let to = chunk.holes.last().map_or(0, |hole| hole.1);
        for (keyspace, slot, key) in self.keys_in(number, from, to) {
            let entry = self.index.get(keyspace, slot, &key).copied();
            if entry.is_some_and(|entry| self.read(&entry, &key).is_none()) {
                self.mark_corrupt(keyspace, slot, &key);
            }
        }
    }
}
