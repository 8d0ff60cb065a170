//! `kvorum bench`: a load generator.
//!
//! A number of clients, each with a connection of its own, run a mix of operations in a closed
//! loop for some time or for a number of operations; what they measure is merged at the end.

mod client;
mod grpc;
mod keys;
mod random;
mod recorder;
mod report;
mod resp;
mod transport;
mod workload;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;

use crate::duration;
use crate::exit::{Exit, WrongUsage};
use crate::output::{self, Format};
use crate::target::{Scope, Target};

use client::Course;
use keys::{Distribution, KeyChooser};
use recorder::Recorder;
use report::Report;
use transport::{Command, Connect, Outcome, Protocol, Transport};
use workload::{Generator, Named};

/// How many keys are loaded in one go.
const LOAD_PIPELINE: u64 = 64;
const PROGRESS_INTERVAL: Duration = Duration::from_millis(100);
/// The largest value that a server can be configured to take.
const LARGEST_VALUE: u32 = kvorum_client::HARD_MAX_VALUE as u32;

/// Options of `kvorum bench`.
#[derive(Args, Clone, Debug)]
#[command(after_help = "\
Examples:
  kvorum bench --workload put --clients 50 --pipeline 16
  kvorum bench --workload b --protocol grpc --duration 30s --output json
  kvorum bench --workload mixed --read-share 80 --node 1")]
pub struct Options {
    /// What to do: writes, reads, a mix of both, or a core workload of YCSB.
    #[arg(long, short, value_enum, default_value = "mixed", value_name = "NAME")]
    workload: Named,
    /// How many of a hundred operations are reads, with --workload mixed.
    #[arg(long, default_value_t = 50, value_name = "PERCENT", value_parser = clap::value_parser!(u64).range(0..=100))]
    read_share: u64,
    /// Over which protocol.
    #[arg(long, value_enum, default_value = "resp", value_name = "NAME")]
    protocol: Protocol,
    /// How many clients, each with a connection of its own.
    #[arg(long, default_value_t = 50, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    clients: u32,
    /// How many operations each client has under way.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    pipeline: u32,
    /// The size of the values in bytes.
    #[arg(long, default_value_t = 100, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(0..=i64::from(LARGEST_VALUE)))]
    value_size: u32,
    /// How many keys there are.
    #[arg(long, default_value_t = 100_000, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    keys: u64,
    /// How keys are chosen, if not as the workload says.
    #[arg(long, value_enum, value_name = "NAME")]
    distribution: Option<Distribution>,
    /// How long to measure.
    #[arg(long, default_value = "10s", value_name = "TIME", value_parser = duration::parse)]
    duration: Duration,
    /// Measure so many operations instead, without a warm-up.
    #[arg(long, value_name = "N", conflicts_with_all = ["duration", "warm_up"])]
    operations: Option<u32>,
    /// How long to run before measuring.
    #[arg(long, default_value = "1s", value_name = "TIME", value_parser = duration::parse)]
    warm_up: Duration,
    /// Do not write the keys first that the workload reads.
    #[arg(long)]
    no_load: bool,
    /// Threads of the load generator.
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Another seed gives another sequence of operations.
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,
    #[command(flatten)]
    scope: Scope,
    #[command(flatten)]
    target: Target,
}

impl Options {
    fn workload_name(&self) -> String {
        self.workload.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
    }

    fn protocol_name(&self) -> String {
        self.protocol.to_possible_value().map_or_else(String::new, |v| v.get_name().to_owned())
    }

    fn connect(&self, addresses: &[String], client: u32) -> Option<Connect> {
        let index = usize::try_from(client).ok()?.checked_rem(addresses.len())?;
        Some(Connect {
            protocol: self.protocol,
            address: addresses.get(index)?.clone(),
            keyspace: self.scope.keyspace.clone(),
            consistency: self.scope.consistency,
            timeout: self.target.timeout,
        })
    }
}

/// Runs the measurement.
///
/// # Errors
/// If the cluster cannot be reached or makes no sense of the load.
pub fn run(options: &Options) -> anyhow::Result<Exit> {
    check(options)?;
    let addresses = options.target.addresses(options.protocol == Protocol::Resp)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(usize::from(options.threads))
        .enable_all()
        .build()?;
    if options.workload.needs_keys() && !options.no_load {
        runtime.block_on(load(options, &addresses))?;
    }
    let (recorder, took) = measure(&runtime, options, &addresses)?;
    let report = Report { options, addresses: &addresses, took, recorder: &recorder };
    match options.target.output {
        Format::Text => output::line(&report.text())?,
        Format::Json => output::json(&report.document())?,
    };
    Ok(if recorder.successes() > 0 { Exit::Ok } else { Exit::Unavailable })
}

