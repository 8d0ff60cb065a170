//! What operators see of repair, and what they can have done at once.

use std::collections::BTreeSet;

use kvorum_e2e::{Cluster, Plan, chunk_hash, http, run, until};
use serde_json::Value;

/// How many keys are written.
const KEYS: usize = 500;

/// Three nodes whose keyspace is eventual and which compare their copies once an hour.
fn cluster() -> Cluster {
    Plan::nodes(3).with("default_mode", "eventual").with("anti_entropy_interval", "3600").start()
}

/// Writes keys through one node.
fn write(cluster: &Cluster, through: u32) {
    let mut resp = cluster.node(through).resp();
    for n in 0..KEYS {
        let answer = resp.say(&["SET", &format!("key{n}"), "value"]);
        assert!(answer.is_ok(), "{answer:?}");
    }
}

/// How many keys each node holds.
fn held(cluster: &Cluster) -> Vec<usize> {
    cluster.nodes().iter().map(|node| node.metric("kvorum_keys") as usize).collect()
}

fn repair(cluster: &Cluster, arguments: &[&str]) -> (i32, Value) {
    let endpoint = format!("127.0.0.1:{}", cluster.node(1).ports().grpc);
    run("repair", &[arguments, &["--endpoint", &endpoint]].concat())
}

fn events(cluster: &Cluster, id: u32) -> Vec<Value> {
    let port = cluster.node(id).ports().http;
    let answer = http::get(port, "/api/anti-entropy/events").expect("the events");
    answer.json().as_array().expect("a list").clone()
}

#[test]
fn a_repair_that_is_asked_for_makes_the_copies_equal_and_its_events_are_told() {
    let mut cluster = cluster();
    cluster.node_mut(3).stop();
    write(&cluster, 1);
    // What the others remember of node 3 for its return goes with them.
    cluster.kill_all();
    cluster.start_all();
    assert_eq!(held(&cluster), [KEYS, KEYS, 0]);
    // Writes are compared when they are a few seconds old.
    let summary = until("the repair of all keys", || {
        let (code, summary) = repair(&cluster, &["run"]);
        assert_eq!(code, 0, "{summary}");
        (held(&cluster)[2] == KEYS).then_some(summary)
    });
    assert_eq!(summary["pairs"].as_array().map(Vec::len), Some(3), "{summary}");
    let told: Vec<Value> = [1, 2].iter().flat_map(|id| events(&cluster, *id)).collect();
    let kinds: BTreeSet<&str> = told.iter().filter_map(|event| event["event"].as_str()).collect();
    let expected =
        ["sync_start", "chunk_mismatch", "repair_start", "repair_complete", "sync_complete"];
    for kind in expected {
        assert!(kinds.contains(kind), "{kinds:?}");
    }
    assert!(told.iter().any(|event| event["keys"].as_u64() > Some(0)), "{told:?}");
    let repaired: f64 = [1, 2]
        .map(|id| cluster.node(id).metric("kv_anti_entropy_keys_repaired_total"))
        .iter()
        .sum();
    assert!(repaired >= KEYS as f64, "{repaired}");
}

#[test]
fn a_node_that_is_down_is_named() {
    let mut cluster = cluster();
    cluster.node_mut(3).stop();
    for command in ["status", "run"] {
        let (code, document) = repair(&cluster, &[command]);
        assert_eq!(code, 3, "{document}");
        let problems = document["problems"].to_string();
        assert!(problems.contains("node 3 does not answer"), "{problems}");
    }
}

#[test]
fn all_nodes_tell_the_same_chunks() {
    let cluster = cluster();
    write(&cluster, 2);
    let hashes = |chunk| [1, 2, 3].map(|id| chunk_hash(cluster.node(id).ports().grpc, chunk));
    let mut different = BTreeSet::new();
    for chunk in 0..16 {
        let [one, two, three] = hashes(chunk).map(|hash| hash.expect("a hash"));
        assert_eq!((&one, &one), (&two, &three), "chunk {chunk}");
        different.insert(one);
    }
    assert_eq!(different.len(), 16, "every chunk holds some of the keys");
}
