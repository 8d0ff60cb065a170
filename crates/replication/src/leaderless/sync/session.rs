//! The side of a session that asks.

use std::collections::VecDeque;

use kvorum_core::{Hlc, KeyspaceId, Mono, NodeId, Slot, digest};

use super::At;
use super::answer::opening;
use super::diff::{self, Contents, View};
use super::letter::{Bucket, Letter, Listing, Opening, Ranges, Unequal, Unmatched, Verdict};
use super::transfer::{Place, Tally, Transfer, may_send};
use crate::{Message, OpId, Report, Status};

/// How many items one letter lists, unless the first slot has more.
const LISTED: usize = 4096;
/// How many buckets one letter lists.
const BUCKETS: usize = 256;

/// A session that this replica has begun.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) id: OpId,
    pub(super) with: NodeId,
    /// Counts the questions, so that no answer is taken for that to another one.
    step: u32,
    awaits: Awaits,
    /// When it is given up unless the other replica is heard of.
    until: Mono,
    /// The smaller of the two promises when it began: whatever was read since was read under it.
    through: Hlc,
    /// Ranges that are unequal, the next one last.
    ranges: Vec<Ranges>,
    /// Buckets that are unequal, in the order of slots.
    buckets: VecDeque<(KeyspaceId, Bucket)>,
    transfer: Transfer,
    /// The slot whose difference was reported last.
    reported: Option<Place>,
    listed: Listed,
}

/// How much has been compared item by item, and whether that was all.
#[derive(Clone, Copy, Debug, Default)]
struct Listed {
    buckets: usize,
    items: usize,
    /// Where to go on, if there is more.
    rest: Option<Place>,
}

/// Which answer comes next.
#[derive(Debug)]
enum Awaits {
    Nothing,
    Opened,
    Unequal(Ranges),
    Unmatched(KeyspaceId, Vec<Contents>),
    Fetched,
    /// Everything here is durable.
    Closing,
}

/// How a session goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    Going,
    /// It is over.
    Over(Verdict),
    Failed(&'static str),
}

impl Session {
    /// Begins a session.
    pub(super) fn begin(at: &mut At<'_, '_>, with: NodeId, from: Option<Place>) -> Session {
        let mut session = Session {
            id: at.ids.next(at.ctx.clock.writer()),
            with,
            step: 0,
            awaits: Awaits::Nothing,
            until: at.ctx.now.mono,
            through: Hlc::default(),
            ranges: Vec::new(),
            buckets: VecDeque::new(),
            transfer: Transfer::default(),
            reported: None,
            listed: Listed { rest: from, ..Listed::default() },
        };
        let opening = opening(at.options, at.floor, at.ctx);
        session.ask(at, Letter::Open(opening), Awaits::Opened);
        session
    }

    /// When the session wants to be woken.
    pub(super) fn wake(&self) -> Mono {
        let pause = self.transfer.pause();
        pause.map_or(self.until, |pause| pause.min(self.until))
    }

    pub(super) fn has_sent(&self, op: OpId) -> bool {
        self.transfer.has_sent(op)
    }

    pub(super) const fn tally(&self) -> Tally {
        self.transfer.tally
    }

    /// Where the next session goes on with what this one did not come to.
    pub(super) const fn rest(&self) -> Option<Place> {
        self.listed.rest
    }

    fn ask(&mut self, at: &mut At<'_, '_>, letter: Letter, awaits: Awaits) {
        self.step += 1;
        self.awaits = awaits;
        let weight = letter.weight();
        self.transfer.tally.bytes += weight;
        at.ctx.pace.background.correct(0, 0, weight);
        let message = Message::Sync { session: self.id, step: self.step, letter };
        at.ctx.out.send(self.with, message);
        self.heard(at);
    }

    fn heard(&mut self, at: &At<'_, '_>) {
        self.until = at.ctx.now.mono + at.options.limits.session_patience;
    }

