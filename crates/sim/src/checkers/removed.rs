//! What may have been removed for good: deletions and expired values, once all replicas have agreed
//! that everything as old has reached them.
//!
//! From then on a read finds nothing at all, not even the version of the deletion. So "nothing" is
//! not below a version of which nothing needs to be left any more.

use std::collections::BTreeMap;

use kvorum_core::{Executed, Mono, Version, limits};

use super::Circumstances;
use crate::clients::DEADLINE;
use crate::history::{Ending, Kind, Operation, Written};

/// A value that lasts.
const NEVER: u64 = u64::MAX;

/// Of one key, from when on nothing needs to be left of a version.
pub(super) struct Removals {
    /// When the value of a version was over, in milliseconds since 1970; as far as was told.
    over_ms: BTreeMap<Version, u64>,
    /// Writes that leave no value, of which nobody knows whether they were done.
    unsure: Vec<Unsure>,
    world: Circumstances,
}

/// A write that may have been done, and leaves no value or not for long.
struct Unsure {
    /// When its value was over at the earliest.
    over_ms: u64,
    /// When it was stamped at the latest.
    stamped_ms: u64,
}

impl Removals {
    pub(super) fn of(operations: &[&Operation], world: Circumstances) -> Removals {
        let mut over_ms: BTreeMap<Version, u64> = BTreeMap::new();
        let mut unsure = Vec::new();
        for operation in operations {
            let (version, over) = match operation.completed {
                Some((_, Ending::Written(version))) => (version, over(operation.kind, version)),
                Some((_, Ending::Found(seen))) => match seen.expire_ms {
                    0 => (seen.version, NEVER),
                    expire_ms => (seen.version, expire_ms),
                },
                // Whichever it is, it was over by then.
                Some((_, Ending::Missing(Some(version)))) => (version, version.hlc.wall_ms()),
                Some((_, Ending::Missing(None) | Ending::Unlisted))
                | Some((_, Ending::Failed(Executed::No))) => continue,
                Some((_, Ending::Failed(Executed::Unknown))) | None => {
                    unsure.extend(Unsure::of(operation, world));
                    continue;
                }
            };
            let known = over_ms.entry(version).or_insert(over);
            *known = over.max(*known);
        }
        Removals { over_ms, unsure, world }
    }

    /// Whether a client may be shown nothing at `at` where the key has, or had, a version: because
    /// that, or something newer, was removed.
    pub(super) fn explain(
        &self,
        shown: Option<Version>,
        version: Option<Version>,
        at: Mono,
    ) -> bool {
        let (None, Some(version)) = (shown, version) else { return false };
        // Members agree on a moment that lies that far back by their own clocks, or a little less.
        let latest_ms = self.world.latest_ms(at) + limits::MAX_SKEW_MS;
        let is_gone = |over_ms: u64| over_ms.saturating_add(self.world.gc_lag_ms) <= latest_ms;
        let newer = |unsure: &&Unsure| unsure.stamped_ms >= version.hlc.wall_ms();
        self.over_ms.range(version..).any(|(_, over_ms)| is_gone(*over_ms))
            || self.unsure.iter().filter(newer).any(|unsure| is_gone(unsure.over_ms))
    }
}

impl Unsure {
    fn of(operation: &Operation, world: Circumstances) -> Option<Unsure> {
        let ttl_ms = match operation.kind {
            Kind::Put(Written { ttl_ms: 0, .. }) | Kind::Get | Kind::Scan => return None,
            Kind::Put(Written { ttl_ms, .. }) => ttl_ms,
            Kind::Delete => 0,
        };
        let ended = operation.completed.map_or(operation.invoked + DEADLINE, |(at, _)| at);
        Some(Unsure {
            over_ms: world.earliest_ms(operation.invoked).saturating_add(ttl_ms),
            stamped_ms: world.latest_ms(ended),
        })
    }
}

/// When what a write stores under a version is over.
fn over(kind: Kind, version: Version) -> u64 {
    match kind {
        Kind::Put(Written { ttl_ms: 0, .. }) | Kind::Get | Kind::Scan => NEVER,
        Kind::Put(Written { ttl_ms, .. }) => version.hlc.wall_ms().saturating_add(ttl_ms),
        Kind::Delete => version.hlc.wall_ms(),
    }
}
