//! Tests of `kvorum.v1.Kv`.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::auth::Authenticator;
use crate::backend::memory::{Memory, WALL_MS};
use kvorum_core::{Consistency, Mono};
use tokio_stream::StreamExt;
use tonic::Code;

fn service() -> (Arc<Memory>, KvService) {
    let memory = Memory::new();
    let data = Data::new(Arc::clone(&memory) as Arc<_>, "default");
    (memory, KvService::new(Gate::new(data, Authenticator)))
}

fn put(key: &str, value: &str) -> v1::PutRequest {
    v1::PutRequest {
        key: key.to_owned().into(),
        value: value.to_owned().into(),
        ..Default::default()
    }
}

fn get(key: &str) -> v1::GetRequest {
    v1::GetRequest { key: key.to_owned().into(), ..Default::default() }
}

#[tokio::test]
async fn a_value_is_read_with_its_version_expiry_and_tag() {
    let (_, kv) = service();
    let expiry = Some(v1::put_request::Expiry::TtlMs(5000));
    let request = v1::PutRequest { expiry, tag: 7, ..put("k", "v") };
    let written = kv.put(Request::new(request)).await.unwrap().into_inner();
    assert_eq!((written.acked, written.was_live), (2, false));
    let found = kv.get(Request::new(get("k"))).await.unwrap().into_inner();
    assert!(found.found);
    assert_eq!(&found.value[..], b"v");
    assert_eq!(found.version, written.version);
    assert_eq!(found.expires_at_ms, WALL_MS + 5000);
    assert_eq!(found.tag, 7);
}

#[tokio::test]
async fn a_deleted_key_is_missing_and_shows_the_version_of_its_deletion() {
    let (_, kv) = service();
    let keyspace = "eventual".to_owned();
    kv.put(Request::new(v1::PutRequest { keyspace: keyspace.clone(), ..put("k", "v") }))
        .await
        .unwrap();
    let request =
        v1::DeleteRequest { keyspace: keyspace.clone(), key: "k".into(), ..Default::default() };
    let gone = kv.delete(Request::new(request)).await.unwrap().into_inner();
    assert!(gone.was_live);
    let again = v1::GetRequest { keyspace, ..get("k") };
    let missing = kv.get(Request::new(again)).await.unwrap().into_inner();
    assert!(!missing.found);
    assert_eq!(missing.version, gone.version);
}

#[tokio::test]
async fn what_the_request_names_reaches_the_node() {
    let (memory, kv) = service();
    let request = v1::GetRequest {
        keyspace: "eventual".to_owned(),
        consistency: v1::Consistency::All.into(),
        min_version: "0000000000000001-00000002".to_owned(),
        timeout_ms: 250,
        ..get("k")
    };
    kv.get(Request::new(request)).await.unwrap();
    let seen = memory.seen().pop().unwrap();
    assert_eq!(seen.consistency, Some(Consistency::All));
    assert_eq!(seen.min_version, Some("0000000000000001-00000002".parse().unwrap()));
    assert_eq!(seen.deadline, Mono(1_000_000) + Duration::from_millis(250));
    assert_eq!(seen.keyspace.0, 2);
}

#[tokio::test]
async fn each_operation_of_a_batch_has_its_own_result() {
    let (_, kv) = service();
    let operation = |kind| v1::Operation { kind: Some(kind) };
    let operations = vec![
        operation(v1::operation::Kind::Put(put("a", "1"))),
        operation(v1::operation::Kind::Get(get(""))),
        operation(v1::operation::Kind::Get(get("a"))),
        v1::Operation { kind: None },
    ];
    let response = kv.batch(Request::new(v1::BatchRequest { operations })).await.unwrap();
    let kinds: Vec<_> =
        response.into_inner().results.into_iter().map(|result| result.kind.unwrap()).collect();
    use v1::operation_result::Kind;
    assert!(matches!(&kinds[0], Kind::Put(_)));
    assert!(matches!(&kinds[1], Kind::Failure(f) if f.code == "INVALID" && f.executed == "no"));
    assert!(matches!(&kinds[2], Kind::Get(found) if found.found));
    assert!(matches!(&kinds[3], Kind::Failure(f) if f.message.contains("neither get, put")));
}

#[tokio::test]
async fn a_scan_streams_everything_up_to_its_limit_and_can_go_on() {
    let (_, kv) = service();
    for n in 0..2500 {
        kv.put(Request::new(put(&format!("k{n}"), "v"))).await.unwrap();
    }
    let scan = async |request: v1::ScanRequest| {
        let pages = kv.scan(Request::new(request)).await.unwrap().into_inner();
        pages.map(|page| page.unwrap()).collect::<Vec<_>>().await
    };
    let all = scan(v1::ScanRequest { prefix: "k".into(), ..Default::default() }).await;
    assert_eq!(all.iter().map(|page| page.items.len()).sum::<usize>(), 2500);
    assert_eq!(all.last().unwrap().cursor, "");
    let some = scan(v1::ScanRequest { limit: 1700, ..Default::default() }).await;
    let cursor = some.last().unwrap().cursor.clone();
    let rest = scan(v1::ScanRequest { cursor, ..Default::default() }).await;
    let count = |pages: &[v1::ScanResponse]| pages.iter().map(|p| p.items.len()).sum::<usize>();
    assert_eq!((count(&some), count(&rest)), (1700, 800));
}

/// An operation of a transaction.
fn step(kind: v1::operation::Kind) -> v1::Operation {
    v1::Operation { kind: Some(kind) }
}

