//! Flipped bits, missing files and old images: an error, a repair or a verdict, never silence.

use kvorum_core::{KeyspaceId, Lsn, Mono, Slot, Store as _};

use super::rig::{KEYSPACE, get, header, open, put, record, seeds, small, sync};
use super::world::{Checked, Tolerated, World, check};
use crate::store::work::Task;
use crate::{Cause, Disk as _, Options, SimDisk, Store, Survival};

/// One bit of one file flips while the store is closed; then the store opens, works in the
/// background for a while, and opens again.
pub(super) fn flipped_bit(options: &Options, number: u64) -> Checked<Tolerated> {
    let mut world = World::new(options.clone(), number)?;
    for _ in 0..500 {
        world.step()?;
    }
    if number.is_multiple_of(2) {
        world.store().maintenance.checkpoints.want();
    }
    world.settle()?;
    world.drop_process();
    world.disk.kill();
    let (name, byte) = used_byte(&mut world);
    check!(world.disk.flip(&name, byte, world.rng.next() as u8), "nothing to flip");
    world.flipped = true;
    world.reopen()?;
    let at_open = world.tolerate().map_err(|text| format!("{name} at {byte}: {text}"))?;
    world.settle()?;
    let at_rest = world.tolerate().map_err(|text| format!("{name} at {byte}, at rest: {text}"))?;
    for _ in 0..2 {
        let call = world.disk.calls() + 1 + world.rng.below(8);
        world.disk.cut_power_at(call);
        world.kill()?;
    }
    let again = world.tolerate().map_err(|text| format!("{name} at {byte}, later: {text}"))?;
    check!(at_open != Tolerated::Verdict || again == at_open, "the verdict is forgotten");
    check!(at_open == Tolerated::Verdict || again != Tolerated::Verdict, "a late verdict");
    Ok(if at_open == Tolerated::Nothing { at_rest } else { at_open })
}

/// A byte of a segment or checkpoint that something was written to.
fn used_byte(world: &mut World) -> (String, u64) {
    let names = world.disk.list().unwrap();
    loop {
        let name = &names[world.rng.below(names.len() as u64) as usize];
        let bytes = world.disk.contents(name).unwrap();
        let at = world.rng.below(bytes.len() as u64) as usize;
        let near = &bytes[at.saturating_sub(64)..(at + 64).min(bytes.len())];
        if !name.starts_with("free") && near.iter().any(|byte| *byte != 0) {
            return (name.clone(), at as u64);
        }
    }
}

#[test]
fn any_flipped_bit_is_an_error_or_a_verdict_and_never_silence() {
    let options = Options { scrub_bytes_per_second: u64::MAX, ..small() };
    let (mut corrupt, mut verdicts) = (0, 0);
    for number in seeds(150) {
        match flipped_bit(&options, number) {
            Ok(Tolerated::Corrupt) => corrupt += 1,
            Ok(Tolerated::Verdict) => verdicts += 1,
            Ok(Tolerated::Nothing) => {}
            Err(violation) => panic!("seed {number}: {violation}"),
        }
    }
    assert!(corrupt > 5 && verdicts > 10, "{corrupt} corrupt, {verdicts} verdicts");
}

/// A store of one segment with three synced frames, the middle one damaged.
fn damaged_middle(options: &Options) -> SimDisk {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    for n in 1..=3 {
        put(&mut store, &[n as u8], n, Some(b"value")).unwrap();
        sync(&mut store);
    }
    drop(store);
    disk.flip("0000000001.log", 4 * 4096 + 60, 1);
    disk
}

/// A store of several segments without a checkpoint, a frame of the first one damaged: every start
/// has to replay it.
fn damaged_beginning(options: &Options) -> SimDisk {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    for n in 1..40 {
        put(&mut store, &[n as u8], n, Some(&[1; 4000])).unwrap();
        sync(&mut store);
    }
    assert!(store.stats().segments > 2 && store.stats().checkpoint == Lsn(0));
    drop(store);
    disk.flip("0000000001.log", 4 * 4096 + 60, 1);
    disk
}

/// The verdict on damage, through power cuts, until the caller has rebuilt.
pub(super) fn verdict_stands(options: &Options) -> Checked {
    verdict_stands_on(&damaged_middle(options), options)?;
    verdict_stands_on(&damaged_beginning(options), options)
}