/// Refuses what only gRPC can do.
fn check(options: &Options) -> Result<(), WrongUsage> {
    if options.protocol == Protocol::Grpc {
        return Ok(());
    }
    let what = match (options.workload, options.scope.keyspace.as_str()) {
        (Named::E, _) => "workload e scans, which the Redis protocol cannot do by prefix",
        (_, "default") => return Ok(()),
        _ => "over resp the load goes to the keyspace default",
    };
    Err(WrongUsage(format!("{what}: use --protocol grpc")))
}

/// Writes every key once, in large steps.
async fn load(options: &Options, addresses: &[String]) -> anyhow::Result<()> {
    let bar = progress(options.keys, "loading keys");
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for client in 0..options.clients.min(16) {
        let connect = options.connect(addresses, client).context("no address")?;
        let value = workload::value(options.value_size, options.seed);
        let (next, keys, bar) = (Arc::clone(&next), options.keys, bar.clone());
        tasks.spawn(async move { load_share(&connect, &value, keys, &next, &bar).await });
    }
    while let Some(result) = tasks.join_next().await {
        result.context("a loading client broke")??;
    }
    bar.finish_and_clear();
    Ok(())
}

async fn load_share(
    connect: &Connect,
    value: &Bytes,
    keys: u64,
    next: &AtomicU64,
    bar: &ProgressBar,
) -> anyhow::Result<()> {
    let mut transport = Transport::connect(connect).await?;
    loop {
        let first = next.fetch_add(LOAD_PIPELINE, Ordering::Relaxed);
        let put = |number| Command::Put { key: workload::key(number), value: value.clone() };
        let commands: Vec<Command> = (first..keys.min(first + LOAD_PIPELINE)).map(put).collect();
        if commands.is_empty() {
            return Ok(());
        }
        let mut failure = None;
        transport
            .run(&commands, |_, outcome| {
                if let Outcome::Failed(text) = outcome {
                    failure = Some(text);
                }
            })
            .await?;
        if let Some(text) = failure {
            anyhow::bail!("loading the keys failed: {text}");
        }
        bar.inc(u64::try_from(commands.len()).unwrap_or(0));
    }
}

/// Lets all clients run their course and merges what they measured. Returns how long it took
/// without the warm-up.
fn measure(
    runtime: &Runtime,
    options: &Options,
    addresses: &[String],
) -> anyhow::Result<(Recorder, Duration)> {
    let distribution = options.distribution.unwrap_or(options.workload.distribution());
    let keys = KeyChooser::new(distribution, options.keys);
    let warm_up = if options.operations.is_some() { Duration::ZERO } else { options.warm_up };
    let began = Instant::now();
    let course = Arc::new(Course {
        running: AtomicBool::new(true),
        remaining: AtomicI64::new(options.operations.map_or(i64::MAX, i64::from)),
        ended: AtomicU64::new(0),
        measure_from: began + warm_up,
    });
    runtime.block_on(async {
        let mut tasks = JoinSet::new();
        for client in 0..options.clients {
            let connect = options.connect(addresses, client).context("no address")?;
            let mix = options.workload.mix(options.read_share);
            let generator = Generator::new(mix, keys.clone(), options.seed, u64::from(client));
            let value = workload::value(options.value_size, options.seed);
            let (course, pipeline) = (Arc::clone(&course), options.pipeline as usize);
            tasks.spawn(async move {
                client::run(&connect, generator, &value, pipeline, &course).await
            });
        }
        let ticker = tokio::spawn(tick(Arc::clone(&course), options.clone(), began + warm_up));
        let mut all = Recorder::default();
        while let Some(result) = tasks.join_next().await {
            all.merge(result.context("a client broke")??);
        }
        let took = began.elapsed().saturating_sub(warm_up);
        ticker.abort();
        Ok((all, took))
    })
}

/// Moves the progress bar and ends the course when its time is up.
async fn tick(course: Arc<Course>, options: Options, measure_from: Instant) {
    let total = match options.operations {
        Some(operations) => u64::from(operations),
        None => millis(options.duration),
    };
    let bar = progress(total, "measuring");
    loop {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let elapsed = Instant::now().saturating_duration_since(measure_from);
        match options.operations {
            Some(_) => bar.set_position(course.ended.load(Ordering::Relaxed)),
            None => bar.set_position(millis(elapsed)),
        }
        if options.operations.is_none() && elapsed >= options.duration {
            course.running.store(false, Ordering::Relaxed);
            bar.finish_and_clear();
            return;
        }
    }
}

/// A bar on standard error; it shows nothing where that is no terminal.
fn progress(total: u64, what: &'static str) -> ProgressBar {
    let bar = ProgressBar::new(total).with_message(what);
    if let Ok(style) = ProgressStyle::with_template("{msg} [{bar:40}] {percent}%") {
        bar.set_style(style.progress_chars("=> "));
    }
    bar
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
