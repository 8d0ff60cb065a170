//! Runs the test suite of redis-server against a three-node cluster.
//!
//! The suite comes from Debian's source package, which apt fetches and checks. Its runner is pointed
//! at one node, unit by unit. Cases that cannot pass are listed one by one, with the reason, in
//! docs/redis-compat.md; that list is what the runner is told to leave out.

mod cases;
mod fetch;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::server::{self, Server};
use cases::{Listed, Outcome, Report};

/// The units that are about strings, keys, transactions and the protocol.
const UNITS: [&str; 8] = [
    "unit/type/string",
    "unit/type/incr",
    "unit/expire",
    "unit/keyspace",
    "unit/scan",
    "unit/multi",
    "unit/quit",
    "unit/protocol",
];

/// Tags of cases that are about something kvorum does not have: the stream to Redis replicas, and
/// a limit of memory that evicts keys.
const DENIED: &str = "-needs:repl -needs:config-maxmemory";

/// The cluster takes values of some megabytes, as some cases need.
const FLAGS: [&str; 2] = ["--max-value", "8MiB"];

/// Seconds without progress after which the runner gives up.
const PATIENCE: &str = "60";

/// Runs the units, or those that are named, and prints what became of their cases. Returns whether
/// nothing failed and the list is right.
///
/// # Errors
/// If the suite cannot be fetched, the cluster does not start, or the runner ends early.
pub fn run(root: &Path, only: &[&str]) -> Result<bool> {
    for unit in only {
        ensure!(UNITS.contains(unit), "{unit} is none of {}", UNITS.join(", "));
    }
    let page = fs::read_to_string(root.join("docs/redis-compat.md"))?;
    let listed = Listed::read(&page)?;
    let scratch = server::scratch_folder("redis-suite")?;
    let result = run_all(root, &scratch, &listed, only);
    fs::remove_dir_all(&scratch).with_context(|| format!("removing {}", scratch.display()))?;
    result
}

fn run_all(root: &Path, scratch: &Path, listed: &Listed, only: &[&str]) -> Result<bool> {
    let suite = fetch::suite(scratch)?;
    let cluster = Server::cluster(root, &scratch.join("cluster"), &FLAGS)?;
    let mut reports = Vec::new();
    for unit in UNITS.into_iter().filter(|unit| only.is_empty() || only.contains(unit)) {
        let skipped = scratch.join("skipped");
        fs::write(&skipped, listed.names(unit).collect::<Vec<_>>().join("\n"))?;
        let output = Command::new("./runtest")
            .args(["--host", "127.0.0.1", "--port", &cluster.port.to_string(), "--singledb"])
            .args(["--ignore-encoding", "--ignore-digest", "--durable", "--timeout", PATIENCE])
            .args(["--tags", DENIED, "--single", unit, "--skipfile"])
            .arg(&skipped)
            .current_dir(&suite)
            .output()
            .context("running the suite; it needs tclsh (Debian: apt-get install tcl)")?;
        let report = Report::read(unit, &String::from_utf8_lossy(&output.stdout));
        print(&report, listed)?;
        reports.push(report);
    }
    summarize(&reports, listed)
}

/// Says what became of the cases of a unit.
fn print(report: &Report<'_>, listed: &Listed) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{}", report.unit)?;
    for (outcome, text) in &report.cases {
        match outcome {
            Outcome::Passed => writeln!(out, "  passed   {text}")?,
            Outcome::Failed => writeln!(out, "  FAILED   {text}")?,
            Outcome::Skipped => {
                let reason = listed.reason(report.unit, text).unwrap_or_default();
                writeln!(out, "  listed   {text} ({reason})")?;
            }
            Outcome::Ignored => writeln!(out, "  no case  {text}")?,
        }
    }
    if !report.complete {
        writeln!(out, "  FAILED   the runner did not come to the end of the unit")?;
    }
    Ok(())
}

fn summarize(reports: &[Report<'_>], listed: &Listed) -> Result<bool> {
    let mut out = std::io::stdout().lock();
    let mut good = true;
    for report in reports {
        for name in listed.names(report.unit).filter(|name| !report.skipped(name)) {
            writeln!(out, "{}: {name:?} is listed, but there is no such case", report.unit)?;
            good = false;
        }
        good &= report.complete && report.count(Outcome::Failed) == 0;
    }
    let count = |outcome| reports.iter().map(|report| report.count(outcome)).sum::<usize>();
    writeln!(
        out,
        "redis-server 7.0.15: {} cases passed, {} failed, {} left out as docs/redis-compat.md says; \
         {} left out by the runner",
        count(Outcome::Passed),
        count(Outcome::Failed),
        count(Outcome::Skipped),
        count(Outcome::Ignored)
    )?;
    Ok(good)
}
