//! Commits: several changes that are made together or not at all.
//!
//! All records of a commit lie in one frame, which recovery takes as a whole or not at all; and a
//! block of a checkpoint lies between two commits, never inside one.

use kvorum_core::{Change, Lsn, Record, Refused};

use super::Store;
use crate::index::Entry;
use crate::log::RECORD_HEADER;
use crate::log::record::RecordRef;
use crate::options::lacks;

const _: () = assert!(RECORD_HEADER <= Change::OVERHEAD, "the weight of a change is too low");

impl Store {
    /// Appends all changes to the open frame and makes them in the index.
    ///
    /// # Errors
    /// [`Refused::FrameFull`] and [`Refused::TooLarge`], before anything is changed.
    pub(super) fn make_all(&mut self, changes: &[Change]) -> Result<Lsn, Refused> {
        let records = || changes.iter().map(RecordRef::of_change);
        let bytes: usize = records().map(|record| record.len()).sum();
        let nameable = records().all(|record| u16::try_from(record.key.len()).is_ok());
        if bytes > self.options.frame_bytes() || !nameable {
            return Err(Refused::TooLarge);
        }
        if !changes.is_empty() && !lacks!(self.options, CommitInPart) {
            self.open_frame(bytes)?;
        }
        for change in changes {
            // There is room for all of them in the frame that is open now.
            match change {
                Change::Put(record) => self.write(record)?,
                Change::Remove { .. } => self.remove(&RecordRef::of_change(change))?,
            };
        }
        Ok(self.tail.last())
    }

    /// Appends a record and points the index to it.
    ///
    /// # Errors
    /// [`Refused::FrameFull`].
    pub(super) fn write(&mut self, record: &Record) -> Result<Lsn, Refused> {
        let (lsn, address) = self.append(&RecordRef::of(record))?;
        let entry = Entry::new(&record.header(), address);
        let Record { keyspace, slot, key, .. } = record;
        self.count_live(&entry, key.len());
        if let Some(old) = self.index.insert(*keyspace, *slot, key, entry) {
            self.count_dead(&old, key.len());
        }
        if !keyspace.is_local() {
            self.highest = self.highest.max(record.version.hlc);
        }
        Ok(lsn)
    }

    /// Appends a removal, and takes its range out of the index.
    fn remove(&mut self, removal: &RecordRef<'_>) -> Result<Lsn, Refused> {
        let (lsn, _) = self.append(removal)?;
        let Store { index, segments, options, .. } = self;
        // A segment that becomes empty here is free when the removal is durable.
        let left_at = if lacks!(options, FreeBeforeRemovals) { Lsn(0) } else { lsn };
        index.remove(removal, |key_len, entry| {
            if let Some(segment) = segments.get_mut(&entry.address().segment) {
                segment.leave(entry.stored_len(key_len), left_at);
            }
        });
        Ok(lsn)
    }
}
