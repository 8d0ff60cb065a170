//! The log is the store: one log per node carries durability, data and everything else a node
//! must remember; memory holds an ordered index of where each key's newest record lies.
//!
//! A turn of the node: the shard puts records ([`kvorum_core::Store`]), the driver seals them into
//! one frame ([`Store::seal`]), runs the [`SyncJob`] (inline, on a thread, or with a simulated
//! delay) and completes it ([`Store::complete`]); from then on the records are durable. One job is
//! in flight; meanwhile the next turns fill the next frame. [`Store::maintain`] hands out the
//! background work: spare segments, checkpoints, compaction, scrub.
//!
//! ```
//! use std::sync::Arc;
//!
//! use kvorum_core::{KeyspaceId, Mono, Record, Slot, Store as _, Version};
//! use kvorum_storage::{MemDisk, Options, Seed, Store};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let options = Options { segment_bytes: 1 << 20, max_value: 1 << 16, ..Options::default() };
//! let seed = Seed { bytes: [7; 32] }; // from the operating system, in earnest
//! let (mut store, recovery) = Store::open(Arc::new(MemDisk::default()), options, seed)?;
//! assert!(recovery.blank);
//!
//! let slot = Slot::of(b"key");
//! let lsn = store.put(Record {
//!     keyspace: KeyspaceId::DEFAULT,
//!     slot,
//!     key: "key".into(),
//!     version: Version::default(),
//!     tag: 0,
//!     expire_ms: 0,
//!     value: Some("value".into()),
//! })?;
//! if let Some(job) = store.seal() {
//!     let done = job.run();
//!     assert!(store.complete(done)? >= lsn);
//! }
//! if let Some(work) = store.maintain(Mono(0)) {
//!     let done = work.run();
//!     store.work_done(done);
//! }
//! let (stored, value) = store.value(KeyspaceId::DEFAULT, slot, b"key")?.ok_or("absent")?;
//! assert_eq!((stored.pending, value.as_ref()), (None, &b"value"[..]));
//! # Ok(())
//! # }
//! ```
//!
//! What it is not: it knows no version rules (the caller compares), no replication, no clock, no
//! random numbers, no threads. Everything the disk does goes through [`Disk`], so the same code
//! runs on a real disk and on [`SimDisk`].
//!
//! **Invariants**
//! - No block of a segment is written twice in one life of the segment; every life has a new epoch
//!   that seeds all checksums, so nothing of an earlier life verifies.
//! - Recovery trusts only what a later frame proves synced; the rest is written again first.
//! - A segment is free only when the copies of its live records are durable and its newest record
//!   lies below the newest checkpoint.
//! - Bytes that fail their checksum are an error or a repair, never an absent key.
//! - From [`Store::seed_digests`] on, the sums that replicas compare are what hashing the index
//!   anew would come to; scrub hashes it anew to make sure.
//!
//! The layout of every file is in `docs/formats.md`, the reasons in
//! `docs/design/0001-the-log-is-the-store.md`.

mod checkpoint;
mod damage;
mod disk;
mod error;
mod index;
mod inventory;
mod log;
mod options;
mod recovery;
mod store;

pub use damage::{Cause, Damage};
pub use disk::{DirectoryLock, Disk, DiskFile, MemDisk, RealDisk, SimDisk, Survival};
pub use error::{Fatal, OpenError};
#[cfg(any(test, feature = "mutations"))]
pub use options::Mutation;
pub use options::Options;
pub use store::{Recovery, Seed, Stats, Store, SyncDone, SyncJob, Work, WorkDone};
