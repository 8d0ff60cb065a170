//! `kvorum status`: how the cluster is, one sentence per problem.

use std::collections::BTreeMap;

use clap::Args;
use kvorum_client::{Client, Error, NodeInfo, NodeStatus, Waiting};
use serde_json::json;

use crate::exit::{Exit, Failure};
use crate::nodes;
use crate::output::{self, Format, size};
use crate::target::Target;

/// Options of `kvorum status`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  kvorum status
  kvorum status --endpoint 10.0.0.1:50051 --output json

Exit code 0 if every node is up and serves, 3 otherwise.")]
pub struct Options {
    #[command(flatten)]
    target: Target,
}

/// A node as it appears in the table.
struct Row {
    node: NodeInfo,
    /// What it says of itself; nothing if it did not answer.
    status: Option<NodeStatus>,
}

/// Runs `kvorum status`.
///
/// # Errors
/// If no node answers.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    let (client, runtime) = options.target.connect()?;
    let rows = runtime.block_on(ask_all(&client)).map_err(Failure::from)?;
    let problems = problems(&rows);
    match options.target.output {
        Format::Text => output::line(&text(&rows, &problems))?,
        Format::Json => output::json(&document(&rows, &problems))?,
    };
    Ok(if problems.is_empty() { Exit::Ok } else { Exit::Unavailable })
}

/// Asks any node who is there, and then each of them how it is.
async fn ask_all(client: &Client) -> Result<Vec<Row>, Error> {
    let mut rows = Vec::new();
    for (node, its_client) in nodes::each(client).await? {
        let status = match its_client {
            Some(its_client) => its_client.status().await.ok(),
            None => None,
        };
        rows.push(Row { node, status });
    }
    Ok(rows)
}

/// One sentence per problem.
fn problems(rows: &[Row]) -> Vec<String> {
    let mut problems = Vec::new();
    for Row { node, status } in rows {
        let id = node.id;
        match status {
            None if node.grpc.is_empty() => {
                problems.push(format!("node {id} has not been met by the node that was asked"));
            }
            None => {
                let state = if node.state.is_empty() { "" } else { &format!(" ({})", node.state) };
                problems.push(format!("node {id} does not answer at {}{state}", node.grpc));
            }
            Some(status) if !status.serving => {
                problems.push(format!("node {id} does not serve: {}", status.detail));
            }
            Some(status) if status.rebuilding_partitions > 0 => problems.push(format!(
                "node {id} still copies {} partitions from other nodes",
                status.rebuilding_partitions
            )),
            Some(_) if !node.up => {
                problems.push(format!("node {id} answers, but is not connected to its peers"));
            }
            Some(_) if node.state == "suspect" || node.state == "down" => {
                let state = &node.state;
                problems.push(format!("node {id} answers, but is {state} in its peers' eyes"));
            }
            Some(_) => {}
        }
    }
    problems
}

/// What waits for nodes that have missed writes: it goes away by itself once they are up.
fn waiting(rows: &[Row]) -> Vec<String> {
    let told = rows.iter().filter_map(|row| Some((row.node.id, row.status.as_ref()?)));
    let each =
        told.flat_map(|(id, status)| status.waiting.iter().map(move |waiting| (id, waiting)));
    let sentence = |(id, Waiting { node, keys, bytes, dirty_slots }): (u32, &Waiting)| {
        let dirty = match dirty_slots {
            0 => String::new(),
            slots => format!(", and {slots} slots are to be compared with it"),
        };
        format!("{keys} hints ({}) wait on node {id} for node {node}{dirty}", size(*bytes))
    };
    each.map(sentence).collect()
}

/// What would make the cluster better although nothing is wrong with it.
fn advice(rows: &[Row]) -> Option<&'static str> {
    let statuses = rows.iter().filter_map(|row| row.status.as_ref());
    let replicas = statuses.map(|status| status.replication_factor).max();
    (replicas == Some(2)).then_some("with 2 copies no node may fail in a quorum; 3 are better")
}

fn text(rows: &[Row], problems: &[String]) -> String {
    let mut lines = vec![format!(
        "  {:<6}{:<16}{:<22}{:<12}{:>12}{:>11}{:>11}  leads",
        "node", "name", "grpc", "state", "keys", "disk", "index"
    )];
    for Row { node, status } in rows {
        let state = match status {
            // A node that has died may still be alive in its peers' eyes for a second.
            None if node.state == "suspect" || node.state == "alive" => "suspect",
            None => "down",
            Some(status) if !status.serving => "waiting",
            Some(status) if status.rebuilding_partitions > 0 => "rebuilding",
            Some(_) => "up",
        };
        let figures = |s: &NodeStatus| {
            [s.keys.to_string(), size(s.disk_bytes), size(s.index_bytes), leads(s)]
        };
        let unknown = || std::array::from_fn(|_| "-".to_owned());
        let [keys, disk, index, leads] = status.as_ref().map_or_else(unknown, figures);
        let grpc = if node.grpc.is_empty() { "-" } else { &node.grpc };
        lines.push(format!(
            "  {:<6}{:<16}{grpc:<22}{state:<12}{keys:>12}{disk:>11}{index:>11}  {leads}",
            node.id, node.name
        ));
    }
    lines.push(String::new());
    if problems.is_empty() {
        lines.push("all nodes are up".to_owned());
    }
    lines.extend(problems.iter().cloned());
    lines.extend(waiting(rows));
    lines.extend(advice(rows).map(str::to_owned));
    lines.join("\n")
}

