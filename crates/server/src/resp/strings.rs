//! Commands on one key: GET, SET and their kin.

use std::time::Duration;

use kvorum_core::{Expiry, Header, Item, Op, Reply, Want};

use super::arg::Arg;
use super::call::{Call, Handled};
use super::error::ErrorReply;
use super::queue::Finish;
use super::{plan, refused, rewrite};

/// `GET key`
pub(super) fn get(call: &mut Call<'_, '_>) -> Handled {
    let key = call.key(1)?;
    call.one(Op::Get { key, want: Want::Value }, |reply, finish| match reply {
        Reply::Found(item) => {
            finish.out.bulk(&item.value);
            Ok(())
        }
        Reply::Missing(_) => {
            finish.out.null();
            Ok(())
        }
        other => Err(unexpected(other)),
    })
}

/// `STRLEN key`
pub(super) fn strlen(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| {
        let header = found(reply)?;
        finish.out.count(header.map_or(0, |header| u64::from(header.value_len)));
        Ok(())
    })
}

/// `TYPE key`
pub(super) fn type_of(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| {
        finish.out.simple(if found(reply)?.is_some() { "string" } else { "none" });
        Ok(())
    })
}

/// `TTL key`: seconds, rounded as redis-server rounds them.
pub(super) fn ttl(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, lifetime::<1000>))
}

/// `PTTL key`
pub(super) fn pttl(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, lifetime::<1>))
}

/// `EXPIRETIME key`
pub(super) fn expiretime(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, moment::<1000>))
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, moment::<1>))
}

/// `SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]`
pub(super) fn set(call: &mut Call<'_, '_>) -> Handled {
    let options = SetOptions::read(call.args_from(3))?;
    let expiry = match options.expiry {
        None => Expiry::Never,
        Some((unit, time)) => unit.expiry(time, call)?,
    };
    if let Some(option) = options.needs_strong() {
        if call.is_strong() {
            let plan = rewrite::set(call)?;
            return plan::submit(call, plan);
        }
        return Err(refused::option(call, option));
    }
    put(call, 1, 2, expiry)
}

/// `SETEX key seconds value`
pub(super) fn setex(call: &mut Call<'_, '_>) -> Handled {
    let expiry = TimeUnit::Seconds.expiry(call.integer(2)?, call)?;
    put(call, 1, 3, expiry)
}

/// `PSETEX key milliseconds value`
pub(super) fn psetex(call: &mut Call<'_, '_>) -> Handled {
    let expiry = TimeUnit::Milliseconds.expiry(call.integer(2)?, call)?;
    put(call, 1, 3, expiry)
}

fn put(call: &mut Call<'_, '_>, key: usize, value: usize, expiry: Expiry) -> Handled {
    let (key, value) = (call.key(key)?, call.value(value)?);
    call.one(Op::Put { key, value, expiry, tag: 0 }, |reply, finish| match reply {
        Reply::Written { acked, .. } => {
            finish.client.last_acked = *acked;
            finish.out.simple("OK");
            Ok(())
        }
        other => Err(unexpected(other)),
    })
}

/// Reads what is known of the key without its value.
fn header(call: &mut Call<'_, '_>, render: super::queue::Render) -> Handled {
    let key = call.key(1)?;
    call.one(Op::Get { key, want: Want::Header }, render)
}

fn found(reply: &Reply) -> Result<Option<&Header>, ErrorReply> {
    match reply {
        Reply::Found(Item { header, .. }) => Ok(Some(header)),
        Reply::Missing(_) => Ok(None),
        other => Err(unexpected(other)),
    }
}

