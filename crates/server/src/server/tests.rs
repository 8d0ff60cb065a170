//! Tests of a whole server: one node, real sockets, a real disk.

use super::*;
use crate::config::Given;
use kvorum_core::Version;
use kvorum_proto::kvorum::v1;
use kvorum_proto::kvorum::v1::kv_client::KvClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A configuration of one small node on free ports.
fn config(data_dir: &std::path::Path) -> Config {
    config_with(data_dir, &[])
}

fn config_with(data_dir: &std::path::Path, more: &[(&str, &str)]) -> Config {
    // Bound together so that they differ, and let go again for the server to take.
    let bound: Vec<_> =
        (0..4).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let port = |at: usize| bound[at].local_addr().unwrap().port().to_string();
    let flags = [
        ("data_dir", data_dir.to_str().unwrap().to_owned()),
        ("resp_port", port(0)),
        ("grpc_port", port(1)),
        ("http_port", port(2)),
        ("peer_port", port(3)),
        ("segment_size", "256KiB".to_owned()),
        ("max_value", "4KiB".to_owned()),
        ("log_level", "error".to_owned()),
    ];
    let more = more.iter().map(|(name, text)| (*name, (*text).to_owned()));
    let flags = flags.into_iter().chain(more);
    let flags = flags.map(|(name, text)| (name.to_owned(), text)).collect();
    Config::load(&Given { flags, ..Given::default() }).unwrap()
}

/// Starts a server; another process may take a port before the server does, so a few times.
async fn started(data_dir: &std::path::Path) -> Server {
    for _ in 0..5 {
        match Server::start(&config(data_dir)).await {
            Ok(server) => return server,
            Err(error) => assert!(error.to_string().contains("in use"), "{error}"),
        }
    }
    panic!("no free ports");
}

/// Sends some bytes and reads until the answer contains `until`.
async fn exchange(address: SocketAddr, bytes: &str, until: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&answer).into_owned();
        if text.contains(until) {
            return text;
        }
        assert!(stream.read_buf(&mut answer).await.unwrap() > 0, "{text:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_front_end_stores_the_others_read_also_after_a_restart() {
    let data_dir = tempfile::tempdir().unwrap();
    let server = started(data_dir.path()).await;
    server.ready().await.unwrap();
    let Endpoints { resp, grpc, http } = server.endpoints();
    let set = "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n";
    assert_eq!(exchange(resp, set, "\r\n").await, "+OK\r\n");
    let get = "GET /get?key=k HTTP/1.1\r\nhost: x\r\n\r\n";
    assert!(exchange(http, get, "}").await.contains("\"value\":\"hello\""));
    let mut kv = KvClient::connect(format!("http://{grpc}")).await.unwrap();
    let request = v1::GetRequest { key: "k".into(), ..Default::default() };
    let found = kv.get(request.clone()).await.unwrap().into_inner();
    assert_eq!(&found.value[..], b"hello");
    assert!(found.version.parse::<Version>().is_ok());
    drop(kv);
    server.stop().await;

    let server = started(data_dir.path()).await;
    server.ready().await.unwrap();
    let grpc = server.endpoints().grpc;
    let mut kv = KvClient::connect(format!("http://{grpc}")).await.unwrap();
    assert_eq!(kv.get(request).await.unwrap().into_inner(), found);
    drop(kv);
    server.stop().await;
}

#[tokio::test]
async fn a_busy_port_refuses_the_start_before_the_data_is_touched() {
    let data_dir = tempfile::tempdir().unwrap();
    let config = config(data_dir.path());
    for (address, setting) in [
        (config.resp_address(), "resp_port"),
        (config.grpc_address(), "grpc_port"),
        (config.http_address(), "http_port"),
        (config.peer_address(), "peer_port"),
    ] {
        let _taken = std::net::TcpListener::bind(address).unwrap();
        let error = Server::start(&config).await.unwrap_err();
        assert_eq!(error.exit_code(), 78);
        assert!(error.to_string().contains(&format!("({setting}) is in use")), "{error}");
    }
    let _taken = std::net::UdpSocket::bind(config.gossip_address()).unwrap();
    let error = Server::start(&config).await.unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("(gossip_port) is in use"), "{error}");
    assert_eq!(std::fs::read_dir(data_dir.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configured_keyspace_that_the_cluster_lacks_is_refused() {
    for (showcase, exists) in [("false", false), ("true", true)] {
        let data_dir = tempfile::tempdir().unwrap();
        let more = [("compat_keyspace", "eventual"), ("showcase", showcase)];
        let server = Server::start(&config_with(data_dir.path(), &more)).await.unwrap();
        let ready = server.ready().await;
        assert_eq!(ready.is_ok(), exists, "showcase {showcase}");
        if let Err(error) = ready {
            assert_eq!(error.exit_code(), 78);
            assert!(error.to_string().contains("compat_keyspace is \"eventual\""), "{error}");
        }
        server.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_beyond_the_limit_is_refused_and_told_why() {
    let data_dir = tempfile::tempdir().unwrap();
    let config = config_with(data_dir.path(), &[("max_connections", "1")]);
    let server = Server::start(&config).await.unwrap();
    server.ready().await.unwrap();
    let Endpoints { resp, http, .. } = server.endpoints();
    for (address, ask, told) in [
        (resp, "PING\r\n", "-ERR max number of clients reached\r\n"),
        (http, "GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", "HTTP/1.1 503 "),
    ] {
        let mut first = TcpStream::connect(address).await.unwrap();
        first.write_all(ask.as_bytes()).await.unwrap();
        assert!(first.read(&mut [0; 16]).await.unwrap() > 0);
        let mut second = TcpStream::connect(address).await.unwrap();
        let mut answer = String::new();
        second.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with(told), "{answer:?}");
        drop(first);
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_a_body_that_is_too_long_before_it_reads_learns_why() {
    let data_dir = tempfile::tempdir().unwrap();
    let server = Server::start(&config(data_dir.path())).await.unwrap();
    server.ready().await.unwrap();
    let mut stream = TcpStream::connect(server.endpoints().http).await.unwrap();
    let body = vec![b'x'; 8 << 20];
    let head =
        "PUT /v1/keyspaces/default/keys/k HTTP/1.1\r\nhost: x\r\ncontent-length: 8388608\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 413");
    server.stop().await;
}
