//! Tests of the whole front end, over a socket.

use std::sync::Arc;

use super::*;
use crate::backend::memory::Memory;
use kvorum_core::Error;
use kvorum_proto::kvorum::peer::v1::Announcement;
use kvorum_proto::kvorum::peer::v1::introduction_client::IntroductionClient;
use kvorum_proto::kvorum::v1;
use kvorum_proto::kvorum::v1::admin_client::AdminClient;
use kvorum_proto::kvorum::v1::kv_client::KvClient;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// A front end on a port of its own.
pub struct Served {
    pub memory: Arc<Memory>,
    pub channel: Channel,
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), GrpcError>>,
}

impl Served {
    pub async fn start() -> Served {
        let memory = Memory::new();
        let data = Data::new(Arc::clone(&memory) as Arc<_>, "default");
        let grpc = Grpc::new(&data, &Authenticator, Routes::default()).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (stop, stopped) = oneshot::channel();
        let stopped = async { drop(stopped.await) };
        let incoming = Incoming::new("grpc", listener, 100, b"");
        let done = tokio::spawn(grpc.serve(incoming, data, stopped));
        let address = format!("http://127.0.0.1:{port}");
        let channel = Channel::from_shared(address).unwrap().connect().await.unwrap();
        Served { memory, channel, stop, done }
    }

    async fn stop(self) {
        drop((self.channel, self.stop));
        self.done.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn it_serves_until_it_is_told_to_stop() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel.clone());
    let put = v1::PutRequest { key: "k".into(), value: "v".into(), ..Default::default() };
    kv.put(put).await.unwrap();
    drop(kv);
    served.stop().await;
}

#[tokio::test]
async fn reflection_lists_every_public_service_and_can_describe_each() {
    use tonic_reflection::pb::v1::ServerReflectionRequest;
    use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
    use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
    use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

    let served = Served::start().await;
    let mut client = ServerReflectionClient::new(served.channel.clone());
    let mut ask = async |message| {
        let request =
            ServerReflectionRequest { host: String::new(), message_request: Some(message) };
        let stream = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
        stream.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
    };
    let answer = ask(MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let mut names: Vec<String> = list.service.into_iter().map(|one| one.name).collect();
    let mut listed = LISTED.map(str::to_owned);
    names.sort();
    listed.sort();
    assert_eq!(names, listed);
    for name in names {
        let answer = ask(MessageRequest::FileContainingSymbol(name.clone())).await;
        assert!(matches!(answer, MessageResponse::FileDescriptorResponse(_)), "{name}");
    }
}

#[tokio::test]
async fn health_follows_the_node() {
    let served = Served::start().await;
    let mut health = HealthClient::new(served.channel.clone());
    let request = HealthCheckRequest { service: "kvorum.v1.Kv".to_owned() };
    served.memory.change_status(|status| {
        status.serving = kvorum_node::Serving::No("stopping".to_owned());
    });
    let mut changes = health.watch(request).await.unwrap().into_inner();
    loop {
        let status = changes.message().await.unwrap().unwrap().status();
        if status == ServingStatus::NotServing {
            break;
        }
    }
}

#[tokio::test]
async fn a_method_that_does_not_exist_is_refused_by_name() {
    let served = Served::start().await;
    // The nodes' introductions are not part of this server.
    let mut introduction = IntroductionClient::new(served.channel.clone());
    let status = introduction.hello(Announcement::default()).await.unwrap_err();
    assert_eq!(status.code(), Code::Unimplemented);
    assert_eq!(status.message(), "there is no such method here");
    assert_eq!(status.metadata().get("kvorum-code").unwrap(), "UNIMPLEMENTED");
}

#[tokio::test]
async fn a_failure_says_in_its_metadata_what_happened() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel.clone());
    served.memory.fail_with(Error::Timeout {
        need: 2,
        acked: 1,
        executed: kvorum_core::Executed::Unknown,
    });
    let put = v1::PutRequest { key: "k".into(), ..Default::default() };
    let status = kv.put(put).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(status.metadata().get("kvorum-code").unwrap(), "TIMEOUT");
    assert_eq!(status.metadata().get("kvorum-executed").unwrap(), "unknown");
}

