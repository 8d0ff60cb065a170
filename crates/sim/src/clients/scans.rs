//! Clients that scan partitions and count keys.

use bytes::Bytes;
use kvorum_core::{
    Consistency, Cursor, Item, KeyspaceId, Mono, Op, PartitionId, Request, ScanLimit, Slot, Want,
};
use kvorum_replication::Ticket;

use super::{Clients, Pending, Question, request};
use crate::history::{Ending, Kind, Operation};
use crate::values;

/// A page of a scan.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) partition: PartitionId,
    from: Cursor,
    prefix: Bytes,
    want: Want,
}

impl Clients {
    /// A page of the partition of a key: the next one of the client's scan, or a first one.
    pub(super) fn scan(
        &mut self,
        client: usize,
        host: usize,
        now: Mono,
        consistency: Option<Consistency>,
        key: usize,
    ) -> (Ticket, Request) {
        let first = self.partition_of(key);
        let begin = |slots: std::ops::RangeInclusive<Slot>| Cursor::start_of(*slots.start());
        let begin = self.layout.slots(first).map(begin);
        let from = self.cursors.remove(&client).or(begin);
        let from = from.unwrap_or_else(|| Cursor::start_of(Slot::default()));
        let partition = self.layout.partition_of(KeyspaceId::DEFAULT, from.slot).unwrap_or(first);
        let prefix = match self.chance.between(0, 3) {
            0 => Bytes::from_static(b"key-1"),
            _ => Bytes::from_static(b"key-"),
        };
        let bytes = if self.chance.permille(200) { 100 } else { 1 << 20 };
        let items = usize::try_from(self.chance.between(1, 12)).unwrap_or(1);
        let limit = ScanLimit { items, bytes };
        let want = if self.chance.permille(200) { Want::Header } else { Want::Value };
        let op = Op::Scan { partition, from: from.clone(), prefix: prefix.clone(), limit, want };
        let page = Page { partition, from, prefix, want };
        let ticket = self.enter(client, host, now, consistency, Question::Page(page));
        (ticket, request(op, consistency, now))
    }

    pub(super) fn count(
        &mut self,
        client: usize,
        host: usize,
        now: Mono,
        consistency: Option<Consistency>,
        key: usize,
    ) -> (Ticket, Request) {
        let partition = self.partition_of(key);
        let ticket = self.enter(client, host, now, consistency, Question::Count(partition));
        (ticket, request(Op::Count { partition }, consistency, now))
    }

    /// Notes what a page tells of every key in its range.
    pub(super) fn page(
        &mut self,
        pending: &Pending,
        page: &Page,
        now: Mono,
        items: &[Item],
        next: Option<&Cursor>,
    ) {
        let place = |item: &Item| Cursor { slot: Slot::of(&item.key), key: item.key.clone() };
        let places: Vec<Cursor> = items.iter().map(place).collect();
        let known = |item: &Item| self.keys.contains(&item.key);
        let within = |at: &Cursor| {
            let here = self.layout.partition_of(KeyspaceId::DEFAULT, at.slot);
            here == Some(page.partition)
                && *at >= page.from
                && next.is_none_or(|next| at < next)
                && at.key.starts_with(&page.prefix)
        };
        let sorted = places.is_sorted_by(|a, b| a < b);
        let goes_on = next.is_none_or(|next| *next > page.from || places.is_empty());
        if !sorted || !goes_on || !places.iter().all(within) || !items.iter().all(known) {
            self.nonsense.push(format!("the page {page:?} was answered {items:?} and {next:?}"));
        }
        let told = |(key, name): (usize, &Bytes)| {
            let at = Cursor { slot: Slot::of(name), key: name.clone() };
            let listed = items.iter().find(|item| item.key == *name);
            within(&at).then(|| {
                let found = |item| Ending::Found(values::seen(item, page.want));
                let ending = listed.map_or(Ending::Unlisted, found);
                Operation {
                    client: pending.client,
                    key,
                    kind: Kind::Scan,
                    consistency: pending.consistency,
                    min_version: None,
                    invoked: pending.invoked,
                    completed: Some((now, ending)),
                }
            })
        };
        let told: Vec<Operation> = self.keys.iter().enumerate().filter_map(told).collect();
        for operation in told {
            self.history.invoke(operation);
        }
        if let Some(next) = next
            && self.chance.permille(800)
        {
            self.cursors.insert(pending.client, next.clone());
        }
    }

    pub(super) fn check_count(&mut self, partition: PartitionId, count: u64) {
        let keys = (0..self.keys.len()).filter(|&key| self.partition_of(key) == partition).count();
        if count > keys as u64 {
            self.nonsense.push(format!("{partition:?} counts {count} keys of {keys}"));
        }
    }
}