fn verdict_stands_on(disk: &SimDisk, options: &Options) -> Checked {
    let (mut store, first) = open(disk, options, 2);
    check!(first.damage.is_some(), "a hole of durable frames is no tail");
    check!(header(&store, &[3]).is_some(), "what lies behind the hole is replayed");
    for n in 3..8 {
        disk.power_cycle(Survival::Random(n));
        let (next, again) = open(disk, options, n);
        check!(again.damage == first.damage, "{:?}, not {:?}", again.damage, first.damage);
        check!(again.log_id == first.log_id, "the same damage makes one new log");
        store = next;
    }
    store.rebuilt();
    for _ in 0..50 {
        if let Some(work) = store.maintain(Mono(1 << 40)) {
            let done = work.run();
            store.work_done(done);
        }
        sync(&mut store);
        if store.damage().is_none() {
            break;
        }
    }
    check!(store.damage().is_none(), "the verdict does not end");
    disk.power_cycle(Survival::Nothing);
    let (_store, last) = open(disk, options, 9);
    check!(last.damage.is_none(), "{:?} after the rebuild", last.damage);
    Ok(())
}

#[test]
fn a_verdict_stands_until_the_store_is_rebuilt() {
    verdict_stands(&small()).unwrap();
}

#[test]
fn a_hole_of_proved_frames_is_damage_and_says_what_is_lost() {
    let disk = damaged_middle(&small());
    let (store, recovery) = open(&disk, &small(), 2);
    let damage = recovery.damage.unwrap();
    assert_eq!((damage.cause, damage.segment), (Cause::Frames, 1));
    assert_eq!((damage.first, damage.last), (Lsn(2), Lsn(2)));
    assert_eq!(recovery.recovered, Lsn(3));
    assert!(header(&store, &[1]).is_some() && header(&store, &[2]).is_none());
}

#[test]
fn damage_to_the_first_frame_of_a_start_is_no_clean_start() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    put(&mut store, b"a", 1, Some(b"one")).unwrap();
    sync(&mut store);
    drop(store);
    drop(open(&disk, &small(), 2));
    disk.flip("0000000002.log", 4096 + 120, 1);
    let (_store, recovery) = open(&disk, &small(), 3);
    assert!(recovery.damage.is_some());
}

#[test]
fn a_lost_opening_does_not_cut_off_what_lies_before_it() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    for n in 1..20 {
        put(&mut store, &[n as u8], n, Some(&[1; 4000])).unwrap();
        sync(&mut store);
    }
    let newest = disk.list().unwrap().into_iter().rfind(|name| name.ends_with(".log")).unwrap();
    drop(store);
    disk.flip(&newest, 4096 + 10, 1);
    for n in 2..5 {
        let (store, recovery) = open(&disk, &small(), n);
        assert!(recovery.damage.is_some());
        assert!((1..10).all(|n| header(&store, &[n]).is_some()), "start {n}");
    }
}

#[test]
fn the_last_frame_torn_is_a_tail_and_no_damage() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    put(&mut store, b"a", 1, Some(b"one")).unwrap();
    sync(&mut store);
    put(&mut store, b"b", 2, Some(&[1; 8000])).unwrap();
    disk.cut_power_at(disk.calls() + 2);
    let _ = store.seal().unwrap().run();
    drop(store);
    disk.power_cycle(Survival::Everything);
    disk.flip("0000000001.log", 4 * 4096 + 100, 1);
    let (store, recovery) = open(&disk, &small(), 2);
    assert_eq!((recovery.damage, recovery.recovered), (None, Lsn(1)));
    assert!(header(&store, b"a").is_some() && header(&store, b"b").is_none());
}

#[test]
fn a_corrupt_value_is_an_error_until_the_same_version_is_written_over_it() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    let slot = Slot::of(b"a");
    put(&mut store, b"a", 1, Some(&[7; 5000])).unwrap();
    sync(&mut store);
    disk.flip("0000000001.log", 3 * 4096 + 3000, 1);
    let before = header(&store, b"a").unwrap();
    assert!(store.value(KEYSPACE, slot, b"a").is_err() && !before.corrupt);
    assert!(store.value(KEYSPACE, slot, b"a").is_err(), "and it stays one");
    let stored = header(&store, b"a").unwrap();
    assert!(stored.corrupt && stored.header == before.header);
    assert_eq!(store.take_corrupt(), [(KEYSPACE, slot)]);
    put(&mut store, b"a", 1, Some(&[7; 5000])).unwrap();
    sync(&mut store);
    assert_eq!(get(&mut store, b"a").unwrap().1, &[7; 5000][..]);
    assert!(!header(&store, b"a").unwrap().corrupt && store.take_corrupt().is_empty());
}

