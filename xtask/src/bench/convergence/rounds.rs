//! What comparing costs: idle, with one difference, with many, and what writes lose meanwhile.

use std::fmt::Write as _;
use std::ops::Range;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::load::{Client, NAME_BYTES, VALUE_BYTES};
use super::{PATIENCE, await_equal, progress, scaled};
use crate::bench::nodes::{NODES, Nodes};

/// Keys that are there before anything is measured.
const KEYS: u32 = 1_000_000;
/// How many differ when many do.
const MANY: u32 = 10_000;
/// How many are repaired while writes go on.
const REPAIRED_UNDER_LOAD: u32 = 300_000;
/// How long idle nodes are watched, in seconds.
const IDLE_SECONDS: u32 = 60;
/// Pairs of nodes, each of which compares once a second while that is watched.
const PAIRS: u32 = 3;
/// The node that misses writes.
const AWAY: usize = NODES - 1;
/// Count what comparing has brought to one node or the other.
const REPAIRED: [&str; 2] =
    ["kvorum_sync_sent_records_total", "kvorum_sync_received_records_total"];

/// What nodes did in some time.
#[derive(Clone, Copy, Debug)]
struct Work {
    bytes: f64,
    cpu_ms: f64,
}

pub(super) fn measure(nodes: &mut Nodes, scale: f64) -> Result<String> {
    let keys = scaled(KEYS, scale);
    nodes.set("HINTED_HANDOFF", "false");
    nodes.set("ANTI_ENTROPY_INTERVAL", "0");
    nodes.start_all()?;
    progress(&format!("writing {keys} keys"))?;
    Client::connect(nodes.resp(0)?)?.write_all(0..keys)?;
    let seconds = scaled(IDLE_SECONDS, scale.max(0.2));
    progress("watching idle nodes that do not compare")?;
    restart(nodes, "0")?;
    let without = watch(nodes, seconds)?;
    progress("watching idle nodes that compare every second")?;
    restart(nodes, "1")?;
    let with = watch(nodes, seconds)?;
    let rounds = f64::from(seconds * PAIRS);
    let bytes = (with.bytes - without.bytes) / rounds;
    let cpu_ms = (with.cpu_ms - without.cpu_ms) / rounds;
    let one = miss(nodes, keys..keys + 1)?;
    let many = scaled(MANY, scale);
    let several = miss(nodes, 0..many)? / (f64::from(many) * f64::from(VALUE_BYTES + NAME_BYTES));
    let (during, after) = under_load(nodes, scaled(REPAIRED_UNDER_LOAD, scale))?;
    let mut text = format!(
        "{keys} keys with values of {VALUE_BYTES} bytes on three nodes, RF 3, without hints; one \
         machine. Nodes compare once a second; bytes are all that nodes send each other, both ways.\n\n\
         | comparing replicas | |\n|---|---|\n"
    );
    writeln!(text, "| a round of two equal nodes, bytes | {bytes:.0} |")?;
    writeln!(text, "| a round of two equal nodes, CPU ms of both | {cpu_ms:.2} |")?;
    writeln!(text, "| one key that one node misses, bytes until it has it | {one:.0} |")?;
    writeln!(text, "| {many} such keys, bytes as a multiple of their own | {several:.2} |")?;
    writeln!(text, "| SETs per second of 50 clients while a node is repaired | {during:.0} |")?;
    writeln!(text, "| SETs per second when it is | {after:.0} |")?;
    Ok(text)
}

fn restart(nodes: &mut Nodes, interval: &str) -> Result<()> {
    nodes.stop_all()?;
    nodes.set("ANTI_ENTROPY_INTERVAL", interval);
    nodes.start_all()?;
    await_equal(nodes)?;
    // What a start leaves to be done, a checkpoint for example, is over then.
    thread::sleep(Duration::from_secs(10));
    Ok(())
}

fn sent(nodes: &Nodes) -> Result<f64> {
    nodes.metric("kvorum_peer_sent_bytes_total")
}

/// What the nodes do by themselves in some time.
fn watch(nodes: &Nodes, seconds: u32) -> Result<Work> {
    let (bytes, cpu) = (sent(nodes)?, nodes.cpu()?);
    thread::sleep(Duration::from_secs(seconds.into()));
    let cpu_ms = (nodes.cpu()? - cpu).as_secs_f64() * 1e3;
    Ok(Work { bytes: sent(nodes)? - bytes, cpu_ms })
}

/// One node misses writes of these keys. Returns how many bytes the nodes send each other until it
/// has them: from its start on, so that rounds without a difference and greetings are among them.
fn miss(nodes: &mut Nodes, keys: Range<u32>) -> Result<f64> {
    progress(&format!("a node misses the writes of {} keys", keys.len()))?;
    nodes.stop(AWAY)?;
    Client::connect(nodes.resp(0)?)?.write_all(keys)?;
    let before = sent(nodes)?;
    nodes.start(AWAY)?;
    nodes.await_ready(AWAY)?;
    await_equal(nodes)?;
    Ok(sent(nodes)? - before)
}

/// Writes per second while a node is sent what it missed, and afterwards.
fn under_load(nodes: &mut Nodes, keys: u32) -> Result<(f64, f64)> {
    progress(&format!("a node is sent {keys} keys while others are written"))?;
    nodes.stop(AWAY)?;
    Client::connect(nodes.resp(0)?)?.write_all(0..keys)?;
    let before = repaired(nodes)?;
    nodes.start(AWAY)?;
    nodes.await_ready(AWAY)?;
    let (mut during, mut after) = (Vec::new(), Vec::new());
    let wanted = before + f64::from(keys) * 0.98;
    let end = Instant::now() + PATIENCE;
    while after.len() < 5 && Instant::now() < end {
        let begun = repaired(nodes)?;
        let rate = sets_per_second(nodes)?;
        let ended = repaired(nodes)?;
        if begun >= wanted {
            after.push(rate);
        } else if ended < wanted {
            during.push(rate);
        }
    }
    let during = median(during).context("the repair was over before it was measured")?;
    Ok((during, median(after).context("the repair did not end")?))
}

/// How many records comparing has brought to a node that lacked them.
fn repaired(nodes: &Nodes) -> Result<f64> {
    REPAIRED.iter().map(|name| nodes.metric(name)).sum()
}

fn median(mut rates: Vec<f64>) -> Option<f64> {
    rates.sort_by(f64::total_cmp);
    rates.get(rates.len() / 2).copied()
}

fn sets_per_second(nodes: &Nodes) -> Result<f64> {
    let output = Command::new("redis-benchmark")
        .args(["-p", &nodes.resp(0)?.to_string(), "-t", "set", "--csv", "-n", "40000", "-c", "50"])
        .args(["-d", &VALUE_BYTES.to_string(), "-r", "100000"])
        .stderr(Stdio::inherit())
        .output()
        .context("running redis-benchmark (Debian: redis-tools)")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().rfind(|line| line.starts_with("\"SET\"")).context("a line of SET")?;
    let rate = line.split(',').nth(1).map(|cell| cell.trim_matches('"'));
    rate.and_then(|rate| rate.parse().ok()).with_context(|| format!("redis-benchmark said {text}"))
}
