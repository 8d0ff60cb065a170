//! One `kvorum server` process.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use rustix::process::Signal;
use serde_json::Value;

use crate::binary;
use crate::http;
use crate::poll::until;
use crate::ports::NodePorts;
use crate::process::Process;
use crate::resp::Resp;
use crate::rpc::Rpc;

/// How much of a log is shown when a test fails.
const TAIL_LINES: usize = 40;

/// A node: its configuration, and its process while it runs.
#[derive(Debug)]
pub struct Node {
    id: u32,
    ports: NodePorts,
    /// Settings by their names, given as flags: what makes it this node of this cluster.
    flags: BTreeMap<String, String>,
    /// Settings by their names, given in the environment: what the test is about.
    environment: BTreeMap<String, String>,
    data_dir: PathBuf,
    log: PathBuf,
    /// How many files its process may open, if not as many as this one.
    files: Option<u32>,
    process: Option<Process>,
}

/// How a node that refused to start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its exit code.
    pub code: Option<i32>,
    /// The last line it wrote.
    pub sentence: String,
}

impl Node {
    /// A node that is not running. Its data goes to `data_dir`, what it writes to `log`.
    #[must_use]
    pub fn new(id: u32, ports: NodePorts, peers: &str, data_dir: PathBuf, log: PathBuf) -> Node {
        let mut flags: BTreeMap<String, String> = ports
            .all()
            .map(|(purpose, port)| (format!("{purpose}_port"), port.to_string()))
            .into_iter()
            .collect();
        flags.insert("node_num".to_owned(), id.to_string());
        flags.insert("peers".to_owned(), peers.to_owned());
        let environment = BTreeMap::new();
        Node { id, ports, flags, environment, data_dir, log, files: None, process: None }
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> u32 {
        self.id
    }

    /// Its ports.
    #[must_use]
    pub const fn ports(&self) -> NodePorts {
        self.ports
    }

    /// Where its data is.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// Puts its data elsewhere from the next start on.
    pub fn set_data_dir(&mut self, path: &Path) {
        path.clone_into(&mut self.data_dir);
    }

    /// Changes a setting from the next start on; given in the environment.
    pub fn set(&mut self, name: &str, value: &str) {
        self.environment.insert(name.to_owned(), value.to_owned());
    }

    /// Changes a setting from the next start on; given as a flag.
    pub fn set_flag(&mut self, name: &str, value: &str) {
        self.flags.insert(name.to_owned(), value.to_owned());
    }

    /// Lets its process open no more than so many files from the next start on.
    pub const fn limit_files(&mut self, files: u32) {
        self.files = Some(files);
    }

    /// The process.
    ///
    /// # Panics
    /// The node is not running.
    #[must_use]
    pub fn process(&self) -> &Process {
        self.process.as_ref().unwrap_or_else(|| panic!("node {} is not running", self.id))
    }

    /// Whether it was started and not ended since by this harness.
    #[must_use]
    pub const fn is_up(&self) -> bool {
        self.process.is_some()
    }

    /// Starts the process, and returns at once.
    ///
    /// # Panics
    /// It is running.
    pub fn start(&mut self) {
        assert!(self.process.is_none(), "node {} is running", self.id);
        self.process = Some(Process::start(&mut self.command()));
    }

    fn command(&self) -> Command {
        let log = File::options().create(true).append(true).open(&self.log).expect("a log file");
        let mut command = match self.files {
            Some(files) => binary::command_with_files("server", files),
            None => binary::command("server"),
        };
        // Even if the tests themselves are killed nothing is left running.
        command.arg("--die-with-parent").arg(process::id().to_string());
        for (name, value) in &self.flags {
            command.arg(format!("--{}", name.replace('_', "-"))).arg(value);
        }
        command.env("KVORUM_DATA_DIR", &self.data_dir);
        for (name, value) in &self.environment {
            command.env(format!("KVORUM_{}", name.to_ascii_uppercase()), value);
        }
        command.stdout(log.try_clone().expect("a log file")).stderr(log);
        command
    }

    /// Starts the process, which is expected to end by itself, and tells how it did.
    ///
    /// # Panics
    /// It goes on running.
    pub fn refuse(&self) -> Refusal {
        let from = fs::metadata(&self.log).map_or(0, |log| log.len());
        let status = Process::start(&mut self.command()).wait();
        let log = fs::read(&self.log).expect("a log can be read");
        let said =
            String::from_utf8_lossy(&log[usize::try_from(from).expect("a size")..]).into_owned();
        let sentence = said.lines().last().unwrap_or_default().to_owned();
        Refusal { code: status.code(), sentence }
    }

    /// Kills the process as `kill -9` does.
    ///
    /// # Panics
    /// It is not running.
    pub fn kill(&mut self) {
        self.take().kill();
    }

    /// Stops the process in order.
    ///
    /// # Panics
    /// It is not running, takes too long, or complains.
    pub fn stop(&mut self) {
        let status = self.take().stop();
        assert!(status.success(), "node {} was stopped and ended with {status}", self.id);
    }

    fn take(&mut self) -> Process {
        self.process.take().unwrap_or_else(|| panic!("node {} is not running", self.id))
    }

    /// Stops the process from running on, as a machine that hangs does.
    pub fn freeze(&self) {
        self.process().signal(Signal::STOP);
    }

    /// Lets it run on.
    pub fn thaw(&self) {
        self.process().signal(Signal::CONT);
    }

    /// Deletes its data.
    ///
    /// # Panics
    /// It is running.
    pub fn wipe(&self) {
        assert!(self.process.is_none(), "node {} is running", self.id);
        fs::remove_dir_all(&self.data_dir).expect("a data directory can be deleted");
    }

    /// Whether it takes requests, and holds everything it should.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        let ready = http::get(self.ports.http, "/readyz").ok();
        ready.is_some_and(|answer| {
            answer.status == 200 && answer.json().get("rebuilding_partitions").is_none()
        })
    }

