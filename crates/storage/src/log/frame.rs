//! One frame: everything that one turn adds to the log, written and synced together.

use kvorum_core::Lsn;

use super::BLOCK;
use super::codec::{Put, Take, set_u32};
use super::record::RecordRef;
use crate::damage::{Cause, Damage};

/// The first bytes of every frame.
const MAGIC: u32 = u32::from_le_bytes(*b"KFRM");
/// Length of a frame's header.
pub(crate) const HEADER: usize = 40;
/// Length of what follows the header of a segment's first frame.
pub(crate) const OPENING: usize = 64;
/// The flag of a segment's first frame.
const OPENS: u16 = 1;

/// Where the log goes on from: the proved end of the segment before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PrevEnd {
    pub(crate) segment: u32,
    /// The offset behind its last frame that counts; anything later in it is void.
    pub(crate) end: u32,
    /// The last LSN before `end`.
    pub(crate) last: Lsn,
}

/// What the first frame of a segment says about the log as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Opening {
    pub(crate) log_id: u128,
    pub(crate) start: u32,
    pub(crate) prev: Option<PrevEnd>,
    pub(crate) verdict: Option<Damage>,
}

/// What a frame says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Summary {
    /// The LSN of the first record, or of the next one to come if there is none.
    pub(crate) first: Lsn,
    /// How many records there are; their LSNs are consecutive.
    pub(crate) count: u32,
    /// Everything up to here was durable before this frame was written.
    pub(crate) synced: Lsn,
}

/// A frame that was read and verified, every record of it included.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) summary: Summary,
    pub(crate) opening: Option<Opening>,
    /// Offset of the frame in its segment.
    pub(crate) offset: usize,
    records_at: usize,
    records: &'a [u8],
}

/// Room for the header (and the opening) at the front of an empty buffer.
pub(crate) fn begin(buffer: &mut Vec<u8>, opening: bool) {
    buffer.clear();
    buffer.resize(HEADER + if opening { OPENING } else { 0 }, 0);
}

/// Fills in the front of a frame whose records are complete, and pads it to whole blocks.
/// `begin` was told the same about the opening; `offset` and `seed` are the segment's.
pub(crate) fn finish(
    buffer: &mut Vec<u8>,
    summary: Summary,
    opening: Option<&Opening>,
    offset: u32,
    seed: u32,
) {
    let mut front = Vec::with_capacity(HEADER + OPENING);
    let front_len = HEADER + if opening.is_some() { OPENING } else { 0 };
    front.put_u32(MAGIC);
    front.put_u32(0);
    front.put_u16(if opening.is_some() { OPENS } else { 0 });
    front.put_u16(0);
    front.put_u32(u32::try_from(buffer.len() - front_len.min(buffer.len())).unwrap_or(u32::MAX));
    front.put_u64(summary.first.0);
    front.put_u64(summary.synced.0);
    front.put_u32(summary.count);
    front.put_u32(0);
    if let Some(opening) = opening {
        opening.encode(&mut front);
    }
    let sum = checksum(&front, offset, seed);
    set_u32(&mut front, 4, sum);
    if let Some(to) = buffer.get_mut(..front.len()) {
        to.copy_from_slice(&front);
    }
    buffer.resize(buffer.len().next_multiple_of(BLOCK), 0);
}

/// The checksum of a frame's front: bound to the life of the segment and to the place in it.
fn checksum(front: &[u8], offset: u32, seed: u32) -> u32 {
    let placed = crc32c::crc32c_append(seed, &offset.to_le_bytes());
    crc32c::crc32c_append(placed, front.get(8..).unwrap_or_default())
}

impl Opening {
    fn encode(&self, out: &mut Vec<u8>) {
        let prev = self.prev.unwrap_or(PrevEnd { segment: 0, end: 0, last: Lsn(0) });
        out.put_u128(self.log_id);
        out.put_u32(self.start);
        out.put_u32(prev.segment);
        out.put_u32(prev.end);
        out.put_u64(prev.last.0);
        out.put_u32(u32::from(self.verdict.map_or(0, |damage| damage.cause.code())));
        out.put_u32(self.verdict.map_or(0, |damage| damage.segment));
        out.put_u64(self.verdict.map_or(0, |damage| damage.first.0));
        out.put_u64(self.verdict.map_or(0, |damage| damage.last.0));
        out.put_u32(0);
    }

