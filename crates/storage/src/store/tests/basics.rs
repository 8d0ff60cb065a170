//! Putting, reading, paging, restarting.

use std::sync::Arc;

use kvorum_core::{Cursor, KeyspaceId, Lsn, ScanLimit, Slot, Store as _, Want};

use super::rig::{KEYSPACE, get, header, open, put, record, seed, small, sync};
use crate::{MemDisk, OpenError, Options, RealDisk, SimDisk, Store, Survival};

#[test]
fn a_new_store_is_blank_and_a_reopened_one_is_not() {
    let disk = SimDisk::new();
    let (store, first) = open(&disk, &small(), 1);
    assert!(first.blank && first.damage.is_none());
    assert_eq!((first.start, first.recovered), (1, Lsn(0)));
    drop(store);
    let (_store, second) = open(&disk, &small(), 2);
    assert!(!second.blank && second.damage.is_none());
    assert_eq!((second.start, second.log_id), (2, first.log_id));
}

#[test]
fn a_record_is_visible_at_once_and_pending_until_its_frame_is_complete() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    assert_eq!(put(&mut store, b"a", 1, Some(b"one")), Ok(Lsn(1)));
    let (stored, value) = get(&mut store, b"a").unwrap();
    assert_eq!((stored.pending, value.as_ref()), (Some(Lsn(1)), &b"one"[..]));
    let job = store.seal().unwrap();
    assert!(store.seal().is_none(), "one job is in flight at a time");
    put(&mut store, b"b", 2, Some(b"two")).unwrap();
    assert_eq!(get(&mut store, b"a").unwrap().1, "one");
    assert_eq!(header(&store, b"b").unwrap().pending, Some(Lsn(2)));
    assert_eq!(store.complete(job.run()).unwrap(), Lsn(1));
    assert_eq!(header(&store, b"a").unwrap().pending, None);
    assert_eq!(header(&store, b"b").unwrap().pending, Some(Lsn(2)));
    assert_eq!(get(&mut store, b"a").unwrap().1, "one", "now from the disk");
    assert_eq!(sync(&mut store), Lsn(2));
    assert_eq!(header(&store, b"b").unwrap().pending, None);
}

#[test]
fn records_of_many_segments_survive_a_power_cut() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    for n in 0..400u64 {
        put(&mut store, &n.to_le_bytes(), n + 1, Some(&[n as u8; 1000])).unwrap();
        if n % 3 == 0 {
            sync(&mut store);
        }
    }
    put(&mut store, &7u64.to_le_bytes(), 1000, None).unwrap();
    let durable = sync(&mut store);
    put(&mut store, b"lost", 1001, Some(b"x")).unwrap();
    disk.power_cycle(Survival::Nothing);
    drop(store);
    let (mut store, recovery) = open(&disk, &small(), 2);
    assert_eq!((recovery.recovered, recovery.damage), (durable, None));
    assert_eq!(recovery.highest.0, 1000);
    for n in (0..400u64).filter(|n| *n != 7) {
        let (stored, value) = get(&mut store, &n.to_le_bytes()).unwrap();
        assert_eq!((stored.pending, value.as_ref()), (None, &[n as u8; 1000][..]));
    }
    assert!(header(&store, &7u64.to_le_bytes()).unwrap().header.tombstone);
    assert!(header(&store, b"lost").is_none());
    assert_eq!(store.live(KEYSPACE, Slot::default(), Slot::new(16383).unwrap()), 399);
}

#[test]
fn starts_leave_no_segments_behind() {
    let disk = SimDisk::new();
    for n in 1..100 {
        let (mut store, recovery) = open(&disk, &small(), n);
        assert_eq!(u64::from(recovery.start), n);
        put(&mut store, b"a", n, Some(b"one")).unwrap();
        sync(&mut store);
    }
    assert!(disk.calls() > 100);
    let files = crate::Disk::list(&disk).unwrap();
    assert!(files.len() <= 3, "{files:?}");
}

#[test]
fn pages_go_through_slots_and_keys_in_order_and_end() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    for n in 0..200u64 {
        put(&mut store, format!("{{{}}}{n:03}", n % 5).as_bytes(), n + 1, Some(b"v")).unwrap();
    }
    sync(&mut store);
    let last = Slot::new(16383).unwrap();
    let mut from = Cursor::start_of(Slot::default());
    let mut seen = Vec::new();
    loop {
        let limit = ScanLimit { items: 7, bytes: 40 };
        let page = store.page(KEYSPACE, &from, last, b"{", limit, Want::Value);
        assert!(!page.items.is_empty() && page.items.len() <= 7);
        seen.extend(page.items.into_iter().map(|(record, _)| (record.slot, record.key)));
        match page.next {
            Some(next) => from = next,
            None => break,
        }
    }
    assert_eq!(seen.len(), 200);
    assert!(seen.is_sorted());
    let all = ScanLimit { items: 1000, bytes: usize::MAX };
    let start = Cursor::start_of(Slot::default());
    let page = store.page(KEYSPACE, &start, last, b"{3}1", all, Want::Header);
    assert_eq!(page.items.len(), 20);
    let none = store.page(KeyspaceId(9), &start, last, b"", all, Want::Header);
    assert!(none.items.is_empty() && none.next.is_none());
}