    /// Takes an answer.
    pub(super) fn on_letter(&mut self, at: &mut At<'_, '_>, step: u32, letter: Letter) -> Flow {
        if step != self.step {
            return Flow::Going;
        }
        self.heard(at);
        self.transfer.tally.bytes += letter.weight();
        match (std::mem::replace(&mut self.awaits, Awaits::Nothing), letter) {
            (_, Letter::Declined(decline)) => return Flow::Failed(decline.reason()),
            (Awaits::Opened, Letter::Opened(theirs)) => self.on_opened(at, &theirs),
            (Awaits::Unequal(asked), Letter::Unequal(unequal)) => {
                self.on_unequal(at, &asked, unequal);
            }
            (Awaits::Unmatched(keyspace, listed), Letter::Unmatched(answers)) => {
                self.on_unmatched(at, keyspace, listed, &answers);
            }
            (Awaits::Fetched, Letter::Fetched { records, pause }) => {
                self.transfer.on_fetched(at, records, pause);
            }
            (Awaits::Closing, Letter::Close(verdict)) => return Flow::Over(verdict),
            _ => return Flow::Failed("the other replica answers something else"),
        }
        self.advance(at)
    }

    /// Takes the answer to a record that was sent.
    pub(super) fn on_written(&mut self, at: &mut At<'_, '_>, op: OpId, status: Status) -> Flow {
        self.heard(at);
        self.transfer.on_written(op, status);
        self.advance(at)
    }

    pub(super) fn on_wake(&mut self, at: &mut At<'_, '_>) -> Flow {
        let awaits = !matches!(self.awaits, Awaits::Nothing) || self.transfer.awaits();
        if awaits && self.until <= at.ctx.now.mono {
            return Flow::Failed("the other replica does not answer");
        }
        self.advance(at)
    }

    /// Goes on as far as that is possible without an answer.
    pub(super) fn advance(&mut self, at: &mut At<'_, '_>) -> Flow {
        if !matches!(self.awaits, Awaits::Nothing) {
            return Flow::Going;
        }
        if let Some(fetch) = self.transfer.pump(at, self.with) {
            self.ask(at, fetch, Awaits::Fetched);
            return Flow::Going;
        }
        if !self.transfer.is_over() {
            if self.transfer.pause().is_some() {
                self.heard(at);
            }
            return Flow::Going;
        }
        if self.transfer.tally.refused.is_some() {
            self.leave_rest();
        }
        if self.buckets.is_empty() && self.ranges.is_empty() {
            return self.close(at);
        }
        if let Err(until) = may_send(at, self.with) {
            self.transfer.wait(until);
            self.heard(at);
            return Flow::Going;
        }
        self.compare(at);
        Flow::Going
    }

    /// Asks about the next buckets, or else about the next ranges.
    fn compare(&mut self, at: &mut At<'_, '_>) {
        if let Some(&(keyspace, _)) = self.buckets.front() {
            let same = self.buckets.iter().take_while(|(other, _)| *other == keyspace);
            let buckets: Vec<Bucket> = same.map(|(_, bucket)| *bucket).take(BUCKETS).collect();
            let view = self.view(at, keyspace);
            let listed = diff::contents(at.ctx.store, view, &buckets, LISTED);
            self.buckets.drain(..listed.len().min(self.buckets.len()));
            self.listed.buckets += listed.len();
            self.listed.items += listed.iter().map(Contents::len).sum::<usize>();
            let upper = self.upper();
            let buckets = listed.iter().map(|contents| contents.prints(upper)).collect();
            let letter = Letter::List(Listing { keyspace, upper, buckets });
            self.ask(at, letter, Awaits::Unmatched(keyspace, listed));
        } else if let Some(mut ranges) = self.ranges.pop() {
            let store = &*at.ctx.store;
            let sums = (0..u8::MAX).map_while(|number| ranges.range(number));
            ranges.sums =
                sums.map(|(first, last)| store.sum(ranges.keyspace, first, last)).collect();
            self.ask(at, Letter::Compare(ranges.clone()), Awaits::Unequal(ranges));
        }
    }