    /// Waits until [`Node::is_whole`].
    ///
    /// # Panics
    /// It ends, or takes too long.
    pub fn await_whole(&mut self) {
        let what = format!("node {} serves and is not rebuilding", self.id);
        until(&what, || {
            self.assert_running();
            self.is_whole().then_some(())
        });
    }

    /// # Panics
    /// The process has ended by itself.
    pub fn assert_running(&mut self) {
        let ended = self.process.as_mut().and_then(Process::ended);
        assert_eq!(ended, None, "node {} ended by itself", self.id);
    }

    /// How many nodes are alive in its eyes and connected to it, itself included.
    #[must_use]
    pub fn sees(&self) -> usize {
        let nodes = http::get(self.ports.http, "/v1/nodes").ok();
        let nodes = nodes.filter(|answer| answer.status == 200).map(|answer| answer.json());
        let nodes = nodes.as_ref().and_then(|nodes| nodes["nodes"].as_array());
        let there = |node: &&Value| node["up"] == true && node["state"] == "alive";
        nodes.map_or(0, |nodes| nodes.iter().filter(there).count())
    }

    /// What it thinks of another node: `alive`, `suspect` or `down`.
    ///
    /// # Panics
    /// It does not answer, or knows no such node.
    #[must_use]
    pub fn thinks_of(&self, id: u32) -> String {
        let nodes = http::get(self.ports.http, "/v1/nodes").expect("nodes").json();
        let mut nodes = nodes["nodes"].as_array().expect("a list").iter();
        let node = nodes.find(|node| node["id"] == id).expect("all nodes are known");
        node["state"].as_str().expect("a state").to_owned()
    }

    /// The sum of a metric over all its labels; zero if there is none of this name.
    ///
    /// # Panics
    /// The node does not answer.
    #[must_use]
    pub fn metric(&self, name: &str) -> f64 {
        let page = http::get(self.ports.http, "/metrics").expect("metrics").text();
        let value = |line: &str| -> Option<f64> {
            let rest = line.strip_prefix(name)?;
            let (labels, value) = rest.rsplit_once(' ')?;
            (labels.is_empty() || labels.starts_with('{')).then_some(())?;
            value.parse().ok()
        };
        page.lines().filter_map(value).sum()
    }

    /// A connection of the Redis protocol.
    ///
    /// # Panics
    /// The node does not take it.
    #[must_use]
    pub fn resp(&self) -> Resp {
        Resp::connect(self.ports.resp).expect("the node takes Redis connections")
    }

    /// A gRPC client.
    #[must_use]
    pub fn rpc(&self) -> Rpc {
        Rpc::new(self.ports.grpc)
    }

    /// Everything it has written so far, over all its starts.
    #[must_use]
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The last lines it has written.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}