fn document(rows: &[Row], problems: &[String]) -> serde_json::Value {
    let node = |Row { node, status }: &Row| {
        json!({
            "id": node.id,
            "name": node.name,
            "resp": node.resp,
            "grpc": node.grpc,
            "http": node.http,
            "connected": node.up,
            "state": node.state,
            "last_seen_s": node.last_seen_s,
            "status": status.as_ref().map(|s| json!({
                "serving": s.serving,
                "detail": s.detail,
                "rebuilding_partitions": s.rebuilding_partitions,
                "replication_factor": s.replication_factor,
                "started_s": s.started_s,
                "keys": s.keys,
                "disk_bytes": s.disk_bytes,
                "index_bytes": s.index_bytes,
                "index_limit_bytes": s.index_limit_bytes,
                "build": s.build,
                "hints": s.waiting.iter().map(hints).collect::<Vec<_>>(),
                "leads": s.leads.iter().cloned().collect::<BTreeMap<String, u32>>(),
            })),
        })
    };
    let nodes: Vec<_> = rows.iter().map(node).collect();
    json!({"nodes": nodes, "problems": problems, "advice": advice(rows)})
}

fn hints(waiting: &Waiting) -> serde_json::Value {
    let Waiting { node, keys, bytes, dirty_slots } = waiting;
    json!({"node": node, "keys": keys, "bytes": bytes, "dirty_slots": dirty_slots})
}

/// How many partitions of which strong keyspaces a node leads: `strong 21`.
fn leads(status: &NodeStatus) -> String {
    let led = status.leads.iter().map(|(keyspace, count)| format!("{keyspace} {count}"));
    let led: Vec<String> = led.collect();
    if led.is_empty() { "-".to_owned() } else { led.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: u32, status: Option<NodeStatus>) -> Row {
        let node = NodeInfo {
            id,
            name: format!("node-{id}"),
            resp: "127.0.0.1:6379".to_owned(),
            grpc: "127.0.0.1:50051".to_owned(),
            http: "127.0.0.1:8001".to_owned(),
            up: true,
            state: "alive".to_owned(),
            last_seen_s: 0,
        };
        Row { node, status }
    }

    fn serving() -> NodeStatus {
        NodeStatus {
            id: 1,
            serving: true,
            detail: String::new(),
            rebuilding_partitions: 0,
            replication_factor: 3,
            started_s: 0,
            keys: 5,
            disk_bytes: 64 << 20,
            index_bytes: 1536,
            index_limit_bytes: 1 << 30,
            build: "0.1.0".to_owned(),
            leads: vec![("default".to_owned(), 21), ("other".to_owned(), 0)],
            waiting: Vec::new(),
        }
    }

    #[test]
    fn every_problem_is_one_sentence() {
        let waiting =
            NodeStatus { serving: false, detail: "waiting for node 2".to_owned(), ..serving() };
        let mut rows =
            [row(1, Some(serving())), row(2, None), row(4, Some(serving())), row(3, Some(waiting))];
        rows[1].node.state = "down".to_owned();
        rows[2].node.state = "suspect".to_owned();
        let expected = [
            "node 2 does not answer at 127.0.0.1:50051 (down)",
            "node 4 answers, but is suspect in its peers' eyes",
            "node 3 does not serve: waiting for node 2",
        ];
        assert_eq!(problems(&rows), expected);
        assert!(problems(&[row(1, Some(serving()))]).is_empty());
    }

    #[test]
    fn what_waits_for_a_node_is_told_and_no_problem() {
        let waiting = vec![Waiting { node: 2, keys: 7, bytes: 2048, dirty_slots: 3 }];
        let rows = [row(1, Some(NodeStatus { waiting, ..serving() }))];
        assert_eq!(problems(&rows), Vec::<String>::new());
        let sentence =
            "7 hints (2.0 KiB) wait on node 1 for node 2, and 3 slots are to be compared";
        assert!(text(&rows, &[]).contains(sentence), "{}", text(&rows, &[]));
        assert_eq!(document(&rows, &[])["nodes"][0]["status"]["hints"][0]["keys"], 7);
    }

    #[test]
    fn what_a_node_leads_is_shown_by_keyspace() {
        assert_eq!(leads(&serving()), "default 21, other 0");
        let eventual = NodeStatus { leads: Vec::new(), ..serving() };
        assert_eq!(leads(&eventual), "-");
        let rows = [row(1, Some(serving())), row(2, None)];
        assert!(text(&rows, &[]).contains("1.5 KiB  default 21, other 0\n"));
        assert_eq!(document(&rows, &[])["nodes"][0]["status"]["leads"]["default"], 21);
    }

    #[test]
    fn two_replicas_are_advised_against() {
        let two = NodeStatus { replication_factor: 2, ..serving() };
        let rows = [row(1, Some(two))];
        assert!(advice(&rows).is_some());
        assert!(problems(&rows).is_empty());
        assert_eq!(advice(&[row(1, Some(serving()))]), None);
    }
}
