//! The simulated disk is as bad as promised, and no worse.

use std::io::ErrorKind;

use super::*;

fn read(disk: &SimDisk, name: &str, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    disk.open(name).unwrap().read_at(&mut bytes, 0).unwrap();
    bytes
}

fn durable_file(disk: &SimDisk, name: &str) -> Arc<dyn DiskFile> {
    let file = disk.create(name, 2048).unwrap();
    file.sync().unwrap();
    disk.sync_dir().unwrap();
    file
}

#[test]
fn what_was_synced_survives_a_power_cut_and_the_rest_need_not() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "a");
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    file.write_at(b"two", 0).unwrap();
    let copy = disk.snapshot();
    disk.power_cycle(Survival::Nothing);
    assert_eq!(read(&disk, "a", 3), b"one");
    copy.power_cycle(Survival::Everything);
    assert_eq!(read(&copy, "a", 3), b"two");
}

#[test]
fn a_kill_loses_nothing_but_ends_open_files_and_locks() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "a");
    let lock = disk.lock().unwrap();
    assert!(lock.is_some() && disk.lock().unwrap().is_none());
    file.write_at(b"two", 0).unwrap();
    disk.kill();
    assert!(file.write_at(b"six", 0).is_err());
    assert_eq!(read(&disk, "a", 3), b"two");
    let second = disk.lock().unwrap();
    drop(lock);
    assert!(second.is_some() && disk.lock().unwrap().is_none(), "an old lock frees nothing");
}

#[test]
fn unsynced_writes_are_torn_at_sectors() {
    let mut torn = false;
    for seed in 0..32 {
        let disk = SimDisk::new();
        durable_file(&disk, "a").write_at(&[7; 2048], 0).unwrap();
        disk.power_cycle(Survival::Random(seed));
        let bytes = read(&disk, "a", 2048);
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]));
        }
        torn |= bytes.contains(&7) && bytes.contains(&0);
    }
    assert!(torn);
}

#[test]
fn names_are_lost_and_reordered_until_the_directory_is_synced() {
    let mut outcomes = std::collections::BTreeSet::new();
    for seed in 0..64 {
        let disk = SimDisk::new();
        durable_file(&disk, "a");
        disk.rename("a", "b").unwrap();
        disk.create("c", 10).unwrap();
        disk.power_cycle(Survival::Random(seed));
        outcomes.insert(disk.list().unwrap());
    }
    assert_eq!(outcomes.len(), 4, "{outcomes:?}");
}

#[test]
fn a_failed_sync_stays_failed() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "a");
    file.write_at(b"one", 0).unwrap();
    disk.fail_at(disk.calls() + 1, ErrorKind::Other);
    assert!(file.sync().is_err());
    assert!(file.sync().is_ok());
    assert_eq!(read(&disk, "a", 3), b"one", "readers do not notice");
    disk.power_cycle(Survival::Everything);
    assert_eq!(read(&disk, "a", 3), [0, 0, 0]);
}

#[test]
fn the_power_goes_at_the_call_that_was_named() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "a");
    disk.cut_power_at(disk.calls() + 2);
    file.write_at(b"one", 0).unwrap();
    assert!(file.sync().is_err());
    assert!(disk.is_off() && disk.list().is_err());
    disk.power_cycle(Survival::Nothing);
    assert_eq!(read(&disk, "a", 3), [0, 0, 0]);
}

#[test]
fn space_is_limited_and_comes_back() {
    let disk = SimDisk::new();
    disk.set_capacity(Some(4096));
    durable_file(&disk, "a");
    assert_eq!(disk.create("b", 4096).err().map(|e| e.kind()), Some(ErrorKind::StorageFull));
    disk.remove("a").unwrap();
    disk.sync_dir().unwrap();
    assert_eq!(disk.free_bytes().unwrap(), 4096);
    assert!(disk.create("b", 4096).is_ok());
}

#[test]
fn a_garbled_write_shows_when_the_cache_is_gone_and_not_before() {
    for lose in [true, false] {
        let disk = SimDisk::new();
        let file = durable_file(&disk, "a");
        disk.garble_at(disk.calls() + 1);
        file.write_at(&[8; 3], 0).unwrap();
        file.sync().unwrap();
        assert_eq!(read(&disk, "a", 3), [8, 8, 8]);
        if lose {
            disk.power_cycle(Survival::Nothing);
        } else {
            file.drop_cache();
        }
        assert_eq!(read(&disk, "a", 3), [9, 8, 8]);
    }
}

#[test]
fn an_old_image_can_be_restored() {
    let disk = SimDisk::new();
    let file = durable_file(&disk, "a");
    let image = disk.snapshot();
    file.write_at(b"one", 0).unwrap();
    file.sync().unwrap();
    disk.restore(&image);
    assert_eq!(read(&disk, "a", 3), [0, 0, 0]);
    assert!(disk.flip("a", 0, 0) && !disk.flip("a", 4096, 0));
    assert_eq!(disk.contents("a").unwrap()[0], 1);
}