    /// Another half in the next session, in case two hashes have one in common.
    const fn upper(&self) -> bool {
        self.id.0 % 2 == 1
    }

    fn view(&self, at: &At<'_, '_>, keyspace: KeyspaceId) -> View {
        let shows_corrupt = at.options.shows_corrupt();
        View { keyspace, upper: self.upper(), floor: at.floor.floor(), shows_corrupt }
    }

    fn on_opened(&mut self, at: &mut At<'_, '_>, theirs: &Opening) {
        self.through = at.floor.promise().min(theirs.promise);
        let ours = opening(at.options, at.floor, at.ctx);
        let (first, last) = (*at.options.slots.start(), *at.options.slots.end());
        let mut before = Vec::new();
        let rest = self.listed.rest.take();
        for (keyspace, sum) in ours.sums {
            if theirs.sums.contains(&(keyspace, sum)) {
                continue;
            }
            // What the session before did not come to is compared first.
            let slot = rest.filter(|rest| rest.keyspace == keyspace).map(|rest| rest.slot);
            let middle = slot.filter(|slot| (first..=last).contains(slot)).unwrap_or(first);
            self.ranges.push(Ranges::over(keyspace, middle, last));
            let end = middle.get().checked_sub(1).and_then(Slot::new);
            if let Some(end) = end.filter(|end| *end >= first) {
                before.push(Ranges::over(keyspace, first, end));
            }
        }
        self.ranges.reverse();
        self.ranges.splice(0..0, before);
        if let Some(keyspace) = rest.map(|rest| rest.keyspace) {
            self.ranges.sort_by_key(|ranges| ranges.keyspace == keyspace);
        }
    }

    fn on_unequal(&mut self, at: &mut At<'_, '_>, asked: &Ranges, unequal: Unequal) {
        let compared = usize::from(unequal.compared);
        if compared < asked.sums.len() {
            match asked.range(unequal.compared).filter(|_| compared > 0) {
                Some((first, _)) => self.ranges.push(Ranges { first, ..asked.clone() }),
                // Nothing was compared, which makes no sense.
                None => self.transfer.tally.lacks(Hlc::default()),
            }
        }
        let mut inner = Vec::new();
        for (number, sums) in unequal.ranges {
            let Some((first, last)) = asked.range(number) else { continue };
            if first == last {
                self.compare_buckets(at, Place { keyspace: asked.keyspace, slot: first }, &sums);
            } else {
                inner.push(Ranges::over(asked.keyspace, first, last));
            }
        }
        self.ranges.extend(inner.into_iter().rev());
    }

    /// Notes which buckets of a slot are unequal.
    fn compare_buckets(&mut self, at: &mut At<'_, '_>, place: Place, theirs: &[u64]) {
        let Place { keyspace, slot } = place;
        let store = &*at.ctx.store;
        if !theirs.len().is_power_of_two() || theirs.len() > 1 << digest::MAX_BITS {
            self.transfer.tally.lacks(Hlc::default());
            return;
        }
        let most = u8::try_from(theirs.len().ilog2()).unwrap_or(0);
        let bits = store.bucket_bits(keyspace, slot).min(most);
        let ours = store.bucket_sums(keyspace, slot, bits);
        let theirs = digest::fold(theirs, bits);
        for (number, _) in (0..).zip(ours.iter().zip(&theirs)).filter(|(_, (a, b))| a != b) {
            if self.is_full(at) {
                self.listed.rest = self.listed.rest.or(Some(place));
                self.ranges.clear();
                return;
            }
            self.buckets.push_back((keyspace, Bucket { slot, bits, number }));
        }
    }

