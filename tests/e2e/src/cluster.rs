//! A cluster of nodes on this machine.

use std::path::{Path, PathBuf};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::binary;
use crate::http;
use crate::node::Node;
use crate::poll::until;
use crate::ports::PortBlock;

/// What a cluster is to be like.
#[derive(Clone, Debug)]
pub struct Plan {
    nodes: u32,
    settings: Vec<(String, String)>,
    data_dirs: Vec<(u32, PathBuf)>,
}

impl Plan {
    /// A cluster of so many nodes with the default settings.
    #[must_use]
    pub const fn nodes(nodes: u32) -> Plan {
        Plan { nodes, settings: Vec::new(), data_dirs: Vec::new() }
    }

    /// Changes a setting of all nodes.
    #[must_use]
    pub fn with(mut self, name: &str, value: &str) -> Plan {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Puts the data of one node elsewhere.
    #[must_use]
    pub fn data_dir(mut self, node: u32, path: &Path) -> Plan {
        self.data_dirs.push((node, path.to_owned()));
        self
    }

    /// Starts the cluster and waits until all of it serves.
    ///
    /// # Panics
    /// It does not.
    #[must_use]
    pub fn start(self) -> Cluster {
        let mut cluster = self.prepare();
        cluster.start_all();
        cluster
    }

    /// A cluster that is not running.
    ///
    /// # Panics
    /// There is no place for its files.
    #[must_use]
    pub fn prepare(self) -> Cluster {
        let directory = tempfile::Builder::new().prefix("kvorum-e2e-").tempdir();
        let directory = directory.expect("a temporary directory");
        let ports = PortBlock::take();
        let peers: Vec<String> =
            (1..=self.nodes).map(|id| format!("{id}=127.0.0.1:{}", ports.of(id).grpc)).collect();
        let peers = peers.join(",");
        let node = |id| {
            let elsewhere = self.data_dirs.iter().find(|(node, _)| *node == id);
            let data_dir = elsewhere
                .map_or_else(|| directory.path().join(format!("node{id}")), |(_, p)| p.clone());
            let log = directory.path().join(format!("node{id}.log"));
            let mut node = Node::new(id, ports.of(id), &peers, data_dir, log);
            for (name, value) in &self.settings {
                node.set(name, value);
            }
            node
        };
        let nodes = (1..=self.nodes).map(node).collect();
        Cluster { nodes, ports, directory }
    }
}

/// A cluster. When it is dropped its processes are killed and its files deleted; when a test
/// panics their last words are shown first.
#[derive(Debug)]
pub struct Cluster {
    nodes: Vec<Node>,
    ports: PortBlock,
    directory: TempDir,
}

impl Cluster {
    /// Three nodes with the default settings, serving.
    #[must_use]
    pub fn start() -> Cluster {
        Plan::nodes(3).start()
    }

    /// The nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The nodes, by id.
    pub fn nodes_mut(&mut self) -> &mut [Node] {
        &mut self.nodes
    }

    /// Node `id`, counted from one.
    #[must_use]
    pub fn node(&self, id: u32) -> &Node {
        &self.nodes[id as usize - 1]
    }

    /// Node `id`, counted from one.
    pub fn node_mut(&mut self, id: u32) -> &mut Node {
        &mut self.nodes[id as usize - 1]
    }

    /// A directory of this cluster, for whatever a test needs.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.directory.path()
    }

    /// A node that is not one of the cluster's, on free ports of the cluster's block and with a
    /// data directory of its own.
    #[must_use]
    pub fn stranger(&self, id: u32, peers: &str) -> Node {
        let place = u32::try_from(self.nodes.len()).expect("few nodes") + 1;
        let data_dir = self.scratch().join(format!("stranger{id}"));
        Node::new(id, self.ports.of(place), peers, data_dir, self.scratch().join("stranger.log"))
    }

    /// The list of peers that every node was given.
    #[must_use]
    pub fn peers(&self) -> String {
        let peer = |node: &Node| format!("{}=127.0.0.1:{}", node.id(), node.ports().grpc);
        self.nodes.iter().map(peer).collect::<Vec<_>>().join(",")
    }

    /// The RESP ports of all nodes.
    #[must_use]
    pub fn resp_ports(&self) -> Vec<u16> {
        self.nodes.iter().map(|node| node.ports().resp).collect()
    }

    /// Starts all nodes that are down and waits until the whole cluster serves.
    ///
    /// # Panics
    /// It does not.
    pub fn start_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| !node.is_up()) {
            node.start();
        }
        self.await_whole();
    }

    /// Waits until every node serves, holds everything it should, and sees all others.
    ///
    /// # Panics
    /// One ends, or it takes too long.
    pub fn await_whole(&mut self) {
        let all = self.nodes.len();
        for node in &mut self.nodes {
            node.await_whole();
        }
        for node in &self.nodes {
            until(&format!("node {} sees all others", node.id()), || {
                (node.sees() == all).then_some(())
            });
        }
    }

    /// Waits until every partition of the keyspace `default`, which is a strong one, is led by the
    /// node that the layout names first.
    ///
    /// # Panics
    /// It takes too long.
    pub fn await_spread(&self) {
        until("every partition is led by its first node", || {
            let layout = http::get(self.nodes[0].ports().http, "/v1/layout").ok()?.json();
            let mut partitions = layout["partitions"].as_array()?.iter();
            partitions.all(|one| one["leader"] == one["replicas"][0]).then_some(())
        });
    }

    /// A key of the keyspace `default` that begins like this and whose partition a node leads.
    ///
    /// # Panics
    /// It leads none.
    #[must_use]
    pub fn key_led_by(&self, id: u32, beginning: &str) -> String {
        let led = |key: &String| {
            let path = format!("/v1/route?key={key}");
            let route = http::get(self.nodes[0].ports().http, &path).expect("a route").json();
            route["leader"] == id
        };
        (0..1000).map(|n| format!("{beginning}:{id}:{n}")).find(led).expect("a key of every node")
    }

    /// What `kvorum status`, asked at one node, says of another one.
    ///
    /// # Panics
    /// No node answers.
    #[must_use]
    pub fn status(&self, at: u32, of: u32) -> Value {
        let endpoint = format!("127.0.0.1:{}", self.node(at).ports().grpc);
        let mut command = binary::command("status");
        let output = command.args(["--endpoint", &endpoint, "--output", "json"]).output();
        let output = output.expect("the command runs");
        let document: Value = serde_json::from_slice(&output.stdout).expect("a document");
        let mut nodes = document["nodes"].as_array().expect("a list").iter();
        nodes.find(|node| node["id"] == of).expect("all nodes are known").clone()
    }

    /// Kills all nodes as `kill -9` does.
    pub fn kill_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.is_up()) {
            node.kill();
        }
    }

    /// Stops all nodes in order.
    ///
    /// # Panics
    /// One takes too long or complains.
    pub fn stop_all(&mut self) {
        for node in self.nodes.iter_mut().filter(|node| node.is_up()) {
            node.stop();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if thread::panicking() {
            for node in &self.nodes {
                eprintln!("--- the last words of node {}\n{}", node.id(), node.log_tail());
            }
        }
    }
}
