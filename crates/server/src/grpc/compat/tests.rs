//! Tests of the services of the reference systems.

use std::sync::Arc;

use super::*;
use crate::auth::Authenticator;
use crate::backend::memory::{Memory, WALL_MS};
use crate::data::{Call, Data};
use bytes::Bytes;
use kvorum_core::{Expiry, Identity, Op};
use kvorum_proto::kv;
use kvorum_proto::kv::key_value_server::KeyValue;
use kvorum_proto::kv::kv_store_server::KvStore;
use kvorum_proto::kv::replicator_server::Replicator;
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
    let chunk = Request::new(kv::ChunkRequest { chunk_id: 1 });
    assert_eq!(service.get_chunk_hash(chunk).await.unwrap_err().code(), Code::Unimplemented);
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
