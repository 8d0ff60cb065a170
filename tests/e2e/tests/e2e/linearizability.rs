//! What redis-py clients were told while nodes were killed and hung could have happened one
//! operation after the other. Nothing of kvorum takes part in the judgement but the search for
//! that order.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use kvorum_e2e::{Cluster, Process};
use kvorum_replication::linearizability::{Act, Operation, is_linearizable};
use serde_json::Value;

/// The program that the clients are.
const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/registers.py");
/// The Python that runs it, with redis-py; `python3` when unset.
const PYTHON: &str = "KVORUM_E2E_PYTHON";
/// How many minutes the clients go on; less than half a one when unset.
const MINUTES: &str = "KVORUM_E2E_MINUTES";

/// An operation on a key, as a line of the history tells it. What was not told is `None`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Did {
    Get(Option<String>),
    Set(String),
    /// Whether there was no value before.
    SetNx(String, Option<bool>),
    /// Whether there was one.
    Del(Option<bool>),
    /// The sum.
    Incr(Option<u64>),
    /// What was expected, what took its place, and whether it did.
    CompareAndSet(Option<String>, String, Option<bool>),
}

impl Did {
    fn parse(line: &Value) -> Did {
        let text = |name: &str| line[name].as_str().map(str::to_owned);
        let told = &line["told"];
        let value = || text("value").expect("a value");
        match line["do"].as_str().expect("an operation") {
            "get" => Did::Get(text("told")),
            "set" => Did::Set(value()),
            "set_nx" => Did::SetNx(value(), told.as_bool()),
            "del" => Did::Del(told.as_u64().map(|deleted| deleted > 0)),
            "incr" => Did::Incr(told.as_u64()),
            "compare_and_set" => Did::CompareAndSet(text("expected"), value(), told.as_bool()),
            other => panic!("an operation named {other}"),
        }
    }
}

impl Act for Did {
    type State = Option<String>;

    fn act(&self, before: &Self::State) -> Option<Self::State> {
        let fits = |told: &Option<bool>, is: bool| told.is_none_or(|told| told == is);
        match self {
            Did::Get(found) => (found == before).then(|| before.clone()),
            Did::Set(value) => Some(Some(value.clone())),
            Did::SetNx(value, stored) => fits(stored, before.is_none())
                .then(|| before.clone().or_else(|| Some(value.clone()))),
            Did::Del(existed) => fits(existed, before.is_some()).then_some(None),
            Did::Incr(told) => {
                let number: u64 = before.as_deref().unwrap_or("0").parse().ok()?;
                let sum = number + 1;
                told.is_none_or(|told| told == sum).then(|| Some(sum.to_string()))
            }
            // A watched key may have changed and changed back.
            Did::CompareAndSet(_, _, Some(false)) => Some(before.clone()),
            Did::CompareAndSet(expected, value, _) => {
                (expected == before).then(|| Some(value.clone()))
            }
        }
    }

    fn only_reads(&self) -> bool {
        matches!(
            self,
            Did::Get(_)
                | Did::SetNx(_, Some(false))
                | Did::Del(Some(false))
                | Did::CompareAndSet(_, _, Some(false))
        )
    }
}

/// The operations of each key.
type History = BTreeMap<String, Vec<Operation<Did>>>;

fn parse(lines: &str) -> History {
    let mut history = History::new();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line).expect("a line of JSON");
        let ended = line["ended"].as_u64();
        let did = Did::parse(&line);
        if ended.is_none() && matches!(did, Did::Get(_)) {
            // Nobody knows what it found.
            continue;
        }
        let began = line["began"].as_u64().expect("a time");
        let key = line["key"].as_str().expect("a key").to_owned();
        history.entry(key).or_default().push(Operation { began, ended, act: did });
    }
    history
}

/// # Panics
/// The history of a key has no order.
fn judge(history: &History) {
    for (key, operations) in history {
        assert!(is_linearizable(operations, &None), "{key} has no order:\n{operations:#?}");
    }
}

/// Whether Python can run the clients. Where it was named it must.
fn python() -> Option<String> {
    let named = std::env::var(PYTHON);
    let python = named.clone().unwrap_or_else(|_| "python3".to_owned());
    let imports = Command::new(&python).args(["-c", "import redis"]).output();
    let works = imports.is_ok_and(|output| output.status.success());
    assert!(works || named.is_err(), "{python} has no redis-py");
    works.then_some(python)
}