    /// Whether no more buckets may be listed.
    fn is_full(&self, at: &At<'_, '_>) -> bool {
        let limits = &at.options.limits;
        self.listed.buckets + self.buckets.len() >= limits.session_buckets
            || self.listed.items >= limits.session_items
    }

    fn on_unmatched(
        &mut self,
        at: &mut At<'_, '_>,
        keyspace: KeyspaceId,
        listed: Vec<Contents>,
        answers: &[Unmatched],
    ) {
        let settled = at.settled();
        // Those without an answer are listed again.
        for contents in listed.iter().skip(answers.len()).rev() {
            self.buckets.push_front((keyspace, contents.bucket));
        }
        if answers.is_empty() {
            // That makes no sense, and would for ever.
            self.transfer.tally.lacks(Hlc::default());
            return self.leave_rest();
        }
        for (contents, answer) in listed.into_iter().zip(answers) {
            let bucket = contents.bucket;
            let place = Place { keyspace, slot: bucket.slot };
            if answer.more {
                self.listed.rest = self.listed.rest.or(Some(place));
            }
            let difference = diff::difference(contents, answer, at.options.sends_older());
            if let Some(hlc) = difference.stuck {
                self.transfer.tally.lacks(hlc);
            }
            let (mut differs, mut young) = (false, None::<Hlc>);
            let mut is_settled = |hlc: Hlc| {
                let is_settled = hlc <= settled;
                differs |= is_settled;
                if !is_settled {
                    young = Some(young.map_or(hlc, |other| other.min(hlc)));
                }
                is_settled
            };
            for held in difference.push {
                if is_settled(held.header.version.hlc) {
                    self.transfer.want_push(place, held);
                }
            }
            for item in difference.fetch {
                if is_settled(item.version.hlc) {
                    self.transfer.want_fetch(place, item);
                }
            }
            if let Some(hlc) = young {
                self.transfer.tally.is_under_way(hlc);
            }
            if differs && self.reported != Some(place) {
                self.reported = Some(place);
                let Place { keyspace, slot } = place;
                at.ctx.out.report(Report::Mismatch { with: self.with, keyspace, slot });
            }
        }
    }

    /// Leaves everything for another session.
    fn leave_rest(&mut self) {
        let bucket = self.buckets.front().map(|(keyspace, bucket)| (*keyspace, bucket.slot));
        let range = self.ranges.last().map(|ranges| (ranges.keyspace, ranges.first));
        if let Some((keyspace, slot)) = bucket.or(range) {
            self.listed.rest = self.listed.rest.or(Some(Place { keyspace, slot }));
        }
        self.buckets.clear();
        self.ranges.clear();
    }

    /// The end. If nothing is lacking, the verdict waits until all that was shown is durable here.
    fn close(&mut self, at: &mut At<'_, '_>) -> Flow {
        let Tally { lacking, incomplete, .. } = self.transfer.tally;
        let clean = self.listed.rest.is_none() && lacking.is_none_or(|hlc| hlc > self.through);
        if !clean {
            self.tell(at, Verdict::default());
            return Flow::Over(Verdict::default());
        }
        let verdict = Verdict { through: Some(self.through), complete: !incomplete };
        let Ok(after) = super::newest(at.ctx) else {
            return Flow::Failed("there is too much to do");
        };
        let after = Some(after).filter(|_| !at.options.cleans_before_durable());
        self.step += 1;
        let (session, step, letter) = (self.id, self.step, Letter::Close(verdict));
        at.ctx.out.send_after(after, at.ctx.me, Message::Sync { session, step, letter });
        self.awaits = Awaits::Closing;
        self.heard(at);
        Flow::Going
    }

    /// Tells the other replica what the session has come to.
    pub(super) fn tell(&self, at: &mut At<'_, '_>, verdict: Verdict) {
        let letter = Letter::Close(verdict);
        let message = Message::Sync { session: self.id, step: self.step, letter };
        at.ctx.out.send(self.with, message);
    }
}
