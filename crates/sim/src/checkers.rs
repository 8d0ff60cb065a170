//! What must hold for every history: of an eventual keyspace here and in [`written`], of a strong
//! one in [`strong`].
//!
//! In an eventual keyspace versions are returned to clients, so each property is a comparison of versions in real-time
//! order: O(n log n) instead of a search. Two operations are ordered in real time when one was
//! answered before the other began. An operation without an answer, or with one that says nothing
//! of its outcome, promises nothing: no other operation must see it, and any may.
//!
//! The properties are listed at [`Property`]. A run is checked for all of them, whichever fails
//! first, so that a rule that is left out shows everything it was good for.

mod removed;
mod strong;
mod written;

use std::collections::BTreeMap;
use std::fmt;

use kvorum_core::{Consistency, Mono, Version};

use crate::history::{Ending, History, Kind, Operation};
use removed::Removals;

/// A property that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which property.
    pub property: Property,
    /// What contradicts it.
    pub details: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.property, self.details)
    }
}

/// The properties, numbered as in the documentation of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Property {
    /// D1: a log recovers everything it has called durable, and nothing is wrong with it, unless
    /// its disk was harmed. The only property that the machines tell and not the clients.
    DurableIsRecovered,
    /// E1: after healing, a key's version is at least that of every write acknowledged by a
    /// quorum.
    NoAcknowledgedWriteLost,
    /// E2: after healing, all replicas of a partition come to hold the same, and the sums by which
    /// they are compared are those of what they hold.
    ReplicasConverge,
    /// E3: a quorum read sees every write acknowledged by a quorum before it began.
    ReadsSeeAcknowledgedWrites,
    /// E4: quorum reads never go back, and no read goes behind the version it names itself.
    ReadsNeverGoBack,
    /// E5: what a quorum has deleted is never seen again, unless it is written again.
    DeletesStayDeleted,
    /// E6: a version names one write, and what is read is what that write wrote, to that key, and
    /// as long as it was to last.
    ReadsReturnWhatWasWritten,
    /// E7: a quorum write that began after another one, or a quorum read, was answered has the
    /// larger version.
    LaterWritesWin,
    /// E8: the floor and the promise of a replica never go back while its disk is kept, and nothing
    /// that a replica did not hold appears at or below its floor.
    FloorsHold,
    /// E9: what a node remembers for members that have missed writes stays within its limits.
    HintsAreBounded,
    /// E10: after healing, operations succeed.
    RecoversAfterHealing,
    /// S1: what was asked of an object of a strong keyspace could have happened one operation
    /// after the other, each while its client waited.
    StrongIsLinearizable,
    /// S2: what was reported "not executed" is never seen.
    NotExecutedNeverShows,
    /// S3: no acknowledged increment is lost and none is done twice.
    IncrementsCountOnce,
    /// S4: after healing, every node takes strong operations, and all replicas of a group hold the
    /// same.
    StrongRecoversAfterHealing,
    /// S5: a strong read that may be old shows what was there no longer ago than it allows.
    AnswersAreNotTooOld,
}

impl Property {
    /// Every property.
    pub const ALL: [Property; 16] = [
        Property::DurableIsRecovered,
        Property::NoAcknowledgedWriteLost,
        Property::ReplicasConverge,
        Property::ReadsSeeAcknowledgedWrites,
        Property::ReadsNeverGoBack,
        Property::DeletesStayDeleted,
        Property::ReadsReturnWhatWasWritten,
        Property::LaterWritesWin,
        Property::FloorsHold,
        Property::HintsAreBounded,
        Property::RecoversAfterHealing,
        Property::StrongIsLinearizable,
        Property::NotExecutedNeverShows,
        Property::IncrementsCountOnce,
        Property::StrongRecoversAfterHealing,
        Property::AnswersAreNotTooOld,
    ];