fn expiry(
    reply: &Reply,
    finish: &mut Finish<'_>,
    time: fn(u64, &Finish<'_>) -> u64,
) -> Result<(), ErrorReply> {
    say_time(found(reply)?, finish, time);
    Ok(())
}

/// Replies with -2 where there is no value, -1 for one that never expires, else with the time.
pub(super) fn say_time(
    header: Option<&Header>,
    finish: &mut Finish<'_>,
    time: fn(u64, &Finish<'_>) -> u64,
) {
    match header {
        None => finish.out.integer(-2),
        Some(Header { expire_ms: 0, .. }) => finish.out.integer(-1),
        Some(header) => {
            let time = time(header.expire_ms, finish);
            finish.out.count(time);
        }
    }
}

/// How long it is until then, in units of so many milliseconds.
pub(super) fn lifetime<const UNIT_MS: u64>(at_ms: u64, finish: &Finish<'_>) -> u64 {
    (at_ms.saturating_sub(finish.node.now().wall_ms) + UNIT_MS / 2) / UNIT_MS
}

/// The time in units of so many milliseconds.
pub(super) fn moment<const UNIT_MS: u64>(at_ms: u64, _: &Finish<'_>) -> u64 {
    (at_ms + UNIT_MS / 2) / UNIT_MS
}

/// The node answered something else than was asked: a defect, told without guessing.
pub(super) fn unexpected(reply: &Reply) -> ErrorReply {
    tracing::error!(?reply, "the node answered with a reply of another operation");
    ErrorReply::err("internal error: the answer does not fit the command; the outcome is unknown")
}

/// How a time is given.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum TimeUnit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl TimeUnit {
    /// The unit with this name among the options of SET.
    pub(super) fn named(word: &Arg) -> Option<TimeUnit> {
        [
            ("EX", TimeUnit::Seconds),
            ("PX", TimeUnit::Milliseconds),
            ("EXAT", TimeUnit::UnixSeconds),
            ("PXAT", TimeUnit::UnixMilliseconds),
        ]
        .into_iter()
        .find_map(|(name, unit)| word.is(name).then_some(unit))
    }

    /// Whether it counts in seconds.
    pub(super) const fn in_seconds(self) -> bool {
        matches!(self, TimeUnit::Seconds | TimeUnit::UnixSeconds)
    }

    /// Whether it counts from now on.
    pub(super) const fn is_relative(self) -> bool {
        matches!(self, TimeUnit::Seconds | TimeUnit::Milliseconds)
    }

    /// The expiry after or at `time`, which must be positive and far from overflowing.
    pub(super) fn expiry(self, time: i64, call: &Call<'_, '_>) -> Result<Expiry, ErrorReply> {
        let name = call.command.name;
        let wall_ms = call.calls.now().wall_ms;
        let valid = || {
            let time = u64::try_from(time).ok().filter(|&time| time > 0)?;
            let ms = if self.in_seconds() { time.checked_mul(1000)? } else { time };
            let (at, expiry) = if self.is_relative() {
                (ms.checked_add(wall_ms)?, Expiry::After(Duration::from_millis(ms)))
            } else {
                (ms, Expiry::At(ms))
            };
            i64::try_from(at).is_ok().then_some(expiry)
        };
        valid().ok_or_else(|| ErrorReply::err(format!("invalid expire time in '{name}' command")))
    }
}

/// The options of SET.
#[derive(Default)]
pub(super) struct SetOptions {
    /// When the value expires.
    pub(super) expiry: Option<(TimeUnit, i64)>,
    /// It is only stored if this holds.
    pub(super) condition: Option<Condition>,
    /// The reply is what was stored before.
    pub(super) get: bool,
    /// The new value expires when the old one would have.
    pub(super) keep_ttl: bool,
}

/// What SET may want to be true.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    /// `NX`
    Absent,
    /// `XX`
    Present,
}

impl SetOptions {
    /// An option that reads before it writes.
    const fn needs_strong(&self) -> Option<&'static str> {
        match self {
            SetOptions { condition: Some(Condition::Absent), .. } => Some("NX"),
            SetOptions { condition: Some(Condition::Present), .. } => Some("XX"),
            SetOptions { get: true, .. } => Some("GET"),
            SetOptions { keep_ttl: true, .. } => Some("KEEPTTL"),
            _ => None,
        }
    }

    /// Reads the words behind the value.
    ///
    /// # Errors
    /// redis-server's texts.
    pub(super) fn read(words: &[Arg]) -> Result<SetOptions, ErrorReply> {
        let mut options = SetOptions::default();
        let mut unit = None;
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let named = TimeUnit::named(word).filter(|_| !options.keep_ttl);
            if word.is("NX") && options.condition != Some(Condition::Present) {
                options.condition = Some(Condition::Absent);
            } else if word.is("XX") && options.condition != Some(Condition::Absent) {
                options.condition = Some(Condition::Present);
            } else if word.is("GET") {
                options.get = true;
            } else if word.is("KEEPTTL") && unit.is_none() {
                options.keep_ttl = true;
            } else if let (Some(named), None) = (named, unit) {
                let time = words.next().ok_or_else(ErrorReply::syntax)?;
                unit = Some((named, time));
            } else {
                return Err(ErrorReply::syntax());
            }
        }
        // The number is looked at when the syntax is known to be right, as in redis-server.
        if let Some((unit, time)) = unit {
            let time = time.integer().ok_or_else(ErrorReply::not_an_integer)?;
            options.expiry = Some((unit, time));
        }
        Ok(options)
    }
}
