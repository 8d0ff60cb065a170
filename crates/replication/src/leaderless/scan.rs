//! The coordinator of one page of a scan: ask R members for a page each, and merge.
//!
//! The members' pages end at different keys. Up to the first of these ends, the horizon, every
//! page has told all its member holds; there the newest version of each key wins. What lies
//! behind the horizon belongs to the next page.
//!
//! A scan repairs nothing: two scans may see a write that is under way in either order.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Cursor, Error, Executed, Header, Item, KeyspaceId, Mono, NodeId, Outcome, Reply,
    ScanLimit, Slot, Want,
};

use super::coordinator::{Client, Coordinator, Progress};
use super::serve::PAGE;
use crate::{Message, PageItem, ScannedPage};

/// What a scan is about.
#[derive(Debug)]
pub(super) struct Range {
    pub(super) keyspace: KeyspaceId,
    pub(super) from: Cursor,
    pub(super) prefix: Bytes,
    pub(super) limit: ScanLimit,
    pub(super) want: Want,
    pub(super) consistency: Consistency,
}

/// A scan that waits for pages.
#[derive(Debug)]
pub(super) struct Scan {
    client: Client,
    range: Range,
    need: usize,
    seats: Vec<(NodeId, Seat)>,
}

#[derive(Debug)]
enum Seat {
    Free,
    Asked,
    Told(ScannedPage),
    Out,
}

/// The newest record of a key, as far as the pages tell.
struct Newest {
    header: Header,
    value: Option<Bytes>,
}

/// A live value that no page could give.
struct Damaged;

impl Scan {
    /// Asks the first members.
    ///
    /// # Errors
    /// Not executed: too few members can be asked.
    pub(super) fn start(
        at: &mut Coordinator<'_, '_>,
        client: Client,
        mut range: Range,
    ) -> Outcome<Scan> {
        let need = range.consistency.required(at.options.members.len());
        at.require(need)?;
        range.limit.items = range.limit.items.clamp(1, PAGE.items);
        range.limit.bytes = range.limit.bytes.min(PAGE.bytes);
        let seats = at.seats(|| Seat::Free);
        let mut scan = Scan { client, range, need, seats };
        for _ in 0..need {
            scan.ask_next(at);
        }
        Ok(scan)
    }

    /// When the scan wants to be woken.
    pub(super) const fn wake(&self) -> Mono {
        self.client.deadline
    }

    /// Takes a member's page, or its refusal.
    pub(super) fn on_page(
        &mut self,
        at: &mut Coordinator<'_, '_>,
        from: NodeId,
        page: Option<ScannedPage>,
    ) -> Progress {
        if let Some(seat) = self.seat(from)
            && matches!(seat, Seat::Asked)
        {
            *seat = page.map_or(Seat::Out, Seat::Told);
        }
        self.advance(at)
    }

    /// No answer of a member is to be expected any more.
    pub(super) fn on_lost(&mut self, at: &mut Coordinator<'_, '_>, node: NodeId) -> Progress {
        if let Some(seat) = self.seat(node)
            && matches!(seat, Seat::Asked)
        {
            *seat = Seat::Out;
        }
        self.advance(at)
    }

    /// The client waits no longer.
    pub(super) fn on_wake(&self, at: &mut Coordinator<'_, '_>) -> Progress {
        let (need, acked) = (self.need, self.pages().count());
        at.reply(self.client, Err(Error::Timeout { need, acked, executed: Executed::No }))
    }

    fn advance(&mut self, at: &mut Coordinator<'_, '_>) -> Progress {
        let told = self.pages().count();
        let asked = |(_, seat): &&(NodeId, Seat)| matches!(seat, Seat::Asked);
        let mut expected = told + self.seats.iter().filter(asked).count();
        while expected < self.need {
            if !self.ask_next(at) {
                let error = Error::Unavailable { need: self.need, live: expected };
                return at.reply(self.client, Err(error));
            }
            expected += 1;
        }
        if told < self.need {
            return Progress::Wait;
        }
        match self.merge(at.ctx.now.wall_ms) {
            Ok((items, next)) => at.reply(self.client, Ok(Reply::Page(items, next))),
            Err(Damaged) if expected > told || self.ask_next(at) => Progress::Wait,
            Err(Damaged) => at.reply(self.client, Err(Error::Corrupt { executed: Executed::No })),
        }
    }

    /// The live items up to the horizon or the limit, and where the next page begins.
    fn merge(&self, wall_ms: u64) -> Result<(Vec<Item>, Option<Cursor>), Damaged> {
        let horizon = self.pages().filter_map(|page| page.next.as_ref()).min();
        let mut left = self.range.limit;
        let mut items: Vec<Item> = Vec::new();
        for ((slot, key), Newest { header, value }) in self.newest(horizon) {
            if !header.live_at(wall_ms) {
                continue;
            }
            let value = match (self.range.want, value) {
                (Want::Header, _) => Bytes::new(),
                (Want::Value, Some(value)) => value,
                (Want::Value, None) => return Err(Damaged),
            };
            let size = key.len() + value.len();
            if !items.is_empty() && (left.items == 0 || left.bytes < size) {
                return Ok((items, Some(Cursor { slot, key })));
            }
            left.items = left.items.saturating_sub(1);
            left.bytes = left.bytes.saturating_sub(size);
            items.push(Item { key, header, value });
        }
        Ok((items, horizon.cloned()))
    }

    /// The newest record of every key before the horizon, in order.
    fn newest(&self, horizon: Option<&Cursor>) -> BTreeMap<(Slot, Bytes), Newest> {
        let mut newest: BTreeMap<(Slot, Bytes), Newest> = BTreeMap::new();
        for PageItem { slot, key, header, value } in self.pages().flat_map(|page| &page.items) {
            if horizon.is_some_and(|end| (*slot, key) >= (end.slot, &end.key)) {
                continue;
            }
            let found = || Newest { header: *header, value: value.clone() };
            match newest.entry((*slot, key.clone())) {
                Entry::Vacant(entry) => {
                    entry.insert(found());
                }
                Entry::Occupied(mut entry) => {
                    let known = entry.get_mut();
                    if header.version > known.header.version {
                        *known = found();
                    } else if header.version == known.header.version && known.value.is_none() {
                        known.value.clone_from(value);
                    }
                }
            }
        }
        newest
    }

    fn pages(&self) -> impl Iterator<Item = &ScannedPage> {
        self.seats.iter().filter_map(|(_, seat)| match seat {
            Seat::Told(page) => Some(page),
            _ => None,
        })
    }

    fn seat(&mut self, node: NodeId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|(member, _)| *member == node).map(|(_, seat)| seat)
    }

    /// Asks the next member that can be asked; tells whether there was one.
    fn ask_next(&mut self, at: &mut Coordinator<'_, '_>) -> bool {
        let mut seats = self.seats.iter_mut();
        let free = seats.find(|(node, seat)| matches!(seat, Seat::Free) && at.can_ask(*node));
        let Some((node, seat)) = free else { return false };
        *seat = Seat::Asked;
        let Range { keyspace, ref from, ref prefix, limit, want, .. } = self.range;
        let message = Message::Scan {
            op: at.op,
            keyspace,
            from: from.clone(),
            prefix: prefix.clone(),
            limit,
            want,
            patience: self.client.deadline.since(at.ctx.now.mono),
        };
        at.send(*node, message);
        true
    }
}
