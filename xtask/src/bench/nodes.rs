//! Three nodes that are started and stopped one by one, and what they tell of themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::server;

/// How many nodes there are.
pub(super) const NODES: usize = 3;
/// How long a node may take to serve.
const START_LIMIT: Duration = Duration::from_secs(60);

/// The nodes, by number from zero.
pub(super) struct Nodes {
    binary: PathBuf,
    folder: PathBuf,
    ports: [Ports; NODES],
    /// Settings by the names they have in the environment; of the next starts.
    settings: BTreeMap<&'static str, String>,
    children: [Option<Child>; NODES],
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
struct Ports {
    resp: u16,
    grpc: u16,
    http: u16,
    peer: u16,
}

impl Nodes {
    /// Nodes that are not running, with their data in a folder of their own.
    pub(super) fn new(root: &Path, folder: &Path) -> Result<Nodes> {
        let first = server::free_block(4 * NODES as u16)?;
        let of = |node: u16| {
            let resp = first + 4 * node;
            Ports { resp, grpc: resp + 1, http: resp + 2, peer: resp + 3 }
        };
        fs::create_dir_all(folder)?;
        Ok(Nodes {
            binary: server::binary(root)?,
            folder: folder.to_owned(),
            ports: [of(0), of(1), of(2)],
            settings: BTreeMap::new(),
            children: Default::default(),
        })
    }

    /// Changes a setting of all nodes from their next starts on.
    pub(super) fn set(&mut self, name: &'static str, value: &str) {
        self.settings.insert(name, value.to_owned());
    }

    /// Starts those that do not run, and waits until all serve and know each other.
    pub(super) fn start_all(&mut self) -> Result<()> {
        (0..NODES).try_for_each(|node| self.start(node))?;
        (0..NODES).try_for_each(|node| self.await_ready(node))
    }

    /// Stops those that run.
    pub(super) fn stop_all(&mut self) -> Result<()> {
        (0..NODES).try_for_each(|node| self.stop(node))
    }

    /// Starts a node, unless it runs.
    pub(super) fn start(&mut self, node: usize) -> Result<()> {
        let ports = self.ports(node)?;
        let place = self.children.get_mut(node).context("there is such a node")?;
        if place.is_some() {
            return Ok(());
        }
        let peers: Vec<String> = (1..)
            .zip(&self.ports)
            .map(|(id, ports)| format!("{id}=127.0.0.1:{}", ports.grpc))
            .collect();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("node{}.log", node + 1)))?;
        let mut command = Command::new(&self.binary);
        command.args(["server", "--node-num", &(node + 1).to_string()]);
        command.args(["--peers", &peers.join(",")]);
        command.args(["--resp-port", &ports.resp.to_string()]);
        command.args(["--grpc-port", &ports.grpc.to_string()]);
        command.args(["--http-port", &ports.http.to_string()]);
        command.args(["--peer-port", &ports.peer.to_string()]);
        command.arg("--data-dir").arg(self.folder.join(format!("node{}", node + 1)));
        command.args(["--die-with-parent", &std::process::id().to_string()]);
        for (name, value) in &self.settings {
            command.env(format!("KVORUM_{name}"), value);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        *place = Some(command.spawn().context("starting a node")?);
        Ok(())
    }

    /// Waits until a node serves.
    pub(super) fn await_ready(&self, node: usize) -> Result<()> {
        let port = self.ports(node)?.http;
        let ready = || server::answer(port, "GET /readyz HTTP/1.0\r\n\r\n");
        await_that("a node serves", START_LIMIT, || {
            // A node that starts refuses connections for a while.
            Ok(ready().is_ok_and(|answer| answer.contains("200 OK")).then_some(()))
        })
    }

    /// Stops a node in order, if it runs.
    pub(super) fn stop(&mut self, node: usize) -> Result<()> {
        let place = self.children.get_mut(node).context("there is such a node")?;
        let Some(mut child) = place.take() else { return Ok(()) };
        let asked = Command::new("kill").args(["-TERM", &child.id().to_string()]).status()?;
        ensure!(asked.success(), "node {} cannot be stopped", node + 1);
        child.wait()?;
        Ok(())
    }

    fn ports(&self, node: usize) -> Result<Ports> {
        self.ports.get(node).copied().context("there is such a node")
    }

    /// Where a node speaks the Redis protocol.
    pub(super) fn resp(&self, node: usize) -> Result<u16> {
        Ok(self.ports(node)?.resp)
    }

    /// What a node answers to a GET over HTTP, headers included.
    pub(super) fn get(&self, node: usize, path: &str) -> Result<String> {
        server::answer(self.ports(node)?.http, &format!("GET {path} HTTP/1.0\r\n\r\n"))
    }

    /// The sum of all series of a metric on all nodes that run.
    pub(super) fn metric(&self, name: &str) -> Result<f64> {
        let running = |node: &usize| self.children.get(*node).is_some_and(Option::is_some);
        let of = |node| Ok(total(&self.get(node, "/metrics")?, name));
        (0..NODES).filter(running).map(of).sum()
    }

    /// CPU time of all nodes so far.
    pub(super) fn cpu(&self) -> Result<Duration> {
        let mut nanos = 0;
        for child in self.children.iter().flatten() {
            for task in fs::read_dir(format!("/proc/{}/task", child.id()))?.flatten() {
                // A thread that has just ended has no figures any more.
                let text = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
                let first = text.split_whitespace().next().and_then(|word| word.parse().ok());
                nanos += first.unwrap_or(0_u64);
            }
        }
        Ok(Duration::from_nanos(nanos))
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        // Whatever does not stop in order dies with this process.
        let _ = self.stop_all();
    }
}

/// The sum of all series of a metric.
fn total(page: &str, name: &str) -> f64 {
    let of_metric =
        |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
    let value = |line: &str| line.rsplit(' ').next()?.parse::<f64>().ok();
    page.lines().filter(of_metric).filter_map(value).sum()
}

/// Asks again and again until there is an answer.
pub(super) fn await_that<T>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let end = Instant::now() + limit;
    loop {
        if let Some(found) = ask()? {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "waited {limit:?} in vain: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_series_of_one_metric_are_added_up() {
        let page = "# HELP a\na{peer=\"1\"} 2\na{peer=\"2\"} 3.5\nab 7\na 1\n";
        assert!((total(page, "a") - 6.5).abs() < f64::EPSILON);
        assert!((total(page, "ab") - 7.0).abs() < f64::EPSILON);
    }
}
