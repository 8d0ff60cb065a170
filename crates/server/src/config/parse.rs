//! The values of settings as texts: what each kind accepts, and how it is written.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use kvorum_core::{Mode, NodeId};
use kvorum_node::{PeerAddress, Secret, WalSync};

/// The number of a node that is told none.
pub const FIRST_NODE: NodeId = match NodeId::new(1) {
    Some(id) => id,
    None => unreachable!(),
};

/// How chatty the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> tracing::Level {
        match level {
            LogLevel::Error => tracing::Level::ERROR,
            LogLevel::Warn => tracing::Level::WARN,
            LogLevel::Info => tracing::Level::INFO,
            LogLevel::Debug => tracing::Level::DEBUG,
            LogLevel::Trace => tracing::Level::TRACE,
        }
    }
}

/// The names of the log levels.
pub const LOG_LEVELS: [(&str, LogLevel); 5] = [
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
    ("trace", LogLevel::Trace),
];

/// The form of a line of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    Json,
}

/// The names of the log formats.
pub const LOG_FORMATS: [(&str, LogFormat); 2] =
    [("text", LogFormat::Text), ("json", LogFormat::Json)];

/// The names of the modes of keyspaces.
pub const MODES: [(&str, Mode); 2] = [("strong", Mode::Strong), ("eventual", Mode::Eventual)];

/// The names of the places where the log is synced.
pub const WAL_SYNCS: [(&str, WalSync); 3] =
    [("auto", WalSync::Auto), ("inline", WalSync::Inline), ("thread", WalSync::Thread)];

/// What a text may be instead.
type Parsed<T> = Result<T, String>;

pub fn node_num(text: &str) -> Parsed<NodeId> {
    let id = text.parse().ok().and_then(NodeId::new);
    id.ok_or_else(|| format!("a node's number lies between 1 and {}", NodeId::MAX))
}

pub fn word(text: &str) -> Parsed<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    if (1..=63).contains(&text.len()) && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a name has 1 to 63 letters, digits, dashes, underscores and dots".to_owned())
    }
}

pub fn path(text: &str) -> Parsed<PathBuf> {
    if text.is_empty() { Err("a path is not empty".to_owned()) } else { Ok(text.into()) }
}

pub fn address(text: &str) -> Parsed<IpAddr> {
    text.parse().map_err(|_| "an IP address such as 127.0.0.1 or 0.0.0.0 is needed".to_owned())
}

pub fn host(text: &str) -> Parsed<String> {
    let good = |c: char| c.is_ascii_alphanumeric() || "-_.:".contains(c);
    if (1..=253).contains(&text.len()) && text.chars().all(good) {
        Ok(text.to_owned())
    } else {
        Err("a host name or an address without a port is needed".to_owned())
    }
}

pub fn port(text: &str) -> Parsed<u16> {
    let port = text.parse().ok().filter(|port| *port > 0);
    port.ok_or_else(|| "a port is a number from 1 to 65535".to_owned())
}

pub fn flag(text: &str) -> Parsed<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Ok(true),
        "false" | "0" | "no" | "off" => Ok(false),
        _ => Err("it is true or false".to_owned()),
    }
}

/// A list of nodes; empty for none.
pub fn peers(text: &str) -> Parsed<Vec<PeerAddress>> {
    if text.trim().is_empty() { Ok(Vec::new()) } else { PeerAddress::parse_list(text) }
}

pub fn number<T: TryFrom<u64>>(text: &str, least: u64, most: u64) -> Parsed<T> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    let number = number.and_then(|number| T::try_from(number).ok());
    number.ok_or_else(|| format!("a number from {least} to {most} is needed"))
}

/// A number of bytes, with a unit or without one.
pub fn bytes(text: &str, least: u64, most: u64) -> Parsed<u64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(unit_at);
    let shift = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => Some(0),
        "k" | "kb" | "kib" => Some(10),
        "m" | "mb" | "mib" => Some(20),
        "g" | "gb" | "gib" => Some(30),
        "t" | "tb" | "tib" => Some(40),
        _ => None,
    };
    let count: Option<u64> = digits.parse().ok();
    let size = count.zip(shift).and_then(|(count, shift)| count.checked_mul(1 << shift));
    size.filter(|size| (least..=most).contains(size)).ok_or_else(|| {
        let (least, most) = (in_units(least), in_units(most));
        format!("a size from {least} to {most}, such as 64MiB, is needed")
    })
}

/// A number of bytes in the largest unit that keeps it whole.
pub fn in_units(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = units.iter().find(|(shift, _)| bytes > 0 && bytes.is_multiple_of(1 << shift));
    match whole {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => bytes.to_string(),
    }
}

/// Seconds, with a fraction or without one.
pub fn seconds(text: &str) -> Parsed<Duration> {
    let span = seconds_between(0.001, 86_400.0, text);
    span.map_err(|_| "a number of seconds up to 86400 is needed".to_owned())
}

/// Seconds, or 0.
pub fn seconds_or_never(text: &str) -> Parsed<Duration> {
    if text == "0" { Ok(Duration::ZERO) } else { seconds(text) }
}

/// The seconds between two probes.
pub fn interval(text: &str) -> Parsed<Duration> {
    seconds_between(0.1, 10.0, text)
}

/// How many seconds deletions are kept: longer than any request may take.
pub fn gc_lag(text: &str) -> Parsed<Duration> {
    seconds_between(31.0, 2_592_000.0, text)
}

/// The seconds between two attempts to end them.
pub fn gc_interval(text: &str) -> Parsed<Duration> {
    seconds_between(1.0, 86_400.0, text)
}

/// Seconds within limits, with a fraction or without one.
fn seconds_between(least: f64, most: f64, text: &str) -> Parsed<Duration> {
    let seconds: Option<f64> = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let span = seconds.filter(|seconds| (least..=most).contains(seconds));
    let span = span.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    span.ok_or_else(|| format!("a number of seconds from {least} to {most} is needed"))
}

/// A secret.
pub fn secret(text: &str) -> Parsed<Secret> {
    let secret = Secret::new(text.as_bytes().to_vec().into());
    secret.ok_or_else(|| format!("a secret has at least {} bytes", Secret::LEAST_BYTES))
}

/// The secret that a file holds.
pub fn secret_in(path: &str) -> Parsed<Secret> {
    let text = std::fs::read_to_string(path).map_err(|why| format!("it cannot be read: {why}"))?;
    secret(text.trim())
}

/// One of a few names.
pub fn choice<T: Copy>(text: &str, names: &[(&str, T)]) -> Parsed<T> {
    let found = names.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
        format!("it is one of {}", names.join(", "))
    })
}

/// The name of a value among a few.
pub fn name_of<T: PartialEq>(value: &T, names: &[(&'static str, T)]) -> String {
    let found = names.iter().find(|(_, named)| named == value);
    found.map_or_else(String::new, |(name, _)| (*name).to_owned())
}

/// A list of nodes as [`peers`] reads it.
pub fn list(peers: &[PeerAddress]) -> String {
    peers.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}
