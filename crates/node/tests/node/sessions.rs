//! A toy protocol on a raw socket: how the driver treats sessions.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvorum_core::{Expiry, Identity, KeyspaceId, Op, Outcome, Reply, Request, Want};
use kvorum_node::{CallId, Flow, Port, Protocol, Session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::world::{Running, World, eventually};

/// Lines: `put KEY VALUE`, `get KEY`, `big N` (N bytes of answer), `quit`.
struct Toy;

#[derive(Default)]
struct ToySession {
    output: BytesMut,
    pending: usize,
}

impl Protocol for Toy {
    fn name(&self) -> &'static str {
        "toy"
    }

    fn refusal(&self) -> &'static [u8] {
        b"full\n"
    }

    fn open(&mut self, _client: SocketAddr) -> Box<dyn Session> {
        Box::new(ToySession::default())
    }
}

impl Session for ToySession {
    fn receive(&mut self, input: &mut BytesMut, port: &mut Port<'_>) -> Flow {
        while let Some(end) = input.iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8(input.split_to(end + 1).to_vec()).unwrap();
            let words: Vec<&str> = line.split_whitespace().collect();
            let op = match words[..] {
                ["put", key, value] => Op::Put {
                    key: Bytes::copy_from_slice(key.as_bytes()),
                    value: Bytes::copy_from_slice(value.as_bytes()),
                    expiry: Expiry::Never,
                    tag: 0,
                },
                ["get", key] => {
                    Op::Get { key: Bytes::copy_from_slice(key.as_bytes()), want: Want::Value }
                }
                ["big", len] => {
                    self.output.resize(self.output.len() + len.parse::<usize>().unwrap(), b'x');
                    continue;
                }
                ["quit"] => {
                    self.output.extend_from_slice(b"bye\n");
                    return Flow::Close;
                }
                _ => panic!("not a command: {line}"),
            };
            self.pending += 1;
            port.submit(Request {
                identity: Identity::ANONYMOUS,
                keyspace: KeyspaceId::DEFAULT,
                op,
                consistency: None,
                min_version: None,
                key: None,
                deadline: port.node().now().mono + Duration::from_secs(5),
            });
        }
        Flow::Continue
    }

    fn complete(&mut self, call: CallId, outcome: Outcome<Reply>, _port: &mut Port<'_>) -> Flow {
        self.pending -= 1;
        let text = match outcome {
            Ok(Reply::Written { .. }) => format!("{} written\n", call.0),
            Ok(Reply::Found(item)) => {
                format!("{} {}\n", call.0, String::from_utf8(item.value.to_vec()).unwrap())
            }
            other => format!("{} {other:?}\n", call.0),
        };
        self.output.extend_from_slice(text.as_bytes());
        Flow::Continue
    }

    fn output(&mut self) -> &mut BytesMut {
        &mut self.output
    }

    fn written(&mut self, _port: &mut Port<'_>) -> Flow {
        Flow::Continue
    }

    fn pending_bytes(&self) -> usize {
        self.pending * 100
    }
}

async fn toy_node(world: &World) -> (Running, SocketAddr) {
    // The driver binds the port it is told; a free one is found by binding and letting go.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let protocols: Vec<(SocketAddr, Box<dyn Protocol>)> = vec![(address, Box::new(Toy))];
    let node = world.start_with(world.options(1), protocols).await.unwrap();
    node.connected(1).await;
    (node, address)
}

async fn talk(address: SocketAddr, say: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(say.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = String::new();
    stream.read_to_string(&mut heard).await.unwrap();
    heard
}

#[tokio::test]
async fn a_session_gets_every_answer_even_after_its_client_has_finished_sending() {
    let world = World::new(1);
    let (node, address) = toy_node(&world).await;
    let heard = talk(address, "put a 1\n").await;
    assert_eq!(heard, "0 written\n");
    let heard = talk(address, "get a\nput b 2\nget a\nquit\n").await;
    assert!(heard.ends_with("bye\n"), "{heard}");
    node.stop().await;
}

#[tokio::test]
async fn twenty_thousand_pipelined_commands_are_answered() {
    let world = World::new(1);
    let (node, address) = toy_node(&world).await;
    let commands: String = (0..20_000).map(|n| format!("put key-{n} value-{n}\n")).collect();
    let heard = talk(address, &commands).await;
    assert_eq!(heard.lines().count(), 20_000);
    assert!(heard.lines().all(|line| line.ends_with("written")));
    node.stop().await;
}

#[tokio::test]
async fn a_slow_reader_gets_all_of_a_large_answer() {
    let world = World::new(1);
    let (node, address) = toy_node(&world).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"big 30000000\nquit\n").await.unwrap();
    let mut heard = 0;
    let mut buffer = vec![0; 100_000];
    loop {
        match stream.read(&mut buffer).await.unwrap() {
            0 => break,
            bytes => heard += bytes,
        }
    }
    assert_eq!(heard, 30_000_004);
    node.stop().await;
}

#[tokio::test]
async fn a_client_that_never_reads_is_disconnected() {
    let world = World::new(1);
    let (node, address) = toy_node(&world).await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"big 99000000\n").await.unwrap();
    eventually("the connection is closed", async || {
        // Writing fails once the other side has closed and reset.
        stream.write_all(b"get a\n").await.is_err()
    })
    .await;
    node.stop().await;
}
