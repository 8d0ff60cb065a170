//! What `kvorum dev` says: sentences for people, or one JSON event per line for programs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use super::restart::{Death, Next};
use crate::discovery::LocalCluster;
use crate::output::{self, Format};

/// Says what happens.
#[derive(Clone, Copy, Debug)]
pub struct Voice {
    format: Format,
}

impl Voice {
    /// A voice in the given form.
    #[must_use]
    pub const fn new(format: Format) -> Voice {
        Voice { format }
    }

    fn say(self, text: &str, event: &serde_json::Value) {
        // A reader that has gone away does not stop a cluster.
        let _ = match self.format {
            Format::Text => output::line(text),
            Format::Json => output::json(event),
        };
    }

    /// The nodes are being started.
    pub fn starting(self, cluster: &LocalCluster) {
        let text = format!(
            "starting {} nodes, data in {}",
            cluster.nodes.len(),
            shown(&cluster.data_dir).display()
        );
        self.say(&text, &json!({"event": "starting", "data_dir": cluster.data_dir}));
    }

    /// All nodes serve for the first time.
    pub fn ready(self, cluster: &LocalCluster, log_dir: &Path, took: Duration) {
        let event = json!({
            "event": "ready",
            "took_ms": u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            "supervisor": cluster.supervisor,
            "data_dir": cluster.data_dir,
            "log_dir": log_dir,
            "base_port_offset": cluster.base_port_offset,
            "nodes": cluster.nodes,
        });
        self.say(&ready_text(cluster, log_dir, took, &program()), &event);
    }

    /// A node serves again after it died.
    pub fn back(self, node: u32, pid: Option<u32>) {
        let process = pid.map_or_else(String::new, |pid| format!(" (process {pid})"));
        let event = json!({"event": "back", "node": node, "pid": pid});
        self.say(&format!("node {node} is back{process}"), &event);
    }

    /// A node died.
    pub fn died(self, node: u32, death: Death, next: Next, tail: &[String]) {
        let text = died_text(node, death, next, tail);
        let (code, signal) = match death {
            Death::Exited(code) => (Some(code), None),
            Death::Killed(signal) => (None, Some(signal)),
        };
        let restart_ms = match next {
            Next::Restart(pause) => Some(u64::try_from(pause.as_millis()).unwrap_or(u64::MAX)),
            Next::StayDown => None,
        };
        let event = json!({
            "event": "died",
            "node": node,
            "code": code,
            "signal": signal,
            "restart_in_ms": restart_ms,
            "log": tail,
        });
        self.say(&text, &event);
    }

    /// The nodes are being stopped.
    pub fn stopping(self) {
        self.say("stopping; once more to kill", &json!({"event": "stopping"}));
    }

    /// Nothing is left running.
    pub fn stopped(self) {
        self.say("stopped", &json!({"event": "stopped"}));
    }
}

fn died_text(node: u32, death: Death, next: Next, tail: &[String]) -> String {
    let how = match death {
        Death::Exited(code) => format!("node {node} ended with exit code {code}"),
        Death::Killed(signal) => format!("node {node} was killed by signal {signal}"),
    };
    let then = match next {
        Next::Restart(pause) => format!("starting it again in {} s", pause.as_secs()),
        Next::StayDown => "it stays down".to_owned(),
    };
    // Whoever kills a node knows why it died; its last words explain every other death.
    let words = if matches!(death, Death::Exited(_)) { tail } else { &[] };
    let words: String = words.iter().map(|line| format!("\n    {line}")).collect();
    format!("{how}; {then}{words}")
}

fn ready_text(cluster: &LocalCluster, log_dir: &Path, took: Duration, program: &str) -> String {
    let mut lines = vec![
        format!("ready after {:.1} s", took.as_secs_f64()),
        String::new(),
        format!("  {:<6}{:<18}{:<18}{:<25}process", "node", "redis", "grpc", "http"),
    ];
    for node in &cluster.nodes {
        let pid = node.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
        let http = format!("http://{}", node.http);
        lines.push(format!("  {:<6}{:<18}{:<18}{http:<25}{pid}", node.id, node.resp, node.grpc));
    }
    lines.push(String::new());
    lines.push(format!("  logs: {}", shown(log_dir).display()));
    lines.push(String::new());
    lines.push("Try, in another terminal:".to_owned());
    lines.push(format!("  {program} put greeting hello"));
    let (first, last) = (cluster.nodes.first(), cluster.nodes.last());
    if let (Some(first), Some(last)) = (first, last) {
        let port = last.resp.rsplit(':').next().unwrap_or_default();
        lines.push(format!("  {program} get greeting --node {}", last.id));
        lines.push(format!("  redis-cli -p {port} get greeting"));
        lines.push(format!("  curl http://{}/v1/keyspaces/default/keys/greeting", first.http));
        if let (Some(pid), true) = (last.pid, cluster.nodes.len() > 1) {
            lines.push(format!("  kill -9 {pid}        (node {}; read on meanwhile)", last.id));
        }
    }
    lines.push(String::new());
    lines.push("Ctrl-C stops all nodes.".to_owned());
    lines.join("\n")
}

/// How the user would type this program's name.
fn program() -> String {
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("kvorum"));
    let installed = std::env::var_os("PATH").is_some_and(|directories| {
        std::env::split_paths(&directories).any(|directory| directory.join("kvorum") == path)
    });
    if installed { "kvorum".to_owned() } else { shown(&path).display().to_string() }
}

/// A path as seen from the working directory, if it lies below it.
fn shown(path: &Path) -> PathBuf {
    let below = std::env::current_dir()
        .ok()
        .and_then(|here| path.strip_prefix(here).ok().map(|rest| Path::new(".").join(rest)));
    below.unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discovery::LocalNode;

    #[test]
    fn a_death_is_told_with_its_cause_and_what_happens_next() {
        let pause = Next::Restart(Duration::from_secs(1));
        let killed = died_text(2, Death::Killed(9), pause, &["last line".to_owned()]);
        assert_eq!(killed, "node 2 was killed by signal 9; starting it again in 1 s");
        let refused = died_text(1, Death::Exited(78), Next::StayDown, &["not ours".to_owned()]);
        assert_eq!(refused, "node 1 ended with exit code 78; it stays down\n    not ours");
    }

    #[test]
    fn the_announcement_shows_every_endpoint_and_a_first_thing_to_try() {
        let node = |id: u32| LocalNode {
            id,
            pid: Some(100 + id),
            resp: format!("127.0.0.1:{}", 6378 + id),
            grpc: format!("127.0.0.1:{}", 50050 + id),
            http: format!("127.0.0.1:{}", 8000 + id),
        };
        let cluster = LocalCluster {
            supervisor: 100,
            data_dir: "data".into(),
            base_port_offset: 0,
            nodes: vec![node(1), node(2)],
        };
        let logs = Path::new("data/logs");
        let text = ready_text(&cluster, logs, Duration::from_millis(1234), "kvorum");
        assert_eq!(
            text,
            "\
ready after 1.2 s

  node  redis             grpc              http                     process
  1     127.0.0.1:6379    127.0.0.1:50051   http://127.0.0.1:8001    101
  2     127.0.0.1:6380    127.0.0.1:50052   http://127.0.0.1:8002    102

  logs: data/logs

Try, in another terminal:
  kvorum put greeting hello
  kvorum get greeting --node 2
  redis-cli -p 6380 get greeting
  curl http://127.0.0.1:8001/v1/keyspaces/default/keys/greeting
  kill -9 102        (node 2; read on meanwhile)

Ctrl-C stops all nodes."
        );
    }
}
