//! A few seeds on every test run; `.ci/run` runs many, and proves that the checkers notice.

use std::time::Duration;

use kvorum_sim::mutations::Mutation;
use kvorum_sim::settings::Settings;
use kvorum_sim::trace::Trace;
use kvorum_sim::{Outcome, World};

fn run(seed: u64, seconds: u64, mutation: Option<Mutation>) -> anyhow::Result<Outcome> {
    let mut settings = Settings::draw(seed, Duration::from_secs(seconds));
    settings.leave_out(mutation);
    Ok(World::new(seed, settings, Trace::default())?.run())
}

#[test]
fn no_seed_violates_a_property() {
    for seed in 1..=12 {
        let outcome = run(seed, 20, None).unwrap();
        let replay = format!("cargo run -p kvorum-sim -- --first {seed} --seeds 1 --seconds 20");
        assert_eq!(outcome.violations, [], "replay: {replay} --trace");
        assert!(outcome.operations.0 > 0, "seed {seed}: no operation succeeded");
    }
}

#[test]
fn the_same_seed_takes_the_same_course_twice() {
    for seed in [3, 4, 5] {
        let (first, second) = (run(seed, 15, None).unwrap(), run(seed, 15, None).unwrap());
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert_eq!(first.operations, second.operations, "seed {seed}");
    }
    assert_ne!(run(3, 15, None).unwrap().trace, run(4, 15, None).unwrap().trace);
}

#[test]
fn a_store_that_skips_its_syncs_is_noticed() {
    let mutation = Some(Mutation::named("SkipSync").unwrap());
    let noticed = (1..=20).any(|seed| !run(seed, 30, mutation).unwrap().violations.is_empty());
    assert!(noticed, "a checker that notices nothing is worthless");
}

#[test]
fn a_coordinator_that_counts_newer_versions_at_once_is_noticed() {
    let mutation = Some(Mutation::named("CountSupersededInFirstAttempt").unwrap());
    let noticed = (1..=40).any(|seed| !run(seed, 30, mutation).unwrap().violations.is_empty());
    assert!(noticed, "a checker that notices nothing is worthless");
}
