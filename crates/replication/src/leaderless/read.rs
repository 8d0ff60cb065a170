//! The coordinator of one read: ask R members, compare versions, repair, answer.
//!
//! One member is asked for the value, the others for the header: equal versions mean equal
//! values. A member that is lost, refuses, holds a damaged copy or is slow is replaced by another.
//!
//! **Invariant:** a read at QUORUM or ALL shows a version only when a majority holds it or
//! something newer, so no later such read shows an older one. Deletions and expired values are
//! repaired like values: whoever misses them would bring back what they replaced.
//!
//! **Invariant:** a damaged copy proves that its version exists. An older version is never shown
//! in its place.

use bytes::Bytes;
use kvorum_core::{
    Consistency, Error, Executed, Header, Item, KeyspaceId, Mono, NodeId, Outcome, Reply, Slot,
    Version, Want,
};

use super::answers::{Answers, Fetch, Seat};
use super::coordinator::{Client, Coordinator, Progress};
use super::repair::{self, Repair};
use crate::{Event, Found, Message, Status};

/// What a read is about.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) keyspace: KeyspaceId,
    pub(super) slot: Slot,
    pub(super) key: Bytes,
    pub(super) want: Want,
    pub(super) consistency: Consistency,
    /// Older versions are not accepted.
    pub(super) min_version: Option<Version>,
}

/// A read that waits for answers.
#[derive(Debug)]
pub(super) struct Read {
    client: Client,
    question: Question,
    /// How many members must tell what they hold.
    need: usize,
    answers: Answers,
    /// When one more member may be asked, if the budget allows it.
    hurry: Option<Mono>,
    /// Under way once the answer is known, until a majority holds it.
    repair: Option<Repair>,
}

impl Read {
    /// Asks the first members.
    ///
    /// # Errors
    /// Not executed: too few members can be asked.
    pub(super) fn start(
        at: &mut Coordinator<'_, '_>,
        client: Client,
        question: Question,
    ) -> Outcome<Read> {
        let need = question.consistency.required(at.options.members.len());
        at.require(need)?;
        let answers = Answers::new(at.seats(|| Seat::Free));
        let mut read = Read { client, question, need, answers, hurry: None, repair: None };
        let mut want = read.question.want;
        for _ in 0..need {
            read.ask_next(at, want);
            want = Want::Header;
        }
        // The slowest of those asked has time for all but its slowest answers.
        let spans = read.answers.awaited().map(|(node, _)| at.ctx.pace.hurry_after(node));
        read.hurry = spans.max().map(|span| at.ctx.now.mono + span);
        Ok(read)
    }

    /// When the read wants to be woken.
    pub(super) fn wake(&self) -> Mono {
        self.hurry.map_or(self.client.deadline, |hurry| hurry.min(self.client.deadline))
    }

    /// Takes what a member holds.
    pub(super) fn on_held(
        &mut self,
        at: &mut Coordinator<'_, '_>,
        from: NodeId,
        found: Found,
    ) -> Progress {
        if let Some(asked) = self.answers.take(from, found) {
            at.ctx.pace.answered(from, asked, at.ctx.now.mono);
        }
        self.advance(at)
    }

    /// Takes a member's answer to a repair.
    pub(super) fn on_repaired(
        &mut self,
        at: &mut Coordinator<'_, '_>,
        from: NodeId,
        status: Status,
    ) -> Progress {
        if let Some(repair) = &mut self.repair {
            repair.on_answer(&at.options.members, from, status);
        }
        self.advance(at)
    }

    /// No answer of a member is to be expected any more.
    pub(super) fn on_lost(&mut self, at: &mut Coordinator<'_, '_>, node: NodeId) -> Progress {
        self.answers.lose(at.options, node);
        if let Some(repair) = &mut self.repair {
            repair.on_lost(at.options, node);
        }
        self.advance(at)
    }

    /// The client waits no longer, or the members are slow.
    pub(super) fn on_wake(&mut self, at: &mut Coordinator<'_, '_>) -> Progress {
        if at.ctx.now.mono >= self.client.deadline {
            let acked = self.answers.told().count().min(self.need);
            let error = Error::Timeout { need: self.need, acked, executed: Executed::No };
            return at.reply(self.client, Err(error));
        }
        if self.hurry.take().is_some() {
            self.hurry(at);
        }
        Progress::Wait
    }

    /// The members asked are slower than usual: later reads avoid them, and this one asks one
    /// more if that is allowed.
    fn hurry(&mut self, at: &mut Coordinator<'_, '_>) {
        let now = at.ctx.now.mono;
        for (node, asked) in self.answers.awaited() {
            at.ctx.pace.silent(node, asked, now);
        }
        let another = self.answers.free().any(|node| at.can_ask(node));
        if another && at.ctx.pace.allowance.hurry() {
            at.ctx.out.count(Event::Hurried);
            self.ask_next(at, self.question.want);
        }
    }

