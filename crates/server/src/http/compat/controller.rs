//! The controller of Cloud-Distributed-DB: `/mapping`, `/nodes`, `/heartbeat`.

use axum::Json;
use axum::extract::State;
use kvorum_node::{NodeStatus, Standing};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::super::api::{Api, Doc, Verb};
use super::super::app::App;
use super::super::payload::Payload;
use super::super::uri::Query;
use super::refusal::Detailed;

pub fn routes(api: Api) -> Api {
    let mapping =
        Doc::new("Primary and replicas of a key (Cloud-Distributed-DB).").query("key", "The key.");
    let nodes = Doc::new("The nodes, alive or dead (Cloud-Distributed-DB).");
    let heartbeat = Doc::new("Accepted from known nodes; changes nothing (Cloud-Distributed-DB).")
        .takes("application/json", "Object");
    api.route(Verb::Get, "/mapping", map_key, &mapping)
        .route(Verb::Get, "/nodes", list_nodes, &nodes)
        .route(Verb::Post, "/heartbeat", beat, &heartbeat)
}

async fn map_key(State(app): State<App>, query: Query) -> Result<Json<Value>, Detailed> {
    let key = query.bytes("key");
    let key = key.ok_or_else(|| Detailed::unprocessable("the parameter key is needed"))?;
    let route = app.data().route(app.data().compat_keyspace(), &key)?;
    let names: Vec<&str> = route.replicas.iter().map(|node| node.name.as_str()).collect();
    let nodes: Vec<Value> = route.replicas.iter().map(described).collect();
    let replicas: Vec<&str> = names.iter().skip(1).copied().collect();
    Ok(Json(json!({
        "primary": names.first(),
        "replicas": replicas,
        "nodes": nodes,
        "node_ids": names,
        "debug_bucket": bucket(&key),
    })))
}

fn described(node: &NodeStatus) -> Value {
    json!({ "node_id": node.name, "http": url(node), "grpc": node.advertised.grpc() })
}

/// Where a node's HTTP interface is; empty while it is not known.
fn url(node: &NodeStatus) -> String {
    match node.advertised.http() {
        address if address.is_empty() => address,
        address => format!("http://{address}"),
    }
}

/// The bucket Cloud-Distributed-DB would put the key into: its SHA-256 as a number, modulo 16.
fn bucket(key: &[u8]) -> u8 {
    Sha256::digest(key).last().map_or(0, |byte| byte % 16)
}

fn is_alive(node: &NodeStatus) -> bool {
    node.standing == Standing::Alive
}

async fn list_nodes(State(app): State<App>) -> Json<Value> {
    let status = app.data().status();
    let worker = |node: &NodeStatus| {
        let description = json!({
            "http": url(node),
            "grpc": node.advertised.grpc(),
            "status": if is_alive(node) { "alive" } else { "dead" },
        });
        (node.name.clone(), description)
    };
    let workers: Map<String, Value> = status.nodes.iter().map(worker).collect();
    let alive: Map<String, Value> =
        status.nodes.iter().filter(|node| is_alive(node)).map(worker).collect();
    Json(json!({ "workers": workers, "alive": alive }))
}

#[derive(Debug, Deserialize)]
struct Heartbeat {
    node_id: String,
}

async fn beat(State(app): State<App>, payload: Payload) -> Result<Json<Value>, Detailed> {
    let beat = payload.json().await;
    let Heartbeat { node_id } =
        beat.map_err(|problem| Detailed::unprocessable(problem.detail()))?;
    let known = app.data().status().nodes.iter().any(|node| node.name == node_id);
    if known {
        Ok(Json(json!({ "ok": true })))
    } else {
        Err(Detailed::not_found(format!("there is no node {node_id:?}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_those_of_the_python_controller() {
        // python3: int(hashlib.sha256(key).hexdigest(), 16) % 16
        assert_eq!([bucket(b""), bucket(b"a"), bucket(b"hello")], [5, 11, 4]);
    }
}