/// Fills segments with records that are overwritten later, until some were compacted.
fn compacted(store: &mut Store, keys: u64) {
    put(store, b"old", 1, Some(&[1; 3000])).unwrap();
    sync(store);
    for n in 2..200 {
        put(store, &(n % keys).to_le_bytes(), n, Some(&[2; 3000])).unwrap();
        sync(store);
        if let Some(work) = store.maintain(Mono(n << 20)) {
            let done = work.run();
            store.work_done(done);
        }
        sync(store);
    }
}

#[test]
fn a_missing_segment_is_damage_and_its_keys_are_corrupt_not_absent() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    compacted(&mut store, 20);
    assert!(store.stats().checkpoint > Lsn(0));
    drop(store);
    let names = disk.list().unwrap();
    let logs: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
    disk.remove(logs[1]).unwrap();
    let (mut store, recovery) = open(&disk, &small(), 2);
    assert!(recovery.damage.is_some());
    store.rebuilt();
    let lost = store.stats();
    assert!(lost.keys > 0);
    drop(store);
    let (_store, again) = open(&disk, &small(), 3);
    assert!(again.damage.is_some(), "rebuilt is not rebuilt before the log says so");
}

/// A copy made by compaction, whose original record is lost with its segment, is all that is left
/// of a key. It must not bring the key back: what came between is unknown.
pub(super) fn moved_never_creates(options: &Options) -> Checked {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    compacted(&mut store, 20);
    let address = "only a compacted record can show this";
    check!(store.stats().checkpoint > Lsn(0), "{address}");
    drop(store);
    for name in disk.list().unwrap() {
        if name.starts_with("checkpoint") {
            disk.flip(&name, 60, 1);
        }
    }
    let (store, recovery) = open(&disk, options, 2);
    check!(recovery.damage.is_some(), "the checkpoint is lost");
    check!(header(&store, b"old").is_none(), "a copy has brought its key back");
    Ok(())
}

/// A device stores a part of a new checkpoint wrong. That must show before the old one is gone.
pub(super) fn checkpoint_is_read_back(options: &Options) -> Checked {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    compacted(&mut store, 20);
    store.maintenance.checkpoints.want();
    let mut garbled = false;
    for _ in 0..100 {
        let Some(work) = store.maintain(Mono(1 << 40)) else { break };
        let ends = matches!(work.task, Task::CheckpointEnd(_));
        if ends {
            disk.garble_at(disk.calls() + 1);
        }
        let done = work.run();
        store.work_done(done);
        sync(&mut store);
        if ends {
            garbled = true;
            break;
        }
    }
    check!(garbled, "no checkpoint was written");
    drop(store);
    disk.power_cycle(Survival::Everything);
    let (store, recovery) = open(&disk, options, 2);
    check!(recovery.damage.is_none(), "{:?}", recovery.damage);
    check!(header(&store, b"old").is_some(), "a key is lost");
    Ok(())
}

#[test]
fn a_checkpoint_that_the_device_stored_wrong_replaces_none() {
    checkpoint_is_read_back(&small()).unwrap();
}

#[test]
fn a_checkpoint_that_cannot_be_completed_leaves_no_file_behind() {
    // Write, sync, rename, sync of the directory.
    for call in 1..=4 {
        let disk = SimDisk::new();
        let (mut store, _) = open(&disk, &small(), 1);
        compacted(&mut store, 20);
        store.maintenance.checkpoints.want();
        let checkpoints = || {
            let names = disk.list().unwrap().into_iter();
            names.filter(|name| name.starts_with("checkpoint")).collect::<Vec<_>>()
        };
        let before = checkpoints();
        assert_eq!(before.len(), 1);
        let mut ended = false;
        while !ended {
            let work = store.maintain(Mono(1 << 40)).unwrap();
            ended = matches!(work.task, Task::CheckpointEnd(_));
            if ended {
                disk.fail_at(disk.calls() + call, std::io::ErrorKind::Other);
            }
            let done = work.run();
            store.work_done(done);
            sync(&mut store);
        }
        assert_eq!((checkpoints(), store.stats().failures), (before, 1), "call {call}");
        drop(store);
        let (store, recovery) = open(&disk, &small(), 2);
        assert!(recovery.damage.is_none() && header(&store, b"old").is_some());
    }
}