    fn decode(take: &mut Take<'_>) -> Option<Opening> {
        let log_id = take.u128()?;
        let start = take.u32()?;
        let prev = PrevEnd { segment: take.u32()?, end: take.u32()?, last: Lsn(take.u64()?) };
        let code = take.u32()?;
        let segment = take.u32()?;
        let (first, last) = (Lsn(take.u64()?), Lsn(take.u64()?));
        let reserved = take.u32()?;
        let verdict = match u8::try_from(code).ok()? {
            0 => None,
            code => Some(Damage { cause: Cause::from_code(code)?, segment, first, last }),
        };
        let prev = (prev.segment != 0).then_some(prev);
        (reserved == 0).then_some(Opening { log_id, start, prev, verdict })
    }
}

impl Summary {
    /// The LSN of the last record, or of the one before the next if there is none.
    pub(crate) fn last(&self) -> Lsn {
        Lsn((self.first.0 + u64::from(self.count)).saturating_sub(1))
    }
}

impl<'a> Frame<'a> {
    /// Reads and verifies the frame at `offset` of a segment's bytes.
    pub(crate) fn read(segment: &'a [u8], offset: usize, seed: u32) -> Option<Frame<'a>> {
        Frame::at(segment.get(offset..)?, offset, seed)
    }

    /// Reads and verifies the frame that `bytes` begin with, which lies at `offset`.
    pub(crate) fn at(bytes: &'a [u8], offset: usize, seed: u32) -> Option<Frame<'a>> {
        let Front { summary, opening, len } = Front::read(bytes, offset, seed)?;
        let front = HEADER + if opening.is_some() { OPENING } else { 0 };
        let records = bytes.get(front..front.checked_add(len)?)?;
        let frame = Frame { summary, opening, offset, records_at: offset + front, records };
        frame.verify(seed).then_some(frame)
    }

    /// Whether all records verify and fill the frame exactly.
    fn verify(&self, seed: u32) -> bool {
        let mut rest = self.records;
        for _ in 0..self.summary.count {
            let Some(record) = RecordRef::decode(rest, seed) else { return false };
            rest = rest.get(record.len()..).unwrap_or_default();
        }
        rest.is_empty()
    }

    /// The offset behind the frame and its padding.
    pub(crate) fn end(&self) -> usize {
        (self.records_at + self.records.len()).next_multiple_of(BLOCK)
    }

    /// Bytes of records.
    pub(crate) fn payload(&self) -> usize {
        self.records.len()
    }

    /// The records, each with its LSN and its offset in the segment.
    pub(crate) fn records(&self) -> impl Iterator<Item = (Lsn, usize, RecordRef<'a>)> + use<'a> {
        let mut rest = self.records;
        let mut offset = self.records_at;
        let mut lsn = self.summary.first.0;
        std::iter::from_fn(move || {
            let (record, _) = RecordRef::parse(rest)?;
            let item = (Lsn(lsn), offset, record);
            rest = rest.get(record.len()..)?;
            offset += record.len();
            lsn += 1;
            Some(item)
        })
    }
}

/// What stands before the records of a frame.
struct Front {
    summary: Summary,
    opening: Option<Opening>,
    /// Bytes of records.
    len: usize,
}

impl Front {
    /// Reads and verifies the front of the frame that begins with `bytes`.
    fn read(bytes: &[u8], offset: usize, seed: u32) -> Option<Front> {
        let mut take = Take(bytes);
        if take.u32()? != MAGIC {
            return None;
        }
        let sum = take.u32()?;
        let flags = take.u16()?;
        let reserved = take.u16()?;
        let len = usize::try_from(take.u32()?).ok()?;
        let (first, synced) = (Lsn(take.u64()?), Lsn(take.u64()?));
        let summary = Summary { first, synced, count: take.u32()? };
        if flags & !OPENS != 0 || reserved != 0 || take.u32()? != 0 {
            return None;
        }
        let opens = flags & OPENS != 0;
        let front = HEADER + if opens { OPENING } else { 0 };
        if checksum(bytes.get(..front)?, u32::try_from(offset).ok()?, seed) != sum {
            return None;
        }
        let opening = if opens { Some(Opening::decode(&mut take)?) } else { None };
        Some(Front { summary, opening, len })
    }
}

/// What the first frame of a segment says, from its first block alone: its records are not
/// verified.
pub(crate) fn peek_opening(block: &[u8], offset: usize, seed: u32) -> Option<Opening> {
    Front::read(block, offset, seed)?.opening
}

/// How long the frame that begins with `bytes` is, as far as its front can be trusted.
pub(crate) fn length(bytes: &[u8], offset: usize, seed: u32) -> Option<usize> {
    let front = Front::read(bytes, offset, seed)?;
    let opening = if front.opening.is_some() { OPENING } else { 0 };
    (HEADER + opening).checked_add(front.len)?.checked_next_multiple_of(BLOCK)
}

/// All valid frames of a segment in order, whatever lies between them.
pub(crate) fn scan(segment: &[u8], seed: u32) -> Vec<Frame<'_>> {
    let mut frames = Vec::new();
    let mut offset = super::segment::DATA;
    while let Some(frame) = find(segment, offset, seed) {
        offset = frame.end();
        frames.push(frame);
    }
    frames
}

/// The next valid frame at or behind `offset`, block by block.
pub(crate) fn find(segment: &[u8], offset: usize, seed: u32) -> Option<Frame<'_>> {
    (offset..segment.len()).step_by(BLOCK).find_map(|at| Frame::read(segment, at, seed))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opening() -> Opening {
        Opening {
            log_id: 7,
            start: 3,
            prev: Some(PrevEnd { segment: 1, end: 8192, last: Lsn(9) }),
            verdict: Some(Damage { cause: Cause::Frames, segment: 1, first: Lsn(4), last: Lsn(6) }),
        }
    }

    #[test]
    fn a_frame_reads_back_at_its_place_and_nowhere_else() {
        let mut buffer = Vec::new();
        begin(&mut buffer, true);
        RecordRef::rebuilt(1).encode(5, &mut buffer);
        RecordRef::rebuilt(1).encode(5, &mut buffer);
        let summary = Summary { first: Lsn(10), count: 2, synced: Lsn(9) };
        finish(&mut buffer, summary, Some(&opening()), 4096, 5);
        assert_eq!(buffer.len(), BLOCK);
        let mut segment = vec![0; 3 * BLOCK];
        segment[BLOCK..2 * BLOCK].copy_from_slice(&buffer);
        let frame = Frame::read(&segment, BLOCK, 5).unwrap();
        assert_eq!((frame.summary, frame.opening), (summary, Some(opening())));
        assert_eq!((frame.end(), frame.summary.last()), (2 * BLOCK, Lsn(11)));
        assert_eq!(frame.records().map(|(lsn, ..)| lsn).collect::<Vec<_>>(), [Lsn(10), Lsn(11)]);
        assert!(Frame::read(&segment, BLOCK, 6).is_none(), "another life");
        assert_eq!(find(&segment, 0, 5).map(|frame| frame.offset), Some(BLOCK));
        segment.rotate_left(BLOCK);
        assert!(Frame::read(&segment, 0, 5).is_none(), "another place");
    }

    #[test]
    fn a_torn_frame_is_no_frame() {
        let mut buffer = Vec::new();
        begin(&mut buffer, false);
        let value = vec![1; 5000];
        let record = RecordRef { value: &value, ..RecordRef::rebuilt(1) };
        record.encode(5, &mut buffer);
        finish(&mut buffer, Summary { first: Lsn(1), count: 1, synced: Lsn(0) }, None, 0, 5);
        assert!(Frame::read(&buffer, 0, 5).is_some());
        buffer[BLOCK..].fill(0);
        assert!(Frame::read(&buffer, 0, 5).is_none());
    }
}
