//! What a request must satisfy before anything is done for it.

use std::borrow::Cow;

use kvorum_core::{
    Consistency, Cursor, Error, Executed, Keyspace, Layout, Mode, Mono, Op, PartitionId, Request,
    ScanLimit, Slot, Store, Txn, Want, limits,
};
use kvorum_replication::leaderless::PAGE;

/// Where a request goes and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The partition of its key, or the one it names.
    pub(crate) partition: PartitionId,
    /// How many replicas it needs.
    pub(crate) need: usize,
    /// What its answer must promise.
    pub(crate) level: Consistency,
    /// A strong partition: its leader must do it, unless the level says otherwise.
    pub(crate) strong: bool,
}

/// Checks a request against the layout, the limits and the time.
///
/// # Errors
/// Why nothing can be done for it; nothing was executed.
pub(crate) fn route(request: &Request, layout: &Layout, now: Mono) -> Result<Route, Error> {
    let Some(keyspace) = layout.keyspace(request.keyspace) else {
        return Err(Error::NoKeyspace(format!("#{}", request.keyspace.0)));
    };
    let partition = match &request.op {
        Op::Get { key, .. } | Op::Delete { key } => of_key(layout, keyspace, key)?,
        Op::Put { key, value, .. } => {
            limits::check_value(value.len(), limits::HARD_MAX_VALUE)?;
            of_key(layout, keyspace, key)?
        }
        Op::Scan { partition, from, prefix, limit, .. } => {
            check_page(layout, *partition, from, prefix, *limit)?;
            named(layout, keyspace, *partition)?
        }
        Op::Count { partition } => named(layout, keyspace, *partition)?,
        Op::Txn(txn) => of_txn(layout, keyspace, txn)?,
    };
    if request.key.is_some() && request.op.is_write() && keyspace.mode != Mode::Strong {
        return Err(Error::NotStrong("an idempotency key"));
    }
    let level = level(request, keyspace)?;
    let need = level.required(layout.replicas(partition).len());
    if request.deadline <= now {
        return Err(Error::Timeout { need, acked: 0, executed: Executed::No });
    }
    Ok(Route { partition, need, level, strong: keyspace.mode == Mode::Strong })
}

/// Bytes assumed for everything of a pending request that is neither key nor value: its place
/// here and in its group, its timer, and what its front end keeps.
const REQUEST_OVERHEAD: usize = 512;
/// Bytes assumed for everything of an item of a page that is neither key nor value.
const ITEM_OVERHEAD: usize = 128;

/// About how many bytes a request makes this node hold until it is answered. What it will read
/// counts as far as is known before, so that many reads together stay within the limit.
pub(crate) fn weight(request: &Request, route: Route, layout: &Layout, store: &dyn Store) -> usize {
    let answers = match &request.op {
        Op::Get { key, want: Want::Value } => {
            let stored = store.header(request.keyspace, Slot::of(key), key);
            stored.map_or(0, |stored| stored.header.value_len as usize)
        }
        Op::Scan { partition, limit, want, .. } => {
            let slots = layout.slots(*partition);
            let live = slots.map_or(0, |s| store.live(request.keyspace, *s.start(), *s.end()));
            // Every replica that is asked sends a page.
            page(*limit, *want, usize::try_from(live).unwrap_or(usize::MAX)) * route.need
        }
        Op::Get { want: Want::Header, .. }
        | Op::Put { .. }
        | Op::Delete { .. }
        | Op::Txn(_)
        | Op::Count { .. } => 0,
    };
    REQUEST_OVERHEAD + request.op.weight() + answers
}

/// The bytes of a page of a partition with `live` keys.
fn page(limit: ScanLimit, want: Want, live: usize) -> usize {
    let items = limit.items.min(PAGE.items).min(live);
    let longest = match want {
        Want::Header => limits::MAX_KEY,
        Want::Value => limits::MAX_KEY + limits::HARD_MAX_VALUE,
    };
    items * ITEM_OVERHEAD + (items * longest).min(limit.bytes).min(PAGE.bytes)
}

/// The consistency level in force for a request.
///
/// # Errors
/// It has no meaning for the request.
fn level(request: &Request, keyspace: &Keyspace) -> Result<Consistency, Error> {
    if let Some(level) = request.consistency {
        level.check(keyspace.mode, &request.op)?;
    }
    Ok(match (request.consistency, &request.op) {
        (_, Op::Count { .. }) if keyspace.mode == Mode::Eventual => Consistency::One,
        (Some(level), _) => level,
        (None, op) if op.is_write() => keyspace.write,
        (None, _) => keyspace.read,
    })
}

fn of_key(layout: &Layout, keyspace: &Keyspace, key: &[u8]) -> Result<PartitionId, Error> {
    limits::check_key(key)?;
    layout
        .partition_of(keyspace.id, Slot::of(key))
        .ok_or(Error::Invalid(Cow::Borrowed("the keyspace has no placement")))
}

/// All keys of a transaction lie in one slot, so that no division of partitions can part them.
fn of_txn(layout: &Layout, keyspace: &Keyspace, txn: &Txn) -> Result<PartitionId, Error> {
    if txn.operations() > limits::MAX_TXN_OPS {
        let text = format!("a transaction has at most {} operations", limits::MAX_TXN_OPS);
        return Err(Error::invalid(text));
    }
    if txn.depth() > Txn::MAX_DEPTH {
        return Err(Error::invalid("the transactions lie too deep in each other"));
    }
    let mut keys = txn.keys();
    let first = keys.next().ok_or(Error::Invalid(Cow::Borrowed("the transaction is empty")))?;
    let slot = Slot::of(first);
    for key in keys {
        limits::check_key(key)?;
        if Slot::of(key) != slot {
            return Err(Error::CrossSlot);
        }
    }
    of_key(layout, keyspace, first)
}

fn named(
    layout: &Layout,
    keyspace: &Keyspace,
    partition: PartitionId,
) -> Result<PartitionId, Error> {
    if partition.placement == keyspace.placement && !layout.replicas(partition).is_empty() {
        Ok(partition)
    } else {
        Err(Error::invalid("the keyspace has no such partition"))
    }
}

/// A page has items, fits in a frame, and begins in its partition.
fn check_page(
    layout: &Layout,
    partition: PartitionId,
    from: &Cursor,
    prefix: &[u8],
    limit: ScanLimit,
) -> Result<(), Error> {
    if layout.slots(partition).is_none_or(|slots| !slots.contains(&from.slot)) {
        return Err(Error::invalid("the cursor lies outside the partition"));
    }
    // A cursor behind the longest key is one byte longer than that.
    if from.key.len() > limits::MAX_KEY + 1 || prefix.len() > limits::MAX_KEY {
        return Err(Error::invalid("the cursor or the prefix is longer than any key"));
    }
    if limit.items == 0 || limit.bytes > limits::HARD_MAX_VALUE {
        return Err(Error::invalid(format!(
            "a page holds at least one item and at most {} bytes",
            limits::HARD_MAX_VALUE
        )));
    }
    Ok(())
}