#[test]
fn a_second_process_is_kept_out_and_strangers_are_left_alone() {
    let disk: Arc<SimDisk> = Arc::new(SimDisk::new());
    let first = Store::open(disk.clone(), small(), seed(1)).unwrap();
    assert!(matches!(Store::open(disk.clone(), small(), seed(2)), Err(OpenError::Locked)));
    drop(first);
    assert!(Store::open(disk, small(), seed(2)).is_ok());
    let stranger = SimDisk::new();
    crate::Disk::create(&stranger, "photo.jpg", 10).unwrap();
    let refused = Store::open(Arc::new(stranger), small(), seed(1));
    assert!(matches!(refused, Err(OpenError::Foreign(text)) if text.contains("photo.jpg")));
}

#[test]
fn impossible_options_are_refused_by_name() {
    let with = |change: fn(&mut Options)| {
        let mut options = Options::default();
        change(&mut options);
        match options.validate() {
            Err(OpenError::Options(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    assert!(with(|o| o.segment_bytes = 1000).contains("segment_bytes"));
    assert!(with(|o| o.max_value = 17 << 20).contains("max_value"));
    assert!(with(|o| o.max_value = 16 << 20).contains("segment_bytes"));
    assert!(with(|o| o.compaction_dead_percent = 0).contains("compaction_dead_percent"));
    assert!(with(|o| o.max_disk_bytes = 1).contains("max_disk_bytes"));
    assert!(Options::default().validate().is_ok());
}

#[test]
fn a_failed_sync_is_fatal_and_nothing_is_written_after_it() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    put(&mut store, b"a", 1, Some(b"one")).unwrap();
    disk.fail_at(disk.calls() + 2, std::io::ErrorKind::Other);
    let job = store.seal().unwrap();
    assert!(store.complete(job.run()).is_err());
    put(&mut store, b"b", 2, Some(b"two")).unwrap();
    assert!(store.seal().is_none());
    assert_eq!(store.durable(), Lsn(0));
    drop(store);
    disk.power_cycle(Survival::Everything);
    let (store, recovery) = open(&disk, &small(), 2);
    assert_eq!((recovery.recovered, recovery.damage), (Lsn(0), None));
    assert!(header(&store, b"a").is_none());
}

#[test]
fn nobody_opens_the_directory_while_a_job_may_still_write_to_it() {
    const fn sendable<T: Send>() {}
    sendable::<(Store, crate::SyncJob, crate::SyncDone, crate::Work, crate::WorkDone)>();
    let disk: Arc<SimDisk> = Arc::new(SimDisk::new());
    let (mut store, _) = Store::open(disk.clone(), small(), seed(1)).unwrap();
    put(&mut store, b"a", 1, Some(b"one")).unwrap();
    let job = store.seal().unwrap();
    drop(store);
    assert!(matches!(Store::open(disk.clone(), small(), seed(2)), Err(OpenError::Locked)));
    let _ = job.run();
    let (_store, recovery) = Store::open(disk, small(), seed(2)).unwrap();
    assert_eq!(recovery.recovered, Lsn(1));
}

#[test]
fn settling_proves_the_last_frame_once() {
    let disk = SimDisk::new();
    let (mut store, _) = open(&disk, &small(), 1);
    put(&mut store, b"a", 1, Some(b"one")).unwrap();
    assert!(store.settle().is_none(), "there is something to seal");
    sync(&mut store);
    let job = store.settle().unwrap();
    assert_eq!(store.complete(job.run()).unwrap(), Lsn(1));
    assert!(store.settle().is_none());
}

#[test]
fn it_runs_on_a_real_directory_and_in_plain_memory() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("data");
    let memory = MemDisk::default();
    for n in 1..4 {
        let disks: [Arc<dyn crate::Disk>; 2] =
            [Arc::new(RealDisk::open(&path).unwrap()), Arc::new(memory.clone())];
        for disk in disks {
            let (mut store, recovery) = Store::open(disk.clone(), small(), seed(n)).unwrap();
            assert_eq!(u64::from(recovery.start), n);
            assert!(matches!(Store::open(disk, small(), seed(9)), Err(OpenError::Locked)));
            if n > 1 {
                assert_eq!(get(&mut store, b"a").unwrap().1, (n - 1).to_string());
            }
            store.put(record(b"a", n, Some(n.to_string().as_bytes()))).unwrap();
            sync(&mut store);
            assert_eq!(get(&mut store, b"a").unwrap().1, n.to_string());
        }
    }
}
