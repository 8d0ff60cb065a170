//! What must hold for every history of a strong keyspace: each object behaves as if there were one
//! copy of it and one operation at a time.

use std::collections::{BTreeMap, BTreeSet};

use kvorum_core::{Consistency, Executed, Mono, limits};
use kvorum_replication::linearizability::{self, is_linearizable};

use super::{Circumstances, Property, Violation};
use crate::strong::object::{Doing, Happening, Saw, State, Told};
use crate::strong::{Ending, Operation};

/// How much longer and shorter a value may live than its expiry says, in microseconds, besides
/// what the clocks are off: they are read in whole milliseconds.
const ROUNDING: u64 = 4_000;

/// How far off clocks may be without anybody taking one of them to be wrong, in milliseconds: two
/// of them are twice as far apart, and measuring that adds something.
const TRUSTED_MS: u64 = limits::MAX_SKEW_MS / 5;
/// How many operations before an impossible one are shown with it.
const NEAR: usize = 12;

/// Checks the history of all objects. Returns the first violation of each property.
pub(super) fn check(history: &[Operation], world: Circumstances) -> Vec<Violation> {
    let mut found: BTreeMap<Property, Violation> = BTreeMap::new();
    let mut note = |property, result: Result<(), String>| {
        if let Err(details) = result {
            found.entry(property).or_insert(Violation { property, details });
        }
    };
    let mut objects: BTreeMap<usize, Vec<&Operation>> = BTreeMap::new();
    for operation in history {
        objects.entry(operation.object).or_default().push(operation);
    }
    for operations in objects.values() {
        let (old, new): (Vec<&Operation>, Vec<&Operation>) =
            operations.iter().partition(|operation| may_be_old(operation).is_some());
        note(Property::StrongIsLinearizable, one_after_the_other(&new, world));
        note(Property::AnswersAreNotTooOld, none_is_too_old(&old, &new, world));
        note(Property::NotExecutedNeverShows, refused_never_shows(operations));
        note(Property::IncrementsCountOnce, increments_count_once(operations));
        note(Property::StrongRecoversAfterHealing, last_look_succeeds(operations));
    }
    found.into_values().collect()
}

/// The steps that were done, with what they told.
fn steps(operation: &Operation) -> impl Iterator<Item = (&Doing, &Saw)> {
    let told = match &operation.completed {
        Some((_, Ending::Told(told))) => Some(told),
        _ => None,
    };
    told.into_iter().flat_map(|told| {
        let asked = &operation.asked;
        let steps = if told.held { &asked.then } else { &asked.otherwise };
        steps.iter().zip(&told.steps)
    })
}

/// S1.
fn one_after_the_other(operations: &[&Operation], world: Circumstances) -> Result<(), String> {
    let whole: Vec<_> = operations.iter().flat_map(|o| happenings(o, world)).collect();
    if is_linearizable(&whole, &State::default()) {
        return Ok(());
    }
    // The shortest beginning that is impossible says more than the whole.
    let mut known: Vec<&Operation> = operations.to_vec();
    known.sort_by_key(|operation| operation.completed.as_ref().map(|(at, _)| *at));
    let shortest = (1..=known.len()).find(|&count| {
        let first = known.iter().take(count).flat_map(|o| happenings(o, world));
        let rest = known.iter().skip(count).flat_map(|o| happenings(o, world));
        let rest = rest.map(|o| linearizability::Operation { ended: None, ..forgotten(o) });
        !is_linearizable(&first.chain(rest).collect::<Vec<_>>(), &State::default())
    });
    let count = shortest.unwrap_or(known.len());
    // What is relevant is usually near.
    let near = known.iter().take(count).skip(count.saturating_sub(NEAR));
    let lines: Vec<String> = near.map(|operation| line(operation)).collect();
    let object = known.first().map_or(0, |first| first.object);
    Err(format!("object {object}: nothing explains the last of\n  {}", lines.join("\n  ")))
}

/// An operation of which it is not known what came of it.
fn forgotten(
    operation: linearizability::Operation<Happening>,
) -> linearizability::Operation<Happening> {
    let act = match operation.act {
        Happening::Asked(asked, _) => Happening::Asked(asked, None),
        expiry @ Happening::Expires(..) => expiry,
    };
    linearizability::Operation { act, ..operation }
}

fn line(operation: &Operation) -> String {
    let Operation { asked, invoked, completed, .. } = operation;
    let ended = completed.as_ref().map(|(at, ending)| (at.0, ending));
    format!("{} {asked:?}: {ended:?}", invoked.0)
}

