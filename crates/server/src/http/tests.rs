//! Tests of the front end, request by request.

use std::io;
use std::sync::Arc;

use super::*;
use crate::backend::memory::{Memory, WALL_MS, every_error};
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use kvorum_core::{Consistency, Error, Executed, Mono};
use serde_json::{Value, json};
use tower::ServiceExt;

const KEY: &str = "/v1/keyspaces/default/keys/k";

/// A front end over a memory.
pub struct Page {
    pub memory: Arc<Memory>,
    router: Router,
}

/// What came back.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl Page {
    pub fn new() -> Page {
        Page::with_compat_keyspace("default")
    }

    pub fn with_compat_keyspace(name: &str) -> Page {
        let memory = Memory::new();
        let data = Data::new(Arc::clone(&memory) as Arc<_>, name);
        let metrics = Metrics::of_process().unwrap();
        Page { memory, router: Http::new(data, Authenticator, metrics).router }
    }

    pub async fn send(
        &self,
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.unwrap();
        Answer { status, headers, body }
    }

    pub async fn get(&self, uri: &str) -> Answer {
        self.send("GET", uri, &[], Body::empty()).await
    }

    pub async fn json(&self, method: &str, uri: &str, body: &Value) -> Answer {
        self.send(method, uri, &[("Content-Type", "application/json")], body.to_string()).await
    }
}

#[tokio::test]
async fn a_value_goes_in_raw_and_comes_out_as_json_or_raw() {
    let page = Page::new();
    let octets = [("Content-Type", "application/octet-stream")];
    let put = page.send("PUT", &format!("{KEY}?ttl_ms=9000"), &octets, "hello").await;
    assert_eq!(put.status, StatusCode::OK);
    assert_eq!((&put.json()["acked"], &put.json()["was_live"]), (&json!(2), &json!(false)));
    let version = put.json()["version"].as_str().unwrap().to_owned();
    assert_eq!(put.header("etag"), format!("\"{version}\""));
    let got = page.get(KEY).await;
    let expected = json!({
        "key": "k", "value": "hello", "version": version, "value_length": 5,
        "expires_at_ms": WALL_MS + 9000,
    });
    assert_eq!(got.json(), expected);
    let raw = [("Accept", "application/octet-stream")];
    let got = page.send("GET", KEY, &raw, Body::empty()).await;
    assert_eq!((&got.body[..], got.header("content-type")), (&b"hello"[..], octets[0].1));
    let etag = got.header("etag").to_owned();
    let again = page.send("GET", KEY, &[("If-None-Match", &etag)], Body::empty()).await;
    assert_eq!(again.status, StatusCode::NOT_MODIFIED);
}

#[tokio::test]
async fn a_client_that_holds_the_version_gets_no_body_however_it_names_it() {
    let page = Page::new();
    let put = page.json("PUT", KEY, &json!({ "value": "v" })).await;
    let etag = put.header("etag");
    for (condition, status) in [
        (format!("\"other\", {etag}"), StatusCode::NOT_MODIFIED),
        (format!("W/{etag}"), StatusCode::NOT_MODIFIED),
        ("*".to_owned(), StatusCode::NOT_MODIFIED),
        ("\"other\"".to_owned(), StatusCode::OK),
    ] {
        let got = page.send("GET", KEY, &[("If-None-Match", &condition)], Body::empty()).await;
        assert_eq!((got.status, got.header("etag")), (status, etag), "{condition}");
        assert_eq!(got.body.is_empty(), status == StatusCode::NOT_MODIFIED, "{condition}");
    }
}

#[tokio::test]
async fn a_path_without_a_keyspace_does_not_mean_the_default() {
    let page = Page::new();
    page.json("PUT", KEY, &json!({ "value": "v" })).await;
    let got = page.get("/v1/keyspaces//keys/k").await;
    assert_eq!(
        (got.status, got.json()["code"].clone()),
        (StatusCode::NOT_FOUND, json!("NOKEYSPACE"))
    );
}

