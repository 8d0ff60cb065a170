//! Segment files: their names, headers and lives.

use kvorum_core::Lsn;

use std::io;
use std::sync::Arc;

use super::codec::{Put, Take, set_u32};
use super::{BLOCK, FORMAT};
use crate::disk::DiskFile;

const MAGIC: u64 = u64::from_le_bytes(*b"kvorumlg");
const HEADER: usize = 64;
const SUFFIX: &str = ".log";
const FREE: &str = "free-";

/// Where the first frame of a segment begins.
pub(crate) const DATA: usize = BLOCK;

/// The file name of a segment.
pub(crate) fn name(number: u32) -> String {
    format!("{number:010}{SUFFIX}")
}

/// The number of the segment with this file name.
pub(crate) fn number(file: &str) -> Option<u32> {
    let number = file.strip_suffix(SUFFIX)?.parse().ok()?;
    (number != 0 && name(number) == file).then_some(number)
}

/// The file name of a spare segment.
pub(crate) fn spare_name(number: u64) -> String {
    format!("{FREE}{number:010}")
}

/// The number of the spare segment with this file name.
pub(crate) fn spare_number(file: &str) -> Option<u64> {
    let number = file.strip_prefix(FREE)?.parse().ok()?;
    (spare_name(number) == file).then_some(number)
}

/// What the first and the last block of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) number: u32,
    /// Random, new in every life of the file.
    pub(crate) epoch: u128,
    /// The same in all files of a store.
    pub(crate) store_id: u128,
    /// The start number of the process that began this life.
    pub(crate) start: u32,
    /// Length of the file.
    pub(crate) bytes: u32,
}

/// Why a block is no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotAHeader {
    /// It does not verify.
    Invalid,
    /// It verifies and is of this other format.
    Format(u32),
}

impl SegmentHeader {
    /// The seed of all checksums of this life.
    pub(crate) fn seed(&self) -> u32 {
        crc32c::crc32c(&self.epoch.to_le_bytes())
    }

    /// Where the last block begins, which no frame reaches.
    pub(crate) fn data_end(&self) -> usize {
        self.bytes as usize - BLOCK
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::with_capacity(BLOCK);
        block.put_u64(MAGIC);
        block.put_u32(FORMAT);
        block.put_u32(0);
        block.put_u32(self.number);
        block.put_u32(self.start);
        block.put_u128(self.epoch);
        block.put_u128(self.store_id);
        block.put_u32(self.bytes);
        block.put_u32(0);
        let sum = crc32c::crc32c(block.get(16..HEADER).unwrap_or_default());
        set_u32(&mut block, 12, crc32c::crc32c_append(sum, &FORMAT.to_le_bytes()));
        block.resize(BLOCK, 0);
        block
    }

    pub(crate) fn decode(block: &[u8]) -> Result<SegmentHeader, NotAHeader> {
        let read = || {
            let mut take = Take(block);
            if take.u64()? != MAGIC {
                return None;
            }
            let (format, sum) = (take.u32()?, take.u32()?);
            let body = crc32c::crc32c(block.get(16..HEADER)?);
            if crc32c::crc32c_append(body, &format.to_le_bytes()) != sum {
                return None;
            }
            if format != FORMAT {
                return Some(Err(NotAHeader::Format(format)));
            }
            let (number, start) = (take.u32()?, take.u32()?);
            let (epoch, store_id) = (take.u128()?, take.u128()?);
            Some(Ok(SegmentHeader { number, epoch, store_id, start, bytes: take.u32()? }))
        };
        read().unwrap_or(Err(NotAHeader::Invalid))
    }

    /// Writes both copies.
    pub(crate) fn write(&self, file: &dyn DiskFile) -> io::Result<()> {
        let block = self.encode();
        file.write_at(&block, 0)?;
        file.write_at(&block, self.data_end() as u64)
    }

    /// Reads whichever copy verifies.
    pub(crate) fn read(file: &dyn DiskFile) -> io::Result<Result<SegmentHeader, NotAHeader>> {
        let size = file.size()?;
        let mut verdict = Err(NotAHeader::Invalid);
        let mut block = vec![0; BLOCK];
        for offset in [0, size.saturating_sub(BLOCK as u64)] {
            if size < BLOCK as u64 {
                break;
            }
            file.read_at(&mut block, offset)?;
            match SegmentHeader::decode(&block) {
                Ok(header) if u64::from(header.bytes) == size => return Ok(Ok(header)),
                Err(NotAHeader::Format(format)) => verdict = Err(NotAHeader::Format(format)),
                _ => {}
            }
        }
        Ok(verdict)
    }
}

/// A segment that holds, or is about to hold, a part of the log.
#[derive(Clone)]
pub(crate) struct Segment {
    /// Open for reading; absent until the segment is born.
    pub(crate) file: Option<Arc<dyn DiskFile>>,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: u32,
    /// The offset behind the last frame.
    pub(crate) end: u32,
    /// The LSN of the newest record.
    pub(crate) last: Lsn,
    /// Bytes of records that the index points to.
    pub(crate) live_bytes: u64,
    /// How many records the index points to.
    pub(crate) live: u64,
    /// The newest record that took an entry of the index away from here.
    pub(crate) left_at: Lsn,
}

impl Segment {
    pub(crate) fn new(header: SegmentHeader, file: Option<Arc<dyn DiskFile>>) -> Segment {
        Segment {
            file,
            header,
            seed: header.seed(),
            end: DATA as u32,
            last: Lsn(0),
            live_bytes: 0,
            live: 0,
            left_at: Lsn(0),
        }
    }

    /// The record at `at` has taken an entry of the index away from here, whose record is this
    /// long.
    pub(crate) fn leave(&mut self, bytes: usize, at: Lsn) {
        self.left_at = at;
        self.live = self.live.saturating_sub(1);
        self.live_bytes = self.live_bytes.saturating_sub(bytes as u64);
    }

    /// Bytes of frames, padding included.
    pub(crate) fn used(&self) -> u64 {
        u64::from(self.end).saturating_sub(DATA as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{Disk, SimDisk};

    #[test]
    fn one_damaged_copy_of_the_header_does_no_harm_and_two_are_noticed() {
        let disk = SimDisk::new();
        let bytes = 64 << 10;
        let header = SegmentHeader { number: 3, epoch: 5, store_id: 7, start: 2, bytes };
        let file = disk.create("a", u64::from(bytes)).unwrap();
        header.write(&*file).unwrap();
        assert_eq!(SegmentHeader::read(&*file).unwrap(), Ok(header));
        disk.flip("a", 20, 3);
        assert_eq!(SegmentHeader::read(&*file).unwrap(), Ok(header));
        disk.flip("a", u64::from(bytes) - 4096 + 40, 3);
        assert_eq!(SegmentHeader::read(&*file).unwrap(), Err(NotAHeader::Invalid));
    }

    #[test]
    fn names_round_trip() {
        assert_eq!(number(&name(17)), Some(17));
        assert_eq!(number("17.log"), None);
        assert_eq!(number("0000000000.log"), None);
        assert_eq!(spare_number(&spare_name(4)), Some(4));
        assert_eq!(spare_number("free-x"), None);
    }
}
