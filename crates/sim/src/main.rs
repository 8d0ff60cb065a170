//! Runs many seeds and says what was found, with the command that replays each failure.

#![allow(clippy::print_stdout)] // Printing is what this program is for.

use std::io::BufWriter;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use kvorum_sim::World;
use kvorum_sim::settings::{Mutation, Settings};
use kvorum_sim::trace::Trace;

/// Simulates clusters of kvorum nodes under faults, and checks what their clients see.
#[derive(Debug, Parser)]
#[command(version, after_help = "Example: kvorum-sim --seeds 500 --seconds 60")]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 100)]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    first: u64,
    /// How long each seed runs, in virtual seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Stop after this many real minutes, however many seeds have run.
    #[arg(long)]
    minutes: Option<u64>,
    /// How many seeds to run at the same time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Leave out a rule of the product; the run then succeeds only if a violation is found.
    #[arg(long, value_parser = Mutation::named, conflicts_with = "mutations")]
    mutation: Option<Mutation>,
    /// Leave out one rule after the other, of those that only a whole cluster under faults can
    /// miss, and say how many seeds it took to notice.
    #[arg(long)]
    mutations: bool,
    /// Print everything that happens (with one seed).
    #[arg(long)]
    trace: bool,
}

/// What all seeds came to.
#[derive(Debug, Default)]
struct Totals {
    seeds: u64,
    succeeded: usize,
    operations: usize,
    faults: usize,
    failures: Vec<String>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.mutations {
        return prove(&mut arguments);
    }
    let begun = Instant::now();
    let totals = run_all(&arguments, begun);
    report(&arguments, &totals, begun.elapsed())
}

/// Leaves out every rule in turn and expects the checkers to notice.
fn prove(arguments: &mut Arguments) -> ExitCode {
    let mut missed = 0;
    for mutation in Mutation::noticed_by_simulation() {
        arguments.mutation = Some(mutation);
        let totals = run_all(arguments, Instant::now());
        let name = mutation.name();
        match totals.failures.first() {
            Some(failure) => {
                let what = failure.lines().next().unwrap_or_default();
                println!("{name}: noticed after {} seeds: {what:.120}", totals.seeds);
            }
            None => {
                missed += 1;
                println!("{name}: NOT NOTICED in {} seeds", totals.seeds);
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn run_all(arguments: &Arguments, begun: Instant) -> Totals {
    let next = AtomicU64::new(arguments.first);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(|| work(arguments, begun, &next, &totals));
        }
    });
    totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work(arguments: &Arguments, begun: Instant, next: &AtomicU64, totals: &Mutex<Totals>) {
    let last = arguments.first.saturating_add(arguments.seeds);
    loop {
        let seed = next.fetch_add(1, Ordering::Relaxed);
        let late = arguments.minutes.is_some_and(|limit| begun.elapsed().as_secs() >= limit * 60);
        if seed >= last || late {
            return;
        }
        let result = run(arguments, seed);
        let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        totals.seeds += 1;
        match result {
            Ok(outcome) => {
                totals.succeeded += outcome.operations.0;
                totals.operations += outcome.operations.1;
                totals.faults += outcome.faults;
                if let Some(violation) = outcome.violation {
                    totals
                        .failures
                        .push(format!("seed {seed}: {violation}\n  {}", replay(arguments, seed)));
                    if arguments.mutation.is_some() {
                        next.store(last, Ordering::Relaxed);
                    }
                }
            }
            Err(error) => totals.failures.push(format!("seed {seed}: {error}")),
        }
    }
}

fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<kvorum_sim::Outcome> {
    let mut settings = Settings::draw(seed, Duration::from_secs(arguments.seconds));
    settings.leave_out(arguments.mutation);
    let trace = if arguments.trace {
        Trace::printed(Box::new(BufWriter::new(std::io::stdout())))
    } else {
        Trace::default()
    };
    Ok(World::new(seed, settings, trace)?.run())
}

fn replay(arguments: &Arguments, seed: u64) -> String {
    let mutation = arguments
        .mutation
        .map_or_else(String::new, |mutation| format!(" --mutation {}", mutation.name()));
    format!(
        "replay: cargo run -p kvorum-sim --release -- --first {seed} --seeds 1 --seconds {}{mutation} --trace",
        arguments.seconds
    )
}

fn report(arguments: &Arguments, totals: &Totals, took: Duration) -> ExitCode {
    for failure in &totals.failures {
        println!("{failure}");
    }
    let virtual_hours = (totals.seeds * (arguments.seconds + 25)) as f64 / 3600.0;
    let minutes = took.as_secs_f64() / 60.0;
    println!(
        "{} seeds, {virtual_hours:.1} virtual hours in {minutes:.1} minutes ({:.1} virtual hours \
         per minute), {} faults, {} operations of which {} succeeded, {} violations",
        totals.seeds,
        virtual_hours / minutes.max(1e-9),
        totals.faults,
        totals.operations,
        totals.succeeded,
        totals.failures.len(),
    );
    let as_wanted = totals.failures.is_empty() != arguments.mutation.is_some();
    if as_wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
