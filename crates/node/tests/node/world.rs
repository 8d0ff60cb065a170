//! What the tests start, stop and ask: nodes with their gRPC listeners.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::Bytes;
use kvorum_core::{
    Consistency, Expiry, Identity, Item, KeyspaceId, Mode, NodeId, Op, Outcome, Reply, Request,
    Want,
};
use kvorum_node::{
    Advertised, Convergence, Node, Options, PeerAddress, Protocol, Serving, StartError, WalSync,
    introduction_service,
};
use tempfile::TempDir;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Several nodes of one cluster, or the makings of them.
pub struct World {
    directory: TempDir,
    pub cluster: String,
    /// The gRPC listeners, which outlive the nodes so that their ports stay.
    grpc: Vec<TcpListener>,
    pub wal_sync: WalSync,
}

/// A node and the listener of its introductions.
pub struct Running {
    pub node: Node,
    stop: oneshot::Sender<()>,
    served: tokio::task::JoinHandle<()>,
}

impl World {
    pub fn new(nodes: usize) -> World {
        let listen = |_| {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        };
        World {
            directory: tempfile::tempdir().unwrap(),
            cluster: "test".to_owned(),
            grpc: (0..nodes).map(listen).collect(),
            wal_sync: WalSync::Auto,
        }
    }

    pub fn data_dir(&self, id: u32) -> PathBuf {
        self.directory.path().join(format!("node{id}"))
    }

    fn port(&self, id: u32) -> u16 {
        self.grpc[id as usize - 1].local_addr().unwrap().port()
    }

    pub fn options(&self, id: u32) -> Options {
        let nodes = u32::try_from(self.grpc.len()).unwrap();
        let peer = |id| PeerAddress {
            id: NodeId::new(id),
            host: "127.0.0.1".to_owned(),
            port: self.port(id),
        };
        Options {
            cluster: self.cluster.clone(),
            id: NodeId::new(id).unwrap(),
            name: format!("node-{id}"),
            data_dir: self.data_dir(id),
            peers: (1..=nodes).map(peer).collect(),
            peer_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            gossip_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            gossip_interval: Duration::from_millis(500),
            cluster_secret: None,
            max_connections: 100,
            advertised: Advertised {
                host: "127.0.0.1".to_owned(),
                grpc_port: self.port(id),
                ..Advertised::default()
            },
            replication_factor: None,
            default_mode: Some(Mode::Eventual),
            showcase: false,
            wal_sync: self.wal_sync,
            max_value: 128 << 10,
            segment_bytes: 1 << 20,
            index_limit_bytes: 64 << 20,
            max_disk_bytes: 0,
            convergence: Convergence {
                hinted_handoff: true,
                anti_entropy_interval: Duration::from_secs(30),
                gc_lag: Duration::from_secs(3600),
                gc_interval: Duration::from_secs(600),
            },
            scrub_bytes_per_second: 0,
        }
    }

    pub async fn start(&self, id: u32) -> Running {
        self.start_with(self.options(id), Vec::new()).await.unwrap()
    }

    pub async fn start_with(
        &self,
        options: Options,
        protocols: Vec<(SocketAddr, Box<dyn Protocol>)>,
    ) -> Result<Running, StartError> {
        let id = options.id.get();
        let node = Node::start(options, protocols).await?;
        let listener = self.grpc[id as usize - 1].try_clone().unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let service = introduction_service(&node);
        let (stop, stopped) = oneshot::channel();
        let served = tokio::spawn(async move {
            let stopped = async { stopped.await.unwrap_or(()) };
            let server = Server::builder().add_service(service);
            server
                .serve_with_incoming_shutdown(TcpIncoming::from(listener), stopped)
                .await
                .unwrap();
        });
        Ok(Running { node, stop, served })
    }

    /// Starts all nodes and waits until each serves and sees the others.
    pub async fn start_all(&self) -> Vec<Running> {
        let mut running = Vec::new();
        for id in 1..=u32::try_from(self.grpc.len()).unwrap() {
            running.push(self.start(id).await);
        }
        for one in &running {
            one.connected(running.len()).await;
        }
        running
    }
}

impl Running {
    /// Waits until the node serves and `nodes` nodes, itself included, are up in its eyes.
    pub async fn connected(&self, nodes: usize) {
        eventually("the node serves and is connected", async || {
            let status = self.node.status();
            let up = status.nodes.iter().filter(|node| node.up).count();
            status.serving == Serving::Yes && up == nodes
        })
        .await;
    }

    pub async fn stop(self) {
        self.node.stop().await;
        let _ = self.stop.send(());
        self.served.await.unwrap();
    }

    pub fn request(&self, op: Op, consistency: Option<Consistency>) -> Request {
        Request {
            identity: Identity::ANONYMOUS,
            keyspace: KeyspaceId::DEFAULT,
            op,
            consistency,
            min_version: None,
            key: None,
            deadline: self.node.now().mono + Duration::from_secs(5),
        }
    }

    pub fn put_request(&self, key: &str, value: impl Into<Bytes>) -> Request {
        let key = Bytes::copy_from_slice(key.as_bytes());
        let op = Op::Put { key, value: value.into(), expiry: Expiry::Never, tag: 0 };
        self.request(op, None)
    }

    pub async fn put(&self, key: &str, value: impl Into<Bytes>) -> Outcome<Reply> {
        self.node.run(self.put_request(key, value)).await
    }

    pub async fn get_at(&self, key: &str, level: Consistency) -> Outcome<Option<Bytes>> {
        let op = Op::Get { key: Bytes::copy_from_slice(key.as_bytes()), want: Want::Value };
        match self.node.run(self.request(op, Some(level))).await? {
            Reply::Found(Item { value, .. }) => Ok(Some(value)),
            Reply::Missing(_) => Ok(None),
            other => panic!("not an answer to a read: {other:?}"),
        }
    }

    pub async fn get(&self, key: &str) -> Outcome<Option<Bytes>> {
        self.get_at(key, Consistency::Quorum).await
    }
}

/// Asks again and again until the answer is yes.
pub async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !check().await {
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        // Sleep, because what is watched is the state of other threads, which tells nobody.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
