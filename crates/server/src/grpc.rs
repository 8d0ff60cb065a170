//! The gRPC front end: `kvorum.v1`, the services of the reference systems, health, reflection.
//!
//! Every service translates: a message into a [`Call`](crate::data::Call), a reply into a
//! message, an error into a status by the one table in [`status`].

mod admin;
mod caller;
mod compat;
mod health;
mod kv;
mod measure;
mod refusal;
mod status;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn;
use kvorum_node::Incoming;
use kvorum_proto::kv::key_value_server::KeyValueServer;
use kvorum_proto::kv::kv_store_server::KvStoreServer;
use kvorum_proto::kv::replicator_server::ReplicatorServer;
use kvorum_proto::kvorum::v1::admin_server::AdminServer;
use kvorum_proto::kvorum::v1::kv_server::KvServer;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::{Response, Status};

use crate::auth::Authenticator;
use crate::data::Data;

/// Room in a message beside the longest value.
const MESSAGE_OVERHEAD: usize = 64 << 10;
/// The longest message at least, whatever the longest value: batches.
const MIN_MESSAGE: usize = 4 << 20;
/// How many calls a connection may have at once.
const MAX_STREAMS: u32 = 256;
/// After how long a silent connection is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(30);
/// How many bytes of headers a call may have.
const MAX_HEADER_BYTES: u32 = 16 << 10;

/// What every service on the port looks like.
const DESCRIPTORS: [&[u8]; 4] = [
    kvorum_proto::DESCRIPTORS,
    tonic_health::pb::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
];

/// The services that reflection lists.
const LISTED: [&str; 9] = [
    "kvorum.v1.Kv",
    "kvorum.v1.Admin",
    "kvorum.peer.v1.Introduction",
    "kv.KeyValue",
    "kv.KVStore",
    "kv.Replicator",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// What a method answers.
type Answered<T> = Result<Response<T>, Status>;

/// The front end could not be built or served.
#[derive(Debug, thiserror::Error)]
pub enum GrpcError {
    /// The descriptors that were compiled in are broken.
    #[error("the descriptors of the gRPC services are broken: {0}")]
    Descriptors(String),
    /// The listener failed.
    #[error("the gRPC listener failed: {0}")]
    Transport(#[from] tonic::transport::Error),
}

/// The front end, ready to be served.
#[derive(Debug)]
pub struct Grpc {
    router: Router,
    health: health::Reporter,
}

impl Grpc {
    /// Builds the front end over `data`; `introduction` holds the services by which nodes find
    /// each other, which answer on the same port.
    ///
    /// # Errors
    /// [`GrpcError::Descriptors`] only if the build is broken.
    pub fn new(
        data: &Data,
        authenticator: &Authenticator,
        introduction: Routes,
    ) -> Result<Grpc, GrpcError> {
        let gate = caller::Gate::new(data.clone(), authenticator.clone());
        let longest = (data.max_value() + MESSAGE_OVERHEAD).max(MIN_MESSAGE);
        let (health, health_service) = health::Reporter::new();
        let kv = KvServer::new(kv::KvService::new(gate.clone()));
        let key_value = KeyValueServer::new(compat::KeyValueService::new(gate.clone()));
        let kv_store = KvStoreServer::new(compat::KvStoreService::new(gate.clone()));
        let routes = introduction
            .add_service(kv.max_decoding_message_size(longest))
            .add_service(AdminServer::new(admin::AdminService::new(gate)))
            .add_service(key_value.max_decoding_message_size(longest))
            .add_service(kv_store.max_decoding_message_size(longest))
            .add_service(ReplicatorServer::new(compat::ReplicatorService))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .add_service(health_service);
        let router = routes.into_axum_router().layer(from_fn(refusal::name));
        let router = measure::measured(router)?;
        Ok(Grpc { router, health })
    }

    /// Serves until `stop` resolves, then finishes the calls that are under way.
    ///
    /// # Errors
    /// [`GrpcError::Transport`] if the listener fails.
    pub async fn serve(
        self,
        incoming: Incoming,
        data: Data,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), GrpcError> {
        self.health.report(&data).await;
        let serving = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .http2_max_header_list_size(MAX_HEADER_BYTES)
            .http2_keepalive_interval(Some(KEEPALIVE))
            .add_routes(Routes::from(self.router))
            .serve_with_incoming_shutdown(incoming, stop);
        tokio::select! {
            result = serving => Ok(result?),
            never = self.health.follow(&data) => match never {},
        }
    }
}

fn reflection() -> tonic_reflection::server::Builder<'static> {
    let mut builder =
        tonic_reflection::server::Builder::configure().include_reflection_service(false);
    for descriptors in DESCRIPTORS {
        builder = builder.register_encoded_file_descriptor_set(descriptors);
    }
    for service in LISTED {
        builder = builder.with_service_name(service);
    }
    builder
}

impl From<tonic_reflection::server::Error> for GrpcError {
    fn from(error: tonic_reflection::server::Error) -> GrpcError {
        GrpcError::Descriptors(error.to_string())
    }
}

#[cfg(test)]
mod tests;
