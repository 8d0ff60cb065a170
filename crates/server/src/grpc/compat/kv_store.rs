//! `kv.KVStore`, the service of distributed-kv.

use kvorum_core::Error;
use kvorum_proto::kv;
use kvorum_proto::kv::kv_store_server::KvStore;
use tonic::{Request, Response};

use super::super::Answered;
use super::super::caller::Gate;
use super::super::status::refuse;
use super::open;

/// The service.
#[derive(Debug)]
pub struct KvStoreService {
    gate: Gate,
}

impl KvStoreService {
    pub fn new(gate: Gate) -> KvStoreService {
        KvStoreService { gate }
    }
}

#[tonic::async_trait]
impl KvStore for KvStoreService {
    async fn get(&self, request: Request<kv::GetRequest>) -> Answered<kv::GetResponse> {
        let (caller, kv::GetRequest { key }) = open(&self.gate, request)?;
        let found = self.gate.get_text(&caller, key).await?;
        let found =
            found.map(|(_, value)| kv::GetResponse { value, found: true, ..Default::default() });
        Ok(Response::new(found.unwrap_or_default()))
    }

    async fn put(&self, request: Request<kv::PutRequest>) -> Answered<kv::PutResponse> {
        let (caller, kv::PutRequest { key, value, .. }) = open(&self.gate, request)?;
        self.gate.put_text(&caller, key, value).await?;
        Ok(Response::new(kv::PutResponse::default()))
    }

    async fn delete(&self, request: Request<kv::DeleteRequest>) -> Answered<kv::DeleteResponse> {
        let (caller, kv::DeleteRequest { key }) = open(&self.gate, request)?;
        let timeout = caller.timeout(0);
        let done = self.gate.data.delete_text(&caller.identity, key.into(), timeout).await;
        done.map_err(refuse)?;
        Ok(Response::new(kv::DeleteResponse {}))
    }

    async fn get_n(&self, request: Request<kv::GetNRequest>) -> Answered<kv::GetNResponse> {
        let (_, kv::GetNRequest { key, n }) = open(&self.gate, request)?;
        let data = &self.gate.data;
        let route = data.route(data.compat_keyspace(), key.as_bytes()).map_err(refuse)?;
        let wanted = usize::try_from(n).ok().filter(|n| *n > 0);
        let wanted = wanted.ok_or_else(|| refuse(Error::invalid("n must be > 0")))?;
        let nodes = route.replicas.into_iter().take(wanted).map(|node| node.name).collect();
        Ok(Response::new(kv::GetNResponse { nodes }))
    }

    async fn health(&self, request: Request<kv::HealthRequest>) -> Answered<kv::HealthResponse> {
        let (caller, _) = open(&self.gate, request)?;
        let data = &self.gate.data;
        let keys = data.count(&caller.identity, data.compat_keyspace()).await.map_err(refuse)?;
        Ok(Response::new(kv::HealthResponse {
            node_name: data.this_node().map(|node| node.name).unwrap_or_default(),
            key_count: i64::try_from(keys).unwrap_or(i64::MAX),
        }))
    }
}
