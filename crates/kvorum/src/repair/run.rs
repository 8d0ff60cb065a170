//! `kvorum repair run`: has every node compare its copies, and watches until they are the same.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use kvorum_client::{Client, Error, NodeInfo};
use serde_json::{Value, json};

use super::pairs::{PairStatus, Told, pairs};
use crate::exit::{Exit, Failure, WrongUsage};
use crate::output::{self, Format, size};
use crate::target::Target;
use crate::{duration, nodes};

/// How often the nodes are asked how far they are.
const ASK: Duration = Duration::from_millis(250);

/// Options of `kvorum repair run`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum repair run
  kvorum repair run --keyspace eventual --peer 3

Writes of the last seconds are under way and not compared. To interrupt it does no harm: the nodes
go on. Exit code 0 if all copies are the same, 3 if a node does not answer or some still differ.")]
pub struct Options {
    /// Wait for this eventual keyspace only; all are compared.
    #[arg(long, short, value_name = "NAME")]
    keyspace: Option<String>,
    /// Only between this node and the others.
    #[arg(long, value_name = "ID")]
    peer: Option<u32>,
    /// How long to wait for the end.
    #[arg(long, default_value = "60s", value_name = "TIME", value_parser = duration::parse)]
    wait: Duration,
    #[command(flatten)]
    target: Target,
}

/// A node that has begun.
struct Begun {
    node: NodeInfo,
    client: Client,
    /// Its clock at the beginning.
    clock: u64,
}

/// What the nodes tell, and what it means.
struct Outcome {
    pairs: BTreeMap<(u32, u32), PairStatus>,
    problems: Vec<String>,
}

/// Runs `kvorum repair run`.
///
/// # Errors
/// If no node answers, or if there is no such keyspace or node.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let (client, runtime) = options.target.connect()?;
    let outcome = runtime.block_on(repair(options, &client))?;
    match options.target.output {
        Format::Text => output::line(&text(&outcome))?,
        Format::Json => output::json(&document(&outcome))?,
    };
    Ok(if outcome.problems.is_empty() { Exit::Ok } else { Exit::Unavailable })
}

async fn repair(options: &Options, client: &Client) -> anyhow::Result<Outcome> {
    let (keyspace, deadline) = (options.keyspace.as_deref(), Instant::now() + options.wait);
    let all = nodes::each(client).await.map_err(Failure::from)?;
    let ids: Vec<u32> = all.iter().map(|(node, _)| node.id).collect();
    if let Some(peer) = options.peer.filter(|peer| !ids.contains(peer)) {
        return Err(WrongUsage(format!("there is no node {peer}; the nodes are {ids:?}")).into());
    }
    let (mut begun, mut before) = (Vec::new(), Vec::new());
    let mut silent = Vec::new();
    for (node, its_client) in all {
        // A node has no copies to compare with its own.
        let peer = options.peer.filter(|peer| *peer != node.id);
        let answer = match &its_client {
            Some(its_client) => begin(its_client, keyspace, peer).await,
            None => Ok(None),
        };
        match (answer.map_err(Failure::from)?, its_client) {
            (Some((status, clock)), Some(client)) => {
                before.push(status);
                begun.push(Begun { node, client, clock });
            }
            _ => silent.push(node.id),
        }
    }
    let bar = progress_bar();
    let about =
        |(one, other): &(u32, u32)| options.peer.is_none_or(|peer| [*one, *other].contains(&peer));
    loop {
        let mut now = pairs(&ask(&begun, keyspace).await);
        now.retain(|names, _| about(names));
        show(&bar, &now);
        if is_over(&now, &silent) || Instant::now() >= deadline {
            bar.finish_and_clear();
            subtract(&mut now, &pairs(&before));
            let problems = problems(&now, &silent);
            return Ok(Outcome { pairs: now, problems });
        }
        // Nobody tells when a node has got further.
        tokio::time::sleep(ASK).await;
    }
}

/// Asks a node how it stands, and has it begin; nothing if it does not answer.
async fn begin(
    client: &Client,
    keyspace: Option<&str>,
    peer: Option<u32>,
) -> Result<Option<(Told, u64)>, Error> {
    let begin = async {
        let status = client.repair_status(keyspace, 0).await?;
        let clock = client.repair(peer).await?;
        Ok((status, clock))
    };
    match begin.await {
        Ok((status, clock)) => Ok(Some((Told::of(status), clock))),
        // What is wrong with the question is wrong on every node.
        Err(error @ Error::Invalid { .. }) => Err(error),
        Err(_) => Ok(None),
    }
}

async fn ask(begun: &[Begun], keyspace: Option<&str>) -> Vec<Told> {
    let mut told = Vec::new();
    for Begun { node, client, clock } in begun {
        let status = client.repair_status(keyspace, *clock).await.ok();
        told.push(Told { id: node.id, status });
    }
    told
}

/// Whether there is nothing left to wait for: all that can be compared is the same.
fn is_over(pairs: &BTreeMap<(u32, u32), PairStatus>, silent: &[u32]) -> bool {
    let mut reachable = pairs.iter().filter(|(names, _)| !is_silent(names, silent));
    reachable.all(|(_, pair)| pair.compared == pair.partitions && pair.differing == 0)
}

fn is_silent((one, other): &(u32, u32), silent: &[u32]) -> bool {
    silent.contains(one) || silent.contains(other)
}

