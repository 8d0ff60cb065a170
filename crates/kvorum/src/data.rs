//! The commands that read and write data: `put`, `get`, `del`, `exists`, `ttl`, `scan`.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use kvorum_client::{Client, Error, Found, Written};
use serde_json::{Value, json};

use crate::duration;
use crate::exit::{Exit, Failure};
use crate::output::{self, Format};
use crate::target::{Scope, Target};

/// Options of `kvorum put`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum put greeting hello
  kvorum put session:7 - --ttl 30m < session.bin
  kvorum put greeting hello --keyspace eventual --consistency all --output json")]
pub struct PutOptions {
    /// The key.
    key: String,
    /// The value; `-` reads it from standard input.
    #[arg(allow_hyphen_values = true)]
    value: String,
    /// Make it invisible after this time (250ms, 10s, 5m, 2h, 7d).
    #[arg(long, value_name = "TIME", value_parser = duration::parse)]
    ttl: Option<Duration>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Options of `kvorum get`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum get greeting
  kvorum get greeting --node 2 --consistency one
  kvorum get picture --raw > picture.png")]
pub struct GetOptions {
    /// The key.
    key: String,
    /// Print the bytes of the value and nothing else, not even an end of line.
    #[arg(long, conflicts_with = "output")]
    raw: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Options of `kvorum del`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kvorum del greeting farewell

A key that has no value is no error.")]
pub struct DelOptions {
    /// The keys.
    #[arg(required = true)]
    keys: Vec<String>,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Options of `kvorum exists`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kvorum exists greeting && echo there")]
pub struct ExistsOptions {
    /// The key.
    key: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Options of `kvorum ttl`.
#[derive(Args, Debug)]
#[command(after_help = "\
Example:
  kvorum ttl session:7")]
pub struct TtlOptions {
    /// The key.
    key: String,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
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
    #[arg(long, default_value = "", value_name = "TEXT")]
    prefix: String,
    /// At most so many.
    #[arg(long, value_name = "N")]
    limit: Option<u32>,
    /// Leave out the values.
    #[arg(long)]
    keys_only: bool,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

/// Runs `kvorum put`.
///
/// # Errors
/// The failed request, or standard input that cannot be read.
pub fn put(options: PutOptions) -> anyhow::Result<Exit> {
    let value = if options.value == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().lock().read_to_end(&mut bytes).context("cannot read standard input")?;
        bytes
    } else {
        options.value.into_bytes()
    };
    let how = kvorum_client::PutOptions { ttl: options.ttl };
    let key = options.key;
    request(&options.target, &options.scope, async |client| {
        let written = client.put_with(key.clone().into_bytes(), value.clone(), how).await?;
        Ok(Answer {
            exit: Exit::Ok,
            text: format!("ok, version {} on {}", written.version, copies(written.acked))
                .into_bytes(),
            document: written_json(&key, &written),
        })
    })
}

/// Runs `kvorum get`.
///
/// # Errors
/// The failed request.
pub fn get(options: GetOptions) -> anyhow::Result<Exit> {
    let GetOptions { key, raw, scope, target } = options;
    if raw {
        let (client, runtime) = target.connect(Some(&scope))?;
        let found = runtime.block_on(client.get(key)).map_err(Failure::from)?;
        return match found {
            Some(found) => output::write(&found.value).map(|()| Exit::Ok),
            None => Ok(Exit::Failed),
        };
    }
    request(&target, &scope, async |client| {
        Ok(match client.get(key.clone()).await? {
            Some(found) => Answer {
                exit: Exit::Ok,
                text: found.value.to_vec(),
                document: found_json(&found, true),
            },
            None => Answer::not_found(&key),
        })
    })
}

/// Runs `kvorum del`.
///
/// # Errors
/// The first failed request; the keys before it are deleted.
pub fn del(options: DelOptions) -> anyhow::Result<Exit> {
    let DelOptions { keys, scope, target } = options;
    let (client, runtime) = target.connect(Some(&scope))?;
    for key in keys {
        let written = runtime.block_on(client.delete(key.clone())).map_err(Failure::from)?;
        let text = if written.was_live { "deleted" } else { "had no value" };
        let document = written_json(&key, &written);
        print(target.output, format!("{key}: {text}").as_bytes(), &document)?;
    }
    Ok(Exit::Ok)
}

/// Runs `kvorum exists`.
///
/// # Errors
/// The failed request.
pub fn exists(options: ExistsOptions) -> anyhow::Result<Exit> {
    let ExistsOptions { key, scope, target } = options;
    request(&target, &scope, async |client| {
        Ok(match client.header(key.clone()).await? {
            Some(found) => Answer {
                exit: Exit::Ok,
                text: format!("exists, {} bytes", found.value_len).into_bytes(),
                document: found_json(&found, false),
            },
            None => Answer::not_found(&key),
        })
    })
}

/// Runs `kvorum ttl`.
///
/// # Errors
/// The failed request.
pub fn ttl(options: TtlOptions) -> anyhow::Result<Exit> {
    let TtlOptions { key, scope, target } = options;
    request(&target, &scope, async |client| {
        let Some(found) = client.header(key.clone()).await? else {
            return Ok(Answer::not_found(&key));
        };
        let ttl_ms = found.expires_at_ms.map(|at| at.saturating_sub(wall_ms()));
        let text = ttl_ms.map_or_else(|| "never expires".to_owned(), ttl_text);
        let document = json!({"key": key, "found": true, "ttl_ms": ttl_ms});
        Ok(Answer { exit: Exit::Ok, text: text.into_bytes(), document })
    })
}

/// Runs `kvorum scan`.
///
/// # Errors
/// The failed request; what was found before it has been printed.
pub fn scan(options: ScanOptions) -> anyhow::Result<Exit> {
    let (client, runtime) = options.target.connect(Some(&options.scope))?;
    let mut scan = client.scan(options.prefix.into_bytes());
    if let Some(limit) = options.limit {
        scan = scan.limit(limit);
    }
    if options.keys_only {
        scan = scan.header_only();
    }
    while let Some(found) = runtime.block_on(scan.next()).map_err(Failure::from)? {
        let mut text = found.key.to_vec();
        if !options.keys_only {
            text.push(b'\t');
            text.extend_from_slice(&found.value);
        }
        print(options.target.output, &text, &found_json(&found, !options.keys_only))?;
    }
    Ok(Exit::Ok)
}

/// What a request gave, in both forms.
struct Answer {
    exit: Exit,
    text: Vec<u8>,
    document: Value,
}

impl Answer {
    fn not_found(key: &str) -> Answer {
        let text = format!("{key}: not found").into_bytes();
        Answer { exit: Exit::Failed, text, document: json!({"key": key, "found": false}) }
    }
}

fn request(
    target: &Target,
    scope: &Scope,
    run: impl AsyncFnOnce(&Client) -> Result<Answer, Error>,
) -> anyhow::Result<Exit> {
    let (client, runtime) = target.connect(Some(scope))?;
    let answer = runtime.block_on(run(&client)).map_err(Failure::from)?;
    // What is not there is no output: a script that captures it gets nothing.
    if answer.exit == Exit::Failed && target.output == Format::Text {
        output::complain(&String::from_utf8_lossy(&answer.text));
    } else {
        print(target.output, &answer.text, &answer.document)?;
    }
    Ok(answer.exit)
}

fn print(format: Format, text: &[u8], document: &Value) -> anyhow::Result<()> {
    match format {
        Format::Text => output::write(&[text, b"\n"].concat()),
        Format::Json => output::json(document),
    }
}

fn copies(acked: u32) -> String {
    if acked == 1 { "1 copy".to_owned() } else { format!("{acked} copies") }
}

fn written_json(key: &str, written: &Written) -> Value {
    json!({
        "key": key,
        "version": written.version.to_string(),
        "acked": written.acked,
        "was_live": written.was_live,
    })
}

/// A value that is no text is given as base64, as REST and gRPC's JSON form do.
fn found_json(found: &Found, with_value: bool) -> Value {
    let mut document = json!({
        "found": true,
        "version": found.version.to_string(),
        "length": found.value_len,
        "expires_at_ms": found.expires_at_ms,
    });
    insert_bytes(&mut document, "key", &found.key);
    if with_value {
        insert_bytes(&mut document, "value", &found.value);
    }
    document
}

fn insert_bytes(document: &mut Value, name: &str, bytes: &[u8]) {
    let Some(object) = document.as_object_mut() else { return };
    match std::str::from_utf8(bytes) {
        Ok(text) => object.insert(name.to_owned(), text.into()),
        Err(_) => object.insert(format!("{name}_base64"), STANDARD.encode(bytes).into()),
    };
}

fn wall_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

fn ttl_text(ms: u64) -> String {
    format!("{}.{:03} s", ms / 1000, ms % 1000)
}
