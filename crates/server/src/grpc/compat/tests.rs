//! Tests of the services of the reference systems.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::auth::Authenticator;
use crate::backend::memory::{Memory, WALL_MS};
use crate::data::{Call, Chunk, Data};
use bytes::Bytes;
use kvorum_core::{Expiry, Identity, Op};
use kvorum_proto::kv;
use kvorum_proto::kv::key_value_server::KeyValue;
use kvorum_proto::kv::kv_store_server::KvStore;
use kvorum_proto::kv::replicator_server::Replicator;
use tokio_stream::StreamExt;
use tonic::Code;

fn gate() -> (Arc<Memory>, Gate) {
    let memory = Memory::new();
    let data = Data::new(Arc::clone(&memory) as Arc<_>, "default");
    (memory, Gate::new(data, Authenticator))
}

fn put(key: &str, value: &str) -> Request<kv::PutRequest> {
    let (key, value) = (key.to_owned(), value.to_owned());
    Request::new(kv::PutRequest { key, value, modified_at: 5 })
}

fn get(key: &str) -> Request<kv::GetRequest> {
    Request::new(kv::GetRequest { key: key.to_owned() })
}

#[tokio::test]
async fn key_value_stores_and_tells_when_and_who_answers() {
    let service = KeyValueService::new(gate().1);
    let stored = service.put(put("k", "v")).await.unwrap().into_inner();
    assert_eq!((stored.ok, &stored.message[..]), (true, "stored"));
    let found = service.get(get("k")).await.unwrap().into_inner();
    assert_eq!((&found.value[..], found.found), ("v", true));
    assert_eq!(found.modified_at, i64::try_from(WALL_MS).unwrap());
    assert_eq!(found.own_id, "127.0.0.1:50051");
    let missing = service.get(get("none")).await.unwrap().into_inner();
    assert_eq!((missing.found, &missing.own_id[..]), (false, "127.0.0.1:50051"));
    let replicated = service.replicate(put("k", "w")).await.unwrap().into_inner();
    assert_eq!(replicated.message, "replicated");
}

/// The keys "key-0" to "key-199" of chunk 3, in their order.
const CHUNK_3: [&str; 11] = [
    "key-115", "key-122", "key-143", "key-15", "key-174", "key-181", "key-22", "key-43", "key-5",
    "key-74", "key-81",
];
/// ```python
/// keys = sorted(k for k in (f"key-{i}" for i in range(200)) if zlib.crc32(k.encode()) % 16 == 3)
/// rows = (f"{k}\0value of {k}\0{1800000000000}\0" for k in keys)
/// hashlib.sha256("".join(rows).encode()).hexdigest()
/// ```
const HASH_3: &str = "069859bc34a76827dca7b9e11a0edadc03a07d52db1eb9d376f28e97891c678a";
/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

async fn chunk_hash(service: &KeyValueService, chunk_id: i32) -> Result<String, Status> {
    let answer = service.get_chunk_hash(Request::new(kv::ChunkRequest { chunk_id })).await?;
    let hash = answer.into_inner().hash;
    Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
}

async fn range(service: &KeyValueService, chunk_id: i32) -> Vec<kv::KeyValuePair> {
    let answer = service.fetch_range(Request::new(kv::RangeRequest { chunk_id })).await;
    answer.unwrap().into_inner().map(Result::unwrap).collect().await
}

#[tokio::test]
async fn chunks_have_the_hashes_and_pairs_of_the_reference_system_in_both_modes() {
    for keyspace in ["default", "eventual"] {
        let memory = Memory::new();
        let data = Data::new(Arc::clone(&memory) as Arc<_>, keyspace);
        let gate = Gate::new(data, Authenticator);
        let service = KeyValueService::new(gate.clone());
        assert_eq!(chunk_hash(&service, 3).await.unwrap(), EMPTY);
        for n in 0..200 {
            let key = format!("key-{n}");
            service.put(put(&key, &format!("value of {key}"))).await.unwrap();
        }
        // What these messages cannot tell is left out: no text as a value, or as a key of chunk 3.
        for (key, value) in [("key-0".into(), Bytes::from_static(b"\xff")), (no_text(), "v".into())]
        {
            let op = Op::Put { key, value, expiry: Expiry::Never, tag: 0 };
            gate.data.run(&Identity::ANONYMOUS, Call::new(keyspace, op)).await.unwrap();
        }
        assert_eq!(chunk_hash(&service, 3).await.unwrap(), HASH_3, "{keyspace}");
        let pairs = range(&service, 3).await;
        let keys: Vec<&str> = pairs.iter().map(|pair| pair.key.as_str()).collect();
        assert_eq!(keys, CHUNK_3);
        let first = &pairs[0];
        assert_eq!(first.value, "value of key-115");
        assert_eq!(first.modified_at, i64::try_from(WALL_MS).unwrap());
        let mut all = 0;
        for chunk in 0..16 {
            all += range(&service, chunk).await.len();
        }
        assert_eq!(all, 199, "every text is in one chunk");
        let delete = Request::new(kv::DeleteRequest { key: "key-5".to_owned() });
        KvStoreService::new(gate).delete(delete).await.unwrap();
        assert_ne!(chunk_hash(&service, 3).await.unwrap(), HASH_3);
    }
}

