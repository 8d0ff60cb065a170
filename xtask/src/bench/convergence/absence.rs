//! How soon a node that was away holds the same as the others, and that what was deleted meanwhile
//! stays deleted when nothing is left of the deletions.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::load::{Act, Client};
use super::{PATIENCE, await_equal, progress, scaled};
use crate::bench::nodes::{self, NODES, Nodes};

/// How many keys are written.
const KEYS: u32 = 100_000;
/// Writes and deletions per second.
const PER_SECOND: u32 = 5_000;
/// How long the node is away, in seconds.
const AWAY_SECONDS: u32 = 60;
/// Of so many keys one is deleted in each absence, and not written again.
const DELETED: u32 = 10;
/// The node that is away.
const AWAY: usize = NODES - 1;

pub(super) fn measure(nodes: &mut Nodes, scale: f64) -> Result<String> {
    let (seconds, keys) = (scaled(AWAY_SECONDS, scale), scaled(KEYS, scale));
    // More than the longest deadline of a request.
    nodes.set("GC_LAG", "31");
    nodes.set("GC_INTERVAL", "5");
    nodes.start_all()?;
    Client::connect(nodes.resp(0)?)?.write_all(0..keys)?;
    let hints = absence(nodes, seconds, keys, 0)?.as_secs_f64();
    nodes.stop_all()?;
    nodes.set("HINTED_HANDOFF", "false");
    nodes.start_all()?;
    let alone = absence(nodes, seconds, keys, 1)?.as_secs_f64();
    let removed = removed(nodes, keys, 1)?;
    let mut text = format!(
        "A node is away for {seconds} s under {PER_SECOND} writes a second to {keys} keys, some of \
         them deletions.\n\n| from its start until all replicas are equal | seconds |\n|---|---|\n"
    );
    writeln!(text, "| by hints | {hints:.1} |")?;
    writeln!(text, "| without hints, comparing every 30 s | {alone:.1} |")?;
    writeln!(
        text,
        "\nAll deletions were removed from all nodes later; of {removed} deleted keys none came back."
    )?;
    Ok(text)
}

/// Takes a node away, writes, and brings it back. Returns how long it takes from its start until
/// all are equal. What is deleted, in this and all earlier absences, are the keys up to a remainder.
fn absence(nodes: &mut Nodes, seconds: u32, keys: u32, remainder: u32) -> Result<Duration> {
    progress(&format!("a node is away for {seconds} s"))?;
    nodes.stop(AWAY)?;
    let mut key = 0;
    let next = || {
        // It has no divisor in common with the number of keys, so that each has its turn.
        key = (key + 7_919) % keys;
        (key, if key % DELETED <= remainder { Act::Delete } else { Act::Set })
    };
    let span = Duration::from_secs(seconds.into());
    let done = Client::connect(nodes.resp(0)?)?.pace(PER_SECOND, span, next)?;
    ensure!(done > 0, "nothing was acknowledged");
    let back = Instant::now();
    nodes.start(AWAY)?;
    nodes.await_ready(AWAY)?;
    await_equal(nodes)?;
    let took = back.elapsed();
    none_is_back(nodes, keys, remainder)?;
    Ok(took)
}

/// Waits until nothing is left of the deletions, and looks for what was deleted. Returns how many
/// keys that are.
fn removed(nodes: &Nodes, keys: u32, remainder: u32) -> Result<usize> {
    ensure!(tombstones(nodes)?.iter().all(|kept| *kept > 0), "the deletions are gone too early");
    progress("waiting until the deletions are removed")?;
    nodes::await_that("no deletion is left", PATIENCE, || {
        Ok(tombstones(nodes)?.iter().all(|kept| *kept == 0).then_some(()))
    })?;
    none_is_back(nodes, keys, remainder)
}

/// How many deletions each node keeps.
fn tombstones(nodes: &Nodes) -> Result<Vec<u64>> {
    let of = |node| {
        let page = nodes.get(node, "/v1/repair")?;
        let rest = page.split_once("\"tombstones\":").map(|(_, rest)| rest);
        let digits = rest.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
        let kept = digits.and_then(|digits| digits.parse().ok());
        kept.with_context(|| format!("a node tells nothing of its deletions: {page}"))
    };
    (0..NODES).map(of).collect()
}

/// Looks for deleted keys through every node.
fn none_is_back(nodes: &Nodes, keys: u32, remainder: u32) -> Result<usize> {
    let deleted: Vec<u32> = (0..keys).filter(|key| key % DELETED <= remainder).collect();
    for node in 0..NODES {
        let there = Client::connect(nodes.resp(node)?)?.exists(&deleted)?;
        ensure!(there == 0, "{there} deleted keys are there again");
    }
    Ok(deleted.len())
}