#[tokio::test]
async fn a_transaction_compares_and_then_writes() {
    use v1::compare::Condition;
    use v1::operation::Kind;
    use v1::operation_result::Kind as Answered;
    let (_, kv) = service();
    let increment = |by| step(Kind::Increment(v1::IncrementRequest { key: "{t}n".into(), by }));
    let expiry = Some(v1::expire_request::Expiry::TtlMs(9000));
    let expire = v1::ExpireRequest { key: "{t}a".into(), expiry };
    let txn = |condition| v1::TxnRequest {
        compares: vec![v1::Compare { key: "{t}a".into(), condition: Some(condition) }],
        success: vec![
            step(Kind::Put(put("{t}a", "1"))),
            increment(i64::MAX),
            increment(1),
            step(Kind::Expire(expire.clone())),
            step(Kind::Delete(v1::DeleteRequest { key: "{t}b".into(), ..Default::default() })),
        ],
        failure: vec![step(Kind::Get(get("{t}a"))), step(Kind::Get(get("{t}none")))],
        timeout_ms: 0,
        ..Default::default()
    };
    let run = async |request| kv.txn(Request::new(request)).await.unwrap().into_inner();
    let first = run(txn(Condition::Exists(false))).await;
    assert!(first.succeeded);
    let kinds: Vec<_> = first.results.into_iter().map(|result| result.kind.unwrap()).collect();
    let [
        Answered::Put(stored),
        Answered::Increment(sum),
        Answered::Failure(failure),
        Answered::Expire(expires),
        Answered::Delete(deleted),
    ] = &kinds[..]
    else {
        panic!("{kinds:?}")
    };
    assert_eq!((stored.acked, stored.was_live, sum.value), (2, false, i64::MAX));
    assert_eq!((&failure.code[..], &failure.executed[..]), ("INVALID", "no"));
    assert!(failure.message.contains("overflow") && expires.found && !deleted.was_live);
    for (condition, holds) in [
        (Condition::Version(stored.version.clone()), true),
        (Condition::Value("1".into()), true),
        (Condition::Value("2".into()), false),
        (Condition::Exists(false), false),
    ] {
        let asked = v1::TxnRequest { success: Vec::new(), ..txn(condition.clone()) };
        let answer = run(asked).await;
        assert_eq!(answer.succeeded, holds, "{condition:?}");
        if !holds {
            let Some(Answered::Get(found)) = &answer.results[0].kind else { panic!("{answer:?}") };
            assert_eq!((&found.value[..], found.expires_at_ms), (&b"1"[..], WALL_MS + 9000));
        }
    }
}

#[tokio::test]
async fn transactions_that_make_no_sense_are_refused() {
    use v1::operation::Kind;
    let (memory, kv) = service();
    let elsewhere = v1::GetRequest { keyspace: "eventual".to_owned(), ..get("a") };
    for (success, text) in [
        (vec![], "names no key"),
        (vec![step(Kind::Get(get("a"))), step(Kind::Get(get("b")))], "one slot"),
        (vec![step(Kind::Get(elsewhere))], "no keyspace"),
        (vec![v1::Operation { kind: None }], "neither get, put"),
    ] {
        let request = v1::TxnRequest { success, ..Default::default() };
        let refused = kv.txn(Request::new(request)).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{text}");
        assert!(refused.message().contains(text), "{}", refused.message());
    }
    assert!(memory.seen().is_empty());
}

#[tokio::test]
async fn transactions_and_watches_ask_for_a_strong_keyspace() {
    let (_, kv) = service();
    let keyspace = "eventual".to_owned();
    let txn = v1::TxnRequest { keyspace: keyspace.clone(), ..Default::default() };
    let txn = kv.txn(Request::new(txn)).await.unwrap_err();
    assert_eq!(txn.code(), Code::FailedPrecondition);
    assert_eq!(txn.metadata().get("kvorum-code").unwrap(), "NOTSTRONG");
    let watch = v1::WatchRequest { keyspace, ..Default::default() };
    let watch = kv.watch(Request::new(watch)).await.unwrap_err();
    assert_eq!(watch.code(), Code::FailedPrecondition);
    let watch = kv.watch(Request::new(v1::WatchRequest::default())).await.unwrap_err();
    assert_eq!(watch.code(), Code::Unimplemented);
    let lost = v1::TxnRequest { keyspace: "none".to_owned(), ..Default::default() };
    assert_eq!(kv.txn(Request::new(lost)).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn nonsense_is_refused_with_its_reason() {
    let (memory, kv) = service();
    for (request, text) in [
        (v1::GetRequest { consistency: 9, ..get("k") }, "there is no consistency 9"),
        (v1::GetRequest { min_version: "x".to_owned(), ..get("k") }, "16 hexadecimal digits"),
        (v1::GetRequest { timeout_ms: 40_000, ..get("k") }, "the limit is 30000 ms"),
        (get(""), "Key must not be empty"),
    ] {
        let status = kv.get(Request::new(request)).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(text), "{status}");
    }
    assert!(memory.seen().is_empty());
}

#[tokio::test]
async fn the_metadata_of_a_call_may_name_it_so_that_it_is_not_done_twice() {
    let (memory, kv) = service();
    let mut request = Request::new(put("k", "v"));
    request.metadata_mut().insert("idempotency-key", "\"a\"; seq=9".parse().unwrap());
    kv.put(request).await.unwrap();
    let seen = memory.seen();
    let key = seen.last().and_then(|request| request.key).unwrap();
    assert_eq!(key.seq, 9);
    let mut request = Request::new(put("k", "v"));
    request.metadata_mut().insert("idempotency-key", "\"open".parse().unwrap());
    assert_eq!(kv.put(request).await.unwrap_err().code(), Code::InvalidArgument);
}
