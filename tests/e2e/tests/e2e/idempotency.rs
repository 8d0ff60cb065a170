//! Writes that are sent again because the node that took them is gone: applied once, and answered
//! as before.

use std::time::Duration;

use kvorum_client::Options;
use kvorum_e2e::{Cluster, Node, Rpc, http, increment_named, until};
use serde_json::{Value, json};

/// Adds one to a number under an idempotency key and returns what the node said, `acked` left out;
/// nothing if it has no answer yet, for the reasons that docs/protocols.md tells to try again.
type Increment = fn(&Node, key: &str, name: &str) -> Option<String>;

const PROTOCOLS: [(&str, Increment); 2] = [("http", over_http), ("grpc", over_grpc)];

fn over_http(node: &Node, key: &str, name: &str) -> Option<String> {
    let body = json!({ "then": [{ "op": "increment", "key": key, "by": 1 }] }).to_string();
    let headers = [("Content-Type", "application/json"), ("Idempotency-Key", name)];
    let path = "/v1/keyspaces/default/txn";
    let answer = http::request(node.ports().http, "POST", path, &headers, body.as_bytes()).ok()?;
    match answer.status {
        200 => Some(answer.text()),
        502..=504 => None,
        _ => panic!("{}", answer.text()),
    }
}

fn over_grpc(node: &Node, key: &str, name: &str) -> Option<String> {
    match increment_named(node.ports().grpc, key, name) {
        Ok(answer) => Some(format!("{answer:?}")),
        Err(status) => match status.metadata().get("kvorum-code").map(|code| code.to_str()) {
            None
            | Some(Ok(
                "UNAVAILABLE" | "NOTLEADER" | "NOTSERVING" | "TIMEOUT" | "COORDINATORLOST",
            )) => None,
            Some(_) => panic!("{status}"),
        },
    }
}

fn value(node: &Node, key: &str) -> Value {
    let path = format!("/v1/keyspaces/default/keys/{key}");
    let answer = until("the key is read", || {
        http::get(node.ports().http, &path).ok().filter(|answer| answer.status == 200)
    });
    answer.json()["value"].clone()
}

#[test]
fn a_key_repeated_after_a_kill_and_through_other_nodes_applies_once_and_answers_the_same() {
    let mut cluster = Cluster::start();
    for victim in 1..=3 {
        cluster.await_spread();
        // Led by the node that dies, and led by another one.
        let keys = [victim, victim % 3 + 1].map(|leader| cluster.key_led_by(leader, "counter"));
        let named = |protocol, key: &str| format!("\"{protocol} {victim} {key}\"");
        let mut answers = Vec::new();
        for (protocol, increment) in PROTOCOLS {
            for key in &keys {
                let key = format!("{{{key}}}{protocol}{victim}");
                let name = named(protocol, &key);
                let answer = increment(cluster.node(victim), &key, &name);
                answers.push((increment, key, name, answer.expect("a healthy node answers")));
            }
        }
        cluster.node_mut(victim).kill();
        let again = |node: &Node| {
            for (increment, key, name, first) in &answers {
                let second = until("the write is answered", || increment(node, key, name));
                assert_eq!(second, *first, "{key} through node {}", node.id());
            }
        };
        cluster.nodes().iter().filter(|node| node.is_up()).for_each(again);
        cluster.start_all();
        again(cluster.node(victim));
        for (_, key, _, _) in &answers {
            assert_eq!(value(cluster.node(victim), key), "1", "{key}");
        }
    }
}

#[test]
fn the_client_counts_on_while_the_nodes_that_it_asks_are_killed() {
    const EACH: i64 = 100;
    let mut cluster = Cluster::start();
    let endpoints = cluster.nodes().iter().map(|node| format!("127.0.0.1:{}", node.ports().grpc));
    let mut options = Options::new(endpoints);
    options.timeout = Duration::from_secs(20);
    options.retries_per_ten = 10;
    let client = Rpc::of(options);
    let counter = std::thread::spawn(move || {
        let mut sums = Vec::new();
        while sums.last().is_none_or(|sum| *sum < EACH * 4) {
            sums.push(client.increment("n", 1).expect("the time suffices"));
        }
        sums
    });
    for victim in 1..=3 {
        let reached = EACH * i64::from(victim);
        until("the counter goes on", || {
            let count = value(cluster.node(victim % 3 + 1), "n").as_str()?.parse::<i64>().ok()?;
            (count >= reached).then_some(())
        });
        cluster.node_mut(victim).kill();
        cluster.start_all();
    }
    let sums = counter.join().expect("no increment failed");
    assert_eq!(sums, (1..=EACH * 4).collect::<Vec<_>>());
}
