//! Commands that read a value and write it in one step: SET with conditions, GETSET, APPEND and
//! their kin. GET and MGET are here as steps of a transaction.

use bytes::Bytes;
use kvorum_core::{Action, Expiry, ExpiryIs, Step, Txn};

use super::arg::Arg;
use super::call::Call;
use super::error::ErrorReply;
use super::plan::{
    Plan, Planned, absent, header, incomplete, number, present, previous, refused, value,
};
use super::queue::Finish;
use super::strings::{Condition, SetOptions, TimeUnit};

/// `GET key`
pub(super) fn get(call: &mut Call<'_, '_>) -> Planned {
    Plan::read(call.key(1)?, |item, finish| {
        value(item, finish);
        Ok(())
    })
}

/// `SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]`
pub(super) fn set(call: &mut Call<'_, '_>) -> Planned {
    let options = SetOptions::read(call.args_from(3))?;
    let expiry = match options.expiry {
        Some((unit, time)) => Some(unit.expiry(time, call)?),
        None if options.keep_ttl => None,
        None => Some(Expiry::Never),
    };
    let (key, value) = (call.key(1)?, call.value(2)?);
    let compare = options.condition.map(|condition| match condition {
        Condition::Absent => absent(key.clone()),
        Condition::Present => present(key.clone()),
    });
    let put = Action::Put { value, expiry, tag: 0 };
    let get = options.get;
    let read = Step { key: key.clone(), action: Action::Read, previous: get };
    let txn = Txn {
        otherwise: compare.iter().map(|_| read.clone()).collect(),
        compare: compare.into_iter().collect(),
        then: vec![Step { key, action: put, previous: get }],
    };
    Plan::of(txn, move |answer, finish| {
        let done = answer.steps.into_iter().next().ok_or_else(incomplete)?;
        match (get, answer.held) {
            (true, _) => return previous(&done, finish),
            (false, true) => {
                refused(&done)?;
                finish.out.simple("OK");
            }
            (false, false) => finish.out.null(),
        }
        Ok(())
    })
}