/// What an operation may do to its object: itself, and later the end of what it stores.
fn happenings(
    operation: &Operation,
    world: Circumstances,
) -> Vec<linearizability::Operation<Happening>> {
    let asked = operation.asked.clone();
    let (ended, told) = match &operation.completed {
        Some((at, Ending::Told(told))) => (Some(*at), Some(told.clone())),
        Some((_, Ending::Failed(Executed::No))) => return Vec::new(),
        Some((_, Ending::Failed(Executed::Unknown))) | None => (None, None),
    };
    if ended.is_none() && !asked.is_write() {
        return Vec::new();
    }
    // A leader that knows its clock to be wrong lets the time of the log stand still.
    let time_passes = world.clock_error_ms <= TRUSTED_MS;
    let off = 2 * world.clock_error_ms * 1_000 + ROUNDING;
    let began = operation.invoked.0;
    let stored: BTreeSet<u64> = steps(operation)
        .filter_map(|(doing, _)| match doing {
            Doing::Put(_, written) => Some(written.number),
            _ => None,
        })
        .collect();
    let expiring = asked.values().filter(|(_, written)| written.ttl_ms > 0);
    let expiring = expiring.map(|(at, written)| linearizability::Operation {
        began: match time_passes {
            true => (began + written.ttl_ms * 1_000).saturating_sub(off).max(began),
            false => began,
        },
        ended: ended
            .filter(|_| time_passes && stored.contains(&written.number))
            .map(|Mono(at)| at + written.ttl_ms * 1_000 + off),
        act: Happening::Expires(at, written.number),
    });
    let mut all: Vec<_> = expiring.collect();
    let act = Happening::Asked(asked, told);
    all.push(linearizability::Operation { began, ended: ended.map(|at| at.0), act });
    all
}

/// How old the answer to an operation may be, in microseconds; nothing if not at all.
fn may_be_old(operation: &Operation) -> Option<u64> {
    match operation.level {
        Some(Consistency::Stale { max_ms }) => Some(u64::from(max_ms) * 1_000),
        _ => None,
    }
}

/// S5: each answer that may be old shows what was there at some moment, no longer before the
/// question than it allows. It may also be ahead of what others are told for now.
fn none_is_too_old(
    old: &[&Operation],
    new: &[&Operation],
    world: Circumstances,
) -> Result<(), String> {
    let others: Vec<_> = new.iter().flat_map(|o| happenings(o, world)).collect();
    for operation in old {
        let Some(max) = may_be_old(operation) else { continue };
        let mut with = others.clone();
        with.extend(happenings(operation, world).into_iter().map(|happening| {
            let began = happening.began.saturating_sub(max);
            linearizability::Operation { began, ended: Some(u64::MAX), ..happening }
        }));
        if !is_linearizable(&with, &State::default()) {
            let object = operation.object;
            return Err(format!("object {object}: too old is {}", line(operation)));
        }
    }
    Ok(())
}

/// S2.
fn refused_never_shows(operations: &[&Operation]) -> Result<(), String> {
    let refused = operations
        .iter()
        .filter(|operation| matches!(operation.completed, Some((_, Ending::Failed(Executed::No)))));
    let refused: BTreeSet<u64> =
        refused.flat_map(|o| o.asked.values()).map(|(_, written)| written.number).collect();
    for operation in operations {
        let mut shown = steps(operation).filter_map(|(_, saw)| saw.before.flatten());
        if let Some(number) = shown.find(|number| refused.contains(number)) {
            return Err(format!("the value {number} was refused and is seen: {operation:?}"));
        }
    }
    Ok(())
}

/// S3: a counter stands at least at what was acknowledged and at most at what was asked for, and no
/// two were told the same sum.
fn increments_count_once(operations: &[&Operation]) -> Result<(), String> {
    let adds = |operation: &&&Operation| operation.asked.then == [Doing::Add(0)];
    let mut sums = BTreeSet::new();
    let (mut acknowledged, mut possible) = (0, 0);
    for operation in operations.iter().filter(adds) {
        match &operation.completed {
            Some((_, Ending::Told(Told { steps, .. }))) => {
                acknowledged += 1;
                possible += 1;
                let sum = steps.first().and_then(|saw| saw.sum);
                if !sums.insert(sum) {
                    return Err(format!("two increments were told one sum: {operation:?}"));
                }
            }
            Some((_, Ending::Failed(Executed::No))) => {}
            Some((_, Ending::Failed(Executed::Unknown))) | None => possible += 1,
        }
    }
    if possible == 0 {
        return Ok(());
    }
    let last_look = operations.iter().filter(|operation| operation.last_look);
    for operation in last_look {
        let Some((Doing::Read(0), Saw { before: Some(count), .. })) = steps(operation).next()
        else {
            continue;
        };
        let count = count.unwrap_or(0);
        if !(acknowledged..=possible).contains(&count) {
            return Err(format!(
                "{acknowledged} increments were acknowledged and {} more perhaps done; the \
                 counter stands at {count}: {operation:?}",
                possible - acknowledged
            ));
        }
    }
    Ok(())
}

/// S4, as far as clients can tell: the last write and the last read of the last look, each tried a
/// few times, succeeded.
fn last_look_succeeds(operations: &[&Operation]) -> Result<(), String> {
    for write in [true, false] {
        let of_kind = |o: &&&Operation| o.last_look && o.asked.is_write() == write;
        let last = operations.iter().rfind(of_kind);
        if let Some(operation) = last.filter(|operation| operation.failed()) {
            return Err(format!("the last look failed: {operation:?}"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
