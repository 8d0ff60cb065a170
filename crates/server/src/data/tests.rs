//! Tests of the operations behind gRPC and HTTP.

use std::collections::BTreeSet;

use super::batch::MAX_BATCH;
use super::*;
use crate::backend::memory::Memory;
use kvorum_core::{Expiry, Want};

fn data() -> (Arc<Memory>, Data) {
    let memory = Memory::new();
    (Arc::clone(&memory), Data::new(memory, "default"))
}

fn put(key: &str) -> Call {
    let (key, value) = (key.to_owned().into(), "v".into());
    Call::new("", Op::Put { key, value, expiry: Expiry::Never, tag: 0 })
}

fn scan(limit: usize) -> Scan {
    Scan {
        keyspace: String::new(),
        prefix: "k".into(),
        from: None,
        limit,
        want: Want::Header,
        consistency: None,
        timeout: None,
    }
}

#[tokio::test]
async fn a_request_gets_the_default_deadline_and_an_unknown_keyspace_is_named() {
    let (memory, data) = data();
    data.run(&Identity::ANONYMOUS, put("k")).await.unwrap();
    let deadline = memory.seen()[0].deadline;
    assert_eq!(deadline, kvorum_core::Mono(1_000_000) + limits::DEFAULT_DEADLINE);
    let lost = Call { keyspace: "none".to_owned(), ..put("k") };
    let error = data.run(&Identity::ANONYMOUS, lost).await.unwrap_err();
    assert_eq!(error, Error::NoKeyspace("none".to_owned()));
}

#[tokio::test]
async fn a_stale_read_that_names_a_version_is_made_by_a_level_that_cannot_miss_it() {
    let (memory, data) = data();
    let get = |consistency, min_version| Call {
        consistency,
        min_version,
        ..Call::new("", Op::Get { key: "k".into(), want: Want::Value })
    };
    let version = "0000000000000001-00001001".parse().ok();
    let stale = Some(Consistency::Stale { max_ms: 500 });
    for call in [get(stale, None), get(stale, version), get(None, version)] {
        data.run(&Identity::ANONYMOUS, call).await.unwrap();
    }
    let seen: Vec<_> = memory.seen().into_iter().map(|request| request.consistency).collect();
    assert_eq!(seen, [stale, Some(Consistency::Follower), None]);
}

#[tokio::test]
async fn limits_are_enforced_before_the_node_hears_of_the_request() {
    let (memory, data) = data();
    let value = vec![0; (1 << 20) + 1].into();
    let key = "k".into();
    let large = Call::new("", Op::Put { key, value, expiry: Expiry::Never, tag: 0 });
    let long = Call::new("", Op::Delete { key: vec![1; 4097].into() });
    let slow = Call { timeout: Some(Duration::from_secs(31)), ..put("k") };
    for (call, text) in [
        (large, "value is 1048577 bytes long; the limit is 1048576"),
        (long, "key is 4097 bytes long; the limit is 4096"),
        (slow, "the timeout is 31000 ms; the limit is 30000 ms"),
    ] {
        let error = data.run(&Identity::ANONYMOUS, call).await.unwrap_err();
        assert_eq!(error.to_string(), text);
    }
    assert!(memory.seen().is_empty());
}

#[tokio::test]
async fn a_batch_answers_in_order_although_some_never_reach_the_node() {
    let (_, data) = data();
    let calls = vec![Ok(put("a")), Ok(put("")), Err(Error::invalid("no")), Ok(put("b"))];
    let answers = data.run_all(&Identity::ANONYMOUS, calls).await.unwrap();
    let kinds: Vec<bool> = answers.iter().map(Result::is_ok).collect();
    assert_eq!(kinds, [true, false, false, true]);
    let many = vec![Ok(put("a")); MAX_BATCH + 1];
    assert!(data.run_all(&Identity::ANONYMOUS, many).await.is_err());
}

#[tokio::test]
async fn pages_of_any_size_return_every_key_once() {
    let (_, data) = data();
    let keys: BTreeSet<String> = (0..300).map(|n| format!("k{n}")).collect();
    for key in &keys {
        data.run(&Identity::ANONYMOUS, put(key)).await.unwrap();
    }
    data.run(&Identity::ANONYMOUS, put("other")).await.unwrap();
    for limit in [1, 7, 299, 300, 1000] {
        let mut scan = scan(limit);
        let mut seen = Vec::new();
        loop {
            let page = data.scan(&Identity::ANONYMOUS, &scan).await.unwrap();
            assert!(page.items.len() <= limit);
            seen.extend(page.items.into_iter().map(|item| item.key));
            let Some(next) = page.next else { break };
            scan.from = decode_cursor(&encode_cursor(&next)).unwrap();
        }
        assert_eq!(seen.len(), keys.len(), "limit {limit}");
        let seen: BTreeSet<String> =
            seen.iter().map(|key| String::from_utf8_lossy(key).into_owned()).collect();
        assert_eq!(seen, keys, "limit {limit}");
    }
}

#[tokio::test]
async fn the_count_sums_all_partitions() {
    let (_, data) = data();
    for n in 0..50 {
        data.run(&Identity::ANONYMOUS, put(&format!("k{n}"))).await.unwrap();
    }
    assert_eq!(data.count(&Identity::ANONYMOUS, "default").await, Ok(50));
    assert_eq!(data.count(&Identity::ANONYMOUS, "eventual").await, Ok(0));
}

#[test]
fn a_route_names_the_replicas_of_the_slot() {
    let (_, data) = data();
    let route = data.route("", b"foo").unwrap();
    assert_eq!(route.slot.get(), 12182);
    assert_eq!(route.replicas.len(), 3);
    assert_eq!(route.layout_version, 7);
}
