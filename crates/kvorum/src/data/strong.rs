//! The commands that read and write in one step, which strong keyspaces have: `incr`, `cas`,
//! `expire`.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use kvorum_client::{Condition, PutOptions, Version};

use super::answer::{self, Answer};
use super::{bytes, standard_input};
use crate::duration;
use crate::exit::Exit;
use crate::target::Access;

/// Options of `kvorum incr`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum incr visits
  kvorum incr stock:7 --by -3

A key that has no value counts as zero. A value that is no integer is left as it is.")]
pub struct IncrOptions {
    /// The key.
    #[arg(value_parser = bytes())]
    key: Bytes,
    /// What is added.
    #[arg(long, value_name = "N", default_value_t = 1, allow_negative_numbers = true)]
    by: i64,
    #[command(flatten)]
    access: Access,
}

/// Options of `kvorum cas`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum cas leader node-2 --if-value node-1
  kvorum cas lock me --if-absent --ttl 30s
  kvorum cas greeting hi --if-version 000000000000002a-00000000

If the condition does not hold, nothing is stored and the exit code is 1.")]
pub struct CasOptions {
    /// The key.
    #[arg(value_parser = bytes())]
    key: Bytes,
    /// The new value; `-` reads it from standard input.
    #[arg(allow_hyphen_values = true, value_parser = bytes())]
    value: Bytes,
    #[command(flatten)]
    only: Only,
    /// Make it invisible after this time (250ms, 10s, 5m, 2h, 7d).
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

/// The condition under which a value is stored.
#[derive(Args, Debug)]
#[group(required = true, multiple = false)]
struct Only {
    /// If the key has exactly this value.
    #[arg(long, value_name = "VALUE", allow_hyphen_values = true, value_parser = bytes())]
    if_value: Option<Bytes>,
    /// If its value has exactly this version.
    #[arg(long, value_name = "VERSION")]
    if_version: Option<Version>,
    /// If the key has no value.
    #[arg(long)]
    if_absent: bool,
    /// If the key has a value.
    #[arg(long)]
    if_present: bool,
}

impl Only {
    fn condition(self) -> Condition {
        match self {
            Only { if_value: Some(value), .. } => Condition::Value(value),
            Only { if_version: Some(version), .. } => Condition::Version(version),
            Only { if_absent: true, .. } => Condition::Absent,
            Only { .. } => Condition::Present,
        }
    }
}

/// Options of `kvorum expire`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum expire session:7 30m
  kvorum expire session:7 --never")]
pub struct ExpireOptions {
    /// The key.
    #[arg(value_parser = bytes())]
    key: Bytes,
    /// Make the value invisible after this time (250ms, 10s, 5m, 2h, 7d).
    #[arg(value_name = "TIME", value_parser = duration::parse, required_unless_present = "never")]
    ttl: Option<Duration>,
    /// Make it visible for ever.
    #[arg(long, conflicts_with = "ttl")]
    never: bool,
    #[command(flatten)]
    access: Access,
}

/// Runs `kvorum incr`.
///
/// # Errors
/// The failed request.
pub fn incr(options: IncrOptions) -> anyhow::Result<Exit> {
    let IncrOptions { key, by, access } = options;
    answer::to_request(&access, async |client| {
        let sum = client.increment(key.clone(), by).await?;
        Ok(Answer::done(sum.to_string().into_bytes(), answer::with_key(&key, "value", sum)))
    })
}

/// Runs `kvorum cas`.
///
/// # Errors
/// The failed request, or standard input that cannot be read.
pub fn cas(options: CasOptions) -> anyhow::Result<Exit> {
    let CasOptions { key, value, only, ttl, access } = options;
    let value = if value == "-" { standard_input()? } else { value };
    let condition = only.condition();
    answer::to_request(&access, async |client| {
        let how = PutOptions { ttl };
        let stored = client.compare_and_swap(key.clone(), condition, value, how).await?;
        Ok(match stored {
            Ok(version) => {
                let text = format!("ok, version {version}").into_bytes();
                Answer::done(text, answer::with_key(&key, "version", version.to_string()))
            }
            Err(present) => Answer::not_stored(&key, present),
        })
    })
}

/// Runs `kvorum expire`.
///
/// # Errors
/// The failed request.
pub fn expire(options: ExpireOptions) -> anyhow::Result<Exit> {
    let ExpireOptions { key, ttl, never: _, access } = options;
    answer::to_request(&access, async |client| {
        if !client.expire(key.clone(), ttl).await? {
            return Ok(Answer::not_found(&key));
        }
        let ttl_ms = ttl.map(|ttl| u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX));
        Ok(Answer::done(b"ok".to_vec(), answer::with_key(&key, "ttl_ms", ttl_ms)))
    })
}
