//! The commands that read and write data: `put`, `get`, `del`, `exists`, `ttl`, `scan`, and those of
//! strong keyspaces.

mod answer;
mod strong;

use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::duration;
use crate::exit::{Exit, Failure};
use crate::output::Printed;
use crate::target::Access;

use answer::Answer;
pub use strong::{CasOptions, ExpireOptions, IncrOptions, cas, expire, incr};

/// Options of a command about one key.
#[derive(Args, Debug)]
pub struct KeyOptions {
    /// The key.
    #[arg(value_parser = bytes())]
    key: Bytes,
    #[command(flatten)]
    access: Access,
}

/// Options of `kvorum put`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum put greeting hello
  kvorum put session:7 - --ttl 30m < session.bin
  kvorum put greeting hello --keyspace eventual --consistency all --output json")]
pub struct PutOptions {
    /// The key.
    #[arg(value_parser = bytes())]
    key: Bytes,
    /// The value; `-` reads it from standard input.
    #[arg(allow_hyphen_values = true, value_parser = bytes())]
    value: Bytes,
    /// Make it invisible after this time (250ms, 10s, 5m, 2h, 7d).
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

/// Options of `kvorum get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum get greeting
  kvorum get greeting --node 2 --consistency stale:500
  kvorum get picture --raw > picture.png")]
pub struct GetOptions {
    #[command(flatten)]
    of: KeyOptions,
    /// Print the bytes of the value and nothing else, not even an end of line.
    #[arg(long, conflicts_with = "output")]
    raw: bool,
}

/// Options of `kvorum del`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kvorum del greeting farewell

A key that has no value is no error.")]
pub struct DelOptions {
    /// The keys.
    #[arg(required = true, value_parser = bytes())]
    keys: Vec<Bytes>,
    #[command(flatten)]
    access: Access,
}

/// Options of `kvorum scan`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum scan --prefix user: --limit 20
  kvorum scan --keys-only | wc -l

The order is that of the slots, not of the keys.")]
pub struct ScanOptions {
    /// Only keys that begin with this.
    #[arg(long, default_value = "", value_name = "TEXT", value_parser = bytes())]
    prefix: Bytes,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Leave out the values.
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    access: Access,
}

/// Keys and values are bytes, on the command line as well.
fn bytes() -> impl TypedValueParser<Value = Bytes> {
    OsStringValueParser::new().map(|text| Bytes::from(text.into_vec()))
}

/// Runs `kvorum put`.
///
/// # Errors
/// The failed request, or standard input that cannot be read.
pub fn put(options: PutOptions) -> anyhow::Result<Exit> {
    let PutOptions { key, value, ttl, access } = options;
    let value = if value == "-" { standard_input()? } else { value };
    let how = kvorum_client::PutOptions { ttl };
    answer::to_request(&access, async |client| {
        let written = client.put_with(key.clone(), value.clone(), how).await?;
        let copies = answer::copies(written.acked);
        let text = format!("ok, version {} on {copies}", written.version).into_bytes();
        Ok(Answer::done(text, answer::written(&key, &written)))
    })
}

/// Everything that comes on standard input.
fn standard_input() -> anyhow::Result<Bytes> {
    let mut bytes = Vec::new();
    std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
    Ok(bytes.into())
}

/// Runs `kvorum get`.
///
/// # Errors
/// The failed request.
pub fn get(options: GetOptions) -> anyhow::Result<Exit> {
    let GetOptions { of: KeyOptions { key, access }, raw } = options;
    answer::to_request(&access, async |client| {
        Ok(match client.get(key.clone()).await? {
            Some(found) if raw => Answer::raw(found.value),
            Some(found) => Answer::done(found.value.to_vec(), answer::found(&found, true)),
            None => Answer::not_found(&key),
        })
    })
}

/// Runs `kvorum del`.
///
/// # Errors
/// The first failed request; the keys before it are deleted.
pub fn del(options: DelOptions) -> anyhow::Result<Exit> {
    let DelOptions { keys, access } = options;
    let (client, runtime) = access.connect()?;
    for key in keys {
        let written = runtime.block_on(client.delete(key.clone())).map_err(Failure::from)?;
        let what = if written.was_live { "deleted" } else { "had no value" };
        let text = [&key[..], b": ", what.as_bytes()].concat();
        Answer::done(text, answer::written(&key, &written)).print(access.output())?;
    }
    Ok(Exit::Ok)
}

/// Runs `kvorum exists`.
///
/// # Errors
/// The failed request.
pub fn exists(options: KeyOptions) -> anyhow::Result<Exit> {
    let KeyOptions { key, access } = options;
    answer::to_request(&access, async |client| {
        Ok(match client.header(key.clone()).await? {
            Some(found) => {
                let text = format!("exists, {} bytes", found.value_len).into_bytes();
                Answer::done(text, answer::found(&found, false))
            }
            None => Answer::not_found(&key),
        })
    })
}

/// Runs `kvorum ttl`.
///
/// # Errors
/// The failed request.
pub fn ttl(options: KeyOptions) -> anyhow::Result<Exit> {
    let KeyOptions { key, access } = options;
    answer::to_request(&access, async |client| {
        let Some(found) = client.header(key.clone()).await? else {
            return Ok(Answer::not_found(&key));
        };
        Ok(answer::time_to_live(&found, SystemTime::now()))
    })
}

/// Runs `kvorum scan`.
///
/// # Errors
/// The failed request; what was found before it has been printed.
pub fn scan(options: ScanOptions) -> anyhow::Result<Exit> {
    let ScanOptions { prefix, limit, keys_only, access } = options;
    let (client, runtime) = access.connect()?;
    let mut scan = client.scan(prefix);
    if let Some(limit) = limit {
        scan = scan.limit(limit);
    }
    if keys_only {
        scan = scan.header_only();
    }
    while let Some(found) = runtime.block_on(scan.next()).map_err(Failure::from)? {
        let mut text = found.key.to_vec();
        if !keys_only {
            text.push(b'\t');
            text.extend_from_slice(&found.value);
        }
        let printed =
            Answer::done(text, answer::found(&found, !keys_only)).print(access.output())?;
        if printed == Printed::Unread {
            break;
        }
    }
    Ok(Exit::Ok)
}