/// Leaves of the figures what has happened since `before`.
fn subtract(
    pairs: &mut BTreeMap<(u32, u32), PairStatus>,
    before: &BTreeMap<(u32, u32), PairStatus>,
) {
    for (names, pair) in pairs {
        let Some(before) = before.get(names) else { continue };
        // A node that has restarted meanwhile counts from zero.
        pair.sent = pair.sent.saturating_sub(before.sent);
        pair.received = pair.received.saturating_sub(before.received);
        pair.bytes = pair.bytes.saturating_sub(before.bytes);
    }
}

/// One sentence per problem.
fn problems(pairs: &BTreeMap<(u32, u32), PairStatus>, silent: &[u32]) -> Vec<String> {
    let of_node = |id: &u32| format!("node {id} does not answer: nothing was compared with it");
    let mut problems: Vec<String> = silent.iter().map(of_node).collect();
    for (names @ (one, other), pair) in pairs.iter().filter(|(names, _)| !is_silent(names, silent))
    {
        let PairStatus { partitions, compared, differing, .. } = pair;
        let uncompared = partitions.saturating_sub(*compared);
        if uncompared > 0 {
            problems.push(format!(
                "{uncompared} of {partitions} partitions of the nodes {one} and {other} have not \
                 been compared yet; see kvorum repair status"
            ));
        } else if *differing > 0 {
            let why = match pair.last_failure.as_str() {
                "" => String::new(),
                reason => format!(" ({reason})"),
            };
            problems.push(format!(
                "{differing} of {partitions} partitions of the nodes {} and {} still differ{why}; \
                 the nodes go on: kvorum repair status",
                names.0, names.1
            ));
        }
    }
    problems
}

fn progress_bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "  {wide_bar} {pos}/{len} partitions  {msg}";
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, pairs: &BTreeMap<(u32, u32), PairStatus>) {
    let total = |of: fn(&PairStatus) -> u32| pairs.values().map(|pair| u64::from(of(pair))).sum();
    bar.set_length(total(|pair| pair.partitions));
    bar.set_position(total(|pair| pair.compared));
    let differing: u64 = total(|pair| pair.differing);
    bar.set_message(if differing > 0 { format!("{differing} differ") } else { String::new() });
}

fn text(outcome: &Outcome) -> String {
    let pairs = outcome.pairs.values();
    let total = |of: fn(&PairStatus) -> u64| pairs.clone().map(of).sum::<u64>();
    let mut lines = vec![format!(
        "{} partitions were compared, {} records repaired, {} exchanged",
        total(|pair| pair.compared.into()),
        total(|pair| pair.sent + pair.received),
        size(total(|pair| pair.bytes)),
    )];
    match outcome.problems.is_empty() {
        true => lines.push("all copies are the same".to_owned()),
        false => lines.extend(outcome.problems.iter().cloned()),
    }
    lines.join("\n")
}

fn document(outcome: &Outcome) -> Value {
    let pair = |(&(one, other), pair): (&(u32, u32), &PairStatus)| {
        json!({
            "nodes": [one, other],
            "partitions": pair.partitions,
            "compared": pair.compared,
            "differing": pair.differing,
            "sent": pair.sent,
            "received": pair.received,
            "bytes": pair.bytes,
        })
    };
    json!({
        "pairs": outcome.pairs.iter().map(pair).collect::<Vec<_>>(),
        "problems": outcome.problems,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repair::pairs::tests::{node, peer};
    use kvorum_client::PeerRepair;

    fn compared(id: u32, compared: u32, differing: u32) -> PeerRepair {
        PeerRepair { compared, sent: 5, received: 2, bytes: 2048, ..peer(id, differing, 1) }
    }

    fn told(compared_two: PeerRepair) -> BTreeMap<(u32, u32), PairStatus> {
        pairs(&[node(1, Some(vec![compared_two, compared(3, 0, 0)]))])
    }

    #[test]
    fn it_is_over_when_all_that_can_be_compared_is_the_same() {
        assert!(is_over(&told(compared(2, 256, 0)), &[3]));
        assert!(!is_over(&told(compared(2, 256, 0)), &[]), "node 3 is still being compared");
        assert!(!is_over(&told(compared(2, 255, 0)), &[3]));
        assert!(!is_over(&told(compared(2, 256, 1)), &[3]));
    }

    #[test]
    fn what_is_left_to_do_is_told() {
        assert_eq!(
            problems(&told(compared(2, 256, 4)), &[3]),
            [
                "node 3 does not answer: nothing was compared with it",
                "4 of 256 partitions of the nodes 1 and 2 still differ; the nodes go on: kvorum \
                 repair status",
            ]
        );
        let of_three = problems(&told(compared(2, 256, 0)), &[]);
        assert!(
            of_three[0].starts_with("256 of 256 partitions of the nodes 1 and 3 have not been")
        );
    }

    #[test]
    fn figures_count_from_the_beginning_of_the_run() {
        let mut pairs = told(compared(2, 256, 0));
        let earlier = PeerRepair { sent: 1, received: 2, bytes: 1024, ..peer(2, 0, 1) };
        subtract(&mut pairs, &told(earlier));
        pairs.remove(&(1, 3));
        let outcome = Outcome { pairs, problems: Vec::new() };
        let expected = "256 partitions were compared, 4 records repaired, 1.0 KiB \
                        exchanged\nall copies are the same";
        assert_eq!(text(&outcome), expected);
        assert_eq!(document(&outcome)["pairs"][0]["sent"], json!(4));
    }
}
