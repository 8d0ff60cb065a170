//! Runs many seeds and says what was found, with the command that replays each failure.

#![allow(clippy::print_stdout)] // Printing is what this program is for.

use std::collections::BTreeMap;
use std::io::BufWriter;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use kvorum_sim::checkers::Property;
use kvorum_sim::mutations::Mutation;
use kvorum_sim::settings::Settings;
use kvorum_sim::trace::Trace;
use kvorum_sim::{Outcome, World};

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
    /// Leave out one rule after the other, of those that whole clusters under faults can miss, and
    /// say which properties were violated; succeeds if those were that must be.
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
    /// Operations of the strong keyspace that succeeded, and all.
    strong: (usize, usize),
    faults: usize,
    failures: Vec<String>,
    /// Of each property, how many seeds violated it, and the first violation.
    violated: BTreeMap<Property, (u64, String)>,
}

fn main() -> ExitCode {
    let mut arguments = Arguments::parse();
    if arguments.mutations {
        return prove(&mut arguments);
    }
    let begun = Instant::now();
    let totals = run_all(&arguments, begun, |_| false);
    report(&arguments, &totals, begun.elapsed())
}

/// Leaves out one rule after the other, each until everything has been violated that must be.
fn prove(arguments: &mut Arguments) -> ExitCode {
    let mut missed = 0;
    for (mutation, expected) in Mutation::noticed_by_simulation() {
        arguments.mutation = Some(mutation);
        let all = |totals: &Totals| expected.iter().all(|p| totals.violated.contains_key(p));
        let totals = run_all(arguments, Instant::now(), all);
        println!("{} (after {} seeds):", mutation.name(), totals.seeds);
        for property in expected {
            match totals.violated.get(property) {
                Some((_, violation)) => {
                    let line = violation.lines().next().unwrap_or_default();
                    println!("  noticed by {}, {line:.140}", property.number());
                }
                None => {
                    missed += 1;
                    println!("  NOT NOTICED by {property}");
                }
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all seeds, or as many as are enough.
fn run_all(
    arguments: &Arguments,
    begun: Instant,
    enough: impl Fn(&Totals) -> bool + Sync,
) -> Totals {
    let next = AtomicU64::new(arguments.first);
    let totals = Mutex::new(Totals::default());
    let last = arguments.first.saturating_add(arguments.seeds);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let late =
                arguments.minutes.is_some_and(|limit| begun.elapsed().as_secs() >= limit * 60);
            if seed >= last || late {
                return;
            }
            let result = run(arguments, seed);
            let mut totals = totals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            totals.add(arguments, seed, result);
            if enough(&totals) {
                next.store(last, Ordering::Relaxed);
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..arguments.jobs.max(1) {
            scope.spawn(work);
        }
    });
    totals.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Totals {
    fn add(&mut self, arguments: &Arguments, seed: u64, result: anyhow::Result<Outcome>) {
        self.seeds += 1;
        let outcome = match result {
            Ok(outcome) => outcome,
            Err(error) => {
                self.failures.push(format!("seed {seed}: {error}"));
                return;
            }
        };
        self.succeeded += outcome.operations.0;
        self.operations += outcome.operations.1;
        self.strong.0 += outcome.strong.0;
        self.strong.1 += outcome.strong.1;
        self.faults += outcome.faults;
        for violation in outcome.violations {
            let text = format!("seed {seed}: {violation}\n  {}", replay(arguments, seed));
            let first = || (0, text.clone());
            self.violated.entry(violation.property).or_insert_with(first).0 += 1;
            self.failures.push(text);
        }
    }
}

fn run(arguments: &Arguments, seed: u64) -> anyhow::Result<Outcome> {
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
    for (property, (seeds, _)) in &totals.violated {
        println!("{property}: violated by {seeds} seeds");
    }
    let virtual_hours = (totals.seeds * (arguments.seconds + 25)) as f64 / 3600.0;
    let minutes = took.as_secs_f64() / 60.0;
    println!(
        "{} seeds, {virtual_hours:.1} virtual hours in {minutes:.1} minutes ({:.1} virtual hours \
         per minute), {} faults, {} operations of which {} succeeded, {} strong operations of which \
         {} succeeded, {} violations",
        totals.seeds,
        virtual_hours / minutes.max(1e-9),
        totals.faults,
        totals.operations,
        totals.succeeded,
        totals.strong.1,
        totals.strong.0,
        totals.failures.len(),
    );
    let as_wanted = totals.failures.is_empty() != arguments.mutation.is_some();
    if as_wanted { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
