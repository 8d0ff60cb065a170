//! `kv.Replicator`, the service between the workers of Cloud-Distributed-DB: declared, so that
//! its callers get a clear answer, and not served, because kvorum replicates by itself.

use kvorum_proto::kv;
use kvorum_proto::kv::replicator_server::Replicator;
use tokio_stream::Empty;
use tonic::{Request, Status};

use super::super::Answered;
use super::super::status::unimplemented;

/// The service.
#[derive(Debug)]
pub struct ReplicatorService;

#[tonic::async_trait]
impl Replicator for ReplicatorService {
    type StreamBucketStream = Empty<Result<kv::StreamKv, Status>>;

    async fn replicate(&self, _: Request<kv::ReplicateRequest>) -> Answered<kv::ReplicateResponse> {
        Err(unimplemented("kvorum replicates by itself; write with kvorum.v1.Kv or PUT /kv/{key}"))
    }

    async fn stream_bucket(
        &self,
        _: Request<kv::StreamBucketRequest>,
    ) -> Answered<Self::StreamBucketStream> {
        Err(unimplemented("this version of kvorum does not stream buckets; use kvorum.v1.Kv/Scan"))
    }
}