    /// Does what the answers so far allow.
    fn advance(&mut self, at: &mut Coordinator<'_, '_>) -> Progress {
        if self.repair.is_some() {
            return self.advance_repair(at);
        }
        let told = self.answers.told().count();
        if told < self.need {
            return self.replace_lost(at, told);
        }
        let newest = self.answers.newest();
        if !self.is_new_enough(newest) {
            let error = Error::Unavailable { need: self.need, live: 0 };
            return self.ask_one_more(at, self.question.want, error);
        }
        let Some(header) = newest else {
            return at.reply(self.client, Ok(Reply::Missing(None)));
        };
        let live = header.live_at(at.ctx.now.wall_ms);
        let agreed = self.answers.told().all(|(_, held)| held.shows(&header));
        if agreed && !(live && self.question.want == Want::Value) {
            return self.answer(at, header, Bytes::new());
        }
        match self.answers.record(header.version) {
            Some((header, value)) if agreed => self.answer(at, header, value),
            Some((header, value)) => self.repair(at, header, value),
            None => self.fetch(at, header.version),
        }
    }

    /// Whether what the members have told is not older than the client accepts. A key that nobody
    /// holds is new enough if the version the client knows is one that was removed.
    fn is_new_enough(&self, newest: Option<Header>) -> bool {
        let Some(least) = self.question.min_version else { return true };
        newest.map_or_else(|| self.answers.settled(least), |header| header.version >= least)
    }

    /// Asks as many members as are still missing; fails if there are no more.
    fn replace_lost(&mut self, at: &mut Coordinator<'_, '_>, told: usize) -> Progress {
        while told + self.answers.outstanding() < self.need {
            if !self.ask_next(at, self.question.want) {
                let live = told + self.answers.outstanding();
                return at.reply(self.client, Err(Error::Unavailable { need: self.need, live }));
            }
            at.ctx.pace.allowance.owe();
        }
        Progress::Wait
    }

    /// Waits for a member that has been asked, else asks another, else fails with `error`.
    fn ask_one_more(&mut self, at: &mut Coordinator<'_, '_>, want: Want, error: Error) -> Progress {
        if self.answers.outstanding() > 0 || self.ask_next(at, want) {
            Progress::Wait
        } else {
            at.reply(self.client, Err(error))
        }
    }

    /// Gets the value of the newest version from a member that has it.
    fn fetch(&mut self, at: &mut Coordinator<'_, '_>, version: Version) -> Progress {
        match self.answers.fetch_from(version) {
            Fetch::UnderWay => Progress::Wait,
            Fetch::From(node) if at.can_ask(node) => {
                self.ask(at, node, Want::Value);
                Progress::Wait
            }
            Fetch::From(node) => {
                self.answers.discard(node);
                self.advance(at)
            }
            Fetch::Nowhere => {
                self.ask_one_more(at, Want::Value, Error::Corrupt { executed: Executed::No })
            }
        }
    }

    /// Members disagree: brings them to the newest record, before the answer if it must be.
    fn repair(&mut self, at: &mut Coordinator<'_, '_>, header: Header, value: Bytes) -> Progress {
        at.ctx.out.count(Event::ReadRepair);
        let record = repair::record(&self.question, header, value.clone());
        let told = self.answers.told();
        let holders = told.filter(|(_, held)| held.shows(&header)).count();
        let waits = self.question.consistency != Consistency::One
            && holders < at.options.majority()
            && !at.options.repairs_without_waiting();
        if !waits {
            let patience = self.client.deadline.since(at.ctx.now.mono);
            repair::push_and_forget(at, &self.answers, &record, patience);
            return self.answer(at, header, value);
        }
        self.repair = Some(Repair::new(record));
        self.advance_repair(at)
    }

    /// Answers once a majority holds the record. From here on the answer is fixed: whatever else
    /// turns up is concurrent with this read.
    fn advance_repair(&mut self, at: &mut Coordinator<'_, '_>) -> Progress {
        let Some(repair) = &mut self.repair else { return Progress::Wait };
        repair.push(at, &self.answers, self.client.deadline.since(at.ctx.now.mono));
        let need = at.options.majority();
        let live = repair.held();
        if live >= need {
            let (header, value) = (repair.record.header(), repair.record.value.clone());
            return self.answer(at, header, value.unwrap_or_default());
        }
        if live + repair.outstanding() + self.answers.outstanding() >= need {
            return Progress::Wait;
        }
        self.ask_one_more(at, Want::Header, Error::Unavailable { need, live })
    }

    fn answer(&self, at: &mut Coordinator<'_, '_>, header: Header, value: Bytes) -> Progress {
        at.ctx.clock.observe(header.version.hlc);
        let reply = if header.live_at(at.ctx.now.wall_ms) {
            let value = if self.question.want == Want::Value { value } else { Bytes::new() };
            Reply::Found(Item { key: self.question.key.clone(), header, value })
        } else {
            Reply::Missing(Some(header.version))
        };
        at.reply(self.client, Ok(reply))
    }

    /// Asks the next member that can be asked; tells whether there was one.
    fn ask_next(&mut self, at: &mut Coordinator<'_, '_>, want: Want) -> bool {
        let next = self.answers.free().find(|&node| at.can_ask(node));
        if let Some(node) = next {
            self.ask(at, node, want);
        }
        next.is_some()
    }

    fn ask(&mut self, at: &mut Coordinator<'_, '_>, node: NodeId, want: Want) {
        self.answers.ask(node, at.ctx.now.mono);
        let Question { keyspace, slot, key, .. } = &self.question;
        let (op, key) = (at.op, key.clone());
        let patience = self.client.deadline.since(at.ctx.now.mono);
        let message = Message::Read { op, keyspace: *keyspace, slot: *slot, key, want, patience };
        at.send(node, message);
    }
}