/// The newest checkpoint goes bad on the disk while the store runs.
pub(super) fn bad_checkpoint_is_replaced(options: &Options) -> Checked {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, options, 1);
    compacted(&mut store, 20);
    // Until a round of scrub is over and nothing is left to be done; then through the next one.
    let mut rest = |from: u64| {
        for n in 0..200u64 {
            if let Some(work) = store.maintain(Mono(from + (n << 20))) {
                let done = work.run();
                store.work_done(done);
            }
            sync(&mut store);
        }
    };
    rest(1 << 40);
    let newest = |names: Vec<String>| names.into_iter().rfind(|it| it.starts_with("checkpoint-"));
    let bad = newest(disk.list().unwrap()).ok_or("there is no checkpoint")?;
    disk.flip(&bad, 60, 1);
    rest(1 << 41);
    check!(newest(disk.list().unwrap()) > Some(bad), "the bad checkpoint is still there");
    drop(store);
    let (store, recovery) = open(&disk, options, 2);
    check!(recovery.damage.is_none(), "{:?}", recovery.damage);
    check!(header(&store, b"old").is_some(), "a key is lost");
    Ok(())
}

#[test]
fn a_checkpoint_that_goes_bad_is_replaced_by_scrub() {
    bad_checkpoint_is_replaced(&small()).unwrap();
}

#[test]
fn the_end_of_a_round_of_scrub_is_told() {
    for rate in [u64::MAX, 0] {
        let options = Options { scrub_bytes_per_second: rate, ..small() };
        let (mut store, _) = open(&SimDisk::new(), &options, 1);
        compacted(&mut store, 20);
        let begun = Mono(1 << 40);
        for n in 0..200u64 {
            if let Some(work) = store.maintain(Mono(begun.0 + (n << 20))) {
                store.work_done(work.run());
            }
            sync(&mut store);
        }
        assert_eq!(store.stats().scrubbed.is_some_and(|at| at > begun), rate > 0);
    }
}

#[test]
fn a_moved_record_never_creates_a_key() {
    moved_never_creates(&small()).unwrap();
}

#[test]
fn an_image_with_a_newer_checkpoint_than_log_is_damaged() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    compacted(&mut store, 20);
    drop(store);
    let names = disk.list().unwrap();
    let newest = names.iter().rfind(|name| name.ends_with(".log")).unwrap();
    disk.remove(newest).unwrap();
    let (_store, recovery) = open(&disk, &small(), 2);
    assert!(recovery.damage.is_some());
}

#[test]
fn segments_of_two_stores_are_not_mixed() {
    let (one, two) = (SimDisk::new(), SimDisk::new());
    drop(open(&one, &small(), 1));
    drop(open(&two, &small(), 2));
    let bytes = two.contents("0000000001.log").unwrap();
    let file = one.create("0000000007.log", bytes.len() as u64).unwrap();
    let mut moved = bytes;
    moved[16] = 1;
    file.write_at(&moved, 0).unwrap();
    let opened = Store::open(std::sync::Arc::new(one), small(), super::rig::seed(3));
    assert!(opened.is_ok_and(|(_, recovery)| recovery.damage.is_some()), "its name is a lie");
}

#[test]
fn local_records_are_kept_like_all_others() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    let mut note = record(b"note", 1, Some(b"x"));
    note.keyspace = KeyspaceId::LOCAL;
    store.put(note).unwrap();
    sync(&mut store);
    drop(store);
    let (mut store, _) = open(&disk, &small(), 2);
    let slot = Slot::of(b"note");
    assert_eq!(store.value(KeyspaceId::LOCAL, slot, b"note").unwrap().unwrap().1, "x");
    assert!(store.header(KEYSPACE, slot, b"note").is_none());
}
