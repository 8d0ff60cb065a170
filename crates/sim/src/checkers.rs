//! What must hold for every history of an eventual keyspace.
//!
//! Versions are returned to clients, so each property is a comparison of versions in real-time
//! order: O(n log n) instead of a search. Two operations are ordered in real time when one was
//! answered before the other began.
//!
//! - **No acknowledged write is lost**: after healing, a key's version is at least that of every
//!   write acknowledged by a quorum.
//! - **A quorum read sees every write acknowledged by a quorum before it began.**
//! - **Quorum reads never go back.**
//! - **A value that is read was written**, to that key, and a version names one value.
//! - **A quorum write that began after another was acknowledged has the larger version.**

use std::collections::BTreeMap;
use std::fmt;

use kvorum_core::{Consistency, Mono, Version};

use crate::history::{Ending, History, Kind, Operation};

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
    /// E1.
    NoAcknowledgedWriteLost,
    /// E3.
    ReadsSeeAcknowledgedWrites,
    /// E4.
    ReadsNeverGoBack,
    /// E6.
    ReadsReturnWhatWasWritten,
    /// E7.
    LaterWritesWin,
    /// E10: after healing, operations succeed.
    RecoversAfterHealing,
}

impl fmt::Display for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Property::NoAcknowledgedWriteLost => "E1 no acknowledged write is lost",
            Property::ReadsSeeAcknowledgedWrites => "E3 quorum reads see acknowledged writes",
            Property::ReadsNeverGoBack => "E4 quorum reads never go back",
            Property::ReadsReturnWhatWasWritten => "E6 reads return what was written",
            Property::LaterWritesWin => "E7 later quorum writes win",
            Property::RecoversAfterHealing => "E10 operations succeed after healing",
        })
    }
}

/// What the world did that the checkers must know.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances {
    /// When the last fault was healed: reads that began later must succeed and prove that
    /// nothing was lost.
    pub healed: Mono,
    /// No disk was wiped, damaged or replaced by an older image, so that even a write
    /// acknowledged by one replica alone must survive.
    pub disks_kept: bool,
}

/// Checks a whole history.
///
/// # Errors
/// The first violation found, in the order of the properties.
pub fn check(history: &History, circumstances: Circumstances) -> Result<(), Violation> {
    let mut keys: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for operation in history.operations() {
        keys.entry(operation.key).or_default().push(operation);
    }
    for operations in keys.values() {
        reads_return_what_was_written(operations)?;
        ordered(operations, is_quorum_write, is_quorum_read, Property::ReadsSeeAcknowledgedWrites)?;
        ordered(operations, is_quorum_read, is_quorum_read, Property::ReadsNeverGoBack)?;
        later_writes_win(operations)?;
        nothing_is_lost(operations, circumstances)?;
    }
    Ok(())
}

type Select = fn(&Operation) -> Option<(Mono, Option<Version>)>;

fn is_quorum_write(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    match operation.completed {
        Some((at, Ending::Written(version))) if operation.consistency != Consistency::One => {
            Some((at, Some(version)))
        }
        _ => None,
    }
}

fn is_quorum_read(operation: &Operation) -> Option<(Mono, Option<Version>)> {
    if operation.consistency == Consistency::One {
        return None;
    }
    match operation.completed {
        Some((at, Ending::Found(version, _))) => Some((at, Some(version))),
        Some((at, Ending::Missing(version))) => Some((at, version)),
        _ => None,
    }
}

/// Each operation selected as `later` has at least the version of every operation selected as
/// `earlier` that was answered before it began.
fn ordered(
    operations: &[&Operation],
    earlier: Select,
    later: Select,
    property: Property,
) -> Result<(), Violation> {
    let mut answered: Vec<(Mono, Option<Version>)> =
        operations.iter().filter_map(|operation| earlier(operation)).collect();
    answered.sort_unstable();
    let mut floor = None;
    let mut answered = answered.into_iter().peekable();
    for operation in operations {
        while let Some((_, version)) = answered.next_if(|(at, _)| *at < operation.invoked) {
            floor = floor.max(version);
        }
        if let Some((_, version)) = later(operation)
            && version < floor
        {
            return Err(violation(property, operation, floor));
        }
    }
    Ok(())
}

fn later_writes_win(operations: &[&Operation]) -> Result<(), Violation> {
    let mut answered: Vec<(Mono, Option<Version>)> =
        operations.iter().filter_map(|operation| is_quorum_write(operation)).collect();
    answered.sort_unstable();
    let mut floor = None;
    let mut answered = answered.into_iter().peekable();
    for operation in operations {
        while let Some((_, version)) = answered.next_if(|(at, _)| *at < operation.invoked) {
            floor = floor.max(version);
        }
        if let Some((_, version)) = is_quorum_write(operation)
            && version <= floor
        {
            return Err(violation(Property::LaterWritesWin, operation, floor));
        }
    }
    Ok(())
}

