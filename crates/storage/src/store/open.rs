//! Opening a store: recover what is there, begin a new segment with what was not proved, and only
//! then let anybody see it.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use kvorum_core::Lsn;

use super::checkpoint::Checkpoints;
use super::maintain::Maintenance;
use super::space::Space;
use super::sync::{Birth, Born};
use super::turn::Tail;
use super::{Recovery, Seed, Store};
use crate::checkpoint::Base;
use crate::damage::Damage;
use crate::disk::{Disk, DiskFile};
use crate::error::OpenError;
use crate::index::Address;
use crate::inventory::{Inventory, checkpoint_name};
use crate::log::frame::{self, Opening, Summary};
use crate::log::segment::{self, Segment, SegmentHeader};
use crate::options::{Options, lacks};
use crate::recovery::{self, Recovered};

/// What the seed is used for besides epochs, whose purposes are segment numbers.
const LOG_ID: u64 = 1 << 32;
const STORE_ID: u64 = 2 << 32;

impl Store {
    /// Opens the store on a disk, or creates it on an empty one; recovers what is there; writes a
    /// new start number. When this returns, everything up to [`Recovery::recovered`] is durable.
    ///
    /// # Errors
    /// [`OpenError`]; damage is none of them but a verdict in [`Recovery::damage`].
    pub fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        seed: Seed,
    ) -> Result<(Store, Recovery), OpenError> {
        options.validate()?;
        let lock = disk.lock().map_err(OpenError::io("lock the data directory"))?;
        let lock = lock.ok_or(OpenError::Locked)?;
        let inventory = Inventory::read(&*disk, options.segment_bytes)?;
        let (base, used) = load_checkpoint(&*disk, &inventory)?;
        let checkpoints = Checkpoints::after(&base, used, &inventory.checkpoints);
        let known = inventory.store_id.or(base.store_id);
        let starts = inventory.segments.values().map(|found| found.header.start);
        let last_start = starts.max().unwrap_or(0).max(base.start);
        let start = if lacks!(options, RepeatStart) { 1 } else { last_start + 1 };
        let number = inventory.highest() + 1;
        let header = SegmentHeader {
            number,
            epoch: seed.epoch(number, &options),
            store_id: known.unwrap_or_else(|| seed.derive(STORE_ID)),
            start,
            bytes: options.segment_bytes,
        };
        let recovered = recovery::recover(&inventory, base, &options, &header)?;
        let start = Start { disk, options, seed, inventory, header, used };
        let (log_id, verdict) = start.identity(&recovered);
        let (tail, space, segments) = start.begin(&recovered, log_id, verdict)?;
        let recovery = Recovery {
            log_id,
            start: header.start,
            recovered: tail.durable,
            blank: start.inventory.is_blank(),
            damage: verdict,
            highest: recovered.highest,
        };
        let mut store = Store {
            disk: start.disk,
            lock: Arc::new(lock),
            options: start.options,
            seed,
            store_id: header.store_id,
            log_id,
            start: header.start,
            verdict,
            highest: recovered.highest,
            index: recovered.index,
            segments,
            tail,
            space,
            maintenance: Maintenance::default(),
            syncs: 0,
        };
        let replayed = store.replay_bytes();
        store.maintenance = Maintenance::new(checkpoints, recovery.recovered, replayed);
        store.space.checkpoint_bytes = store.maintenance.checkpoints.bytes();
        Ok((store, recovery))
    }
}

/// The newest checkpoint that verifies, and its number.
fn load_checkpoint(
    disk: &dyn Disk,
    inventory: &Inventory,
) -> Result<(Base, Option<u64>), OpenError> {
    for number in inventory.checkpoints.iter().rev() {
        let name = checkpoint_name(*number);
        let file = disk.open(&name).map_err(OpenError::io(format!("open {name}")))?;
        let base = Base::load(&*file, *number).map_err(OpenError::io(format!("read {name}")))?;
        let Some(base) = base else { continue };
        if inventory.store_id.is_some() && inventory.store_id != base.store_id {
            return Err(OpenError::Foreign(format!("{name} belongs to another store")));
        }
        return Ok((base, Some(*number)));
    }
    Ok((Base::default(), None))
}

/// A start under way, after recovery.
struct Start {
    disk: Arc<dyn Disk>,
    options: Options,
    seed: Seed,
    inventory: Inventory,
    /// Of the segment that this start begins.
    header: SegmentHeader,
    /// The number of the checkpoint that recovery began with.
    used: Option<u64>,
}

impl Start {
    /// The identity of this life of the log, and the verdict on it: the earlier one stands, and
    /// new damage makes a new life, because LSNs mean something else from here on.
    fn identity(&self, recovered: &Recovered) -> (u128, Option<Damage>) {
        let fresh = self.seed.derive(LOG_ID);
        let verdict = match recovered.damage {
            Some(found) => Some(Damage::merge(recovered.verdict, found)),
            None => recovered.verdict,
        };
        let unchanged = verdict == recovered.verdict || lacks!(self.options, ForgetVerdict);
        (recovered.log_id.filter(|_| unchanged).unwrap_or(fresh), verdict)
    }

