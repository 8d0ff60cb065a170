//! The bytes of a checkpoint file: header, blocks, footer.

use std::collections::BTreeMap;
use std::io;

use kvorum_core::{Header, Hlc, KeyspaceId, Lsn, Slot, Version, Writer};

use super::{SegmentEnd, Unit};
use crate::disk::DiskFile;
use crate::index::{Address, Entry, Index, IndexKey, SlotIndex};
use crate::log::FORMAT;
use crate::log::codec::{Put, Take, set_u32};

const MAGIC: u64 = u64::from_le_bytes(*b"kvorumcp");
const BLOCK: u32 = u32::from_le_bytes(*b"KCPB");
const FOOTER: u32 = u32::from_le_bytes(*b"KCPE");
/// Length of the file's header.
const HEADER: usize = 48;
/// Length of what stands before the payload of a block or the footer.
const FRONT: usize = 32;
/// A block ends with the slot that makes it longer than this.
pub(crate) const BLOCK_TARGET: usize = 256 << 10;

/// What the beginning of the file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileHeader {
    pub(super) store_id: u128,
    pub(super) start: u32,
}

/// The beginning of the file of checkpoint `number`.
pub(crate) fn file_header(number: u64, store_id: u128, start: u32) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER);
    out.put_u64(MAGIC);
    out.put_u32(FORMAT);
    out.put_u32(0);
    out.put_u128(store_id);
    out.put_u64(number);
    out.put_u32(start);
    out.put_u32(0);
    let sum = header_sum(&out);
    set_u32(&mut out, 12, sum);
    out
}

fn header_sum(header: &[u8]) -> u32 {
    let front = crc32c::crc32c(header.get(..12).unwrap_or_default());
    crc32c::crc32c_append(front, header.get(16..HEADER).unwrap_or_default())
}

/// The seed of all checksums behind the header, so that nothing of another checkpoint verifies.
fn seed(number: u64, store_id: u128) -> u32 {
    let sum = crc32c::crc32c(&store_id.to_le_bytes());
    crc32c::crc32c_append(sum, &number.to_le_bytes())
}

/// A block that is being written.
pub(crate) struct BlockWriter {
    bytes: Vec<u8>,
    slots: u32,
}

impl BlockWriter {
    pub(crate) fn new() -> BlockWriter {
        BlockWriter { bytes: vec![0; FRONT], slots: 0 }
    }

    /// Bytes so far.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds all keys of a slot.
    pub(crate) fn add(&mut self, (keyspace, slot): Unit, keys: &SlotIndex) {
        let out = &mut self.bytes;
        self.slots += 1;
        out.put_u32(keyspace.0);
        out.put_u16(slot.get());
        out.put_u16(0);
        out.put_u32(u32::try_from(keys.iter().len()).unwrap_or(u32::MAX));
        for (key, entry) in keys.iter() {
            let (header, address) = (entry.header(), entry.address());
            let key = key.as_slice();
            out.put_u64(header.version.hlc.0);
            out.put_u64(header.expire_ms);
            out.put_u32(header.version.writer.0);
            out.put_u32(header.tag);
            out.put_u32(header.value_len);
            out.put_u32(address.segment);
            out.put_u32(address.offset);
            out.put_u16(u16::try_from(key.len()).unwrap_or(u16::MAX));
            out.put_u8(entry.kept_flags());
            out.put_u8(0);
            out.extend_from_slice(key);
        }
    }

    /// The finished block: the state of the slots from `first` on at `lsn`.
    pub(crate) fn finish(mut self, first: Unit, lsn: Lsn, number: u64, store_id: u128) -> Vec<u8> {
        let mut front = Vec::with_capacity(FRONT);
        front.put_u32(BLOCK);
        front.put_u32(0);
        front.put_u32(u32::try_from(self.bytes.len() - FRONT).unwrap_or(u32::MAX));
        front.put_u32(self.slots);
        front.put_u64(lsn.0);
        front.put_u32(first.0.0);
        front.put_u16(first.1.get());
        front.put_u16(0);
        seal(&mut self.bytes, &front, seed(number, store_id));
        self.bytes
    }
}

/// Puts the front, with its checksum, before a payload.
fn seal(bytes: &mut [u8], front: &[u8], seed: u32) {
    if let Some(to) = bytes.get_mut(..FRONT) {
        to.copy_from_slice(front);
    }
    let sum = crc32c::crc32c_append(seed, bytes.get(8..).unwrap_or_default());
    set_u32(bytes, 4, sum);
}

/// What the end of the file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Footer {
    pub(crate) blocks: u32,
    pub(crate) highest: Hlc,
    pub(crate) segments: BTreeMap<u32, SegmentEnd>,
}

impl Footer {
    pub(crate) fn encode(&self, number: u64, store_id: u128) -> Vec<u8> {
        let mut bytes = vec![0; FRONT];
        for (segment, end) in &self.segments {
            bytes.put_u32(*segment);
            bytes.put_u32(end.end);
            bytes.put_u64(end.last.0);
        }
        let mut front = Vec::with_capacity(FRONT);
        front.put_u32(FOOTER);
        front.put_u32(0);
        front.put_u32(u32::try_from(bytes.len() - FRONT).unwrap_or(u32::MAX));
        front.put_u32(self.blocks);
        front.put_u64(self.highest.0);
        front.put_u64(0);
        seal(&mut bytes, &front, seed(number, store_id));
        bytes
    }

