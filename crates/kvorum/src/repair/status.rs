//! `kvorum repair status`: one line for each two nodes, one sentence per problem.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use kvorum_client::{Client, Error, KeyspaceRepair};
use serde_json::{Value, json};

use super::pairs::{PairStatus, Told, pairs};
use crate::exit::{Exit, Failure};
use crate::nodes;
use crate::output::{self, Format, ago, size};
use crate::target::Target;

/// Options of `kvorum repair status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum repair status
  kvorum repair status --keyspace eventual --output json

Exit code 0 if every node answers and no copies are known to differ, 3 otherwise.")]
pub struct Options {
    /// Of this eventual keyspace only.
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
    #[command(flatten)]
    target: Target,
}

/// Runs `kvorum repair status`.
///
/// # Errors
/// If no node answers, or if there is no such keyspace.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let (client, runtime) = options.target.connect()?;
    let keyspace = options.keyspace.as_deref();
    let told = runtime.block_on(ask_all(&client, keyspace)).map_err(Failure::from)?;
    let pairs = pairs(&told);
    let mut problems = problems(&told, &pairs);
    problems.extend(held_up(&settling(&told)));
    match options.target.output {
        Format::Text => output::line(&text(&told, &pairs, &problems))?,
        Format::Json => output::json(&document(&told, &pairs, &problems))?,
    };
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Unavailable })
}

/// Asks every node.
async fn ask_all(client: &Client, keyspace: Option<&str>) -> Result<Vec<Told>, Error> {
    let mut all = Vec::new();
    for (node, its_client) in nodes::each(client).await? {
        let answer = match its_client {
            Some(its_client) => Some(its_client.repair_status(keyspace, 0).await),
            None => None,
        };
        let status = match answer {
            // What is wrong with the question is wrong on every node.
            Some(Err(error @ Error::Invalid { .. })) => return Err(error),
            answer => answer.and_then(Result::ok),
        };
        all.push(Told { id: node.id, status });
    }
    Ok(all)
}

/// One sentence per problem, with the command that helps where there is one.
fn problems(told: &[Told], pairs: &BTreeMap<(u32, u32), PairStatus>) -> Vec<String> {
    let mut problems = Vec::new();
    for Told { id, .. } in told.iter().filter(|told| told.status.is_none()) {
        problems.push(format!(
            "node {id} does not answer; what it missed is sent to it when it is back: kvorum status"
        ));
    }
    for ((one, other), pair) in pairs {
        if pair.differing > 0 {
            let why = match pair.last_failure.as_str() {
                "" => String::new(),
                reason => format!(" (the last comparison that failed: {reason})"),
            };
            problems.push(format!(
                "{} of {} partitions differ between nodes {one} and {other}{why}; the next round \
                 repairs them, or now: kvorum repair run",
                pair.differing, pair.partitions
            ));
        }
    }
    problems
}

/// How far the deletions of a keyspace are settled in the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Settling {
    /// Of the node whose floor is the lowest; nothing if one has none.
    floor_age: Option<Duration>,
    /// Of the node that keeps most.
    tombstones: u64,
    held_up_by: BTreeSet<u32>,
}

/// How far the deletions of each keyspace are settled.
fn settling(told: &[Told]) -> BTreeMap<String, Settling> {
    let mut all: BTreeMap<String, Settling> = BTreeMap::new();
    let keyspaces = told.iter().filter_map(|told| told.status.as_ref()).flat_map(|s| &s.keyspaces);
    for KeyspaceRepair { name, floor_age, tombstones, held_up_by } in keyspaces {
        let begin = || Settling { floor_age: *floor_age, ..Settling::default() };
        let known = all.entry(name.clone()).or_insert_with(begin);
        let both = known.floor_age.zip(*floor_age);
        known.floor_age = both.map(|(one, other)| one.max(other));
        known.tombstones = known.tombstones.max(*tombstones);
        known.held_up_by.extend(held_up_by);
    }
    all
}

/// What keeps deletions from being forgotten, if any wait.
fn held_up(settling: &BTreeMap<String, Settling>) -> Vec<String> {
    let waiting = settling.iter().filter(|(_, one)| one.tombstones > 0);
    let sentence = |(name, one): (&String, &Settling), node: &u32| {
        format!(
            "{} deletions of keyspace {name} take space until node {node} is back: start it",
            one.tombstones
        )
    };
    waiting.flat_map(|one| one.1.held_up_by.iter().map(move |node| sentence(one, node))).collect()
}

