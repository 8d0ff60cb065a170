//! Whether what was read is what was written: the right bytes under the right version, and for as
//! long as the write wanted.

use std::collections::BTreeMap;

use kvorum_core::{Executed, Mono, Version};

use super::{Circumstances, Property, Select, Violation, floors};
use crate::history::{Ending, Kind, Operation, Seen, Written};

fn wrong(details: String) -> Violation {
    Violation { property: Property::ReadsReturnWhatWasWritten, details }
}

/// No two writes of a run, of whatever key, are acknowledged under one version.
pub(super) fn versions_are_unique(operations: &[Operation]) -> Result<(), Violation> {
    let mut writes: BTreeMap<Version, &Operation> = BTreeMap::new();
    for operation in operations {
        let Some((_, Ending::Written(version))) = operation.completed else { continue };
        if let Some(other) = writes.insert(version, operation) {
            return Err(wrong(format!("one version names two writes: {other:?}, {operation:?}")));
        }
    }
    Ok(())
}

/// What the history of one key tells of its writes.
struct Writes<'a> {
    operations: &'a [&'a Operation],
    /// The writes of values, by the number of the value.
    values: BTreeMap<u64, (&'a Operation, Written)>,
    /// The acknowledged writes, by version.
    acknowledged: BTreeMap<Version, &'a Operation>,
    world: Circumstances,
}

/// Every read shows what one write wrote.
pub(super) fn reads_return_what_was_written(
    operations: &[&Operation],
    world: Circumstances,
) -> Result<(), Violation> {
    let writes = Writes::of(operations, world);
    let mut seen_as: BTreeMap<Version, Seen> = BTreeMap::new();
    for operation in operations {
        let result = match operation.completed {
            Some((at, Ending::Found(seen))) => {
                writes.check_found(operation.invoked, at, seen, &mut seen_as)
            }
            Some((at, Ending::Missing(Some(version)))) => {
                writes.check_missing(at, version, seen_as.get(&version))
            }
            _ => Ok(()),
        };
        result.map_err(|why| wrong(format!("key {}: {operation:?}: {why}", operation.key)))?;
    }
    Ok(())
}

