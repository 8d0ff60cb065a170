//! `kv.KeyValue`, the service of a3.store.

use std::time::Duration;

use bytes::Bytes;
use kvorum_proto::kv;
use kvorum_proto::kv::key_value_server::KeyValue;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::super::Answered;
use super::super::caller::{Caller, Gate};
use super::super::status::{busy, refuse};
use super::open;
use super::ration::{Portion, Ration};
use crate::data::{Chunk, ChunkReader, Pair};

/// How long a call may read a chunk.
const LONGEST: Duration = Duration::from_secs(60);

/// The service.
#[derive(Debug)]
pub struct KeyValueService {
    gate: Gate,
    ration: Ration,
}

impl KeyValueService {
    pub fn new(gate: Gate) -> KeyValueService {
        KeyValueService { gate, ration: Ration::new() }
    }

    /// Begins to read a chunk, if the node has time for it.
    fn begin<T>(&self, request: Request<T>) -> Result<(Caller, T, Portion), Status> {
        let (caller, message) = open(&self.gate, request)?;
        let portion = self.ration.begin().map_err(|wait| busy(&wait.to_string()))?;
        Ok((caller, message, portion))
    }

    async fn chunk(&self, caller: &Caller, id: i32) -> Result<ChunkReader, Status> {
        let chunk = Chunk::new(id).map_err(refuse)?;
        self.gate.data.chunk(&caller.identity, chunk).await.map_err(refuse)
    }

    async fn hash(&self, caller: &Caller, id: i32) -> Result<Bytes, Status> {
        let mut reader = self.chunk(caller, id).await?;
        let mut hash = Sha256::new();
        while let Some(pairs) = reader.next().await.map_err(refuse)? {
            for Pair { key, value, modified_at } in pairs {
                for field in [key, value, modified_at.to_string()] {
                    hash.update(field);
                    hash.update([0]);
                }
            }
        }
        Ok(hash.finalize().to_vec().into())
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
    type FetchRangeStream = ReceiverStream<Result<kv::KeyValuePair, Status>>;

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
        request: Request<kv::ChunkRequest>,
    ) -> Answered<kv::ChunkHashResponse> {
        let (caller, kv::ChunkRequest { chunk_id }, _portion) = self.begin(request)?;
        let hash = timeout(LONGEST, self.hash(&caller, chunk_id)).await;
        let hash = hash.map_err(|_| too_long())??;
        Ok(Response::new(kv::ChunkHashResponse { hash }))
    }

    async fn fetch_range(
        &self,
        request: Request<kv::RangeRequest>,
    ) -> Answered<Self::FetchRangeStream> {
        let (caller, kv::RangeRequest { chunk_id }, portion) = self.begin(request)?;
        let reader = timeout(LONGEST, self.chunk(&caller, chunk_id)).await;
        let reader = reader.map_err(|_| too_long())??;
        // One pair waits while the client reads the one before.
        let (pairs, stream) = mpsc::channel(1);
        tokio::spawn(async move {
            let sent = timeout(LONGEST, send_pairs(reader, &pairs)).await;
            drop(portion);
            if sent.is_err() {
                // Whoever reads on learns that this is not all; a client that has gone need not.
                let _ = pairs.send(Err(too_long())).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}

/// Sends pair after pair, until the end, an error, or the client's leaving.
async fn send_pairs(
    mut reader: ChunkReader,
    stream: &mpsc::Sender<Result<kv::KeyValuePair, Status>>,
) {
    loop {
        let pairs = match reader.next().await {
            Ok(Some(pairs)) => pairs,
            Ok(None) => return,
            Err(error) => {
                // A client that has gone needs no reason.
                let _ = stream.send(Err(refuse(error))).await;
                return;
            }
        };
        for Pair { key, value, modified_at } in pairs {
            let pair = kv::KeyValuePair { key, value, modified_at };
            if stream.send(Ok(pair)).await.is_err() {
                return;
            }
        }
    }
}

/// The chunk is too large for these calls, or its reader too slow.
fn too_long() -> Status {
    busy("reading the chunk took longer than 60 s; read the keyspace with kvorum.v1.Kv/Scan")
}