#[tokio::test]
async fn keys_and_values_may_be_any_bytes() {
    let page = Page::new();
    let uri = "/v1/keyspaces/default/keys/%00%ff%2F";
    let raw = [("Content-Type", "application/octet-stream")];
    page.send("PUT", uri, &raw, &b"\xfe\x00"[..]).await;
    let got = page.get(uri).await.json();
    assert_eq!((&got["key_base64"], &got["value_base64"]), (&json!("AP8v"), &json!("/gA=")));
    let put = page.json("PUT", uri, &json!({ "value_base64": "AAH/" })).await;
    assert_eq!(put.status, StatusCode::OK);
    assert_eq!(page.get(uri).await.json()["value_base64"], "AAH/");
}

#[tokio::test]
async fn a_deleted_key_is_a_problem_that_shows_the_version_of_its_deletion() {
    let page = Page::new();
    let key = "/v1/keyspaces/eventual/keys/k";
    page.json("PUT", key, &json!({ "value": "v" })).await;
    let gone = page.send("DELETE", key, &[], Body::empty()).await.json();
    assert_eq!(gone["was_live"], true);
    let missing = page.get(key).await;
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.header("content-type"), "application/problem+json");
    assert_eq!(missing.json()["code"], "NOTFOUND");
    assert_eq!(missing.json()["version"], gone["version"]);
}

#[tokio::test]
async fn headers_say_how_a_request_is_run() {
    let page = Page::new();
    let version = "0000000000000001-00000002";
    let headers = [
        ("X-Kvorum-Consistency", "ALL"),
        ("X-Kvorum-Min-Version", version),
        ("X-Kvorum-Timeout-Ms", "250"),
    ];
    page.send("GET", KEY, &headers, Body::empty()).await;
    let seen = page.memory.seen().pop().unwrap();
    assert_eq!(seen.consistency, Some(Consistency::All));
    assert_eq!(seen.min_version, Some(version.parse().unwrap()));
    assert_eq!(seen.deadline, Mono(1_250_000));
    for (name, text) in [
        ("X-Kvorum-Consistency", "some"),
        ("X-Kvorum-Min-Version", "1"),
        ("X-Kvorum-Timeout-Ms", "-1"),
        ("X-Kvorum-Timeout-Ms", "40000"),
    ] {
        let refused = page.send("GET", KEY, &[(name, text)], Body::empty()).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{name}: {text}");
    }
}

#[tokio::test]
async fn a_write_with_a_condition_is_done_only_if_it_holds() {
    let page = Page::new();
    let uri = "/v1/keyspaces/default/keys/k";
    let put = async |header, value: &str, body: &'static str| {
        page.send("PUT", uri, &[(header, value)], body).await
    };
    let early = put("If-Match", "*", "v").await;
    assert_eq!(early.status, StatusCode::PRECONDITION_FAILED);
    assert!(early.headers.get("etag").is_none());
    let first = put("If-None-Match", "*", "first").await;
    assert_eq!((first.status, &first.json()["acked"]), (StatusCode::OK, &json!(2)));
    let etag = first.headers["etag"].to_str().unwrap().to_owned();
    let again = put("If-None-Match", "*", "again").await;
    assert_eq!(again.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(again.headers["etag"], etag.as_str());
    let (code, executed) = (again.json()["code"].clone(), again.json()["executed"].clone());
    assert_eq!((code, executed), (json!("PRECONDITION"), json!("no")));
    let second = put("If-Match", &etag, "second").await;
    assert_eq!((second.status, &second.json()["was_live"]), (StatusCode::OK, &json!(true)));
    assert_eq!(put("If-Match", &etag, "late").await.status, StatusCode::PRECONDITION_FAILED);
    assert_eq!(page.get(uri).await.json()["value"], "second");
    let delete = async |tag: &str| page.send("DELETE", uri, &[("If-Match", tag)], "").await.status;
    assert_eq!(delete(&etag).await, StatusCode::PRECONDITION_FAILED);
    assert_eq!(delete(second.headers["etag"].to_str().unwrap()).await, StatusCode::OK);
    assert_eq!(page.get(uri).await.status, StatusCode::NOT_FOUND);
    for (header, value) in [
        ("If-Match", "W/\"0000000000000001-00000000\""),
        ("If-Match", "\"a\", \"b\""),
        ("If-Match", "\"\""),
        ("If-None-Match", &etag),
    ] {
        assert_eq!(put(header, value, "v").await.status, StatusCode::BAD_REQUEST, "{value}");
    }
}

