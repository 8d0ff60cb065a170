//! FLUSHDB and FLUSHALL: every key is found by a quorum scan and deleted like any other, so that
//! no replica that was away brings one back.

use std::sync::Arc;

use kvorum_core::{
    Consistency, Cursor, KeyspaceId, Layout, Op, Outcome, Reply, ScanLimit, Slot, Want,
};

use super::call::{Call, Handled, Step};
use super::error::ErrorReply;
use super::queue::{Aim, Calls, Finish, Job};
use super::scan::{behind, layout_unknown};
use super::strings::unexpected;

/// Partitions that are emptied at the same time.
const LANES: usize = 8;
/// Keys per page, which are deleted at the same time.
const PAGE_KEYS: usize = 64;
/// Bytes of keys per page.
const PAGE_BYTES: usize = 256 << 10;

/// `FLUSHDB [ASYNC | SYNC]`: empties the selected keyspace. Both forms answer when it is done.
pub(super) fn flushdb(call: &mut Call<'_, '_>) -> Handled {
    let layout = check(call)?;
    let keyspaces = vec![call.client.keyspace];
    start(call, layout, keyspaces)
}

/// `FLUSHALL [ASYNC | SYNC]`: empties every keyspace.
pub(super) fn flushall(call: &mut Call<'_, '_>) -> Handled {
    let layout = check(call)?;
    let keyspaces = layout.keyspaces().iter().map(|keyspace| keyspace.id).collect();
    start(call, layout, keyspaces)
}

/// Checks the options and returns the layout.
fn check(call: &Call<'_, '_>) -> Result<Arc<Layout>, ErrorReply> {
    match call.args_from(1) {
        [] => {}
        [word] if word.is("ASYNC") || word.is("SYNC") => {}
        _ => return Err(ErrorReply::syntax()),
    }
    call.calls.node().layout().ok_or_else(layout_unknown)
}

fn start(call: &mut Call<'_, '_>, layout: Arc<Layout>, keyspaces: Vec<KeyspaceId>) -> Handled {
    let mut flush = Flush {
        layout,
        write: call.client.write,
        rest: keyspaces.into_iter(),
        keyspace: KeyspaceId::DEFAULT,
        next: None,
        lanes: Vec::new(),
        open: 0,
        deleted: 0,
        failure: None,
    };
    for lane in 0..LANES {
        flush.lanes.push(Lane { keyspace: KeyspaceId::DEFAULT, then: None, open: 0 });
        flush.advance(lane, &mut call.calls);
    }
    if flush.open == 0 {
        return Err(layout_unknown());
    }
    Ok(Step::Alone(Box::new(flush)))
}

/// Empties one partition after the other.
struct Lane {
    keyspace: KeyspaceId,
    /// Where its partition goes on when the deletions of this page are done.
    then: Option<Cursor>,
    /// Deletions of this page without an answer.
    open: usize,
}

/// A flush while it runs.
struct Flush {
    layout: Arc<Layout>,
    write: Option<Consistency>,
    /// Keyspaces not begun yet.
    rest: std::vec::IntoIter<KeyspaceId>,
    /// The keyspace whose partitions are being given to lanes, and the first one not given yet.
    keyspace: KeyspaceId,
    next: Option<Slot>,
    lanes: Vec<Lane>,
    open: usize,
    deleted: u64,
    failure: Option<ErrorReply>,
}

impl Flush {
    /// Where a new partition begins; nothing when all are given to lanes.
    fn next_partition(&mut self) -> Option<(KeyspaceId, Cursor)> {
        let slot = match self.next.take() {
            Some(slot) => slot,
            None => {
                self.keyspace = self.rest.next()?;
                Slot::new(0)?
            }
        };
        self.next = behind(&self.layout, self.keyspace, slot).map(|place| place.slot);
        Some((self.keyspace, Cursor::start_of(slot)))
    }

    /// Reads the next page for a lane: of its own partition, or of a new one.
    fn advance(&mut self, lane: usize, calls: &mut Calls<'_, '_>) {
        if self.failure.is_some() {
            return;
        }
        let then = self.lanes.get_mut(lane).and_then(|own| Some((own.keyspace, own.then.take()?)));
        let Some((keyspace, from)) = then.or_else(|| self.next_partition()) else { return };
        let Some(partition) = self.layout.partition_of(keyspace, from.slot) else { return };
        if let Some(own) = self.lanes.get_mut(lane) {
            own.keyspace = keyspace;
        }
        let limit = ScanLimit { items: PAGE_KEYS, bytes: PAGE_BYTES };
        let op =
            Op::Scan { partition, from, prefix: Default::default(), limit, want: Want::Header };
        self.submit(lane, keyspace, op, calls);
    }

    fn submit(&mut self, lane: usize, keyspace: KeyspaceId, op: Op, calls: &mut Calls<'_, '_>) {
        // A scan at ONE could miss keys that only other replicas have.
        let read = Some(Consistency::Quorum);
        let aim = Aim { keyspace, read, write: self.write };
        calls.submit(aim, op, u32::try_from(lane).unwrap_or(u32::MAX));
        self.open += 1;
    }

    fn page(&mut self, lane: usize, reply: Reply, calls: &mut Calls<'_, '_>) {
        let Reply::Page(items, then) = reply else {
            self.failure.get_or_insert_with(|| unexpected(&reply));
            return;
        };
        let Some(own) = self.lanes.get_mut(lane) else { return };
        let keyspace = own.keyspace;
        own.then = then;
        own.open = items.len();
        if items.is_empty() {
            return self.advance(lane, calls);
        }
        for item in items {
            self.submit(lane, keyspace, Op::Delete { key: item.key }, calls);
        }
    }

    fn deleted(&mut self, lane: usize, calls: &mut Calls<'_, '_>) {
        self.deleted += 1;
        let Some(own) = self.lanes.get_mut(lane) else { return };
        own.open = own.open.saturating_sub(1);
        if own.open == 0 {
            self.advance(lane, calls);
        }
    }
}

impl Job for Flush {
    fn answer(&mut self, part: u32, outcome: Outcome<Reply>, calls: &mut Calls<'_, '_>) -> bool {
        self.open -= 1;
        let lane = usize::try_from(part).unwrap_or(usize::MAX);
        match outcome {
            Ok(Reply::Written { .. }) => self.deleted(lane, calls),
            Ok(reply) => self.page(lane, reply, calls),
            Err(error) => {
                self.failure.get_or_insert_with(|| ErrorReply::from(error));
            }
        }
        self.open == 0
    }

    fn reply(self: Box<Self>, finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
        if let Some(ErrorReply { code, text }) = self.failure {
            let deleted = self.deleted;
            let text = format!("{deleted} keys were deleted; one of the others: {text}");
            return Err(ErrorReply { code, text: text.into() });
        }
        finish.out.simple("OK");
        Ok(())
    }
}
