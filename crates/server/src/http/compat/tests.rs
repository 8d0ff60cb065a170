//! Tests of the interfaces of the reference systems.

use super::super::tests::Page;
use crate::backend::memory::WALL_MS;
use axum::body::Body;
use axum::http::StatusCode;
use kvorum_node::{RepairEvent, RepairStep, Standing};
use serde_json::json;

#[tokio::test]
async fn the_gateway_of_a3_store_stores_and_reads_texts() {
    let page = Page::new();
    for method in ["PUT", "POST"] {
        let stored = page.json(method, "/api/kv/k", &json!({ "value": "v" })).await;
        assert_eq!((stored.status, stored.json()), (StatusCode::OK, json!({ "status": "ok" })));
    }
    let expected = json!({
        "value": "v", "found": true,
        "modified_at": WALL_MS.to_string(), "own_id": "127.0.0.1:50051",
    });
    assert_eq!(page.get("/api/kv/k").await.json(), expected);
    let missing = page.get("/api/kv/none").await;
    assert_eq!(missing.status, StatusCode::OK);
    let expected = json!({
        "value": "", "found": false, "modified_at": "0", "own_id": "127.0.0.1:50051",
    });
    assert_eq!(missing.json(), expected);
    let wrong = page.json("PUT", "/api/kv/k", &json!({ "value": 5 })).await;
    assert_eq!(wrong.status, StatusCode::BAD_REQUEST);
    assert_eq!(wrong.json()["error"], "value must be string");
}