#[tokio::test]
async fn a_transaction_compares_and_then_writes() {
    let page = Page::new();
    let uri = "/v1/keyspaces/default/txn";
    let txn = json!({
        "compare": [{ "key": "{t}a", "exists": false }],
        "then": [
            { "op": "put", "key": "{t}a", "value": "1", "ttl_ms": 5000 },
            { "op": "increment", "key": "{t}n", "by": 5 },
            { "op": "increment", "key": "{t}n" },
        ],
        "else": [{ "op": "get", "key": "{t}a" }, { "op": "get", "key": "{t}none" }],
    });
    let first = page.json("POST", uri, &txn).await;
    assert_eq!(first.status, StatusCode::OK, "{:?}", first.json());
    let first = first.json();
    assert_eq!((&first["succeeded"], &first["results"][2]["integer"]), (&json!(true), &json!(6)));
    assert_eq!(first["results"][0]["acked"], 2);
    let second = page.json("POST", uri, &txn).await.json();
    assert_eq!(
        (&second["succeeded"], &second["results"][0]["value"]),
        (&json!(false), &json!("1"))
    );
    assert_eq!(second["results"][1], json!({ "found": false }));
    for condition in [
        json!({ "key": "{t}a", "value": "1" }),
        json!({ "key": "{t}a", "exists": true }),
        json!({ "key": "{t}a", "version": first["results"][0]["version"] }),
    ] {
        let then = json!([{ "op": "get", "key": "{t}a" }]);
        let held = page.json("POST", uri, &json!({ "compare": [condition], "then": then })).await;
        assert_eq!(held.json()["succeeded"], true, "{condition}");
    }
    let word = json!([
        { "op": "put", "key": "{t}a", "value": "word" },
        { "op": "increment", "key": "{t}a" },
        { "op": "expire", "key": "{t}a", "ttl_ms": 5000 },
        { "op": "get", "key": "{t}a" },
        { "op": "expire", "key": "{t}a" },
        { "op": "get", "key": "{t}a" },
        { "op": "delete", "key": "{t}a" },
    ]);
    let refused = page.json("POST", uri, &json!({ "then": word })).await.json();
    assert_eq!(refused["results"][1]["error"]["executed"], "no");
    assert_eq!(refused["results"][2]["was_live"], true);
    assert_eq!(refused["results"][3]["expires_at_ms"], WALL_MS + 5000);
    assert_eq!(refused["results"][5]["expires_at_ms"], Value::Null);
    assert_eq!(refused["results"][6]["was_live"], true);
}

#[tokio::test]
async fn transactions_that_make_no_sense_are_refused() {
    let page = Page::new();
    for (txn, text) in [
        (json!({}), "names no key"),
        (json!({ "then": [{ "op": "get", "key": "a" }, { "op": "get", "key": "b" }] }), "one slot"),
        (json!({ "compare": [{ "key": "a" }] }), "exactly one of version, value and exists"),
        (json!({ "compare": [{ "key": "a", "exists": true, "value": "x" }] }), "exactly one of"),
        (json!({ "compare": [{ "key": "a", "version": "x" }] }), "hexadecimal"),
        (json!({ "then": [{ "op": "get", "key": "a", "by": 1 }] }), "only increment takes by"),
        (
            json!({ "then": [{ "op": "put", "key": "a", "value": "x", "by": 1 }] }),
            "only increment takes by",
        ),
        (json!({ "then": [{ "op": "increment", "key": "a", "ttl_ms": 1 }] }), "no value and ttl"),
        (json!({ "then": [{ "op": "expire", "key": "a", "by": 1 }] }), "no value and by"),
        (json!({ "then": [{ "op": "get", "key": "" }] }), "empty"),
        (json!({ "then": [{ "op": "touch", "key": "a" }] }), "unknown variant"),
    ] {
        let answer = page.json("POST", "/v1/keyspaces/default/txn", &txn).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{txn}");
        let detail = answer.json()["detail"].to_string();
        assert!(detail.contains(text), "{txn}: {detail}");
    }
    assert!(page.memory.seen().is_empty());
}

