//! What it costs to maintain the sums that replicas compare: the CPU time of a put, with and
//! without.
//!
//! Two stores on disks in memory take the same records in turns, a small portion each, so that
//! whatever else the machine does falls on both. One of them hashes. Prints one line per kind of
//! put, separated by tabs: its name, the median nanoseconds of a put without hashing, and the same
//! with the median of the differences on top.
//! `cargo xtask bench digests` makes a section of the page of benchmarks of it.

use std::error::Error;
use std::io::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use kvorum_core::{
    Hlc, KeyspaceId, NodeId, Record, Refused, SLOTS, Slot, Store as _, Version, Writer, digest,
};
use kvorum_storage::{MemDisk, Options, Seed, Store};
use rustix::time::{ClockId, clock_gettime};

/// How many keys there are: enough that slots are divided, and that neither the index nor the sums
/// fit into the caches of the processor.
const KEYS: u64 = 1_000_000;
/// Puts of one store before it is the other one's turn.
const PORTION: u64 = 5_000;
/// Records of one turn of a node, which are sealed together.
const TURN: u64 = 64;
/// Bytes of a value.
const VALUE: usize = 100;
/// How often each store takes two portions of each kind of put.
const ROUNDS: u64 = KEYS / PORTION / 2;
const STRIDE: u64 = 618_033;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The key of a number. Consecutive numbers lie in different slots.
fn key(number: u64) -> Bytes {
    format!("key:{number:012}").into()
}

/// CPU time of this thread, in nanoseconds.
fn cpu_time() -> i64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

fn open(hashes: bool) -> Outcome<Store> {
    // Nothing is compacted and no checkpoint is written: only puts count.
    let options = Options { index_limit_bytes: 64 << 30, ..Options::default() };
    let (mut store, _) =
        Store::open(Arc::new(MemDisk::default()), options, Seed { bytes: [1; 32] })?;
    if hashes {
        store.seed_digests(digest::Seed(7));
    }
    Ok(store)
}

fn sync(store: &mut Store) -> Outcome<()> {
    if let Some(job) = store.seal() {
        store.complete(job.run())?;
    }
    Ok(())
}

/// Puts records and returns the nanoseconds of CPU time that each put took. What the disk costs is
/// not counted.
fn puts(store: &mut Store, records: &[Record]) -> Outcome<f64> {
    let mut spent = 0;
    for turn in records.chunks(TURN as usize) {
        let turn = turn.to_vec();
        let begun = cpu_time();
        for record in turn {
            match store.put(record) {
                Ok(_) => {}
                Err(Refused::FrameFull) => return Err("a turn is too large".into()),
                Err(refused) => return Err(refused.into()),
            }
        }
        spent += cpu_time() - begun;
        sync(store)?;
    }
    Ok(spent as f64 / records.len() as f64)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The records of one portion: all keys come once per kind of put.
fn records(portion: u64, first_version: u64) -> Outcome<Vec<Record>> {
    let writer = Writer::new(NodeId::new(1).ok_or("a node id")?, 1);
    let value = Bytes::from(vec![7; VALUE]);
    let record = |n: u64| {
        // A stride that has no factor in common with the number of keys visits all of them.
        let key = key((portion * PORTION + n) * STRIDE % KEYS);
        Record {
            keyspace: KeyspaceId::DEFAULT,
            slot: Slot::of(&key),
            key,
            version: Version { hlc: Hlc(first_version + n), writer },
            tag: 0,
            expire_ms: 0,
            value: Some(value.clone()),
        }
    };
    Ok((0..PORTION).map(record).collect())
}

fn main() -> Outcome<()> {
    // Of two stores that do not hash, the second comes out some nanoseconds cheaper.
    let (mut hashing, mut plain) = (open(true)?, open(false)?);
    let mut version = 1;
    for name in ["a new key", "a value replaced"] {
        let (mut without, mut more) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let mut next = |half| {
                version += PORTION;
                records(2 * round + half, version)
            };
            // Who comes second finds the records in the caches, so each comes second once.
            let (one, two) = (next(0)?, next(1)?);
            let first = puts(&mut plain, &one)?;
            let hashed = puts(&mut hashing, &one)? + puts(&mut hashing, &two)?;
            let second = puts(&mut plain, &two)?;
            without.push((first + second) / 2.0);
            more.push((hashed - first - second) / 2.0);
        }
        let (without, more) = (median(without), median(more));
        writeln!(std::io::stdout(), "{name}\t{without:.1}\t{:.1}", without + more)?;
    }
    let (first, last) = (Slot::default(), Slot::new(SLOTS - 1).ok_or("a slot")?);
    let sum = |store: &Store| store.sum(KeyspaceId::DEFAULT, first, last);
    if sum(&hashing) == 0 || sum(&plain) != 0 {
        return Err("the wrong store hashes".into());
    }
    Ok(())
}
