//! a3.store: the REST gateway under `/api`, and the membership pages of its nodes.

use axum::Json;
use axum::extract::State;
use kvorum_node::{RepairEvent, RepairStep, Serving, Standing};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::super::api::{Api, Doc, Verb};
use super::super::app::{App, Caller};
use super::super::payload::Payload;
use super::super::uri::Path;
use super::refusal::{Detailed, Failed};
use super::{get_text, invalid};

pub fn routes(api: Api) -> Api {
    let put = Doc::new("Store a text (a3.store).").takes("application/json", "Value");
    let get = Doc::new("Read a text; 200 also when there is none (a3.store).");
    let members = Doc::new("The nodes that are not down (a3.store).");
    let gossip =
        Doc::new("Accepted; changes nothing (a3.store).").takes("application/json", "Object");
    let nodes = Doc::new("The nodes, up or down (a3.store).");
    let health = Doc::new("The health of the cluster (a3.store).");
    let events = Doc::new(
        "What comparing and repairing this node's copies has come to in the last quarter of an \
         hour, the newest first, at most 50 (a3.store).",
    )
    .answers("application/json", "AntiEntropyEvents");
    api.route(Verb::Put, "/api/kv/{key}", store, &put)
        .route(Verb::Post, "/api/kv/{key}", store, &put)
        .route(Verb::Get, "/api/kv/{key}", read, &get)
        .route(Verb::Get, "/membership", membership, &members)
        .route(Verb::Post, "/gossip", gossip_message, &gossip)
        .route(Verb::Get, "/api/cluster/nodes", cluster_nodes, &nodes)
        .route(Verb::Get, "/api/cluster/health", cluster_health, &health)
        .route(Verb::Get, "/api/anti-entropy/events", anti_entropy_events, &events)
}

async fn store(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
    payload: Payload,
) -> Result<Json<Value>, Failed> {
    let mut body: Value = payload.json().await?;
    let Some(Value::String(value)) = body.get_mut("value").map(Value::take) else {
        return Err(invalid("value must be string").into());
    };
    app.data().put_text(&identity, path.bytes("key"), value, 0, None).await?;
    Ok(Json(json!({ "status": "ok" })))
}

async fn read(
    State(app): State<App>,
    Caller(identity): Caller,
    path: Path,
) -> Result<Json<Value>, Failed> {
    let own_id = app.data().this_node().map(|node| node.advertised.grpc()).unwrap_or_default();
    let found = get_text(&app, &identity, path.bytes("key")).await?;
    let (modified_at, value, found) = match found {
        Some((header, value)) => (header.version.hlc.wall_ms().to_string(), value, true),
        None => ("0".to_owned(), String::new(), false),
    };
    Ok(Json(json!({
        "value": value,
        "found": found,
        "modified_at": modified_at,
        "own_id": own_id,
    })))
}

async fn membership(State(app): State<App>) -> Json<Value> {
    let status = app.data().status();
    let live = status.nodes.iter().filter(|node| node.standing != Standing::Down);
    let members: Map<String, Value> = live
        .map(|node| {
            let member = json!({
                "addr": node.advertised.grpc(),
                "hb": node.heartbeat,
                "timestamp": node.last_seen_s,
                "state": node.standing.name(),
            });
            (node.name.clone(), member)
        })
        .collect();
    Json(Value::Object(members))
}

/// What a node of a3.store tells another. Only its shape matters here.
#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "liveness never depends on what a client says")]
struct Gossip {
    node_id: String,
    addr: String,
    heartbeat: i64,
}

async fn gossip_message(payload: Payload) -> Result<Json<Value>, Detailed> {
    let _: Gossip =
        payload.json().await.map_err(|problem| Detailed::unprocessable(problem.detail()))?;
    Ok(Json(json!({ "status": "ok" })))
}

async fn cluster_nodes(State(app): State<App>) -> Json<Value> {
    let status = app.data().status();
    let nodes = status.nodes.iter().map(|node| {
        json!({
            "node_id": node.name,
            "addr": node.advertised.grpc(),
            "heartbeat": node.heartbeat,
            "status": if node.standing == Standing::Alive { "UP" } else { "DOWN" },
        })
    });
    Json(nodes.collect())
}

async fn cluster_health(State(app): State<App>) -> Json<Value> {
    let status = app.data().status();
    let live = status.nodes.iter().filter(|node| node.standing == Standing::Alive).count();
    let health = match status.serving {
        Serving::No(_) => "UNKNOWN",
        Serving::Yes if live == status.nodes.len() => "HEALTHY",
        Serving::Yes | Serving::Rebuilding(_) => "DEGRADED",
    };
    Json(json!({
        "status": health,
        "nodes": live,
        "replication_factor": status.replication_factor,
        "timestamp": app.data().wall_ms(),
    }))
}

async fn anti_entropy_events(State(app): State<App>) -> Json<Value> {
    let node = app.data().this_node().map(|node| node.name).unwrap_or_default();
    let event = |event: RepairEvent| {
        json!({
            "component": "anti-entropy",
            "event": step_name(event.step),
            "node": node,
            // Copies are compared by slots, which are no chunks.
            "chunk": null,
            "keys": event.keys,
            "timestamp": event.at_ms,
        })
    };
    Json(app.data().repair_events().into_iter().map(event).collect())
}

const fn step_name(step: RepairStep) -> &'static str {
    match step {
        RepairStep::RoundBegan => "sync_start",
        RepairStep::RoundEnded => "sync_complete",
        RepairStep::NoPeers => "no_peers",
        RepairStep::RepairBegan => "repair_start",
        RepairStep::Mismatch => "chunk_mismatch",
        RepairStep::RepairEnded => "repair_complete",
        RepairStep::Failed => "compare_error",
    }
}