#[tokio::test]
async fn conditions_transactions_and_watches_need_a_strong_keyspace() {
    let page = Page::new();
    let ks = "/v1/keyspaces/eventual";
    let key = &format!("{ks}/keys/k");
    let if_match = page.send("PUT", key, &[("If-Match", "\"x\"")], "v").await;
    let if_none = page.send("DELETE", key, &[("If-None-Match", "*")], Body::empty()).await;
    let txn = page.json("POST", &format!("{ks}/txn"), &json!({})).await;
    let watch = page.get(&format!("{ks}/watch")).await;
    for answer in [if_match, if_none, txn, watch] {
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(answer.json()["code"], "NOTSTRONG");
    }
    let strong = page.get("/v1/keyspaces/default/watch").await;
    assert_eq!(strong.status, StatusCode::NOT_IMPLEMENTED);
    assert_eq!(strong.json()["code"], "UNIMPLEMENTED");
    let lost = page.get("/v1/keyspaces/none/watch").await;
    assert_eq!((lost.status, &lost.json()["code"]), (StatusCode::NOT_FOUND, &json!("NOKEYSPACE")));
}

#[tokio::test]
async fn bodies_that_are_wrong_are_refused_with_the_reason_and_store_nothing() {
    let page = Page::new();
    let json_type = ("Content-Type", "application/json; charset=utf-8");
    let deep = "[".repeat(100_000);
    for (headers, body, status, text) in [
        (json_type, &b"{\"value\":"[..], 400, "EOF while parsing"),
        (json_type, b"{\"value\":5}", 400, "expected a string"),
        (json_type, b"{\"value\":\"a\",\"x\":1}", 400, "unknown field `x`"),
        (json_type, b"{}", 400, "exactly one of value and value_base64"),
        (json_type, b"{\"value_base64\":\"!\"}", 400, "not base64"),
        (json_type, b"{\"value\":\"\xff\"}", 400, "not UTF-8 (byte 10)"),
        (json_type, deep.as_bytes(), 400, "the JSON expected"),
        (("Content-Type", "application/x-www-form-urlencoded"), b"a=b", 415, "octet-stream"),
    ] {
        let answer = page.send("PUT", KEY, &[headers], body.to_vec()).await;
        let document = answer.json();
        assert_eq!(answer.status.as_u16(), status, "{document}");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(text), "{detail}");
        assert_eq!(document["executed"], "no");
    }
    assert!(page.memory.seen().is_empty());
}

#[tokio::test]
async fn long_bodies_are_refused_before_and_while_they_are_read() {
    let page = Page::new();
    let long = vec![0; (1 << 20) + 1];
    let announced = page.send("PUT", KEY, &[("Content-Length", "1048577")], long.clone()).await;
    let chunks = long.chunks(1 << 16).map(|chunk| Ok::<_, io::Error>(chunk.to_vec()));
    let chunks: Vec<_> = chunks.collect();
    let streamed = Body::from_stream(tokio_stream::iter(chunks));
    let streamed = page.send("PUT", KEY, &[], streamed).await;
    for answer in [announced, streamed] {
        assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(answer.json()["detail"].as_str().unwrap().contains("1048576"), "{}", answer.json());
    }
    assert!(page.memory.seen().is_empty());
    let long_key = format!("/v1/keyspaces/default/keys/{}", "k".repeat(4097));
    let answer = page.get(&long_key).await;
    assert_eq!(answer.json()["detail"], "key is 4097 bytes long; the limit is 4096");
}

