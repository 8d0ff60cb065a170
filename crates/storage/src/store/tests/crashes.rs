//! Whatever happens to the power and to the process, the store is exactly some prefix of what was
//! put, and that prefix holds everything that was ever said or shown to be durable.

use std::io::ErrorKind;

use super::rig::{seeds, small};
use super::world::{Checked, World, check};
use crate::Options;

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
pub(super) fn every_call(options: &Options, number: u64, steps: u64) -> Checked<u64> {
    let (mut cuts, mut cuts_inside) = (0, 0);
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
        cuts += 1;
        for again in 1..4 {
            let before = world.opens;
            world.disk.cut_power_at(world.disk.calls() + again * 2 + call % 2);
            world.kill()?;
            cuts_inside += u64::from(world.opens > before + 1);
        }
    }
    check!(cuts_inside > cuts, "{cuts_inside} cuts inside recovery, {cuts} before");
    Ok(cuts)
}

#[test]
fn nothing_durable_is_lost_in_eventful_lives() {
    let (mut crashes, mut checkpoints) = (0, 0);
    for number in seeds(60) {
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
    let mut cuts = 0;
    for number in seeds(4) {
        match every_call(&small(), number, 350) {
            Ok(count) => cuts += count,
            Err(violation) => panic!("seed {number}: {violation}"),
        }
    }
    assert!(cuts > 200, "{cuts} cuts");
}