    /// Its number.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Property::DurableIsRecovered => "D1",
            Property::NoAcknowledgedWriteLost => "E1",
            Property::ReplicasConverge => "E2",
            Property::ReadsSeeAcknowledgedWrites => "E3",
            Property::ReadsNeverGoBack => "E4",
            Property::DeletesStayDeleted => "E5",
            Property::ReadsReturnWhatWasWritten => "E6",
            Property::LaterWritesWin => "E7",
            Property::FloorsHold => "E8",
            Property::HintsAreBounded => "E9",
            Property::RecoversAfterHealing => "E10",
            Property::StrongIsLinearizable => "S1",
            Property::NotExecutedNeverShows => "S2",
            Property::IncrementsCountOnce => "S3",
            Property::StrongRecoversAfterHealing => "S4",
            Property::AnswersAreNotTooOld => "S5",
        }
    }
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Property::DurableIsRecovered => "what was durable is recovered",
            Property::NoAcknowledgedWriteLost => "no acknowledged write is lost",
            Property::ReplicasConverge => "replicas converge after healing",
            Property::ReadsSeeAcknowledgedWrites => "quorum reads see acknowledged writes",
            Property::ReadsNeverGoBack => "reads never go back",
            Property::DeletesStayDeleted => "deletes stay deleted",
            Property::ReadsReturnWhatWasWritten => "reads return what was written",
            Property::LaterWritesWin => "later quorum writes win",
            Property::FloorsHold => "floors hold",
            Property::HintsAreBounded => "hints stay within their limits",
            Property::RecoversAfterHealing => "operations succeed after healing",
            Property::StrongIsLinearizable => "strong operations happen one after the other",
            Property::NotExecutedNeverShows => "what was not executed never shows",
            Property::IncrementsCountOnce => "increments count once",
            Property::StrongRecoversAfterHealing => "strong groups are whole after healing",
            Property::AnswersAreNotTooOld => "no answer is older than it may be",
        };
        write!(f, "{} {text}", self.number())
    }
}

/// What the world did that the checkers must know.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When everything had settled after the last fault: reads that began later must succeed and
    /// prove that nothing was lost.
    pub healed: Mono,
    /// No disk was wiped, damaged or replaced by an older image, so that even a write
    /// acknowledged by one replica alone must survive.
    pub disks_kept: bool,
    /// The wall-clock time, in milliseconds since 1970, at the beginning of virtual time.
    pub epoch_ms: u64,
    /// How far any wall clock has ever been off, in milliseconds.
    pub clock_error_ms: u64,
    /// How long what is deleted or has expired is kept at least, in milliseconds by the clocks.
    pub gc_lag_ms: u64,
}

impl Circumstances {
    /// What the slowest clock may have shown at a time.
    fn earliest_ms(&self, at: Mono) -> u64 {
        (self.epoch_ms + at.0 / 1000).saturating_sub(self.clock_error_ms + ROUNDING_MS)
    }

    /// What the fastest clock may have shown at a time.
    const fn latest_ms(&self, at: Mono) -> u64 {
        self.epoch_ms + at.0 / 1000 + self.clock_error_ms + ROUNDING_MS
    }
}

/// The tolerance of comparisons of wall clocks besides their error, in milliseconds: clocks are
/// read in whole milliseconds.
const ROUNDING_MS: u64 = 2;

/// Checks the history of a strong keyspace. Returns the first violation of each property.
pub(crate) fn check_strong(
    history: &[crate::strong::Operation],
    circumstances: Circumstances,
) -> Vec<Violation> {
    strong::check(history, circumstances)
}

/// Checks the history of an eventual keyspace. Returns the first violation of each property.
#[must_use]
pub fn check(history: &History, circumstances: Circumstances) -> Vec<Violation> {
    let mut found: BTreeMap<Property, Violation> = BTreeMap::new();
    let mut note = |result: Result<(), Violation>| {
        if let Err(violation) = result {
            found.entry(violation.property).or_insert(violation);
        }
    };
    note(written::versions_are_unique(history.operations()));
    let mut keys: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        keys.entry(operation.key).or_default().push(operation);
    }
    for operations in keys.values_mut() {
        // What scans told was noted when they ended.
        operations.sort_by_key(|operation| operation.invoked);
        note(written::reads_return_what_was_written(operations, circumstances));
        let removals = Removals::of(operations, circumstances);
        let ordered =
            |earlier, later, property| ordered(operations, (earlier, later), property, &removals);
        note(ordered(acknowledged, told, Property::ReadsSeeAcknowledgedWrites));
        note(ordered(deleted, shown, Property::DeletesStayDeleted));
        note(written::unlisted_keys_are_gone(operations, acknowledged));
        note(ordered(repaired, repaired, Property::ReadsNeverGoBack));
        note(tokens_are_honoured(operations, &removals));
        note(later_writes_win(operations));
        note(nothing_is_lost(operations, circumstances, &removals));
    }
    found.into_values().collect()
}

/// What an operation says of the version of its key, and when: nothing if it says nothing.
type Select = fn(&Operation) -> Option<(Mono, Option<Version>)>;

/// Quorum writes.
fn acknowledged(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    match operation.completed {
        Some((at, Ending::Written(version))) if operation.consistency != Consistency::One => {
            Some((at, Some(version)))
        }
        _ => None,
    }
}

