//! Commands that count: INCR and its kin.

use kvorum_core::{Action, Output, Step};

use super::call::Call;
use super::error::ErrorReply;
use super::plan::{Plan, Planned, incomplete, number, refused};

/// `INCR key`
pub(super) fn incr(call: &mut Call<'_, '_>) -> Planned {
    add(call, 1)
}

/// `DECR key`
pub(super) fn decr(call: &mut Call<'_, '_>) -> Planned {
    add(call, -1)
}

/// `INCRBY key number`
pub(super) fn incrby(call: &mut Call<'_, '_>) -> Planned {
    let by = call.integer(2)?;
    add(call, by)
}

/// `DECRBY key number`
pub(super) fn decrby(call: &mut Call<'_, '_>) -> Planned {
    let by = call.integer(2)?.checked_neg();
    let by = by.ok_or_else(|| ErrorReply::err("decrement would overflow"))?;
    add(call, by)
}

/// `INCRBYFLOAT key number`
pub(super) fn incrbyfloat(call: &mut Call<'_, '_>) -> Planned {
    let (key, by) = (call.key(1)?, call.value(2)?);
    Plan::step(Step::new(key, Action::AddDecimal(by)), |done, finish| {
        refused(done)?;
        match &done.output {
            Output::Value(sum) => finish.out.bulk(sum),
            _ => return Err(incomplete()),
        }
        Ok(())
    })
}

fn add(call: &mut Call<'_, '_>, by: i64) -> Planned {
    let key = call.key(1)?;
    Plan::step(Step::new(key, Action::Add(by)), number)
}
