//! `kv.KeyValue`, the service of a3.store.

use kvorum_proto::kv;
use kvorum_proto::kv::key_value_server::KeyValue;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use super::super::Answered;
use super::super::caller::Gate;
use super::super::status::unimplemented;
use super::open;

/// The service.
#[derive(Debug)]
pub struct KeyValueService {
    gate: Gate,
}

impl KeyValueService {
    pub fn new(gate: Gate) -> KeyValueService {
        KeyValueService { gate }
    }

    /// Host and gRPC port of this node.
    fn own_id(&self) -> String {
        self.gate.data.this_node().map(|node| node.advertised.grpc()).unwrap_or_default()
    }

    /// Stores the pair. The client's own time is not used: versions are stamped by the cluster,
    /// so that a client with a wrong clock cannot undo the writes of others.
    async fn store(
        &self,
        request: Request<kv::PutRequest>,
        done: &str,
    ) -> Answered<kv::PutResponse> {
        let (caller, kv::PutRequest { key, value, .. }) = open(&self.gate, request)?;
        self.gate.put_text(&caller, key, value).await?;
        Ok(Response::new(kv::PutResponse { ok: true, message: done.to_owned() }))
    }
}

#[tonic::async_trait]
impl KeyValue for KeyValueService {
    type FetchRangeStream = Empty<Result<kv::KeyValuePair, Status>>;

    async fn put(&self, request: Request<kv::PutRequest>) -> Answered<kv::PutResponse> {
        self.store(request, "stored").await
    }

    async fn get(&self, request: Request<kv::GetRequest>) -> Answered<kv::GetResponse> {
        let (caller, kv::GetRequest { key }) = open(&self.gate, request)?;
        let own_id = self.own_id();
        let found = self.gate.get_text(&caller, key).await?;
        Ok(Response::new(match found {
            None => kv::GetResponse { own_id, ..Default::default() },
            Some((header, value)) => {
                let modified_at = header.version.hlc.wall_ms();
                let modified_at = i64::try_from(modified_at).unwrap_or(i64::MAX);
                kv::GetResponse { value, found: true, modified_at, own_id }
            }
        }))
    }

    async fn replicate(&self, request: Request<kv::PutRequest>) -> Answered<kv::PutResponse> {
        self.store(request, "replicated").await
    }

    async fn get_chunk_hash(
        &self,
        _: Request<kv::ChunkRequest>,
    ) -> Answered<kv::ChunkHashResponse> {
        Err(unimplemented("this version of kvorum has no chunk hashes"))
    }

    async fn fetch_range(&self, _: Request<kv::RangeRequest>) -> Answered<Self::FetchRangeStream> {
        Err(unimplemented("this version of kvorum does not stream chunks; use kvorum.v1.Kv/Scan"))
    }
}