fn reads_return_what_was_written(operations: &[&Operation]) -> Result<(), Violation> {
    let mut writes: BTreeMap<u64, &Operation> = BTreeMap::new();
    for operation in operations {
        if let Kind::Put(value) = operation.kind {
            writes.insert(value, operation);
        }
    }
    let mut values: BTreeMap<Version, u64> = BTreeMap::new();
    for operation in operations {
        let Some((at, Ending::Found(version, value))) = operation.completed else { continue };
        let wrong = |why: &str| Violation {
            property: Property::ReadsReturnWhatWasWritten,
            details: format!("key {} read value {value} at {version}: {why}", operation.key),
        };
        let Some(write) = writes.get(&value) else {
            return Err(wrong("nobody wrote it to this key"));
        };
        if write.invoked > at {
            return Err(wrong("it was written only later"));
        }
        if *values.entry(version).or_insert(value) != value {
            return Err(wrong("the version names another value as well"));
        }
        // A write that was stamped twice may be seen under its first version too.
        if let Some((_, Ending::Written(final_version))) = write.completed
            && version > final_version
        {
            return Err(wrong("its write was acknowledged under an older version"));
        }
    }
    Ok(())
}

fn nothing_is_lost(operations: &[&Operation], world: Circumstances) -> Result<(), Violation> {
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
        let Some((_, seen)) = is_quorum_read(operation) else {
            return Err(Violation {
                property: Property::RecoversAfterHealing,
                details: format!("the read of key {} failed: {operation:?}", operation.key),
            });
        };
        if seen < floor {
            return Err(violation(Property::NoAcknowledgedWriteLost, operation, floor));
        }
    }
    Ok(())
}

fn violation(property: Property, operation: &Operation, floor: Option<Version>) -> Violation {
    let floor = floor.map_or_else(|| "nothing".to_owned(), |version| version.to_string());
    Violation {
        property,
        details: format!("key {}: {operation:?} is below {floor}", operation.key),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kvorum_core::{Hlc, Writer};

    const fn version(n: u64) -> Version {
        Version { hlc: Hlc(n), writer: Writer(1) }
    }

    fn operation(kind: Kind, invoked: u64, completed: u64, ending: Ending) -> Operation {
        Operation {
            client: 0,
            key: 0,
            kind,
            consistency: Consistency::Quorum,
            invoked: Mono(invoked),
            completed: Some((Mono(completed), ending)),
        }
    }

    fn verdict(operations: &[Operation], healed: u64) -> Option<Property> {
        let mut history = History::default();
        for operation in operations {
            history.invoke(operation.clone());
        }
        let circumstances = Circumstances { healed: Mono(healed), disks_kept: true };
        check(&history, circumstances).err().map(|violation| violation.property)
    }

    fn put(value: u64, invoked: u64, completed: u64, stamped: u64) -> Operation {
        operation(Kind::Put(value), invoked, completed, Ending::Written(version(stamped)))
    }

    fn get(value: u64, stamped: u64, invoked: u64, completed: u64) -> Operation {
        operation(Kind::Get, invoked, completed, Ending::Found(version(stamped), value))
    }

    fn missing(invoked: u64, completed: u64) -> Operation {
        operation(Kind::Get, invoked, completed, Ending::Missing(None))
    }

    #[test]
    fn a_good_history_passes() {
        let history = [put(1, 1, 5, 10), get(1, 10, 6, 7), put(2, 8, 9, 11), get(2, 11, 100, 101)];
        assert_eq!(verdict(&history, 50), None);
    }

    #[test]
    fn each_property_is_found_violated() {
        let lost = [put(1, 1, 5, 10), missing(100, 101)];
        assert_eq!(verdict(&lost, 200), Some(Property::ReadsSeeAcknowledgedWrites));
        let back = [put(1, 1, 90, 10), put(2, 2, 91, 11), get(2, 11, 3, 4), get(1, 10, 5, 6)];
        assert_eq!(verdict(&back, 200), Some(Property::ReadsNeverGoBack));
        let invented = [put(1, 1, 5, 10), get(7, 10, 6, 7)];
        assert_eq!(verdict(&invented, 200), Some(Property::ReadsReturnWhatWasWritten));
        let smaller = [put(1, 1, 5, 10), put(2, 6, 7, 9)];
        assert_eq!(verdict(&smaller, 200), Some(Property::LaterWritesWin));
    }

    #[test]
    fn a_failed_read_after_healing_is_a_violation() {
        let ending = Ending::Failed(kvorum_core::Executed::No);
        let mut failed = operation(Kind::Get, 60, 70, ending);
        failed.consistency = Consistency::All;
        assert_eq!(verdict(&[failed], 50), Some(Property::RecoversAfterHealing));
    }

    #[test]
    fn a_write_to_one_replica_survives_while_disks_do() {
        let mut write = put(1, 1, 5, 10);
        write.consistency = Consistency::One;
        let mut look = missing(60, 61);
        look.consistency = Consistency::All;
        assert_eq!(verdict(&[write, look], 50), Some(Property::NoAcknowledgedWriteLost));
    }

    #[test]
    fn concurrent_operations_may_see_either() {
        let history = [put(1, 1, 50, 10), missing(2, 3), get(1, 10, 4, 5)];
        assert_eq!(verdict(&history, 200), None);
    }
}
