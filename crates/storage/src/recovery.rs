//! Finding the end of the log and replaying it: what is trusted, what is damage, what is a tail.
//!
//! The log is a chain: the first frame of every segment names the proved end of the segment
//! before. The chain is traced from the newest segment back to what the checkpoint covers, and
//! replayed forward. LSNs are consecutive along it, so whatever is missing shows as a jump. Only
//! behind the last proved frame of the newest segment may something be missing without being
//! damage: a frame whose sync never returned.

mod chain;

use std::collections::BTreeMap;

use kvorum_core::{Hlc, Lsn};

use crate::checkpoint::Base;
use crate::damage::{Cause, Damage};
use crate::error::OpenError;
use crate::index::{Address, Index};
use crate::inventory::{Found, Inventory};
use crate::log::frame::{self, Frame, PrevEnd};
use crate::log::record::{Kind, RecordRef};
use crate::log::segment::{self, Segment, SegmentHeader};
use crate::options::{Options, lacks};
use chain::Link;

/// What recovery makes of a data directory.
pub(crate) struct Recovered {
    pub(crate) index: Index,
    /// The segments that hold a part of the log, with live records counted.
    pub(crate) segments: BTreeMap<u32, Segment>,
    /// Segments that were never born: they hold nothing.
    pub(crate) unborn: Vec<u32>,
    /// Segments that hold nothing once the new one is durable: they were carried into one.
    pub(crate) carried_over: Vec<u32>,
    /// Where the new segment goes on from.
    pub(crate) prev: Option<PrevEnd>,
    /// The first frame of the new segment, with every record that is not proved durable.
    pub(crate) carried: Vec<u8>,
    pub(crate) carried_first: Lsn,
    pub(crate) carried_count: u32,
    /// The LSN of the next new record.
    pub(crate) next: Lsn,
    /// The verdict in the log, from an earlier start.
    pub(crate) verdict: Option<Damage>,
    /// What this start found damaged.
    pub(crate) damage: Option<Damage>,
    pub(crate) log_id: Option<u128>,
    pub(crate) highest: Hlc,
}

/// Recovers what the files hold. `new` is the header of the segment that will be begun.
///
/// # Errors
/// [`OpenError::Io`]: what cannot be read now may be readable later, so it is not damage.
pub(crate) fn recover(
    inventory: &Inventory,
    base: Base,
    options: &Options,
    new: &SegmentHeader,
) -> Result<Recovered, OpenError> {
    let mut replay = Replay::new(inventory, base, options);
    for number in &inventory.broken {
        replay.note(Cause::Header, *number, Lsn(0), Lsn(0));
    }
    let links = replay.trace()?;
    let (newest, older) = match links.split_last() {
        Some((newest, older)) => (Some(*newest), older),
        None => (None, links.as_slice()),
    };
    for link in older {
        replay.segment(*link)?;
    }
    frame::begin(&mut replay.out.carried, true);
    if let Some(newest) = newest {
        replay.newest(newest, new)?;
    }
    replay.finish(&links, new);
    Ok(replay.out)
}

/// Recovery under way.
struct Replay<'a> {
    inventory: &'a Inventory,
    base: Base,
    options: &'a Options,
    out: Recovered,
    /// The start that last wrote the verdict down.
    verdict_start: u32,
    /// The LSN that the next frame should begin with.
    expected: Option<Lsn>,
    /// The highest LSN of any frame.
    seen: Lsn,
    /// The end of the segment replayed last.
    last_end: Option<PrevEnd>,
    buffer: Vec<u8>,
}