/// A body that never ends and never fails.
fn endless() -> Body {
    Body::from_stream(tokio_stream::pending::<Result<Bytes, io::Error>>())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_given_up() {
    let page = Page::new();
    let answer = page.send("PUT", KEY, &[], endless()).await;
    assert_eq!((answer.status.as_u16(), &answer.json()["code"]), (408, &json!("SLOWBODY")));
}

#[tokio::test(start_paused = true)]
async fn bodies_that_arrive_at_once_share_a_bounded_memory() {
    let page = Arc::new(Page::new());
    let mut sending = tokio::task::JoinSet::new();
    for _ in 0..65 {
        let page = Arc::clone(&page);
        sending.spawn(async move { page.send("PUT", KEY, &[], endless()).await.status.as_u16() });
    }
    let mut statuses = sending.join_all().await;
    statuses.sort_unstable();
    // Each may become a mebibyte long, and there are 64 of them: one is told to come back later.
    assert_eq!((statuses[63], statuses[64]), (408, 503));
    let octets = [("Content-Type", "application/octet-stream")];
    assert_eq!(page.send("PUT", KEY, &octets, "v").await.status, StatusCode::OK);
}

#[tokio::test]
async fn wrong_parameters_paths_and_methods_are_named() {
    let page = Page::new();
    for (method, uri, status, text) in [
        ("GET", "/nothing", 404, "/nothing"),
        ("GET", "/v1/keyspaces/default/keys/", 404, "/keys/"),
        ("PATCH", KEY, 405, "PATCH"),
        ("POST", "/metrics", 405, "POST"),
        ("PUT", "/v1/keyspaces/default/keys/k?ttl=5", 400, "\"ttl\""),
        ("PUT", "/v1/keyspaces/default/keys/k?ttl_ms=0", 400, "ttl_ms is 0"),
        ("PUT", "/v1/keyspaces/default/keys/k?ttl_ms=x", 400, "not a whole number below"),
        ("GET", "/v1/keyspaces/default/keys/%zz", 400, "hexadecimal"),
        ("GET", "/v1/keyspaces/%ff/keys/k", 400, "ks is not UTF-8"),
        ("GET", "/v1/keyspaces/none/keys/k", 404, "no keyspace \"none\""),
        ("GET", "/v1/keyspaces/default/keys?limit=0", 400, "between 1 and 1000"),
        ("GET", "/v1/keyspaces/default/keys?cursor=x", 400, "not one that a scan returned"),
        ("GET", "/v1/route", 400, "key is needed"),
    ] {
        let answer = page.send(method, uri, &[], "v").await;
        let document = answer.json();
        assert_eq!(answer.status.as_u16(), status, "{method} {uri}: {document}");
        let detail = document["detail"].as_str().unwrap();
        assert!(detail.contains(text), "{method} {uri}: {detail}");
        assert_eq!(answer.header("content-type"), "application/problem+json");
    }
    let wrong = page.send("PATCH", KEY, &[], Body::empty()).await;
    assert!(wrong.header("allow").contains("DELETE"), "{:?}", wrong.headers);
}

#[tokio::test]
async fn keys_are_listed_page_by_page() {
    let page = Page::new();
    for n in 0..25 {
        let uri = format!("/v1/keyspaces/default/keys/a{n}");
        page.json("PUT", &uri, &json!({ "value": "v" })).await;
    }
    page.json("PUT", KEY, &json!({ "value": "v" })).await;
    let mut keys = Vec::new();
    let mut cursor = String::new();
    loop {
        let list = "/v1/keyspaces/default/keys?prefix=a&limit=10&values=true&cursor=";
        let listed = page.get(&format!("{list}{cursor}")).await.json();
        let items = listed["keys"].as_array().unwrap();
        assert!(items.len() <= 10 && items.iter().all(|item| item["value"] == "v"));
        keys.extend(items.iter().map(|item| item["key"].as_str().unwrap().to_owned()));
        let Some(next) = listed["cursor"].as_str() else { break };
        next.clone_into(&mut cursor);
    }
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), 25);
}

