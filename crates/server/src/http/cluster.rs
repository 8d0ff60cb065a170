//! What the node knows of its cluster: `/v1/nodes`, `/v1/keyspaces`, `/v1/layout`, `/v1/route`.

use axum::Json;
use axum::extract::State;
use kvorum_core::{Error, Keyspace, Layout, NodeId};
use kvorum_node::{NodeStatus, Pulse};
use serde_json::{Map, Value, json};

use super::api::{Api, Doc, Verb};
use super::app::App;
use super::problem::Problem;
use super::uri::Query;

pub fn routes(api: Api) -> Api {
    let json = "application/json";
    let nodes =
        Doc::new("The nodes of the cluster, as this node sees them.").answers(json, "Nodes");
    let keyspaces = Doc::new("The keyspaces and their defaults.").answers(json, "Keyspaces");
    let layout = Doc::new("Which nodes hold which slots.")
        .query("keyspace", "default when absent.")
        .answers(json, "Layout");
    let route = Doc::new("Which nodes hold a key.")
        .query("keyspace", "default when absent.")
        .query("key", "The key.")
        .answers(json, "Route");
    api.route(Verb::Get, "/v1/nodes", list_nodes, &nodes)
        .route(Verb::Get, "/v1/keyspaces", list_keyspaces, &keyspaces)
        .route(Verb::Get, "/v1/layout", show_layout, &layout)
        .route(Verb::Get, "/v1/route", find_route, &route)
        .route(Verb::Get, "/openapi.json", document, &Doc::new("This document."))
}

async fn list_nodes(State(app): State<App>) -> Json<Value> {
    let nodes: Vec<Value> = app.data().status().nodes.iter().map(node).collect();
    Json(json!({ "nodes": nodes }))
}

async fn list_keyspaces(State(app): State<App>) -> Result<Json<Value>, Problem> {
    let layout = app.data().layout()?;
    let keyspaces: Vec<Value> =
        layout.keyspaces().iter().map(|one| keyspace(&layout, one)).collect();
    Ok(Json(json!({ "keyspaces": keyspaces })))
}

async fn show_layout(State(app): State<App>, query: Query) -> Result<Json<Value>, Problem> {
    query.only(&["keyspace"])?;
    let name = query.text("keyspace")?.unwrap_or_default();
    let (layout, id) = app.data().keyspace(&name)?;
    let status = app.data().status();
    let partitions = layout.partitions(id).filter_map(|partition| {
        let slots = layout.slots(partition)?;
        let replicas = layout.replicas(partition).iter().copied();
        Some(json!({
            "first_slot": slots.start().get(),
            "last_slot": slots.end().get(),
            "replicas": replicas.map(NodeId::get).collect::<Vec<_>>(),
            "leader": status.leader_of(partition).map(NodeId::get),
        }))
    });
    let partitions: Vec<Value> = partitions.collect();
    Ok(Json(json!({ "version": layout.version(), "partitions": partitions })))
}

async fn find_route(State(app): State<App>, query: Query) -> Result<Json<Value>, Problem> {
    query.only(&["keyspace", "key"])?;
    let name = query.text("keyspace")?.unwrap_or_default();
    let key = query.bytes("key").ok_or_else(|| Error::invalid("the parameter key is needed"))?;
    let route = app.data().route(&name, &key)?;
    Ok(Json(json!({
        "slot": route.slot.get(),
        "partition": route.partition.number,
        "layout_version": route.layout_version,
        "replicas": route.replicas.iter().map(node).collect::<Vec<_>>(),
        "leader": route.leader.map(NodeId::get),
    })))
}

async fn document(State(app): State<App>) -> Json<Value> {
    Json(app.document().clone())
}

fn node(node: &NodeStatus) -> Value {
    let leads = node.leads.iter().map(|led| (led.keyspace.clone(), json!(led.partitions)));
    let leads: Map<String, Value> = leads.collect();
    json!({
        "id": node.id.get(),
        "name": node.name,
        "host": node.advertised.host,
        "resp_port": node.advertised.resp_port,
        "grpc_port": node.advertised.grpc_port,
        "http_port": node.advertised.http_port,
        "peer_port": node.advertised.peer_port,
        "gossip_port": node.advertised.gossip_port,
        "up": node.up,
        "state": node.standing.name(),
        "pulse": node.pulse.as_ref().map(pulse),
        "heartbeat": node.heartbeat,
        "last_seen_s": node.last_seen_s,
        "leads": leads,
        "hint_keys": node.waiting.keys,
        "hint_bytes": node.waiting.bytes,
        "dirty_slots": node.waiting.dirty_slots,
    })
}

fn pulse(pulse: &Pulse) -> Value {
    json!({
        "operations_per_second": pulse.operations,
        "disk_percent": pulse.disk_percent,
        "queue_delay_us": pulse.queue_delay_us,
        "layout_version": pulse.layout,
        "clock_ahead_ms": pulse.clock_ahead_ms,
        "serving": pulse.serving,
        "rebuilding": pulse.rebuilding,
        "disk_full": pulse.disk_full,
        "disk_slow": pulse.disk_slow,
    })
}

fn keyspace(layout: &Layout, keyspace: &Keyspace) -> Value {
    json!({
        "id": keyspace.id.0,
        "name": keyspace.name,
        "mode": keyspace.mode.to_string(),
        "read_consistency": keyspace.read.to_string(),
        "write_consistency": keyspace.write.to_string(),
        "partitions": layout.partitions(keyspace.id).count(),
    })
}
