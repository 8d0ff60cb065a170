//! Commands on one key: GET, SET and their kin.

use std::time::Duration;

use kvorum_core::{Expiry, Header, Item, Op, Reply, Want};

use super::arg::Arg;
use super::call::{Call, Handled};
use super::error::ErrorReply;
use super::queue::Finish;
use super::refused;

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
    header(call, |reply, finish| {
        let wall_ms = finish.node.now().wall_ms;
        let left = |at: u64| (at.saturating_sub(wall_ms) + 500) / 1000;
        expiry(reply, finish, left)
    })
}

/// `PTTL key`
pub(super) fn pttl(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| {
        let wall_ms = finish.node.now().wall_ms;
        expiry(reply, finish, |at| at.saturating_sub(wall_ms))
    })
}

/// `EXPIRETIME key`
pub(super) fn expiretime(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, |at| (at + 500) / 1000))
}

/// `PEXPIRETIME key`
pub(super) fn pexpiretime(call: &mut Call<'_, '_>) -> Handled {
    header(call, |reply, finish| expiry(reply, finish, |at| at))
}

/// `SET key value [NX | XX] [GET] [EX | PX | EXAT | PXAT time | KEEPTTL]`
pub(super) fn set(call: &mut Call<'_, '_>) -> Handled {
    let options = SetOptions::read(call.args_from(3))?;
    let expiry = match options.expiry {
        None => Expiry::Never,
        Some((unit, time)) => unit.expiry(time, call)?,
    };
    if let Some(option) = options.needs_strong {
        return Err(refused::option("SET", option));
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

/// Replies with -2 for a missing key, -1 for one that never expires, else with the time.
fn expiry(
    reply: &Reply,
    finish: &mut Finish<'_>,
    time: impl Fn(u64) -> u64,
) -> Result<(), ErrorReply> {
    match found(reply)? {
        None => finish.out.integer(-2),
        Some(Header { expire_ms: 0, .. }) => finish.out.integer(-1),
        Some(header) => finish.out.count(time(header.expire_ms)),
    }
    Ok(())
}

/// The node answered something else than was asked: a defect, told without guessing.
pub(super) fn unexpected(reply: &Reply) -> ErrorReply {
    tracing::error!(?reply, "the node answered with a reply of another operation");
    ErrorReply::err("internal error: the answer does not fit the command; the outcome is unknown")
}

/// How a time is given.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TimeUnit {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
}

impl TimeUnit {
    fn named(word: &Arg) -> Option<TimeUnit> {
        [
            ("EX", TimeUnit::Seconds),
            ("PX", TimeUnit::Milliseconds),
            ("EXAT", TimeUnit::UnixSeconds),
            ("PXAT", TimeUnit::UnixMilliseconds),
        ]
        .into_iter()
        .find_map(|(name, unit)| word.is(name).then_some(unit))
    }

    /// The expiry after or at `time`, which must be positive and far from overflowing.
    fn expiry(self, time: i64, call: &mut Call<'_, '_>) -> Result<Expiry, ErrorReply> {
        let name = call.command.name;
        let wall_ms = call.calls.now().wall_ms;
        let valid = || {
            let time = u64::try_from(time).ok().filter(|&time| time > 0)?;
            let ms = match self {
                TimeUnit::Seconds | TimeUnit::UnixSeconds => time.checked_mul(1000)?,
                TimeUnit::Milliseconds | TimeUnit::UnixMilliseconds => time,
            };
            let (at, expiry) = match self {
                TimeUnit::Seconds | TimeUnit::Milliseconds => {
                    (ms.checked_add(wall_ms)?, Expiry::After(Duration::from_millis(ms)))
                }
                TimeUnit::UnixSeconds | TimeUnit::UnixMilliseconds => (ms, Expiry::At(ms)),
            };
            i64::try_from(at).is_ok().then_some(expiry)
        };
        valid().ok_or_else(|| ErrorReply::err(format!("invalid expire time in '{name}' command")))
    }
}

/// The options of SET.
#[derive(Default)]
struct SetOptions {
    expiry: Option<(TimeUnit, i64)>,
    /// An option that reads before it writes.
    needs_strong: Option<&'static str>,
}

impl SetOptions {
    fn read(words: &[Arg]) -> Result<SetOptions, ErrorReply> {
        let mut options = SetOptions::default();
        let (mut nx, mut xx, mut keep_ttl, mut unit) = (false, false, false, None);
        let mut words = words.iter();
        while let Some(word) = words.next() {
            if word.is("NX") && !xx {
                nx = true;
                options.needs_strong = Some("NX");
            } else if word.is("XX") && !nx {
                xx = true;
                options.needs_strong = Some("XX");
            } else if word.is("GET") {
                options.needs_strong = options.needs_strong.or(Some("GET"));
            } else if word.is("KEEPTTL") && unit.is_none() {
                keep_ttl = true;
                options.needs_strong = options.needs_strong.or(Some("KEEPTTL"));
            } else if let (Some(named), None, false) = (TimeUnit::named(word), unit, keep_ttl) {
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