#[tokio::test]
async fn a_batch_answers_each_operation() {
    let page = Page::new();
    let body = json!({ "operations": [
        { "op": "put", "key": "a", "value": "1", "ttl_ms": 1000 },
        { "op": "get", "key": "a" },
        { "op": "get", "key": "none" },
        { "op": "get", "key": "a", "value": "1" },
        { "op": "delete", "key_base64": "YQ==" },
    ]});
    let results = page.json("POST", "/v1/keyspaces/default/batch", &body).await.json();
    let results = results["results"].as_array().unwrap();
    assert_eq!(results[0]["acked"], 2);
    assert_eq!(results[1]["value"], "1");
    assert_eq!(results[2]["found"], false);
    assert_eq!(results[3]["error"]["code"], "INVALID");
    assert_eq!(results[4]["was_live"], true);
    let wrong = json!({ "operations": [{ "op": "incr", "key": "a" }] });
    let wrong = page.json("POST", "/v1/keyspaces/default/batch", &wrong).await;
    assert!(wrong.json()["detail"].as_str().unwrap().contains("incr"), "{}", wrong.json());
}

#[tokio::test]
async fn every_error_reaches_the_client_with_its_code_and_outcome() {
    let page = Page::new();
    for error in every_error() {
        page.memory.fail_with(error.clone());
        let answer = page.get(KEY).await;
        assert_eq!(answer.status, problem::status(&error), "{error}");
        assert_eq!(answer.json()["code"], error.code());
        assert_eq!(answer.json()["executed"], error.executed().to_string());
    }
    page.memory.fail_with(kvorum_core::Error::Overloaded { what: "it", executed: Executed::No });
    assert_eq!(page.get(KEY).await.header("retry-after"), "1");
}

#[tokio::test]
async fn the_cluster_is_described() {
    let page = Page::new();
    let nodes = page.get("/v1/nodes").await.json();
    assert_eq!(nodes["nodes"][1]["grpc_port"], 50052);
    let keyspaces = page.get("/v1/keyspaces").await.json();
    assert_eq!(keyspaces["keyspaces"][1]["name"], "eventual");
    let layout = page.get("/v1/layout?keyspace=eventual").await.json();
    assert_eq!(layout["partitions"].as_array().unwrap().len(), 64);
    let route = page.get("/v1/route?key=foo").await.json();
    assert_eq!((&route["slot"], &route["replicas"][0]["name"]), (&json!(12182), &json!("node-1")));
}

