//! Commands about how long values live, in strong keyspaces: EXPIRE, PERSIST and their kin; TTL and
//! its kin as steps of a transaction.

use std::time::Duration;

use kvorum_core::{Action, Expiry, ExpiryIs, Step};

use super::call::Call;
use super::error::ErrorReply;
use super::plan::{Plan, Planned, header, number};
use super::queue::Finish;
use super::strings::{TimeUnit, lifetime, moment, say_time};

/// `EXPIRE key seconds [NX | XX | GT | LT]`
pub(super) fn expire(call: &mut Call<'_, '_>) -> Planned {
    set_expiry(call, TimeUnit::Seconds)
}

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpire(call: &mut Call<'_, '_>) -> Planned {
    set_expiry(call, TimeUnit::Milliseconds)
}

/// `EXPIREAT key seconds [NX | XX | GT | LT]`
pub(super) fn expireat(call: &mut Call<'_, '_>) -> Planned {
    set_expiry(call, TimeUnit::UnixSeconds)
}

/// `PEXPIREAT key milliseconds [NX | XX | GT | LT]`
pub(super) fn pexpireat(call: &mut Call<'_, '_>) -> Planned {
    set_expiry(call, TimeUnit::UnixMilliseconds)
}

fn set_expiry(call: &mut Call<'_, '_>, unit: TimeUnit) -> Planned {
    let only = conditions(call)?;
    let expiry = any_time(unit, call.integer(2)?, call)?;
    let key = call.key(1)?;
    Plan::step(Step::new(key, Action::Expire { expiry, only }), number)
}

/// The time of EXPIRE, which may have passed.
fn any_time(unit: TimeUnit, time: i64, call: &Call<'_, '_>) -> Result<Expiry, ErrorReply> {
    let valid = || {
        let ms = if unit.in_seconds() { time.checked_mul(1000)? } else { time };
        if !unit.is_relative() {
            return Some(Expiry::At(u64::try_from(ms).unwrap_or(1)));
        }
        i64::try_from(call.calls.now().wall_ms).ok()?.checked_add(ms)?;
        let span = u64::try_from(ms).ok().filter(|&ms| ms > 0);
        Some(span.map_or(Expiry::At(1), |ms| Expiry::After(Duration::from_millis(ms))))
    };
    valid().ok_or_else(|| {
        ErrorReply::err(format!("invalid expire time in '{}' command", call.command.name))
    })
}

fn conditions(call: &Call<'_, '_>) -> Result<Vec<ExpiryIs>, ErrorReply> {
    let mut only = Vec::new();
    for word in call.args_from(3) {
        let known = [
            ("NX", ExpiryIs::Absent),
            ("XX", ExpiryIs::Present),
            ("GT", ExpiryIs::Earlier),
            ("LT", ExpiryIs::Later),
        ];
        let condition = known.into_iter().find(|(name, _)| word.is(name));
        let (_, condition) = condition
            .ok_or_else(|| ErrorReply::err(format!("Unsupported option {}", word.text())))?;
        if !only.contains(&condition) {
            only.push(condition);
        }
    }
    if only.contains(&ExpiryIs::Absent) && only.len() > 1 {
        let text = "NX and XX, GT or LT options at the same time are not compatible";
        return Err(ErrorReply::err(text));
    }
    if only.contains(&ExpiryIs::Earlier) && only.contains(&ExpiryIs::Later) {
        let text = "GT and LT options at the same time are not compatible";
        return Err(ErrorReply::err(text));
    }
    Ok(only)
}

/// `PERSIST key`
pub(super) fn persist(call: &mut Call<'_, '_>) -> Planned {
    let action = Action::Expire { expiry: Expiry::Never, only: vec![ExpiryIs::Present] };
    let key = call.key(1)?;
    Plan::step(Step::new(key, action), number)
}

/// `TTL key`
pub(super) fn ttl(call: &mut Call<'_, '_>) -> Planned {
    told(call, lifetime::<1000>)
}

/// `PTTL key`
pub(super) fn pttl(call: &mut Call<'_, '_>) -> Planned {
    told(call, lifetime::<1>)
}

/// `EXPIRETIME key`
pub(super) fn expiretime(call: &mut Call<'_, '_>) -> Planned {
    told(call, moment::<1000>)
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(call: &mut Call<'_, '_>) -> Planned {
    told(call, moment::<1>)
}

fn told(call: &mut Call<'_, '_>, time: fn(u64, &Finish<'_>) -> u64) -> Planned {
    Plan::read(call.key(1)?, move |item, finish| {
        say_time(header(item), finish, time);
        Ok(())
    })
}
