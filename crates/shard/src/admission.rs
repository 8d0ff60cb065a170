//! What a request must satisfy before anything is done for it.

use std::borrow::Cow;

use kvorum_core::{
    Consistency, Cursor, Error, Executed, Keyspace, Layout, Mono, Op, PartitionId, Request,
    ScanLimit, Slot, Store, Want, limits,
};

/// Where a request goes and what it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// The partition of its key, or the one it names.
    pub(crate) partition: PartitionId,
    /// How many replicas it needs.
    pub(crate) need: usize,
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
    };
    let need = need(request, keyspace).required(layout.replicas(partition).len());
    if request.deadline <= now {
        return Err(Error::Timeout { need, acked: 0, executed: Executed::No });
    }
    Ok(Route { partition, need })
}

/// Bytes of the value a read will hold here until enough replicas have answered: as far as is
/// known before it is read, so that what many reads hold together stays within the limit.
pub(crate) fn value_to_read(request: &Request, store: &dyn Store) -> usize {
    let Op::Get { key, want: Want::Value } = &request.op else { return 0 };
    let stored = store.header(request.keyspace, Slot::of(key), key);
    stored.map_or(0, |stored| stored.header.value_len as usize)
}

/// The consistency level in force for a request.
fn need(request: &Request, keyspace: &Keyspace) -> Consistency {
    match (request.consistency, &request.op) {
        (_, Op::Count { .. }) => Consistency::One,
        (Some(level), _) => level,
        (None, op) if op.is_write() => keyspace.write,
        (None, _) => keyspace.read,
    }
}

fn of_key(layout: &Layout, keyspace: &Keyspace, key: &[u8]) -> Result<PartitionId, Error> {
    limits::check_key(key)?;
    layout
        .partition_of(keyspace.id, Slot::of(key))
        .ok_or(Error::Invalid(Cow::Borrowed("the keyspace has no placement")))
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