    /// Begins the new segment, makes it durable, and only then clears away what it replaces.
    fn begin(
        &self,
        recovered: &Recovered,
        log_id: u128,
        verdict: Option<Damage>,
    ) -> Result<(Tail, Space, BTreeMap<u32, Segment>), OpenError> {
        let mut space = Space {
            spares: self.inventory.spares.clone(),
            next_spare: self.inventory.next_spare,
            ..Space::default()
        };
        // A process that was killed may have left names that a power cut would take back. Then a
        // file that is a spare now would be a segment again, with what was written into it since.
        self.sync_names()?;
        self.recycle(&recovered.unborn, &mut space)?;
        let born = self.birth(&mut space)?;
        let opening = Opening { log_id, start: self.header.start, prev: recovered.prev, verdict };
        let mut buffer = recovered.carried.clone();
        let summary = Summary {
            first: recovered.carried_first,
            count: recovered.carried_count,
            synced: Lsn(recovered.carried_first.0.saturating_sub(1)),
        };
        let offset = segment::DATA as u32;
        frame::finish(&mut buffer, summary, Some(&opening), offset, self.header.seed());
        let written = born.file.write_at(&buffer, u64::from(offset));
        written.map_err(OpenError::io("write the first frame of a segment"))?;
        if !lacks!(self.options, SkipSync) {
            born.file.sync().map_err(OpenError::io("sync the first frame of a segment"))?;
        }
        let end = offset + u32::try_from(buffer.len()).unwrap_or(u32::MAX);
        let durable = Lsn(recovered.next.0 - 1);
        let end = self.prove(&*born.file, end, durable)?;
        self.recycle(&recovered.carried_over, &mut space)?;
        self.clear()?;
        let mut segments = recovered.segments.clone();
        if let Some(segment) = segments.get_mut(&self.header.number) {
            segment.file = Some(born.file);
            segment.end = end;
            segment.last = durable;
        }
        let tail = Tail {
            segment: self.header.number,
            offset: end,
            next: recovered.next,
            durable,
            durable_end: Address { segment: self.header.number, offset: end },
            open: None,
            in_flight: None,
            unproved: false,
            failed: false,
            buffer,
        };
        Ok((tail, space, segments))
    }

    /// Writes an empty frame behind the first one, so that no later damage to that one can pass
    /// for a segment that was never born. It need not be durable: losing it loses nothing.
    fn prove(&self, file: &dyn DiskFile, offset: u32, durable: Lsn) -> Result<u32, OpenError> {
        let mut buffer = Vec::new();
        frame::begin(&mut buffer, false);
        let summary = Summary { first: Lsn(durable.0 + 1), count: 0, synced: durable };
        frame::finish(&mut buffer, summary, None, offset, self.header.seed());
        let written = file.write_at(&buffer, u64::from(offset));
        written.map_err(OpenError::io("write the second frame of a segment"))?;
        Ok(offset + u32::try_from(buffer.len()).unwrap_or(u32::MAX))
    }

    fn birth(&self, space: &mut Space) -> Result<Born, OpenError> {
        let spare = space.spares.pop();
        let birth = Birth {
            disk: Arc::clone(&self.disk),
            header: self.header,
            create: spare.is_none().then(|| space.spare_name()),
            spare,
            skip_directory_sync: lacks!(self.options, SkipDirectorySync),
        };
        birth.run().map_err(|source| match source.kind() {
            io::ErrorKind::StorageFull => {
                OpenError::NoSpace { needed: u64::from(self.options.segment_bytes) }
            }
            _ => OpenError::Io { doing: "begin a segment".to_owned(), source },
        })
    }

    /// Makes spares of segments that hold nothing. Their new names are durable before anything is
    /// written into them under yet another one.
    fn recycle(&self, numbers: &[u32], space: &mut Space) -> Result<(), OpenError> {
        for number in numbers {
            let name = segment::name(*number);
            let header = self.inventory.segments.get(number).map(|found| found.header);
            if header.is_some_and(|header| header.bytes == self.options.segment_bytes) {
                let spare = space.spare_name();
                let renamed = self.disk.rename(&name, &spare);
                renamed.map_err(OpenError::io(format!("rename {name}")))?;
                space.spares.push(spare);
            } else {
                self.disk.remove(&name).map_err(OpenError::io(format!("remove {name}")))?;
            }
        }
        if numbers.is_empty() { Ok(()) } else { self.sync_names() }
    }

    fn sync_names(&self) -> Result<(), OpenError> {
        self.disk.sync_dir().map_err(OpenError::io("sync the data directory"))
    }

    /// Removes files of no use; a segment without a header and a checkpoint that does not verify
    /// are among them as soon as the verdict on them is durable.
    fn clear(&self) -> Result<(), OpenError> {
        let Inventory { broken, checkpoints, scraps, .. } = &self.inventory;
        let broken = broken.iter().map(|number| segment::name(*number));
        let unused = checkpoints.iter().filter(|number| self.used != Some(**number));
        let unused = unused.map(|number| checkpoint_name(*number));
        let useless: Vec<String> = scraps.iter().cloned().chain(broken).chain(unused).collect();
        for name in &useless {
            self.disk.remove(name).map_err(OpenError::io(format!("remove {name}")))?;
        }
        if useless.is_empty() { Ok(()) } else { self.sync_names() }
    }
}
