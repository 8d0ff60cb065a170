//! Measures what it costs to keep the replicas of an eventual keyspace equal, and how soon they are
//! after a node was away.
//!
//! Bytes are all that the nodes send each other, as they count it; CPU time is that of all three
//! processes, as the kernel counts it. What a round costs is the difference between a time with many
//! rounds and one without any.

mod absence;
mod load;
mod rounds;

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::nodes::{self, Nodes};
use super::section;
use crate::server;

/// The heading of the section of the page.
const HEADING: &str = "Keeping replicas equal";
/// How long replicas may take to become equal.
const PATIENCE: Duration = Duration::from_secs(180);

/// Measures, and writes a section of `docs/benchmarks.md` below `root`. With a `scale` below one
/// there are fewer keys and shorter absences.
///
/// # Errors
/// If a node does not start, an answer is not understood, or replicas do not become equal.
pub fn run(root: &Path, scale: f64) -> Result<()> {
    let scratch = server::scratch_folder("bench")?;
    let measured = measure(root, &scratch, scale);
    std::fs::remove_dir_all(&scratch)?;
    let text = measured?;
    write!(std::io::stdout(), "{text}")?;
    section::write(root, HEADING, &text)
}

fn measure(root: &Path, scratch: &Path, scale: f64) -> Result<String> {
    let mut nodes = Nodes::new(root, &scratch.join("nodes"))?;
    nodes.set("DEFAULT_MODE", "eventual");
    let rounds = rounds::measure(&mut nodes, scale)?;
    nodes.stop_all()?;
    drop(nodes);
    let mut nodes = Nodes::new(root, &scratch.join("absence"))?;
    nodes.set("DEFAULT_MODE", "eventual");
    let absences = absence::measure(&mut nodes, scale)?;
    Ok(rounds + "\n" + &absences)
}

/// So many of `whole`, at least one.
fn scaled(whole: u32, scale: f64) -> u32 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "it is positive and at most as large as what is scaled"
    )]
    let part = (f64::from(whole) * scale.clamp(0.0, 1.0)) as u32;
    part.max(1)
}

/// Says how far it has come.
fn progress(what: &str) -> Result<()> {
    writeln!(std::io::stdout(), "{what}")?;
    Ok(())
}

/// Waits until all nodes hold the same.
fn await_equal(nodes: &Nodes) -> Result<()> {
    nodes::await_that("all replicas are equal", PATIENCE, || {
        let mut digests = (0..nodes::NODES).map(|node| digest(nodes, node));
        let first = digests.next().transpose()?;
        for other in digests {
            if Some(other?) != first {
                return Ok(None);
            }
        }
        Ok(Some(()))
    })
}

/// A sum over all that a node holds of its eventual keyspace.
fn digest(nodes: &Nodes, node: usize) -> Result<String> {
    let page = nodes.get(node, "/v1/repair")?;
    let rest = page.split_once("\"digest\":\"").map(|(_, rest)| rest);
    let digest = rest.and_then(|rest| rest.split_once('"')).map(|(digest, _)| digest.to_owned());
    digest.ok_or_else(|| anyhow::anyhow!("a node tells no digest: {page}"))
}
