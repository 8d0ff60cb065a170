//! Repair: `/v1/repair`.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use kvorum_core::Mono;
use serde_json::{Value, json};

use super::api::{Api, Doc, Verb};
use super::app::App;
use super::problem::Problem;
use super::uri::Query;
use crate::data::{KeyspaceStatus, PeerStatus, RepairStatus};

pub fn routes(api: Api) -> Api {
    let show = Doc::new("How the node keeps its copies equal to those of other nodes.")
        .query("keyspace", "Of an eventual keyspace only; of all when absent.")
        .query("since", "Counts what was compared since this reading of the node's `clock`.")
        .answers("application/json", "Repair");
    let run = Doc::new(
        "Compare the node's copies with those of other nodes now, and repair what differs.",
    )
    .query("peer", "Only with the node of this id.")
    .answers("application/json", "RepairBegun");
    api.route(Verb::Get, "/v1/repair", status, &show).route(Verb::Post, "/v1/repair", begin, &run)
}

async fn status(State(app): State<App>, query: Query) -> Result<Json<Value>, Problem> {
    query.only(&["keyspace", "since"])?;
    let name = query.text("keyspace")?.unwrap_or_default();
    let since = Mono(query.number("since")?.unwrap_or_default());
    let RepairStatus { node, clock, peers, keyspaces, scrub_bytes_per_second, scrubbed } =
        app.data().repair_status(&name, since)?;
    Ok(Json(json!({
        "node": node.get(),
        "clock": clock.0,
        "peers": peers.iter().map(peer).collect::<Vec<_>>(),
        "keyspaces": keyspaces.iter().map(keyspace).collect::<Vec<_>>(),
        "scrub_bytes_per_second": scrub_bytes_per_second,
        "last_scrub_s": scrubbed.map(seconds),
    })))
}

async fn begin(State(app): State<App>, query: Query) -> Result<Json<Value>, Problem> {
    query.only(&["peer"])?;
    let peer = query.number("peer")?.map(|id| u32::try_from(id).unwrap_or(u32::MAX));
    let clock = app.data().repair(peer).await?;
    Ok(Json(json!({ "clock": clock.0 })))
}

fn keyspace(keyspace: &KeyspaceStatus) -> Value {
    let held_up_by = keyspace.held_up_by.iter().map(|node| node.get());
    json!({
        "name": keyspace.name,
        "floor_age_s": keyspace.floor_age.map(seconds),
        "digest": format!("{:016x}", keyspace.digest),
        "tombstones": keyspace.tombstones,
        "held_up_by": held_up_by.collect::<Vec<_>>(),
    })
}

fn peer(peer: &PeerStatus) -> Value {
    json!({
        "node": peer.node.get(),
        "up": peer.up,
        "partitions": peer.partitions,
        "compared": peer.compared,
        "differing": peer.differing,
        "last_compared_s": peer.last_compared.map(seconds),
        "last_clean_s": peer.last_clean.map(seconds),
        "sessions": peer.sessions,
        "failures": peer.failures,
        "last_failure": peer.last_failure,
        "sent": peer.sent,
        "received": peer.received,
        "bytes": peer.bytes,
    })
}

fn seconds(age: Duration) -> f64 {
    age.as_millis() as f64 / 1000.0
}