    fn decode(front: &Front, payload: &[u8]) -> Option<Footer> {
        let mut take = Take(payload);
        let mut segments = BTreeMap::new();
        while !take.0.is_empty() {
            let segment = take.u32()?;
            segments.insert(segment, SegmentEnd { end: take.u32()?, last: Lsn(take.u64()?) });
        }
        Some(Footer { blocks: front.count, highest: Hlc(front.number), segments })
    }
}

/// What stands before a payload.
struct Front {
    magic: u32,
    sum: u32,
    len: usize,
    count: u32,
    /// The LSN of a block, the highest clock reading of the footer.
    number: u64,
    unit: Unit,
}

impl Front {
    fn decode(bytes: &[u8]) -> Option<Front> {
        let mut take = Take(bytes);
        let front = Front {
            magic: take.u32()?,
            sum: take.u32()?,
            len: usize::try_from(take.u32()?).ok()?,
            count: take.u32()?,
            number: take.u64()?,
            unit: (KeyspaceId(take.u32()?), Slot::new(take.u16()?)?),
        };
        (take.u16()? == 0).then_some(front)
    }
}

/// A part of the file, verified.
pub(super) enum Part<'a> {
    /// The slots from the unit on, and the LSN at which they were copied.
    Block(Unit, Lsn, Entries<'a>),
    Footer(Footer),
}

/// The slots of a block.
pub(super) struct Entries<'a> {
    slots: u32,
    payload: &'a [u8],
}

impl Entries<'_> {
    /// Adds them to an index; nothing if they make no sense.
    pub(super) fn add_to(&self, index: &mut Index) -> Option<()> {
        let mut take = Take(self.payload);
        for _ in 0..self.slots {
            let (keyspace, slot) = (KeyspaceId(take.u32()?), Slot::new(take.u16()?)?);
            let (reserved, count) = (take.u16()?, take.u32()?);
            if reserved != 0 {
                return None;
            }
            let entries = (0..count).map(|_| entry(&mut take)).collect::<Option<Vec<_>>>()?;
            index.add_sorted(keyspace, slot, entries);
        }
        take.0.is_empty().then_some(())
    }
}

fn entry(take: &mut Take<'_>) -> Option<(IndexKey, Entry)> {
    let (hlc, expire_ms) = (Hlc(take.u64()?), take.u64()?);
    let (writer, tag) = (Writer(take.u32()?), take.u32()?);
    let value_len = take.u32()?;
    let address = Address { segment: take.u32()?, offset: take.u32()? };
    let key_len = usize::from(take.u16()?);
    let (flags, _reserved) = (take.u8()?, take.u8()?);
    let key = IndexKey::new(take.bytes(key_len)?);
    let version = Version { hlc, writer };
    let header = Header { version, tombstone: false, tag, expire_ms, value_len };
    Some((key, Entry::new(&header, address).with_flags(flags)?))
}

/// Reads a checkpoint part by part.
pub(super) struct Reader<'a> {
    file: &'a dyn DiskFile,
    pub(super) header: FileHeader,
    seed: u32,
    offset: u64,
    size: u64,
    buffer: Vec<u8>,
}

impl<'a> Reader<'a> {
    pub(super) fn open(file: &'a dyn DiskFile, number: u64) -> io::Result<Option<Reader<'a>>> {
        let size = file.size()?;
        if size < HEADER as u64 {
            return Ok(None);
        }
        let mut bytes = vec![0; HEADER];
        file.read_at(&mut bytes, 0)?;
        Ok(file_header_of(&bytes, number).map(|header| {
            let seed = seed(number, header.store_id);
            Reader { file, header, seed, offset: HEADER as u64, size, buffer: Vec::new() }
        }))
    }

    /// The next part; nothing if it does not verify.
    pub(super) fn next(&mut self) -> io::Result<Option<Part<'_>>> {
        let left = self.size - self.offset;
        if left < FRONT as u64 {
            return Ok(None);
        }
        self.buffer.resize(FRONT, 0);
        self.file.read_at(&mut self.buffer, self.offset)?;
        let Some(front) = Front::decode(&self.buffer) else { return Ok(None) };
        let len = FRONT + front.len;
        if len as u64 > left {
            return Ok(None);
        }
        self.buffer.resize(len, 0);
        self.file.read_at(&mut self.buffer, self.offset)?;
        self.offset += len as u64;
        let sum = crc32c::crc32c_append(self.seed, self.buffer.get(8..).unwrap_or_default());
        if sum != front.sum {
            return Ok(None);
        }
        let payload = self.buffer.get(FRONT..).unwrap_or_default();
        Ok(match front.magic {
            BLOCK => {
                let entries = Entries { slots: front.count, payload };
                Some(Part::Block(front.unit, Lsn(front.number), entries))
            }
            FOOTER => Footer::decode(&front, payload).map(Part::Footer),
            _ => None,
        })
    }

    /// Whether the file ends here.
    pub(super) fn at_end(&self) -> bool {
        self.offset == self.size
    }
}

fn file_header_of(bytes: &[u8], number: u64) -> Option<FileHeader> {
    let mut take = Take(bytes);
    let (magic, format, sum) = (take.u64()?, take.u32()?, take.u32()?);
    let (store_id, at) = (take.u128()?, take.u64()?);
    let (start, reserved) = (take.u32()?, take.u32()?);
    let valid = magic == MAGIC && format == FORMAT && at == number && reserved == 0;
    (valid && sum == header_sum(bytes)).then_some(FileHeader { store_id, start })
}