#[tokio::test]
async fn a_message_that_is_too_long_is_refused_and_the_connection_stays_usable() {
    let served = Served::start().await;
    let mut kv = KvClient::new(served.channel.clone());
    let value = vec![0; MIN_MESSAGE + 1].into();
    let put = v1::PutRequest { key: "k".into(), value, ..Default::default() };
    let status = kv.put(put).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("too large"), "{}", status.message());
    assert_eq!(status.metadata().get("kvorum-code").unwrap(), "INVALID");
    assert_eq!(status.metadata().get("kvorum-executed").unwrap(), "no");
    let value = vec![0; (1 << 20) + 1].into();
    let put = v1::PutRequest { key: "k".into(), value, ..Default::default() };
    let status = kv.put(put).await.unwrap_err();
    assert_eq!(status.message(), "value is 1048577 bytes long; the limit is 1048576");
    assert!(served.memory.seen().is_empty());
    let get = v1::GetRequest { key: "k".into(), ..Default::default() };
    assert!(!kv.get(get).await.unwrap().into_inner().found);
}

#[tokio::test]
async fn admin_tells_what_the_node_knows() {
    let served = Served::start().await;
    let mut admin = AdminClient::new(served.channel.clone());
    let status = admin.status(v1::StatusRequest {}).await.unwrap().into_inner();
    assert!(status.serving);
    assert_eq!((status.node_id, status.replication_factor), (1, 3));
    let nodes = admin.list_nodes(v1::ListNodesRequest {}).await.unwrap().into_inner().nodes;
    assert_eq!(nodes.iter().map(|node| node.grpc_port).collect::<Vec<_>>(), [50051, 50052, 50053]);
    let keyspaces = admin.list_keyspaces(v1::ListKeyspacesRequest {}).await.unwrap().into_inner();
    let names: Vec<_> = keyspaces.keyspaces.into_iter().map(|one| one.name).collect();
    assert_eq!(names, ["default", "eventual"]);
    let layout = admin.layout(v1::LayoutRequest::default()).await.unwrap().into_inner();
    let last = layout.partitions.last().unwrap();
    assert_eq!((last.last_slot, &last.replicas[..]), (16383, &[1, 2, 3][..]));
    let route = v1::RouteRequest { key: "foo".into(), ..Default::default() };
    let route = admin.route(route).await.unwrap().into_inner();
    assert_eq!((route.slot, route.partition, route.replicas.len()), (12182, 47, 3));
}

#[tokio::test]
async fn admin_tells_how_repair_goes() {
    let served = Served::start().await;
    let mut admin = AdminClient::new(served.channel.clone());
    let request = v1::RepairStatusRequest { since: 500_000, ..Default::default() };
    let status = admin.repair_status(request).await.unwrap().into_inner();
    assert_eq!((status.node_id, status.clock, status.last_scrub_ms), (1, 1_000_000, Some(1000)));
    let peer = &status.peers[0];
    assert_eq!((peer.node_id, peer.up), (2, true));
    assert_eq!((peer.partitions, peer.compared, peer.differing), (2, 1, 1));
    assert_eq!((peer.last_compared_ms, peer.last_clean_ms), (Some(100), Some(800)));
    assert_eq!((peer.sent, peer.received, peer.bytes), (5, 6, 700));
    assert_eq!(peer.last_failure, "there is too much to do");
    let keyspace = &status.keyspaces[0];
    assert_eq!((&keyspace.name[..], keyspace.floor_age_ms), ("eventual", Some(3_600_000)));
    assert_eq!((keyspace.tombstones, &keyspace.held_up_by[..]), (8, &[2][..]));
    let repair = |peer| v1::RepairRequest { peer };
    let begun = admin.repair(repair(3)).await.unwrap().into_inner();
    assert_eq!(begun.clock, 1_000_000);
    for (wrong, name) in [(repair(1), "peer 1"), (repair(9), "peer 9")] {
        let status = admin.repair(wrong).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains(name), "{status}");
    }
    for (keyspace, code) in [("default", Code::InvalidArgument), ("none", Code::NotFound)] {
        let request = v1::RepairStatusRequest { since: 0, keyspace: keyspace.to_owned() };
        assert_eq!(admin.repair_status(request).await.unwrap_err().code(), code);
    }
}

#[tokio::test]
async fn calls_are_counted_under_the_names_of_methods_that_exist() {
    let metrics = crate::telemetry::Metrics::of_process().unwrap();
    let served = Served::start().await;
    let mut health = HealthClient::new(served.channel.clone());
    health.check(HealthCheckRequest::default()).await.unwrap();
    let mut kv = KvClient::new(served.channel.clone());
    kv.txn(v1::TxnRequest::default()).await.unwrap_err();
    let text = metrics.render();
    for series in [
        "kv_grpc_requests_total{method=\"Check\"}",
        "kv_grpc_errors_total{method=\"Txn\"}",
        "kv_grpc_latency_seconds_count{method=\"Txn\"}",
    ] {
        assert!(text.contains(series), "{series}\n{text}");
    }
}
