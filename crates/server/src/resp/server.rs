//! What the connections of a node have in common: settings, counters, cursors.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::{Counter, Gauge, Histogram};

use super::clients::Clients;
use super::cursors::Cursors;
use super::error::CODES;
use super::table::COMMANDS;

/// The common state of all connections.
pub(super) struct Server {
    /// The port the node listens on.
    pub(super) port: u16,
    /// The open connections.
    pub(super) clients: Clients,
    /// Counters.
    pub(super) meters: Meters,
    cursors: Mutex<Cursors>,
}

impl Server {
    /// The state of a node that listens on `port`.
    pub(super) fn new(port: u16) -> Server {
        Server {
            port,
            clients: Clients::default(),
            meters: Meters::new(),
            cursors: Mutex::new(Cursors::new()),
        }
    }

    /// Where scans go on.
    pub(super) fn cursors(&self) -> MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a command or an error occurred: for `INFO`, and as a metric.
struct Meter {
    name: &'static str,
    since_reset: AtomicU64,
    metric: Counter,
}

impl Meter {
    fn add(&self) {
        self.since_reset.fetch_add(1, Ordering::Relaxed);
        self.metric.increment(1);
    }

    fn read(&self) -> (&'static str, u64) {
        (self.name, self.since_reset.load(Ordering::Relaxed))
    }
}

/// The counters. The handles of the metrics are made once: counting costs two additions.
pub(super) struct Meters {
    commands: Vec<Meter>,
    unknown: Meter,
    errors: Vec<Meter>,
    pipeline: Histogram,
    connections: Gauge,
    connections_total: Counter,
}

impl Meters {
    fn new() -> Meters {
        let command = |name: &'static str| Meter {
            name,
            since_reset: AtomicU64::new(0),
            metric: metrics::counter!("kvorum_resp_commands_total", "command" => name),
        };
        let error = |code: &'static str| Meter {
            name: code,
            since_reset: AtomicU64::new(0),
            metric: metrics::counter!("kvorum_resp_errors_total", "code" => code),
        };
        Meters {
            commands: COMMANDS.iter().map(|row| command(row.name)).collect(),
            unknown: command("unknown"),
            errors: CODES.into_iter().map(error).collect(),
            pipeline: metrics::histogram!("kvorum_resp_pipeline_seconds"),
            connections: metrics::gauge!("kvorum_resp_connections"),
            connections_total: metrics::counter!("kvorum_resp_connections_total"),
        }
    }

    /// Counts a command by its index in the table; nothing stands for one that does not exist.
    pub(super) fn command(&self, index: Option<usize>) {
        let meter = index.and_then(|index| self.commands.get(index));
        meter.unwrap_or(&self.unknown).add();
    }

    /// Counts an error reply.
    pub(super) fn error(&self, code: &str) {
        if let Some(meter) = self.errors.iter().find(|meter| meter.name == code) {
            meter.add();
        }
    }

    /// Notes the time from the arrival of commands that came together to the last of their replies.
    pub(super) fn pipeline(&self, took: Duration) {
        self.pipeline.record(took.as_secs_f64());
    }

    /// Notes a new connection.
    pub(super) fn connected(&self) {
        self.connections.increment(1.0);
        self.connections_total.increment(1);
    }

    /// Notes the end of a connection.
    pub(super) fn disconnected(&self) {
        self.connections.decrement(1.0);
    }

    /// How often each command was called since the last reset.
    pub(super) fn commands(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.commands.iter().chain([&self.unknown]).map(Meter::read)
    }

    /// How often each error was answered since the last reset.
    pub(super) fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.errors.iter().map(Meter::read)
    }

    /// Begins to count from zero (`CONFIG RESETSTAT`); metrics go on.
    pub(super) fn reset(&self) {
        for meter in self.commands.iter().chain([&self.unknown]).chain(&self.errors) {
            meter.since_reset.store(0, Ordering::Relaxed);
        }
    }
}