#[tokio::test]
async fn the_members_of_a3_store_are_those_that_are_not_down() {
    let page = Page::new();
    page.memory.change_status(|status| status.nodes[1].standing = Standing::Suspect);
    page.memory.change_status(|status| status.nodes[2].standing = Standing::Down);
    let expected = json!({
        "node-1": { "addr": "127.0.0.1:50051", "hb": 11, "timestamp": WALL_MS / 1000,
            "state": "alive" },
        "node-2": { "addr": "127.0.0.1:50052", "hb": 12, "timestamp": WALL_MS / 1000,
            "state": "suspect" },
    });
    assert_eq!(page.get("/membership").await.json(), expected);
    let nodes = page.get("/api/cluster/nodes").await.json();
    let third = json!({
        "node_id": "node-3", "addr": "127.0.0.1:50053", "heartbeat": 13, "status": "DOWN",
    });
    assert_eq!(nodes[2], third);
    let health = page.get("/api/cluster/health").await.json();
    let expected = json!({
        "status": "DEGRADED", "nodes": 1, "replication_factor": 3, "timestamp": WALL_MS,
    });
    assert_eq!(health, expected);
    let gossip = json!({ "node_id": "node-9", "addr": "h:1", "heartbeat": 1 });
    assert_eq!(page.json("POST", "/gossip", &gossip).await.json(), json!({ "status": "ok" }));
    assert_eq!(page.get("/api/cluster/nodes").await.json().as_array().unwrap().len(), 3);
    let wrong = page.json("POST", "/gossip", &json!({ "addr": "h:1" })).await;
    assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn the_events_of_the_last_quarter_of_an_hour_are_told_the_newest_first() {
    let page = Page::new();
    assert_eq!(page.get("/api/anti-entropy/events").await.json(), json!([]));
    let minutes = |ago: u64| WALL_MS - ago * 60_000;
    let event = |ago, step, keys| RepairEvent { at_ms: minutes(ago), step, peer: None, keys };
    let events = [
        event(0, RepairStep::RepairEnded, 7),
        event(15, RepairStep::Mismatch, 0),
        event(16, RepairStep::NoPeers, 0),
    ];
    page.memory.change_status(|status| status.repair.events = events.into());
    let told = |event: &str, keys: u64, ago| {
        json!({
            "component": "anti-entropy", "event": event, "node": "node-1", "chunk": null,
            "keys": keys, "timestamp": minutes(ago),
        })
    };
    let expected = json!([told("repair_complete", 7, 0), told("chunk_mismatch", 0, 15)]);
    assert_eq!(page.get("/api/anti-entropy/events").await.json(), expected);
}

#[tokio::test]
async fn distributed_kv_takes_json_whatever_it_is_called() {
    let page = Page::new();
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let put = page.send("POST", "/put", &form, r#"{"key":"a b","value":"v"}"#).await;
    assert_eq!((put.status, put.json()), (StatusCode::OK, json!({ "ok": true })));
    let got = page.get("/get?key=a%20b").await;
    assert_eq!(got.json(), json!({ "key": "a b", "value": "v", "found": true }));
    let missing = page.get("/get?key=none").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json(), json!({ "key": "none", "found": false }));
    for body in ["", "x", "{}", r#"{"key":"","value":"v"}"#, r#"{"key":"a","value":1}"#] {
        let wrong = page.send("POST", "/put", &form, body).await;
        assert_eq!(wrong.status, StatusCode::BAD_REQUEST, "{body}");
        assert!(wrong.json()["error"].is_string(), "{body}");
    }
    for uri in ["/get", "/get?key="] {
        assert_eq!(page.get(uri).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn workers_keep_the_version_of_the_client_in_an_eventual_keyspace() {
    let page = Page::with_compat_keyspace("eventual");
    let put = page.json("PUT", "/kv/k", &json!({ "value": "v", "version": 7 })).await;
    assert_eq!((put.status, put.json()), (StatusCode::OK, json!({ "ok": true })));
    let got = page.get("/kv/k").await.json();
    assert_eq!(got, json!({ "key": "k", "value": "v", "version": 7 }));
    page.json("PUT", "/kv/k", &json!({ "value": "w" })).await;
    assert_eq!(page.get("/kv/k").await.json()["version"], 1);
    let missing = page.get("/kv/none").await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.json()["detail"], "not found");
    for body in [json!({ "value": 1 }), json!({}), json!({ "value": "v", "version": -1 })] {
        let wrong = page.json("PUT", "/kv/k", &body).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{body}");
    }
}

#[tokio::test]
async fn workers_refuse_a_version_below_the_stored_one_in_a_strong_keyspace() {
    let page = Page::new();
    let put = async |version: u32| {
        page.json("PUT", "/kv/k", &json!({ "value": "v", "version": version })).await
    };
    for version in [7, 7, 8, u32::MAX, u32::MAX] {
        assert_eq!(put(version).await.status, StatusCode::OK, "{version}");
    }
    let stale = put(9).await;
    assert_eq!(stale.status, StatusCode::CONFLICT);
    assert_eq!(
        (&stale.json()["detail"], &stale.json()["version"]),
        (&json!("stale version"), &json!(u32::MAX))
    );
    assert_eq!(page.get("/kv/k").await.json()["version"], u32::MAX);
}

#[tokio::test]
async fn the_controller_maps_keys_and_knows_its_workers() {
    let page = Page::new();
    let mapping = page.get("/mapping?key=hello").await.json();
    assert_eq!(mapping["primary"], "node-1");
    assert_eq!(mapping["replicas"], json!(["node-2", "node-3"]));
    assert_eq!(mapping["node_ids"], json!(["node-1", "node-2", "node-3"]));
    let first = json!({
        "node_id": "node-1", "http": "http://127.0.0.1:8001", "grpc": "127.0.0.1:50051",
    });
    assert_eq!(mapping["nodes"][0], first);
    assert_eq!(mapping["debug_bucket"], 4);
    assert_eq!(page.get("/mapping").await.status, StatusCode::UNPROCESSABLE_ENTITY);
    page.memory.change_status(|status| status.nodes[1].standing = Standing::Suspect);
    let nodes = page.get("/nodes").await.json();
    assert_eq!(nodes["workers"]["node-2"]["status"], "dead");
    let alive: Vec<&String> = nodes["alive"].as_object().unwrap().keys().collect();
    assert_eq!(alive, ["node-1", "node-3"]);
}

#[tokio::test]
async fn heartbeats_are_taken_from_members_only() {
    let page = Page::new();
    let beat = async |body| page.json("POST", "/heartbeat", &body).await.status;
    assert_eq!(beat(json!({ "node_id": "node-2" })).await, StatusCode::OK);
    assert_eq!(beat(json!({ "node_id": "node-9" })).await, StatusCode::NOT_FOUND);
    assert_eq!(beat(json!({})).await, StatusCode::UNPROCESSABLE_ENTITY);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_an_error_that_names_the_way_out() {
    let page = Page::new();
    page.send("PUT", "/v1/keyspaces/default/keys/k", &[], &b"\xff"[..]).await;
    for uri in ["/api/kv/k", "/get?key=k", "/kv/k"] {
        let answer = page.send("GET", uri, &[], Body::empty()).await;
        assert_eq!(answer.status, StatusCode::NOT_ACCEPTABLE, "{uri}");
        assert_eq!(answer.json()["code"], "NOTTEXT");
    }
}