/// Nodes are killed and started again, and hang for longer than an election takes, in turns, until
/// the clients have ended.
fn harm(cluster: &mut Cluster, clients: &mut Process) {
    for id in (1..=3).cycle() {
        for kill in [true, false] {
            if let Some(status) = clients.ended() {
                assert!(status.success(), "the clients ended with {status}");
                return;
            }
            if kill {
                cluster.node_mut(id).kill();
            } else {
                cluster.node(id).freeze();
            }
            // Sleep, because how long a node is away is what this test is about.
            thread::sleep(Duration::from_millis(if kill { 1000 } else { 3500 }));
            if kill {
                cluster.node_mut(id).start();
            } else {
                cluster.node(id).thaw();
            }
            cluster.await_whole();
        }
    }
}

fn start_clients(python: &str, cluster: &Cluster, seconds: u64, output: &Path) -> Process {
    let mut command = Command::new(python);
    command.arg(CLIENTS).arg("--seconds").arg(seconds.to_string());
    command.arg("--output").arg(output).arg("--redis");
    command.args(cluster.resp_ports().iter().map(u16::to_string));
    Process::start(&mut command)
}

#[test]
fn what_redis_py_is_told_while_nodes_are_killed_and_hang_is_linearizable() {
    let Some(python) = python() else {
        eprintln!("skipped: pip install -r tests/e2e/clients/requirements.txt");
        return;
    };
    let minutes = std::env::var(MINUTES).ok().and_then(|text| text.parse::<u64>().ok());
    let seconds = minutes.map_or(25, |minutes| minutes * 60);
    let mut cluster = Cluster::start();
    let output = cluster.scratch().join("history.jsonl");
    let mut clients = start_clients(&python, &cluster, seconds, &output);
    harm(&mut cluster, &mut clients);
    let history = parse(&std::fs::read_to_string(&output).expect("a history"));
    let all = || history.values().flatten();
    assert!(all().count() > 500, "{} operations are no load", all().count());
    let swapped = |did: &Did| matches!(did, Did::CompareAndSet(_, _, Some(true)));
    assert!(all().any(|operation| swapped(&operation.act)), "nothing was compared and set");
    judge(&history);
}

/// A history of one key, and the same with one line changed.
fn holds(change: (&str, &str)) -> bool {
    let lines = r#"
        {"key": "k", "do": "get", "began": 1, "ended": 2, "told": null}
        {"key": "k", "do": "set_nx", "value": "10", "began": 3, "ended": 6, "told": true}
        {"key": "k", "do": "set_nx", "value": "20", "began": 4, "ended": 7, "told": false}
        {"key": "k", "do": "incr", "began": 8, "ended": 9, "told": 11}
        {"key": "k", "do": "compare_and_set", "expected": "11", "value": "30", "began": 10}
        {"key": "k", "do": "compare_and_set", "expected": "11", "value": "40", "began": 10, "ended": 13, "told": false}
        {"key": "k", "do": "get", "began": 14, "ended": 15, "told": "30"}
        {"key": "k", "do": "get", "began": 14}
        {"key": "k", "do": "del", "began": 16, "ended": 17, "told": 1}
        {"key": "k", "do": "set", "value": "50", "began": 18}
        {"key": "k", "do": "get", "began": 19, "ended": 20, "told": null}
        {"key": "k", "do": "get", "began": 21, "ended": 22, "told": "50"}
    "#;
    assert!(lines.contains(change.0), "{change:?}");
    let history = parse(lines.replace(change.0, change.1).trim());
    history.values().all(|operations| is_linearizable(operations, &None))
}

#[test]
fn the_judge_accepts_a_history_with_unknown_outcomes() {
    assert!(holds(("", "")));
}

#[test]
fn the_judge_refuses_a_history_in_which_one_thing_is_wrong() {
    for change in [
        // A stale read.
        (r#""ended": 22, "told": "50""#, r#""ended": 22, "told": "30""#),
        // A lost write.
        (r#""began": 14, "ended": 15, "told": "30""#, r#""began": 14, "ended": 15, "told": "10""#),
        // An increment that was executed twice.
        (r#""told": 11"#, r#""told": 12"#),
        // Two clients that both found no value.
        (r#""ended": 7, "told": false"#, r#""ended": 7, "told": true"#),
        // A deletion of what was there that found nothing.
        (r#""ended": 17, "told": 1"#, r#""ended": 17, "told": 0"#),
        // Both who compared with the same value have replaced it.
        (r#""ended": 13, "told": false"#, r#""ended": 13, "told": true"#),
        // A value that is there before it was written.
        (r#""ended": 2, "told": null"#, r#""ended": 2, "told": "10""#),
    ] {
        assert!(!holds(change), "{change:?}");
    }
}
