//! Models of the protocols of eventual keyspaces, explored state by state.
//!
//! A model is a small world in which a protocol is its rules and nothing else: one key, three members, two
//! writes. The checker (stateright) tries every order of everything that can happen, so what it does not
//! find does not exist within these bounds. `floor` is how deletes end (`docs/design/0008-convergence.md`),
//! `restamp` why the later write wins and reads never go back (`docs/design/0003-quorums-and-restamping.md`).
//!
//! How to read one: `state.rs` says what there is, `rules.rs` what may happen, a function per step, and the
//! file above both what must be true. Messages are kept nowhere: what may arrive late may arrive at any time
//! or never, and a step that the rules forbid changes nothing. A rule is left out by a `Mutation`, and for
//! each of them a test names the property that must then be violated: a rule whose absence nobody notices
//! is not needed, or the model is blind.
//!
//! The bounds are those that two cores explore in less than a minute. These variables replace them in all
//! tests: `MODEL_WRITES` (at most 3); for `restamp` also `MODEL_READS` (at most 3); for `floor` also
//! `MODEL_LOSSES` (of disks) and `MODEL_CRASHES` (at most 3 each), and `MODEL_SNAPSHOTS` (0 or 1: whether a
//! comparison may use what a member held a while ago). Larger bounds take gigabytes.
//!
//! ```sh
//! MODEL_WRITES=3 cargo test -p kvorum-replication --test models -- --nocapture
//! ```
//!
//! The output tells how many states there were. A violation is printed as the steps that lead
//! to it, few if not always the fewest.

// A test may panic and print: that is how it fails, and how it tells what it did.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::print_stdout)]

mod floor;
mod restamp;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::hash::Hash;

use stateright::{Checker, HasDiscoveries, Model};

/// How many states are looked at side by side.
const THREADS: usize = 2;

/// A bound of the models, which an environment variable may replace.
fn bound(name: &str, default: u8) -> u8 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a bound is a number"))
}

/// Explores all states: what must always be true always is, and what must happen sometimes does.
fn explore<M>(name: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let end = HasDiscoveries::AnyFailures;
    let checker = model.checker().threads(THREADS).finish_when(end).spawn_bfs().join();
    let (states, steps) = (checker.unique_state_count(), checker.state_count());
    println!("{name}: {states} states, {steps} steps between them, {} deep", checker.max_depth());
    // The checker stops early only when it has found something for every property, and nothing may be found for
    // one that must always be true.
    checker.assert_properties();
    assert!(checker.is_done(), "{name}: not all states were explored");
}

/// Searches, with a rule left out, for the violation of a property.
fn find<M>(name: &str, model: M, violated: &'static str)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + Debug + PartialEq,
{
    let end = HasDiscoveries::AllOf(BTreeSet::from([violated]));
    let checker = model.checker().threads(THREADS).finish_when(end).spawn_bfs().join();
    let states = checker.unique_state_count();
    let Some(path) = checker.discovery(violated) else {
        panic!("{name}: not noticed in {states} states, though it should be that {violated}");
    };
    println!("{name}: {states} states until not: {violated}\n    {:?}", path.into_actions());
}