/// `SETEX key seconds value`
pub(super) fn setex(call: &mut Call<'_, '_>) -> Planned {
    let expiry = TimeUnit::Seconds.expiry(call.integer(2)?, call)?;
    put(call, 3, expiry)
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(call: &mut Call<'_, '_>) -> Planned {
    let expiry = TimeUnit::Milliseconds.expiry(call.integer(2)?, call)?;
    put(call, 3, expiry)
}

fn put(call: &mut Call<'_, '_>, at: usize, expiry: Expiry) -> Planned {
    let (key, value) = (call.key(1)?, call.value(at)?);
    Plan::step(Step::new(key, put_of(value, expiry)), |done, finish| {
        refused(done)?;
        finish.out.simple("OK");
        Ok(())
    })
}

pub(super) const fn put_of(value: Bytes, expiry: Expiry) -> Action {
    Action::Put { value, expiry: Some(expiry), tag: 0 }
}

/// `SETNX key value`
pub(super) fn setnx(call: &mut Call<'_, '_>) -> Planned {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let then = vec![Step::new(key.clone(), put_of(value, Expiry::Never))];
    let txn = Txn { compare: vec![absent(key)], then, otherwise: Vec::new() };
    Plan::of(txn, |answer, finish| {
        answer.steps.iter().try_for_each(refused)?;
        finish.out.integer(i64::from(answer.held));
        Ok(())
    })
}

/// `GETSET key value`
pub(super) fn getset(call: &mut Call<'_, '_>) -> Planned {
    let (key, value) = (call.key(1)?, call.value(2)?);
    let action = put_of(value, Expiry::Never);
    Plan::step(Step { key, action, previous: true }, previous)
}

/// `GETDEL key`
pub(super) fn getdel(call: &mut Call<'_, '_>) -> Planned {
    let key = call.key(1)?;
    Plan::step(Step { key, action: Action::Delete, previous: true }, previous)
}

/// `GETEX key [EX | PX | EXAT | PXAT time | PERSIST]`
pub(super) fn getex(call: &mut Call<'_, '_>) -> Planned {
    let action = match call.args_from(2) {
        [] => Action::Read,
        [word] if word.is("PERSIST") => {
            Action::Expire { expiry: Expiry::Never, only: vec![ExpiryIs::Present] }
        }
        [word, time] => {
            let unit = TimeUnit::named(word).ok_or_else(ErrorReply::syntax)?;
            let time = time.integer().ok_or_else(ErrorReply::not_an_integer)?;
            Action::Expire { expiry: unit.expiry(time, call)?, only: Vec::new() }
        }
        _ => return Err(ErrorReply::syntax()),
    };
    let key = call.key(1)?;
    Plan::step(Step { key, action, previous: true }, previous)
}

/// `APPEND key value`
pub(super) fn append(call: &mut Call<'_, '_>) -> Planned {
    let (key, tail) = (call.key(1)?, call.value(2)?);
    Plan::step(Step::new(key, Action::Append(tail)), number)
}

/// `SETRANGE key offset value`
pub(super) fn setrange(call: &mut Call<'_, '_>) -> Planned {
    let offset = u64::try_from(call.integer(2)?);
    let offset = offset.map_err(|_| ErrorReply::err("offset is out of range"))?;
    let (key, bytes) = (call.key(1)?, call.value(3)?);
    Plan::step(Step::new(key, Action::SetRange { offset, bytes }), number)
}

/// `GETRANGE key start end`, `SUBSTR key start end`
pub(super) fn getrange(call: &mut Call<'_, '_>) -> Planned {
    let (start, end) = (call.integer(2)?, call.integer(3)?);
    Plan::read(call.key(1)?, move |item, finish| {
        let bytes = item.map_or(&[][..], |item| &item.value);
        let part = range(start, end, bytes.len()).and_then(|range| bytes.get(range));
        finish.out.bulk(part.unwrap_or_default());
        Ok(())
    })
}

/// The range that two numbers mean of so many bytes (or bits); negative ones count from the end.
/// Nothing if it is empty.
pub(super) fn range(start: i64, end: i64, len: usize) -> Option<std::ops::Range<usize>> {
    if start < 0 && end < 0 && start > end {
        return None;
    }
    let len = i64::try_from(len).ok()?;
    let from_end = |at: i64| if at < 0 { at.saturating_add(len).max(0) } else { at };
    let (start, end) = (from_end(start), from_end(end).min(len - 1));
    if start > end {
        return None;
    }
    Some(usize::try_from(start).ok()?..usize::try_from(end).ok()? + 1)
}

/// `STRLEN key`
pub(super) fn strlen(call: &mut Call<'_, '_>) -> Planned {
    Plan::read(call.key(1)?, |item, finish| {
        finish.out.count(header(item).map_or(0, |header| u64::from(header.value_len)));
        Ok(())
    })
}

/// `TYPE key`
pub(super) fn type_of(call: &mut Call<'_, '_>) -> Planned {
    let key = call.key(1)?;
    Plan::step(Step::new(key, Action::Read), |done, finish| {
        finish.out.simple(if done.existed { "string" } else { "none" });
        Ok(())
    })
}

/// `MGET key [key …]`
pub(super) fn mget(call: &mut Call<'_, '_>) -> Planned {
    every(call, Step::read, |dones, finish| {
        dones.iter().try_for_each(refused)?;
        finish.out.array(dones.len());
        for done in dones {
            value(done.previous.as_ref(), finish);
        }
        Ok(())
    })
}

/// `DEL key [key …]`, `UNLINK key [key …]`
pub(super) fn del(call: &mut Call<'_, '_>) -> Planned {
    every(call, |key| Step::new(key, Action::Delete), existed)
}

/// `EXISTS key [key …]`
pub(super) fn exists(call: &mut Call<'_, '_>) -> Planned {
    every(call, |key| Step::new(key, Action::Read), existed)
}

fn existed(dones: &[kvorum_core::Done], finish: &mut Finish<'_>) -> Result<(), ErrorReply> {
    finish.out.count(dones.iter().filter(|done| done.existed).count() as u64);
    Ok(())
}

/// One step for every argument.
fn every(
    call: &mut Call<'_, '_>,
    step: fn(Bytes) -> Step,
    say: fn(&[kvorum_core::Done], &mut Finish<'_>) -> Result<(), ErrorReply>,
) -> Planned {
    let keys: Result<Vec<Bytes>, ErrorReply> =
        (1..call.args.len()).map(|index| call.key(index)).collect();
    let then = keys?.into_iter().map(step).collect();
    Plan::of(Txn { then, ..Txn::default() }, move |answer, finish| say(&answer.steps, finish))
}

/// `MSET key value [key value …]`
pub(super) fn mset(call: &mut Call<'_, '_>) -> Planned {
    let then = pairs(call)?;
    Plan::of(Txn { then, ..Txn::default() }, |answer, finish| {
        answer.steps.iter().try_for_each(refused)?;
        finish.out.simple("OK");
        Ok(())
    })
}

/// `MSETNX key value [key value …]`
pub(super) fn msetnx(call: &mut Call<'_, '_>) -> Planned {
    let then = pairs(call)?;
    let compare = then.iter().map(|step| absent(step.key.clone())).collect();
    Plan::of(Txn { compare, then, otherwise: Vec::new() }, |answer, finish| {
        answer.steps.iter().try_for_each(refused)?;
        finish.out.integer(i64::from(answer.held));
        Ok(())
    })
}

/// The steps that store pairs of keys and values.
fn pairs(call: &mut Call<'_, '_>) -> Result<Vec<Step>, ErrorReply> {
    if call.args.len().is_multiple_of(2) {
        return Err(ErrorReply::arity(call.command.name));
    }
    let mut steps = Vec::with_capacity(call.args.len() / 2);
    for index in (1..call.args.len()).step_by(2) {
        let (key, value) = (call.key(index)?, call.value(index + 1)?);
        steps.push(Step::new(key, put_of(value, Expiry::Never)));
    }
    Ok(steps)
}

/// `COPY source destination [DB number] [REPLACE]`
pub(super) fn copy(call: &mut Call<'_, '_>) -> Planned {
    let mut replace = false;
    let mut words = call.args_from(3).iter();
    while let Some(word) = words.next() {
        if word.is("REPLACE") {
            replace = true;
        } else if word.is("DB") {
            let number = words.next().ok_or_else(ErrorReply::syntax)?;
            let number = number.integer().ok_or_else(ErrorReply::not_an_integer)?;
            if number != call.client.entry.profile().database {
                return Err(ErrorReply::err("COPY works within one keyspace"));
            }
        } else {
            return Err(ErrorReply::syntax());
        }
    }
    if call.args.get(1).map(Arg::as_slice) == call.args.get(2).map(Arg::as_slice) {
        return Err(ErrorReply::err("source and destination objects are the same"));
    }
    let (from, to) = (call.key(1)?, call.key(2)?);
    let free = (!replace).then(|| absent(to.clone()));
    let compare = std::iter::once(present(from.clone())).chain(free).collect();
    let then = vec![Step::new(to, Action::Copy { from })];
    Plan::of(Txn { compare, then, otherwise: Vec::new() }, |answer, finish| {
        answer.steps.iter().try_for_each(refused)?;
        finish.out.integer(i64::from(answer.held));
        Ok(())
    })
}

/// `RENAME key new-key`
pub(super) fn rename(call: &mut Call<'_, '_>) -> Planned {
    let (from, to) = (call.key(1)?, call.key(2)?);
    let compare = vec![present(from.clone())];
    Plan::of(Txn { compare, then: moved(from, to), otherwise: Vec::new() }, |answer, finish| {
        if !answer.held {
            return Err(no_such_key());
        }
        answer.steps.iter().try_for_each(refused)?;
        finish.out.simple("OK");
        Ok(())
    })
}

/// `RENAMENX key new-key`
pub(super) fn renamenx(call: &mut Call<'_, '_>) -> Planned {
    let (from, to) = (call.key(1)?, call.key(2)?);
    let compare = vec![present(from.clone()), absent(to.clone())];
    let otherwise = vec![Step::new(from.clone(), Action::Read)];
    Plan::of(Txn { compare, then: moved(from, to), otherwise }, |answer, finish| {
        let source = answer.steps.first().ok_or_else(incomplete)?;
        if !answer.held && !source.existed {
            return Err(no_such_key());
        }
        answer.steps.iter().try_for_each(refused)?;
        finish.out.integer(i64::from(answer.held));
        Ok(())
    })
}

/// The steps that give a value another key.
fn moved(from: Bytes, to: Bytes) -> Vec<Step> {
    if from == to {
        return Vec::new();
    }
    let copy = Step::new(to, Action::Copy { from: from.clone() });
    vec![copy, Step::new(from, Action::Delete)]
}

fn no_such_key() -> ErrorReply {
    ErrorReply::err("no such key")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_redis() {
        for (start, end, expected) in [
            (0, 3, Some(0..4)),
            (0, -1, Some(0..5)),
            (-3, -1, Some(2..5)),
            (-100, 1, Some(0..2)),
            (2, 100, Some(2..5)),
            (5, 100, None),
            (3, 2, None),
            (-1, -3, None),
            (0, -100, Some(0..1)),
            (i64::MIN, i64::MAX, Some(0..5)),
        ] {
            assert_eq!(range(start, end, 5), expected, "{start} {end}");
        }
        assert_eq!(range(0, -1, 0), None);
    }
}