#[tokio::test]
async fn repair_is_told_with_ages_and_what_was_compared_since_a_time() {
    let page = Page::new();
    let repair = page.get("/v1/repair?since=500000").await.json();
    let peer = json!({
        "node": 2, "up": true, "partitions": 2, "compared": 1, "differing": 1,
        "last_compared_s": 0.1, "last_clean_s": 0.8, "sessions": 4, "failures": 1,
        "last_failure": "there is too much to do", "sent": 5, "received": 6, "bytes": 700,
    });
    let keyspace = json!({
        "name": "eventual", "floor_age_s": 3600.0, "digest": "00000000000000ab", "tombstones": 8,
        "held_up_by": [2],
    });
    let expected = json!({
        "node": 1, "clock": 1_000_000, "peers": [peer], "keyspaces": [keyspace],
        "scrub_bytes_per_second": 4 << 20, "last_scrub_s": 1.0,
    });
    assert_eq!(repair, expected);
    assert_eq!(page.get("/v1/repair").await.json()["peers"][0]["compared"], 2);
    let eventual = page.get("/v1/repair?keyspace=eventual").await.json();
    assert_eq!(eventual["peers"][0]["partitions"], 2);
    let begun = page.json("POST", "/v1/repair?peer=2", &json!(null)).await;
    assert_eq!((begun.status, begun.json()), (StatusCode::OK, json!({ "clock": 1_000_000 })));
    page.json("POST", "/v1/repair", &json!(null)).await;
    assert_eq!(page.memory.repairs(), [kvorum_core::NodeId::new(2), None]);
    for wrong in ["peer=1", "peer=4", "peer=x", "keyspace=eventual"] {
        let answer = page.json("POST", &format!("/v1/repair?{wrong}"), &json!(null)).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{wrong}");
    }
    assert_eq!(page.get("/v1/repair?keyspace=default").await.status, StatusCode::BAD_REQUEST);
    assert_eq!(page.get("/v1/repair?sinc=1").await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn health_tells_what_the_node_says() {
    let page = Page::new();
    for path in ["/healthz", "/livez", "/readyz"] {
        let answer = page.get(path).await;
        assert_eq!((answer.status, answer.json()), (StatusCode::OK, json!({ "status": "ok" })));
    }
    page.memory.change_status(|status| {
        status.serving = kvorum_node::Serving::No("waiting for its peers".to_owned());
    });
    let ready = page.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(ready.json()["detail"].as_str().unwrap().contains("waiting for its peers"));
    assert_eq!(page.get("/livez").await.status, StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_answers_nothing_is_not_alive() {
    let page = Page::new();
    page.memory.hang();
    assert_eq!(page.get("/livez").await.status, StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn requests_are_counted_under_their_routes_and_never_under_keys() {
    let page = Page::new();
    page.get("/v1/keyspaces/default/keys/secret-key").await;
    page.send("BREW", "/v1/nodes", &[], Body::empty()).await;
    let metrics = page.get("/metrics").await;
    let text = String::from_utf8(metrics.body.to_vec()).unwrap();
    let counted = "method=\"GET\",path=\"/v1/keyspaces/{ks}/keys/{key}\"";
    assert!(text.contains(counted), "{text}");
    assert!(text.contains("method=\"other\""), "{text}");
    assert!(!text.contains("secret-key"));
    assert!(text.contains("kvorum_http_seconds_bucket"));
}

#[tokio::test]
async fn the_document_describes_every_route_and_all_it_refers_to_exists() {
    let page = Page::new();
    let document = page.get("/openapi.json").await.json();
    let schemas = document["components"]["schemas"].as_object().unwrap();
    let mut references = Vec::new();
    collect_references(&document, &mut references);
    assert!(references.len() > 50);
    for reference in references {
        let name = reference.strip_prefix("#/components/schemas/").unwrap();
        assert!(schemas.contains_key(name), "{name}");
    }
    for (path, methods) in document["paths"].as_object().unwrap() {
        let uri = path.replace("{ks}", "default").replace("{key}", "k");
        for method in methods.as_object().unwrap().keys() {
            let answer = page.send(&method.to_uppercase(), &uri, &[], Body::empty()).await;
            let code = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            assert!(code["code"] != "NOPATH" && code["code"] != "NOMETHOD", "{method} {uri}");
        }
    }
}

fn collect_references(value: &Value, references: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value.as_str() {
                    Some(target) if name == "$ref" => references.push(target.to_owned()),
                    _ => collect_references(value, references),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect_references(item, references)),
        _ => {}
    }
}

#[tokio::test]
async fn an_idempotency_key_names_a_write_and_each_operation_of_a_batch() {
    let page = Page::new();
    let named = [("Idempotency-Key", "\"worker 7\"; seq=3"), ("Content-Type", "application/json")];
    page.send("PUT", KEY, &named, json!({ "value": "v" }).to_string()).await;
    page.send("DELETE", KEY, &[("Idempotency-Key", "worker 7")], Body::empty()).await;
    let add = json!({ "then": [{ "op": "increment", "key": "n" }] });
    page.send("POST", "/v1/keyspaces/default/txn", &named, add.to_string()).await;
    let put = json!({ "op": "put", "key": "k", "value": "v" });
    let batch = json!({ "operations": [put, put] }).to_string();
    page.send("POST", "/v1/keyspaces/default/batch", &named, batch).await;
    let keys: Vec<_> = page.memory.seen().into_iter().map(|request| request.key.unwrap()).collect();
    assert_eq!(keys.iter().map(|key| key.seq).collect::<Vec<u64>>(), [3, 0, 3, 3, 3]);
    let session = keys[0].client;
    assert_eq!([keys[1].client, keys[2].client], [session; 2]);
    assert!(keys[3].client != keys[4].client && keys[3].client != session);

    let refused = page.send("PUT", KEY, &[("Idempotency-Key", "\"open")], "v").await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (StatusCode::BAD_REQUEST, Some("INVALID"))
    );
    page.memory.fail_with(Error::KeyReused);
    let refused = page.send("PUT", KEY, &named[..1], "v").await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(refused.json()["executed"], "no");
}
