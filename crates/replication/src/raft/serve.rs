//! The answer to a read, from what is applied.

use std::ops::RangeInclusive;

use bytes::Bytes;
use kvorum_core::{
    Cursor, Error, Executed, Item, KeyspaceId, Op, Outcome, Reply, Request, ScanLimit, Slot, Store,
    Stored, Version, Want,
};

use super::log::Damaged;
use super::machine::{Apply, Overlay};

/// The most that one page of a scan may hold, whatever is asked.
const PAGE: ScanLimit = ScanLimit { items: 4096, bytes: 1 << 20 };

/// What is read, and when.
pub(super) struct Reader<'a> {
    pub(super) store: &'a mut dyn Store,
    pub(super) slots: &'a RangeInclusive<Slot>,
    /// The time of the log: it decides what has expired.
    pub(super) time_ms: u64,
    /// The time of the leader's clock when the read arrived.
    pub(super) wall_ms: u64,
}

/// Why a read has no answer yet.
pub(super) enum NotYet {
    /// A value expires between the time of the log and that of the clock. Only the log decides,
    /// so an entry that moves its time forward must be applied first: else a value could vanish
    /// for one client and be there again for the next.
    TimeMustPass,
    /// This replica cannot go on.
    Damaged(Damaged),
}

impl Reader<'_> {
    /// Answers a read.
    ///
    /// # Errors
    /// [`NotYet`] if it cannot be answered now.
    pub(super) fn answer(&mut self, request: &Request) -> Result<Outcome<Reply>, NotYet> {
        let keyspace = request.keyspace;
        match &request.op {
            Op::Get { key, want } => self.get(keyspace, key, *want),
            Op::Scan { from, prefix, limit, want, .. } => {
                self.scan(keyspace, from, prefix, *limit, *want)
            }
            Op::Count { .. } => {
                let (first, last) = (*self.slots.start(), *self.slots.end());
                Ok(Ok(Reply::Count(self.store.live(keyspace, first, last))))
            }
            Op::Txn(txn) => {
                for key in txn.keys() {
                    self.visible(self.store.header(keyspace, Slot::of(key), key))?;
                }
                let mut overlay = Overlay::default();
                let (version, max_bytes) = (Version::default(), 0);
                let (store, time_ms) = (&mut *self.store, self.time_ms);
                let mut apply = Apply { store, overlay: &mut overlay, version, time_ms, max_bytes };
                apply.txn(keyspace, txn).map(|done| Ok(Reply::Txn(done))).map_err(NotYet::Damaged)
            }
            Op::Put { .. } | Op::Delete { .. } => Ok(Err(Error::invalid("this is not a read"))),
        }
    }

    /// What is stored, if it is visible.
    fn visible(&self, stored: Option<Stored>) -> Result<Option<Stored>, NotYet> {
        let stored = stored.filter(|stored| stored.header.live_at(self.time_ms));
        match stored {
            Some(stored) if !stored.header.live_at(self.wall_ms) => Err(NotYet::TimeMustPass),
            stored => Ok(stored),
        }
    }

    fn get(
        &mut self,
        keyspace: KeyspaceId,
        key: &Bytes,
        want: Want,
    ) -> Result<Outcome<Reply>, NotYet> {
        let slot = Slot::of(key);
        let Some(stored) = self.visible(self.store.header(keyspace, slot, key))? else {
            return Ok(Ok(Reply::Missing(None)));
        };
        let value = match want {
            Want::Header => Bytes::new(),
            Want::Value => match self.store.value(keyspace, slot, key) {
                Ok(found) => found.map(|(_, value)| value).unwrap_or_default(),
                Err(_) => return Ok(Err(Error::Corrupt { executed: Executed::No })),
            },
        };
        Ok(Ok(Reply::Found(Item { key: key.clone(), header: stored.header, value })))
    }

    fn scan(
        &mut self,
        keyspace: KeyspaceId,
        from: &Cursor,
        prefix: &[u8],
        limit: ScanLimit,
        want: Want,
    ) -> Result<Outcome<Reply>, NotYet> {
        let items = limit.items.clamp(1, PAGE.items);
        let limit = ScanLimit { items, bytes: limit.bytes.min(PAGE.bytes) };
        let page = self.store.page(keyspace, from, *self.slots.end(), prefix, limit, want);
        let mut items = Vec::with_capacity(page.items.len());
        for (record, stored) in page.items {
            let Some(stored) = self.visible(Some(stored))? else { continue };
            if stored.corrupt && want == Want::Value {
                return Ok(Err(Error::Corrupt { executed: Executed::No }));
            }
            let value = record.value.unwrap_or_default();
            items.push(Item { key: record.key, header: stored.header, value });
        }
        Ok(Ok(Reply::Page(items, page.next)))
    }
}
