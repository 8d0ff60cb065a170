//! One node of a local cluster: a child process that is watched, and started again when it dies.

use std::convert::Infallible;
use std::ffi::OsString;
use std::fs::{self, File};
use std::future;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use tokio::process::{Child, Command};
use tokio::sync::{mpsc, watch};

use super::probe;
use super::restart::{Death, Next, Restarts};

/// How long a node may take to stop before it is killed.
const GRACE: Duration = Duration::from_secs(10);
/// How much of the end of a log is shown when a node dies.
const TAIL_BYTES: usize = 8 << 10;
const TAIL_LINES: usize = 10;

/// A node to be run.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// Its id.
    pub id: u32,
    /// The program, and the arguments after its name.
    pub program: PathBuf,
    /// The arguments.
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
    /// Its HTTP listener, `host:port`, asked whether the node is ready.
    pub http: String,
}

/// What happened to a node.
#[derive(Debug)]
pub enum Event {
    /// Its process was started.
    Started {
        /// The node.
        node: u32,
        /// The process.
        pid: u32,
    },
    /// It serves requests.
    Serving {
        /// The node.
        node: u32,
    },
    /// Its process ended without having been told to.
    Died {
        /// The node.
        node: u32,
        /// How.
        death: Death,
        /// What happens now.
        next: Next,
        /// It never lives long.
        hopeless: bool,
        /// The last lines of its log.
        tail: Vec<String>,
    },
    /// Its process could not be started.
    Failed {
        /// The node.
        node: u32,
        /// Why.
        error: io::Error,
    },
}

/// What all nodes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// Run.
    Run,
    /// Stop, taking the time to do it properly.
    Stop,
    /// Stop at once.
    Kill,
}

/// Runs a node until it is told to stop, reporting what happens. Returns when its process is gone.
pub async fn supervise(
    plan: NodePlan,
    mut restarts: Restarts,
    events: mpsc::Sender<Event>,
    mut orders: watch::Receiver<Order>,
) {
    let node = plan.id;
    loop {
        let started = Instant::now();
        let log_start = fs::metadata(&plan.log).map_or(0, |log| log.len());
        let mut child = match spawn(&plan) {
            Ok(child) => child,
            Err(error) => {
                let _ = events.send(Event::Failed { node, error }).await;
                return;
            }
        };
        let death = tokio::select! {
            status = live(&mut child, &plan, &events) => death_of(status.ok()),
            () = ordered(&mut orders, Order::Stop) => return end(child, orders).await,
        };
        let next = restarts.after(death, started.elapsed());
        let tail = log_tail(&plan, log_start);
        let hopeless = restarts.hopeless();
        let _ = events.send(Event::Died { node, death, next, hopeless, tail }).await;
        let Next::Restart(pause) = next else { return };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = ordered(&mut orders, Order::Stop) => return,
        }
    }
}

/// Starts the process, in a process group of its own: Ctrl-C reaches `dev` alone, which then
/// stops the nodes in order.
fn spawn(plan: &NodePlan) -> io::Result<Child> {
    let log = File::options().create(true).append(true).open(&plan.log)?;
    Command::new(&plan.program)
        .args(&plan.arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// Waits for the end of the process and meanwhile reports when the node begins to serve.
async fn live(
    child: &mut Child,
    plan: &NodePlan,
    events: &mpsc::Sender<Event>,
) -> io::Result<ExitStatus> {
    let node = plan.id;
    if let Some(pid) = child.id() {
        let _ = events.send(Event::Started { node, pid }).await;
    }
    let serving = async {
        probe::until_ready(&plan.http).await;
        let _ = events.send(Event::Serving { node }).await;
        future::pending::<Infallible>().await
    };
    tokio::select! {
        status = child.wait() => status,
        never = serving => match never {},
    }
}

/// Stops the process: asks first, kills when it takes too long or patience ends.
async fn end(mut child: Child, mut orders: watch::Receiver<Order>) {
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // It may be gone already, which is as good.
        let _ = rustix::process::kill_process(pid, Signal::TERM);
    }
    let ended = tokio::select! {
        _ = child.wait() => true,
        () = tokio::time::sleep(GRACE) => false,
        () = ordered(&mut orders, Order::Kill) => false,
    };
    if !ended {
        let _ = child.kill().await;
    }
}

/// Returns once the order, or a stricter one, is given. Nobody left to give orders means stop.
async fn ordered(orders: &mut watch::Receiver<Order>, order: Order) {
    let _ = orders.wait_for(|given| *given >= order).await;
}

/// Waiting for a child of ours fails only if somebody else took its status.
fn death_of(status: Option<ExitStatus>) -> Death {
    let code = status.and_then(|status| status.code());
    let signal = status.and_then(|status| status.signal());
    match (code, signal) {
        (None, Some(signal)) => Death::Killed(signal),
        (code, _) => Death::Exited(code.unwrap_or(-1)),
    }
}

/// The last lines of what was logged from `start` on, the length of the log at the process' start.
fn log_tail(plan: &NodePlan, start: u64) -> Vec<String> {
    let content = fs::read(&plan.log).unwrap_or_default();
    let start = usize::try_from(start).unwrap_or(usize::MAX);
    let first = start.max(content.len().saturating_sub(TAIL_BYTES));
    let end = content.get(first..).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(end), TAIL_LINES)
}

fn last_lines(text: &str, count: usize) -> Vec<String> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let first = lines.len().saturating_sub(count);
    lines.iter().skip(first).map(|line| (*line).to_owned()).collect()
}

#[cfg(test)]
mod tests;