impl<'a> Replay<'a> {
    fn new(inventory: &'a Inventory, mut base: Base, options: &'a Options) -> Replay<'a> {
        let out = Recovered {
            index: std::mem::take(&mut base.index),
            segments: BTreeMap::new(),
            unborn: Vec::new(),
            carried_over: Vec::new(),
            prev: None,
            carried: Vec::new(),
            carried_first: Lsn(0),
            carried_count: 0,
            next: Lsn(base.max().0 + 1),
            verdict: None,
            damage: None,
            log_id: None,
            highest: base.highest,
        };
        Replay {
            inventory,
            base,
            options,
            out,
            verdict_start: 0,
            expected: None,
            seen: Lsn(0),
            last_end: None,
            buffer: Vec::new(),
        }
    }

    fn note(&mut self, cause: Cause, segment: u32, first: Lsn, last: Lsn) {
        let found = Damage { cause, segment, first, last: last.max(first) };
        self.out.damage = Some(Damage::merge(self.out.damage, found));
    }

    /// Reads the part of a segment that frames may lie in.
    fn load(&mut self, found: &Found, limit: Option<u32>) -> Result<Vec<u8>, OpenError> {
        let end = found.header.data_end();
        let len = limit.map_or(end, |limit| end.min(limit as usize));
        let mut bytes = std::mem::take(&mut self.buffer);
        bytes.clear();
        bytes.resize(len, 0);
        let name = segment::name(found.header.number);
        found.file.read_at(&mut bytes, 0).map_err(OpenError::io(format!("read {name}")))?;
        Ok(bytes)
    }

    /// Replays a segment that another one follows: all of it up to the proved end.
    fn segment(&mut self, link: Link) -> Result<(), OpenError> {
        let Some(found) = self.inventory.segments.get(&link.number) else { return Ok(()) };
        let bytes = self.load(found, link.limit)?;
        let frames = frame::scan(&bytes, found.header.seed());
        self.begin(link.number, frames.first());
        for frame in &frames {
            self.expect(link.number, frame);
            self.apply(link.number, frame);
        }
        let end = link.limit.unwrap_or_else(|| end_of(&frames));
        self.register(found, &frames, end);
        self.buffer = bytes;
        Ok(())
    }

    /// Replays the newest segment, and carries what is not proved into the new one.
    fn newest(&mut self, link: Link, new: &SegmentHeader) -> Result<(), OpenError> {
        let Some(found) = self.inventory.segments.get(&link.number) else { return Ok(()) };
        let bytes = self.load(found, None)?;
        let mut frames = frame::scan(&bytes, found.header.seed());
        let damage_before = self.out.damage;
        self.begin(link.number, frames.first());
        self.cut_tail(link.number, &mut frames);
        let whole = damage_before == self.out.damage;
        let carry = self.carried_from(&frames, whole);
        for (at, frame) in frames.iter().enumerate() {
            if at < carry {
                self.apply(link.number, frame);
            } else {
                self.carry(frame, new);
            }
        }
        let opening = frames.first().and_then(|frame| frame.opening);
        match frames.get(..carry).unwrap_or_default().last() {
            None => {
                self.out.prev = opening.map_or(self.last_end, |opening| opening.prev);
                self.out.carried_over.push(link.number);
            }
            Some(last) => {
                let end = u32::try_from(last.end()).unwrap_or(u32::MAX);
                let last = last.summary.last();
                self.out.prev = Some(PrevEnd { segment: link.number, end, last });
                let kept = frames.get(..carry).unwrap_or_default();
                self.register(found, kept, end);
            }
        }
        self.buffer = bytes;
        Ok(())
    }

    /// Takes over what the first frame of a segment says about the log.
    fn begin(&mut self, number: u32, first: Option<&Frame<'_>>) {
        let opening = first.filter(|frame| frame.offset == segment::DATA);
        let Some((frame, opening)) = opening.and_then(|frame| Some((frame, frame.opening?))) else {
            let from = self.expected.unwrap_or_default();
            let to = first.map_or(from, |frame| Lsn(frame.summary.first.0.saturating_sub(1)));
            self.note(Cause::Frames, number, from, to);
            self.expected = first.map(|frame| frame.summary.first);
            return;
        };
        let proved = opening.prev.map_or(Lsn(0), |prev| prev.last);
        match self.expected {
            Some(expected) if expected <= proved => self.missing(number, expected, proved),
            _ => {}
        }
        // Behind damage LSNs go on above every one that was seen; such a jump is said here.
        self.expected = Some(frame.summary.first);
        if !lacks!(self.options, ForgetVerdict) {
            self.out.verdict = opening.verdict;
            self.verdict_start = opening.start;
        }
        self.out.log_id = Some(opening.log_id);
    }

    /// Compares a frame with what should come next. A hole that took no records is harmless.
    fn expect(&mut self, number: u32, frame: &Frame<'_>) {
        let first = frame.summary.first;
        if let Some(expected) = self.expected.filter(|expected| *expected != first) {
            self.missing(number, expected, Lsn(first.0.saturating_sub(1)));
        }
        let last = frame.summary.last();
        self.expected = Some(Lsn(last.0 + 1));
        self.seen = self.seen.max(last);
    }

    /// Records are missing. It is no damage if the checkpoint has all of them: what the index says
    /// is right then, and a value that is gone is found corrupt when it is read.
    fn missing(&mut self, number: u32, first: Lsn, last: Lsn) {
        if last > self.base.min() || last < first {
            self.note(Cause::Frames, number, first, last);
        }
    }

    /// Drops the frames behind a torn one. A jump is a tear if nothing behind it proves that what
    /// is missing was durable, else damage.
    fn cut_tail(&mut self, number: u32, frames: &mut Vec<Frame<'_>>) {
        let tear = |expected: Option<Lsn>, frame: &Frame<'_>, proved: Lsn| {
            expected.is_some_and(|expected| frame.summary.first != expected && proved < expected)
        };
        let proved = frames.iter().map(|frame| frame.summary.synced).max().unwrap_or_default();
        let proved = if lacks!(self.options, HolesAreTails) { Lsn(0) } else { proved };
        for at in 0..frames.len() {
            let Some(frame) = frames.get(at).copied() else { break };
            if tear(self.expected, &frame, proved) {
                frames.truncate(at);
                break;
            }
            self.expect(number, &frame);
        }
    }

    /// How many frames of the newest segment stay where they are. The rest is written again.
    ///
    /// All of it is, if it fits into one frame: then starts leave no segments behind. A record
    /// that a checkpoint may point to stays.
    fn carried_from(&self, frames: &[Frame<'_>], whole: bool) -> usize {
        let payload: usize = frames.iter().map(Frame::payload).sum();
        let first = frames.first().map_or(Lsn(0), |frame| frame.summary.first);
        let opens = frames.first().is_some_and(|frame| frame.opening.is_some());
        if lacks!(self.options, TrustUnproved) {
            return frames.len();
        }
        if whole && opens && payload <= self.options.frame_bytes() && first > self.base.max() {
            return 0;
        }
        // A checkpoint proves as well: it was not valid before the log was durable up to it.
        let synced = frames.iter().map(|frame| frame.summary.synced).max().unwrap_or_default();
        let proved = synced.max(self.base.max());
        let unproved = frames.iter().rev().take_while(|frame| frame.summary.first > proved);
        // A frame without records proves others and needs no proof itself.
        frames.len() - unproved.filter(|frame| frame.summary.count > 0).count()
    }

    fn apply(&mut self, number: u32, frame: &Frame<'_>) {
        for (lsn, offset, record) in frame.records() {
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.record(lsn, &record, Address { segment: number, offset });
        }
    }

    fn carry(&mut self, frame: &Frame<'_>, new: &SegmentHeader) {
        if self.out.carried_count == 0 {
            self.out.carried_first = frame.summary.first;
        }
        for (lsn, _, record) in frame.records() {
            let offset = segment::DATA + self.out.carried.len();
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            record.encode(new.seed(), &mut self.out.carried);
            self.out.carried_count += 1;
            self.record(lsn, &record, Address { segment: new.number, offset });
        }
    }

    fn record(&mut self, lsn: Lsn, record: &RecordRef<'_>, address: Address) {
        if !record.keyspace.is_local() {
            self.out.highest = self.out.highest.max(record.version.hlc);
        }
        if record.kind == Kind::Removed && lacks!(self.options, ForgetRemovals) {
            return;
        }
        if record.kind == Kind::Rebuilt && record.tag >= self.verdict_start {
            self.out.verdict = None;
        }
        if lsn > self.base.covers(record.keyspace, record.slot) {
            let creates = lacks!(self.options, MovedCreates);
            self.out.index.replay(record, address, creates);
        }
    }

    fn register(&mut self, found: &Found, frames: &[Frame<'_>], end: u32) {
        let file = std::sync::Arc::clone(&found.file);
        let mut segment = Segment::new(found.header, Some(file));
        segment.end = end;
        segment.last = frames.last().map_or(Lsn(0), |frame| frame.summary.last());
        let number = found.header.number;
        self.last_end = Some(PrevEnd { segment: number, end, last: segment.last });
        self.out.segments.insert(number, segment);
    }

    /// Adds the segments that were not replayed, settles the LSNs and checks every address.
    fn finish(&mut self, links: &[Link], new: &SegmentHeader) {
        let replayed_from = links.first().map_or(u32::MAX, |link| link.number);
        for (number, found) in &self.inventory.segments {
            let held_nothing = |segments: &[u32]| segments.contains(number);
            if self.out.segments.contains_key(number)
                || held_nothing(&self.out.unborn)
                || held_nothing(&self.out.carried_over)
            {
                continue;
            }
            if *number > replayed_from {
                self.out.carried_over.push(*number);
                continue;
            }
            let known = self.base.segments.get(number);
            let mut segment = Segment::new(found.header, Some(std::sync::Arc::clone(&found.file)));
            let data_end = u32::try_from(found.header.data_end()).unwrap_or(u32::MAX);
            segment.end = known.map_or(data_end, |known| known.end);
            segment.last = known.map_or(self.base.min(), |known| known.last);
            self.out.segments.insert(*number, segment);
        }
        let end = self.expected.unwrap_or_default();
        if end < self.out.next && self.out.next > Lsn(1) {
            let last = Lsn(self.out.next.0 - 1);
            self.note(Cause::Truncated, 0, end, last);
        }
        self.out.next = self.out.next.max(end).max(Lsn(self.seen.0 + 1));
        if self.out.carried_count == 0 {
            self.out.carried_first = self.out.next;
        }
        let mut segment = Segment::new(*new, None);
        segment.end = u32::try_from(segment::DATA + self.out.carried.len()).unwrap_or(u32::MAX);
        self.out.segments.insert(new.number, segment);
        self.check_addresses();
    }

    /// Every address must lie in a segment that exists; what does not is lost, never absent.
    fn check_addresses(&mut self) {
        let mut missing = None;
        for (_, _, key, entry) in self.out.index.entries_mut() {
            let address = entry.address();
            let len = entry.stored_len(key.as_slice().len()) as u64;
            if address == Address::NOWHERE {
                continue;
            }
            match self.out.segments.get_mut(&address.segment) {
                Some(segment) if u64::from(address.offset) + len <= u64::from(segment.end) => {
                    segment.live += 1;
                    segment.live_bytes += len;
                }
                _ => {
                    entry.lose(Address::NOWHERE);
                    missing = Some(address.segment);
                }
            }
        }
        if let Some(segment) = missing {
            self.note(Cause::Address, segment, Lsn(0), self.base.max());
        }
    }
}

/// The offset behind the last frame.
fn end_of(frames: &[Frame<'_>]) -> u32 {
    let end = frames.last().map_or(segment::DATA, Frame::end);
    u32::try_from(end).unwrap_or(u32::MAX)
}
