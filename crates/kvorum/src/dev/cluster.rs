//! The life of a local cluster: start, wait until it serves, watch, stop.

use std::collections::BTreeSet;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::plan::Plan;
use super::probe;
use super::process::{Event, Order, supervise};
use super::restart::{Death, Next, Restarts};
use super::voice::Voice;
use crate::discovery::LocalCluster;
use crate::exit::{Exit, Refused};

/// How long all nodes together may take until they serve for the first time.
const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long nodes that serve may take until each is connected to all others.
const CONNECTED_LIMIT: Duration = Duration::from_secs(5);
/// Events wait here while one is being said.
const EVENTS: usize = 64;

/// Runs the cluster until a signal stops it; nothing is left running afterwards.
pub async fn run(plan: Plan, restart: bool, voice: Voice) -> anyhow::Result<Exit> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let (events_tx, events) = mpsc::channel(EVENTS);
    let (orders, orders_rx) = watch::channel(Order::Run);
    voice.starting(&plan.cluster);
    let mut tasks = JoinSet::new();
    for node in &plan.nodes {
        let restarts = Restarts::new(restart);
        tasks.spawn(supervise(node.clone(), restarts, events_tx.clone(), orders_rx.clone()));
    }
    drop(events_tx);

    let cluster = plan.cluster.clone();
    let mut watcher = Watcher { plan: &plan, cluster, events, voice };
    let result = tokio::select! {
        result = watcher.watch() => result,
        () = signals.next() => Ok(Exit::Ok),
    };
    voice.stopping();
    orders.send_replace(Order::Stop);
    // Reports nobody reads any more must not keep a node's task from ending.
    drop(watcher);
    let stopped = async { while tasks.join_next().await.is_some() {} };
    let mut stopped = pin!(stopped);
    tokio::select! {
        () = &mut stopped => {}
        () = signals.next() => {
            orders.send_replace(Order::Kill);
            stopped.await;
        }
    }
    voice.stopped();
    result
}

/// Says what happens to the nodes and keeps the published description up to date.
struct Watcher<'a> {
    plan: &'a Plan,
    cluster: LocalCluster,
    events: mpsc::Receiver<Event>,
    voice: Voice,
}

impl Watcher<'_> {
    /// Waits until all nodes serve and then watches them. Returns only if the cluster cannot be
    /// started, or when every node stays down.
    async fn watch(&mut self) -> anyhow::Result<Exit> {
        let began = Instant::now();
        let mut waiting: BTreeSet<u32> = self.cluster.nodes.iter().map(|node| node.id).collect();
        match timeout(READY_LIMIT, self.first_readiness(&mut waiting)).await {
            Ok(result) => result?,
            Err(_) => bail!(
                "{} did not become ready within {} s; see the logs in {}",
                names(&waiting),
                READY_LIMIT.as_secs(),
                self.plan.log_dir.display()
            ),
        }
        // A cluster that serves is of use even if this does not come about: `kvorum status` tells.
        let _ = timeout(CONNECTED_LIMIT, self.first_connections()).await;
        self.publish()?;
        self.voice.ready(&self.cluster, &self.plan.log_dir, began.elapsed());
        while let Some(event) = self.events.recv().await {
            self.note(&event)?;
            match event {
                Event::Serving { node } => self.voice.back(node, self.pid(node)),
                Event::Died { node, death, next, tail, .. } => {
                    self.voice.died(node, death, next, &tail);
                }
                Event::Started { .. } => {}
                Event::Failed { node, error } => {
                    bail!("cannot start the process of node {node}: {error}");
                }
            }
        }
        bail!("no node is left running")
    }

    /// Waits until every node sees all others. A node serves as soon as it has met a majority; who
    /// asks it for `ALL`, or who is there, would else get the answer of an instant.
    async fn first_connections(&self) {
        let nodes = &self.cluster.nodes;
        for node in nodes {
            probe::until_connected(&node.http, nodes.len()).await;
        }
    }

    async fn first_readiness(&mut self, waiting: &mut BTreeSet<u32>) -> anyhow::Result<()> {
        while !waiting.is_empty() {
            let Some(event) = self.events.recv().await else { bail!("no node is left running") };
            self.note(&event)?;
            match event {
                Event::Started { .. } => {}
                Event::Serving { node } => {
                    waiting.remove(&node);
                }
                Event::Died { node, death, next, hopeless, tail } => {
                    waiting.insert(node);
                    if hopeless || next == Next::StayDown {
                        return Err(failed_start(node, death, &tail));
                    }
                    self.voice.died(node, death, next, &tail);
                }
                Event::Failed { node, error } => {
                    bail!("cannot start the process of node {node}: {error}");
                }
            }
        }
        Ok(())
    }

    /// Keeps process ids up to date.
    fn note(&mut self, event: &Event) -> anyhow::Result<()> {
        let (node, pid) = match *event {
            Event::Started { node, pid } => (node, Some(pid)),
            Event::Died { node, .. } | Event::Failed { node, .. } => (node, None),
            Event::Serving { .. } => return Ok(()),
        };
        if let Some(local) = self.cluster.nodes.iter_mut().find(|local| local.id == node) {
            local.pid = pid;
        }
        self.publish()
    }

    fn publish(&self) -> anyhow::Result<()> {
        self.plan.claim.publish(&self.cluster).context("cannot write the cluster's description")
    }

    fn pid(&self, node: u32) -> Option<u32> {
        self.cluster.nodes.iter().find(|local| local.id == node)?.pid
    }
}

/// What is told when the cluster cannot be started. A node that refused has said why in one
/// sentence, its last.
fn failed_start(node: u32, death: Death, tail: &[String]) -> anyhow::Error {
    let words: String = tail.iter().map(|line| format!("\n    {line}")).collect();
    match death {
        Death::Exited(code) if code == i32::from(Exit::Refused.code()) => {
            Refused::because(format!("node {node} refuses to start:{words}")).into()
        }
        Death::Exited(code) => {
            anyhow::anyhow!("node {node} ended with exit code {code} before it was ready:{words}")
        }
        Death::Killed(signal) => {
            anyhow::anyhow!("node {node} was killed by signal {signal} before it was ready:{words}")
        }
    }
}

fn names(nodes: &BTreeSet<u32>) -> String {
    let ids: Vec<String> = nodes.iter().map(u32::to_string).collect();
    format!("node {}", ids.join(" and node "))
}

/// The signals that end a program: Ctrl-C, a polite kill, the terminal closed.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