impl<'a> Writes<'a> {
    fn of(operations: &'a [&'a Operation], world: Circumstances) -> Writes<'a> {
        let (mut values, mut acknowledged) = (BTreeMap::new(), BTreeMap::new());
        for operation in operations {
            if let Kind::Put(written) = operation.kind {
                values.insert(written.number, (*operation, written));
            }
            if let Some((_, Ending::Written(version))) = operation.completed {
                acknowledged.insert(version, *operation);
            }
        }
        Writes { operations, values, acknowledged, world }
    }

    fn check_found(
        &self,
        asked: Mono,
        at: Mono,
        seen: Seen,
        seen_as: &mut BTreeMap<Version, Seen>,
    ) -> Result<(), &'static str> {
        let Seen { version, number, len, expire_ms } = seen;
        let before = seen_as.entry(version).or_insert(seen);
        let number = number.or(before.number);
        before.number = before.number.or(number);
        if (before.number, before.len, before.expire_ms) != (number, len, expire_ms) {
            return Err("the version names another value as well");
        }
        if expire_ms != 0 && expire_ms < self.world.earliest_ms(asked) {
            return Err("it had expired");
        }
        if let Some(write) = self.acknowledged.get(&version) {
            match write.kind {
                Kind::Put(written) if number.is_none_or(|number| number == written.number) => {}
                _ => return Err("the version is that of another write"),
            }
        }
        let Some(number) = number else { return Ok(()) };
        let Some((write, written)) = self.values.get(&number) else {
            return Err("nobody wrote it to this key");
        };
        if write.invoked > at {
            return Err("it was written only later");
        }
        if len != written.len || (expire_ms == 0) != (written.ttl_ms == 0) {
            return Err("it was written with another length or another expiry");
        }
        if expire_ms != 0 && expire_ms < self.world.earliest_ms(write.invoked) + written.ttl_ms {
            return Err("it expires too early");
        }
        match write.completed {
            Some((_, Ending::Failed(Executed::No))) => Err("its write was reported not executed"),
            // A write that was stamped twice may be seen under its first version too.
            Some((_, Ending::Written(last))) if version > last => {
                Err("its write was acknowledged under an older version")
            }
            Some((done, Ending::Written(_)))
                if expire_ms != 0 && expire_ms > self.world.latest_ms(done) + written.ttl_ms =>
            {
                Err("it expires too late")
            }
            _ => Ok(()),
        }
    }

    /// A version without a value is that of a deletion, or of a value that may have expired.
    fn check_missing(
        &self,
        at: Mono,
        version: Version,
        seen: Option<&Seen>,
    ) -> Result<(), &'static str> {
        if seen.is_some_and(|seen| seen.expire_ms == 0 || seen.expire_ms > self.world.latest_ms(at))
        {
            return Err("the version is that of a value that lasts");
        }
        let gone =
            |write: &Operation| may_be_gone(write, |ttl_ms| self.has_passed(write, ttl_ms, at));
        match self.acknowledged.get(&version) {
            Some(write) if gone(write) => Ok(()),
            Some(_) => Err("the version is that of a value that lasts"),
            None => {
                let mut unsure = self.operations.iter().filter(|write| {
                    write.invoked <= at && unacknowledged_under(write, version) && gone(write)
                });
                let found = unsure.next().is_some();
                if found { Ok(()) } else { Err("no write can have this version and no value") }
            }
        }
    }

    fn has_passed(&self, write: &Operation, ttl_ms: u64, at: Mono) -> bool {
        self.world.earliest_ms(write.invoked) + ttl_ms <= self.world.latest_ms(at)
    }
}

/// Whether a write leaves no value behind, or one of which `expired` says that it may be over.
fn may_be_gone(write: &Operation, expired: impl Fn(u64) -> bool) -> bool {
    match write.kind {
        Kind::Delete => true,
        Kind::Put(Written { ttl_ms: 0, .. }) | Kind::Get | Kind::Scan => false,
        Kind::Put(Written { ttl_ms, .. }) => expired(ttl_ms),
    }
}

/// Whether a write may have been stored under a version other than the one it was acknowledged
/// under, if it was at all.
fn unacknowledged_under(write: &Operation, version: Version) -> bool {
    match write.completed {
        Some((_, Ending::Failed(Executed::No))) => false,
        Some((_, Ending::Written(last))) => version < last,
        _ => true,
    }
}

/// A quorum scan passes a key by only if the newest version that it must see has no value, or if
/// a newer one may have none.
pub(super) fn unlisted_keys_are_gone(
    operations: &[&Operation],
    acknowledged: Select,
) -> Result<(), Violation> {
    let unlisted = |operation: &Operation| {
        let consistent = operation.consistency != kvorum_core::Consistency::One;
        consistent
            .then_some(operation.completed)
            .flatten()
            .and_then(|(at, ending)| matches!(ending, Ending::Unlisted).then_some(at))
    };
    for (operation, floor) in floors(operations, acknowledged) {
        let (Some(at), Some(floor)) = (unlisted(operation), floor) else { continue };
        let mut reasons = operations.iter().filter(|write| {
            let newer = match write.completed {
                Some((_, Ending::Written(version))) => version >= floor,
                Some((_, Ending::Failed(Executed::No))) => false,
                _ => true,
            };
            newer && write.invoked <= at && may_be_gone(write, |_| true)
        });
        if reasons.next().is_none() {
            return Err(Violation {
                property: Property::ReadsSeeAcknowledgedWrites,
                details: format!(
                    "key {}: a scan passes by the value of {floor}: {operation:?}",
                    operation.key
                ),
            });
        }
    }
    Ok(())
}