/// A key of chunk 3 that is no text.
fn no_text() -> Bytes {
    let keys = (0..=255_u8).map(|byte| Bytes::from(vec![0xff, byte]));
    keys.into_iter().find(|key| Chunk::of(key) == Chunk::new(3).unwrap()).unwrap()
}

#[tokio::test]
async fn chunks_that_do_not_exist_are_refused() {
    let service = KeyValueService::new(gate().1);
    for id in [-1, 16] {
        let status = chunk_hash(&service, id).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        let range = Request::new(kv::RangeRequest { chunk_id: id });
        assert_eq!(service.fetch_range(range).await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test]
async fn one_chunk_is_read_at_a_time() {
    let service = KeyValueService::new(gate().1);
    for n in 0..200 {
        service.put(put(&format!("key-{n}"), "v")).await.unwrap();
    }
    let mut stream = service.fetch_range(Request::new(kv::RangeRequest { chunk_id: 3 })).await;
    let stream = stream.as_mut().unwrap().get_mut();
    stream.next().await.unwrap().unwrap();
    let status = chunk_hash(&service, 4).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("try again in 1 s"), "{status}");
    while stream.next().await.is_some() {}
    chunk_hash(&service, 4).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn who_reads_too_slowly_learns_that_pairs_are_missing_and_holds_nobody_up() {
    let service = KeyValueService::new(gate().1);
    for n in 0..200 {
        service.put(put(&format!("key-{n}"), "v")).await.unwrap();
    }
    let range = service.fetch_range(Request::new(kv::RangeRequest { chunk_id: 3 })).await;
    let mut stream = range.unwrap().into_inner();
    stream.next().await.unwrap().unwrap();
    let minutes = |count: u64| tokio::time::advance(Duration::from_secs(60 * count));
    minutes(1).await;
    tokio::task::yield_now().await;
    minutes(4).await;
    chunk_hash(&service, 4).await.unwrap();
    let rest: Vec<_> = stream.collect().await;
    assert!(rest.len() < CHUNK_3.len() - 1);
    let status = rest.last().unwrap().as_ref().unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("kvorum.v1.Kv/Scan"), "{status}");
}

#[tokio::test]
async fn an_error_while_a_chunk_is_read_ends_the_call_with_its_code() {
    let (memory, gate) = gate();
    let service = KeyValueService::new(gate);
    memory.fail_with(kvorum_core::Error::Unavailable { need: 2, live: 1 });
    assert_eq!(chunk_hash(&service, 3).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn kv_store_speaks_as_distributed_kv_does() {
    let service = KvStoreService::new(gate().1);
    service.put(put("k", "v")).await.unwrap();
    assert!(service.get(get("k")).await.unwrap().into_inner().found);
    for _ in 0..2 {
        let delete = Request::new(kv::DeleteRequest { key: "k".to_owned() });
        service.delete(delete).await.unwrap();
    }
    assert!(!service.get(get("k")).await.unwrap().into_inner().found);
    let status = service.put(put("", "v")).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "Key must not be empty"));
}

#[tokio::test]
async fn kv_store_names_the_responsible_nodes_and_counts_keys() {
    let service = KvStoreService::new(gate().1);
    let nodes = async |n| {
        let request = Request::new(kv::GetNRequest { key: "k".to_owned(), n });
        service.get_n(request).await.map(|response| response.into_inner().nodes)
    };
    assert_eq!(nodes(2).await.unwrap(), ["node-1", "node-2"]);
    assert_eq!(nodes(9).await.unwrap().len(), 3);
    for n in [0, -1] {
        let status = nodes(n).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, "n must be > 0"));
    }
    service.put(put("k", "v")).await.unwrap();
    let health = service.health(Request::new(kv::HealthRequest {})).await.unwrap().into_inner();
    assert_eq!((&health.node_name[..], health.key_count), ("node-1", 1));
}

#[tokio::test]
async fn bytes_that_are_no_text_are_an_error_that_names_the_way_out() {
    let (_, gate) = gate();
    let value = Bytes::from_static(b"\xff");
    let op = Op::Put { key: "k".into(), value, expiry: Expiry::Never, tag: 0 };
    gate.data.run(&Identity::ANONYMOUS, Call::new("default", op)).await.unwrap();
    let status = KvStoreService::new(gate).get(get("k")).await.unwrap_err();
    assert!(status.message().contains("kvorum.v1.Kv/Get"), "{status}");
}

#[tokio::test]
async fn the_replicator_says_that_it_is_not_needed() {
    let request = Request::new(kv::ReplicateRequest::default());
    let status = ReplicatorService.replicate(request).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert!(status.message().contains("replicates by itself"));
}