fn text(told: &[Told], pairs: &BTreeMap<(u32, u32), PairStatus>, problems: &[String]) -> String {
    let mut lines = vec![format!(
        "  {:<8}{:>11}{:>8}  {:<13}{:<13}{:>9}{:>9}{:>11}",
        "nodes", "partitions", "differ", "compared", "the same", "sent", "received", "bytes"
    )];
    let age = |age: Option<Duration>| age.map_or_else(|| "never".to_owned(), ago);
    for ((one, other), pair) in pairs {
        lines.push(format!(
            "  {:<8}{:>11}{:>8}  {:<13}{:<13}{:>9}{:>9}{:>11}",
            format!("{one}-{other}"),
            pair.partitions,
            pair.differing,
            age(pair.last_compared),
            age(pair.last_clean),
            pair.sent,
            pair.received,
            size(pair.bytes)
        ));
    }
    for (name, Settling { floor_age, tombstones, .. }) in settling(told) {
        let floor = match floor_age {
            Some(age) => format!("those from before {} are settled", ago(age)),
            None => "none are settled since the start".to_owned(),
        };
        lines.push(format!("  keyspace {name}: {tombstones} deletions are kept; {floor}"));
    }
    for status in told.iter().filter_map(|told| told.status.as_ref()) {
        let rate = size(status.scrub_bytes_per_second);
        let pass = match status.last_scrub {
            _ if status.scrub_bytes_per_second == 0 => "is off".to_owned(),
            Some(age) => format!("at {rate}/s was last through {}", ago(age)),
            None => format!("at {rate}/s is in its first pass since the start"),
        };
        lines.push(format!("  scrub of node {} {pass}", status.node));
    }
    lines.push(String::new());
    if problems.is_empty() {
        lines.push("no copies are known to differ".to_owned());
    }
    lines.extend(problems.iter().cloned());
    lines.join("\n")
}

fn document(told: &[Told], pairs: &BTreeMap<(u32, u32), PairStatus>, problems: &[String]) -> Value {
    let seconds = |age: Option<Duration>| age.map(|age| age.as_millis() as f64 / 1000.0);
    let pair = |(&(one, other), pair): (&(u32, u32), &PairStatus)| {
        json!({
            "nodes": [one, other],
            "partitions": pair.partitions,
            "differing": pair.differing,
            "last_compared_s": seconds(pair.last_compared),
            "last_clean_s": seconds(pair.last_clean),
            "failures": pair.failures,
            "last_failure": pair.last_failure,
            "sent": pair.sent,
            "received": pair.received,
            "bytes": pair.bytes,
        })
    };
    let node = |told: &Told| {
        json!({
            "id": told.id,
            "answers": told.status.is_some(),
            "scrub_bytes_per_second": told.status.as_ref().map(|it| it.scrub_bytes_per_second),
            "last_scrub_s": told.status.as_ref().and_then(|it| seconds(it.last_scrub)),
        })
    };
    let keyspace = |(name, one): (String, Settling)| {
        json!({
            "name": name,
            "floor_age_s": seconds(one.floor_age),
            "tombstones": one.tombstones,
            "held_up_by": one.held_up_by,
        })
    };
    json!({
        "keyspaces": settling(told).into_iter().map(keyspace).collect::<Vec<_>>(),
        "pairs": pairs.iter().map(pair).collect::<Vec<_>>(),
        "nodes": told.iter().map(node).collect::<Vec<_>>(),
        "problems": problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::pairs::tests::{node, peer};

    #[test]
    fn every_problem_is_a_sentence_with_a_command() {
        let healthy = [node(1, Some(vec![peer(2, 0, 3)])), node(2, Some(vec![peer(1, 0, 3)]))];
        assert!(problems(&healthy, &pairs(&healthy)).is_empty());
        let told = [node(1, Some(vec![peer(2, 7, 3)])), node(2, None)];
        let expected = [
            "node 2 does not answer; what it missed is sent to it when it is back: kvorum status",
            "7 of 256 partitions differ between nodes 1 and 2; the next round repairs them, or \
             now: kvorum repair run",
        ];
        assert_eq!(problems(&told, &pairs(&told)), expected);
    }

    #[test]
    fn a_node_that_keeps_deletions_from_being_forgotten_is_named() {
        let keyspace = |floor_s, tombstones, held_up_by: &[u32]| KeyspaceRepair {
            name: "eventual".to_owned(),
            floor_age: Some(Duration::from_secs(floor_s)),
            tombstones,
            held_up_by: held_up_by.to_vec(),
        };
        let mut told = [node(1, Some(Vec::new())), node(2, Some(Vec::new()))];
        let mut tell = |at: usize, keyspace| {
            told[at].status.as_mut().unwrap().keyspaces = vec![keyspace];
        };
        tell(0, keyspace(3600, 5, &[3]));
        tell(1, keyspace(9000, 7, &[3]));
        let expected = "7 deletions of keyspace eventual take space until node 3 is back: start it";
        assert_eq!(held_up(&settling(&told)), [expected]);
        let line =
            "  keyspace eventual: 7 deletions are kept; those from before 2 h ago are settled";
        let shown = text(&told, &pairs(&told), &[]);
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
        let document = document(&told, &pairs(&told), &[]);
        assert_eq!(document["keyspaces"][0]["held_up_by"], json!([3]));
        let nothing_waits = [node(1, Some(Vec::new()))];
        assert!(held_up(&settling(&nothing_waits)).is_empty());
    }

    #[test]
    fn the_table_has_a_line_for_each_two_nodes() {
        let told = [node(1, Some(vec![peer(2, 0, 300)])), node(2, None)];
        let shown = text(&told, &pairs(&told), &[]);
        let line = "  1-2             256       0  1 s ago      5 min ago            0        0        0 B";
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
        assert!(shown.contains("scrub of node 1 is off"));
        let document = document(&told, &pairs(&told), &[]);
        assert_eq!(document["pairs"][0]["nodes"], json!([1, 2]));
        assert_eq!(document["pairs"][0]["last_clean_s"], json!(300.0));
        assert_eq!(document["nodes"][1]["answers"], json!(false));
    }
}