/// Quorum deletions.
fn deleted(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    acknowledged(operation).filter(|_| operation.kind == Kind::Delete)
}

/// Values that a quorum of replicas showed.
fn shown(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    let is_value = matches!(operation.completed, Some((_, Ending::Found(_))));
    told(operation).filter(|_| is_value)
}

/// Everything that a quorum of replicas told: reads, and what scans list.
fn told(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    if operation.consistency == Consistency::One {
        return None;
    }
    match operation.completed {
        Some((at, Ending::Found(seen))) => Some((at, Some(seen.version))),
        Some((at, Ending::Missing(version))) => Some((at, version)),
        _ => None,
    }
}

/// Quorum reads: a majority held what they showed before they showed it. A scan repairs nothing.
fn repaired(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    if operation.kind == Kind::Scan { None } else { told(operation) }
}

/// Each operation selected as `later`, with the largest version of all operations selected as
/// `earlier` that were answered before it began.
fn floors<'a>(
    operations: &'a [&'a Operation],
    earlier: impl Fn(&Operation) -> Option<(Mono, Option<Version>)>,
) -> impl Iterator<Item = (&'a Operation, Option<Version>)> {
    let mut answered: Vec<(Mono, Option<Version>)> =
        operations.iter().filter_map(|operation| earlier(operation)).collect();
    answered.sort_unstable();
    let mut floor = None;
    let mut answered = answered.into_iter().peekable();
    operations.iter().map(move |operation| {
        while let Some((_, version)) = answered.next_if(|(at, _)| *at < operation.invoked) {
            floor = floor.max(version);
        }
        (*operation, floor)
    })
}

fn ordered(
    operations: &[&Operation],
    (earlier, later): (Select, Select),
    property: Property,
    removals: &Removals,
) -> Result<(), Violation> {
    for (operation, floor) in floors(operations, earlier) {
        let below_it = |(at, version)| version < floor && !removals.explain(version, floor, at);
        if later(operation).is_some_and(below_it) {
            return Err(below(property, operation, floor));
        }
    }
    Ok(())
}

/// A read that names a version shows at least that one, at any consistency.
fn tokens_are_honoured(operations: &[&Operation], removals: &Removals) -> Result<(), Violation> {
    for operation in operations {
        let (at, shown) = match operation.completed {
            Some((at, Ending::Found(seen))) => (at, Some(seen.version)),
            Some((at, Ending::Missing(version))) => (at, version),
            _ => continue,
        };
        let wanted = operation.min_version;
        if shown < wanted && !removals.explain(shown, wanted, at) {
            return Err(below(Property::ReadsNeverGoBack, operation, operation.min_version));
        }
    }
    Ok(())
}

/// A quorum read left its version on a majority, so a later write must get above it as well.
fn later_writes_win(operations: &[&Operation]) -> Result<(), Violation> {
    let earlier = |operation: &Operation| acknowledged(operation).or_else(|| repaired(operation));
    for (operation, floor) in floors(operations, earlier) {
        if acknowledged(operation).is_some_and(|(_, version)| version <= floor) {
            return Err(below(Property::LaterWritesWin, operation, floor));
        }
    }
    Ok(())
}

fn nothing_is_lost(
    operations: &[&Operation],
    world: Circumstances,
    removals: &Removals,
) -> Result<(), Violation> {
    let must_survive = |operation: &&Operation| match operation.completed {
        Some((at, Ending::Written(version)))
            if at < world.healed
                && (world.disks_kept || operation.consistency != Consistency::One) =>
        {
            Some(version)
        }
        _ => None,
    };
    let floor = operations.iter().filter_map(must_survive).max();
    for operation in operations {
        let last_look = operation.invoked >= world.healed
            && operation.kind == Kind::Get
            && operation.consistency == Consistency::All;
        if !last_look {
            continue;
        }
        let Some((at, seen)) = repaired(operation) else {
            return Err(Violation {
                property: Property::RecoversAfterHealing,
                details: format!("the read of key {} failed: {operation:?}", operation.key),
            });
        };
        if seen < floor && !removals.explain(seen, floor, at) {
            return Err(below(Property::NoAcknowledgedWriteLost, operation, floor));
        }
    }
    Ok(())
}

fn below(property: Property, operation: &Operation, floor: Option<Version>) -> Violation {
    let floor = floor.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
    let details = format!("key {}: {operation:?} is below {floor}", operation.key);
    Violation { property, details }
}

#[cfg(test)]
mod tests;
