//! Whatever happens to the power and to the process, the store is exactly some prefix of what was
//! put, and that prefix holds everything that was ever said or shown to be durable.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::sync::Arc;

use kvorum_core::Mono;

use super::rig::{LIVES, open, put, seed, seeds, small, sync};
use super::world::{Checked, World, check};
use crate::store::work::Task;
use crate::{Options, SimDisk, Store, Survival};

/// All background work that writes.
const WRITING: [&str; 4] = ["checkpoint end", "checkpoint part", "free", "spare"];

/// A long life with kills and power cuts at random calls, some of them inside recovery.
pub(super) fn eventful_life(options: &Options, number: u64, steps: u64) -> Checked<World> {
    let mut world = World::new(options.clone(), number)?;
    for _ in 0..steps {
        world.step()?;
        if world.rng.one_in(60) {
            let calls = world.disk.calls() + 1 + world.rng.below(12);
            world.disk.cut_power_at(calls);
        }
        if world.rng.one_in(120) {
            world.kill()?;
        }
        if world.rng.one_in(80) {
            world.faulty = true;
            let calls = world.disk.calls() + 1 + world.rng.below(12);
            let full = world.rng.one_in(2);
            let kind = if full { ErrorKind::StorageFull } else { ErrorKind::Other };
            world.disk.fail_at(calls, kind);
        }
        if world.rng.one_in(100) {
            world.compare(false)?;
        }
    }
    world.disk.power_cycle(crate::Survival::Everything);
    world.drop_process();
    world.reopen()?;
    Ok(world)
}

/// The same short life over and over, with the power cut at each call in turn, and once more at a
/// call of the recovery that follows.
pub(super) fn every_call(options: &Options, number: u64, steps: u64) -> Checked<Cuts> {
    let mut cuts = Cuts::default();
    for call in 1.. {
        let mut world = World::new(options.clone(), number)?;
        world.disk.cut_power_at(world.disk.calls() + call);
        for _ in 0..steps {
            world.step()?;
            if world.crashes > 0 {
                break;
            }
        }
        if world.crashes == 0 {
            break;
        }
        cuts.count += 1;
        for again in 1..4 {
            let before = world.opens;
            world.disk.cut_power_at(world.disk.calls() + again * 2 + call % 2);
            world.kill()?;
            cuts.inside_recovery += u64::from(world.opens > before + 1);
        }
        cuts.during.extend(world.cut_in);
    }
    Ok(cuts)
}

/// Where the power went. How much that is says something of the test, not of the store, so it is
/// no violation if it is little.
#[derive(Debug, Default)]
pub(super) struct Cuts {
    count: u64,
    inside_recovery: u64,
    /// The background work that was cut off.
    during: BTreeSet<&'static str>,
}

/// The same short life over and over, in which each call in turn fails once, and another one in
/// the recovery that follows. Says which background work has failed.
fn every_failure(
    options: &Options,
    number: u64,
    steps: u64,
    kind: ErrorKind,
) -> Checked<BTreeSet<&'static str>> {
    let mut failed_in = BTreeSet::new();
    for call in 1.. {
        let mut world = World::new(options.clone(), number)?;
        world.faulty = true;
        let failing = world.disk.calls() + call;
        world.disk.fail_at(failing, kind);
        for _ in 0..steps {
            world.step()?;
        }
        if world.disk.calls() < failing {
            check!(call > 50, "{call} calls");
            break;
        }
        world.compare(false)?;
        for again in 1..4 {
            world.disk.fail_at(world.disk.calls() + again * 2 + call % 2, kind);
            world.kill()?;
        }
        world.disk.power_cycle(crate::Survival::Everything);
        world.drop_process();
        world.reopen()?;
        failed_in.extend(world.failed_in);
    }
    Ok(failed_in)
}

#[test]
fn nothing_durable_is_lost_in_eventful_lives() {
    let (mut crashes, mut checkpoints) = (0, 0);
    for number in seeds(LIVES) {
        match eventful_life(&small(), number, 800) {
            Ok(mut world) => {
                crashes += world.crashes;
                checkpoints += u64::from(world.store().stats().checkpoint.0 > 0);
            }
            Err(violation) => panic!("seed {number}: {violation}"),
        }
    }
    assert!(crashes > 300 && checkpoints > 30, "{crashes} crashes, {checkpoints} checkpoints");
}

#[test]
fn the_power_may_go_at_every_call() {
    let mut cut_in = BTreeSet::new();
    for number in seeds(4) {
        match every_call(&small(), number, 350) {
            Ok(cuts) => {
                assert!(cuts.count > 50 && cuts.inside_recovery > cuts.count, "{cuts:?}");
                cut_in.extend(cuts.during);
            }
            Err(violation) => panic!("seed {number}: {violation}"),
        }
    }
    assert_eq!(cut_in, WRITING.into());
}

#[test]
fn names_left_by_a_killed_process_are_durable_before_the_files_are_used() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    for n in 1.. {
        put(&mut store, &(n % 20u64).to_le_bytes(), n, Some(&[1; 3000])).unwrap();
        sync(&mut store);
        let work = store.maintain(Mono(n << 20));
        sync(&mut store);
        let Some(work) = work else { continue };
        if matches!(work.task, Task::Free { .. }) {
            // The process ends between the renaming of the segment and the sync of its new name.
            disk.cut_power_at(disk.calls() + 2);
            let _ = work.run();
            break;
        }
        let done = work.run();
        store.work_done(done);
    }
    drop(store);
    disk.kill();
    for call in 1..12 {
        let disk = disk.snapshot();
        disk.cut_power_at(disk.calls() + call);
        drop(Store::open(Arc::new(disk.clone()), small(), seed(2)));
        disk.power_cycle(Survival::Nothing);
        let (_, recovery) = open(&disk, &small(), 3);
        assert_eq!(recovery.damage, None, "call {call}");
    }
}

#[test]
fn every_call_may_fail() {
    let mut failed_in = BTreeSet::new();
    for number in seeds(2) {
        for kind in [ErrorKind::StorageFull, ErrorKind::Other] {
            match every_failure(&small(), number, 350, kind) {
                Ok(inside) => failed_in.extend(inside),
                Err(violation) => panic!("seed {number}, {kind}: {violation}"),
            }
        }
    }
    assert_eq!(failed_in, WRITING.into());
}

#[test]
fn a_checkpoint_ends_while_the_load_goes_on() {
    let (mut store, _) = open(&SimDisk::new(), &small(), 1);
    let mut ended = 0;
    for n in 1..2000u64 {
        put(&mut store, &(n % 100).to_le_bytes(), n, Some(&[1; 1000])).unwrap();
        // Every turn adds to the log, and a piece of background work takes one.
        let before = store.stats().checkpoint;
        if let Some(work) = store.maintain(Mono(n * 1000)) {
            let done = work.run();
            store.work_done(done);
        }
        sync(&mut store);
        ended += u64::from(store.stats().checkpoint > before);
        assert!(store.stats().replay_bytes < 1 << 20, "turn {n}");
    }
    assert!(ended > 20, "{ended} checkpoints");
}
