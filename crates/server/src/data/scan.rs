//! Scans over all partitions of a keyspace, page by page.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{
    Consistency, Cursor, Identity, Item, KeyspaceId, Layout, Op, Outcome, PartitionId, Reply,
    Request, ScanLimit, Slot, Want,
};

use super::{Data, answer, checked_timeout};

/// Bytes of keys and values after which a page ends.
const PAGE_BYTES: usize = 1 << 20;
/// How many partitions are asked at once at most. The first round asks one; each round that
/// leaves the page unfinished doubles it, so that full partitions are not read in vain and empty
/// ones do not cost a round each.
const MAX_WINDOW: usize = 16;

/// A scan, or the rest of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scan {
    /// The name of the keyspace.
    pub keyspace: String,
    /// Only keys that begin with this.
    pub prefix: Bytes,
    /// Where to go on; nothing to begin.
    pub from: Option<Cursor>,
    /// How many items the page may have; at least one is taken.
    pub limit: usize,
    /// Whether values are needed.
    pub want: Want,
    /// How many replicas must take part; the keyspace's default when absent.
    pub consistency: Option<Consistency>,
    /// How long the page may take.
    pub timeout: Option<Duration>,
}

/// One page of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Live items in (slot, key) order.
    pub items: Vec<Item>,
    /// Where to go on; nothing at the end.
    pub next: Option<Cursor>,
}

impl Data {
    /// One page of a scan.
    ///
    /// # Errors
    /// Those of the operation, if any partition of the page cannot be read.
    pub async fn scan(&self, identity: &Identity, scan: &Scan) -> Outcome<ScanPage> {
        let (layout, keyspace) = self.keyspace(&scan.keyspace)?;
        let deadline = self.backend.now().mono + checked_timeout(scan.timeout)?;
        let mut page = Filling::new(scan.limit);
        let mut from = scan.from.clone().or_else(|| Slot::new(0).map(Cursor::start_of));
        let mut window = 1;
        while let Some(start) = from {
            let (parts, behind) = partitions_from(&layout, keyspace, &start, window);
            let request = |(partition, from): (PartitionId, Cursor)| Request {
                identity: identity.clone(),
                keyspace,
                op: Op::Scan {
                    partition,
                    from,
                    prefix: scan.prefix.clone(),
                    limit: page.room(),
                    want: scan.want,
                },
                consistency: scan.consistency,
                min_version: None,
                key: None,
                deadline,
            };
            let requests = parts.into_iter().map(request).collect();
            for reply in self.backend.run_all(requests).await {
                let Reply::Page(items, next) = reply? else { return Err(answer::lost(false)) };
                if let Some(next) = page.take(items, next) {
                    return Ok(ScanPage { items: page.items, next: Some(next) });
                }
            }
            if page.is_full() {
                return Ok(ScanPage { items: page.items, next: behind });
            }
            from = behind;
            window = (window * 2).min(MAX_WINDOW);
        }
        Ok(ScanPage { items: page.items, next: None })
    }
}

/// The next `count` partitions from a place on, each with the place where reading it begins, and
/// the place behind them; nothing at the end of the keyspace.
fn partitions_from(
    layout: &Layout,
    keyspace: KeyspaceId,
    start: &Cursor,
    count: usize,
) -> (Vec<(PartitionId, Cursor)>, Option<Cursor>) {
    let mut parts = Vec::with_capacity(count);
    let mut at = Some(start.clone());
    while let Some(cursor) = at.take_if(|_| parts.len() < count) {
        let Some(partition) = layout.partition_of(keyspace, cursor.slot) else { break };
        let last = layout.slots(partition).map(|slots| *slots.end());
        at = last.and_then(|last| Slot::new(last.get() + 1)).map(Cursor::start_of);
        parts.push((partition, cursor));
    }
    (parts, at)
}

/// A page while it is filled.
struct Filling {
    items: Vec<Item>,
    limit: usize,
    bytes: usize,
}

impl Filling {
    fn new(limit: usize) -> Filling {
        Filling { items: Vec::new(), limit: limit.max(1), bytes: 0 }
    }

    fn is_full(&self) -> bool {
        self.items.len() >= self.limit || self.bytes >= PAGE_BYTES
    }

    fn room(&self) -> ScanLimit {
        ScanLimit {
            items: self.limit.saturating_sub(self.items.len()).max(1),
            bytes: PAGE_BYTES.saturating_sub(self.bytes).max(1),
        }
    }

    /// Adds the items of a partition, as many as fit, and says where the page ends if it ends
    /// inside of that partition.
    fn take(&mut self, items: Vec<Item>, next: Option<Cursor>) -> Option<Cursor> {
        for item in items {
            if self.is_full() {
                return Some(Cursor { slot: Slot::of(&item.key), key: item.key });
            }
            self.bytes += item.key.len() + item.value.len();
            self.items.push(item);
        }
        next
    }
}
