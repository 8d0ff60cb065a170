//! The open frame: what the records of one turn gather in, and where it will lie.

use std::sync::Arc;

use kvorum_core::{Lsn, Refused};

use super::Store;
use crate::index::Address;
use crate::log::BLOCK;
use crate::log::frame::{self, Opening, PrevEnd, Summary};
use crate::log::record::RecordRef;
use crate::log::segment::{self, Segment, SegmentHeader};

/// A new segment is begun when less than this fraction of the current one is left, so that the
/// end of a segment does not cut turns into crumbs.
const LEAST_FRACTION: u32 = 16;

/// How many bytes of records gather in a frame that nobody waits for.
const UNAWAITED_BYTES: usize = 64 << 10;

/// The end of the log.
#[derive(Debug)]
pub(super) struct Tail {
    /// The segment of the last sealed frame, and the offset behind it.
    pub(super) segment: u32,
    pub(super) offset: u32,
    pub(super) next: Lsn,
    pub(super) durable: Lsn,
    /// The end of what is durable, as an address.
    pub(super) durable_end: Address,
    pub(super) open: Option<OpenFrame>,
    pub(super) in_flight: Option<InFlight>,
    /// The last durable frame holds records that no later frame proves durable.
    pub(super) unproved: bool,
    /// A write or sync has failed: nothing is written any more.
    pub(super) failed: bool,
    /// A buffer to fill the next frame in.
    pub(super) buffer: Vec<u8>,
}

/// The frame that this turn's records go to.
#[derive(Debug)]
pub(super) struct OpenFrame {
    pub(super) buffer: Vec<u8>,
    pub(super) at: Address,
    pub(super) seed: u32,
    /// The frame is the first of a new segment.
    pub(super) opens: bool,
    pub(super) first: Lsn,
    pub(super) count: u32,
    /// Somebody waits until a record of it is durable.
    pub(super) awaited: bool,
    /// How long the buffer may get.
    room: usize,
}

/// The frame that is being written.
#[derive(Debug)]
pub(super) struct InFlight {
    pub(super) buffer: Arc<Vec<u8>>,
    pub(super) at: Address,
    pub(super) last: Lsn,
    pub(super) count: u32,
    pub(super) opens: bool,
}

impl OpenFrame {
    fn last(&self) -> Lsn {
        self.summary(Lsn(0)).last()
    }

    pub(super) const fn summary(&self, synced: Lsn) -> Summary {
        Summary { first: self.first, count: self.count, synced }
    }
}

impl Tail {
    /// The LSN that must be durable before the record at `address` is.
    pub(super) fn pending(&self, address: Address) -> Option<Lsn> {
        if address < self.durable_end {
            return None;
        }
        match (&self.open, &self.in_flight) {
            (Some(open), _) if address >= open.at => Some(open.last()),
            (_, Some(in_flight)) if address >= in_flight.at => Some(in_flight.last),
            _ => None,
        }
    }

    /// The bytes from `address` on, if they are still in memory.
    pub(super) fn in_memory(&self, address: Address) -> Option<&[u8]> {
        let within = |at: Address, buffer: &'_ [u8]| -> Option<usize> {
            let inside = address.segment == at.segment && address.offset >= at.offset;
            let offset = (address.offset - at.offset.min(address.offset)) as usize;
            (inside && offset < buffer.len()).then_some(offset)
        };
        let open = self.open.as_ref();
        if let Some((open, offset)) = open.and_then(|o| Some((o, within(o.at, &o.buffer)?))) {
            return open.buffer.get(offset..);
        }
        let in_flight = self.in_flight.as_ref()?;
        let offset = within(in_flight.at, &in_flight.buffer)?;
        in_flight.buffer.get(offset..)
    }

    /// The LSN of the newest record.
    pub(super) const fn last(&self) -> Lsn {
        Lsn(self.next.0.saturating_sub(1))
    }
}

impl Store {
    /// Adds a record to the open frame and returns its LSN and address.
    ///
    /// # Errors
    /// [`Refused::FrameFull`] if the open frame has no room; the next one will.
    pub(super) fn append(&mut self, record: &RecordRef<'_>) -> Result<(Lsn, Address), Refused> {
        let open = self.open_frame(record.len())?;
        let place = open.at.offset + u32::try_from(open.buffer.len()).unwrap_or(u32::MAX);
        let address = Address { segment: open.at.segment, offset: place };
        record.encode(open.seed, &mut open.buffer);
        open.count += 1;
        open.awaited = true;
        let lsn = self.tail.next;
        self.tail.next = Lsn(lsn.0 + 1);
        Ok((lsn, address))
    }

    /// The frame of this turn, if it has room for `need` bytes of records more.
    ///
    /// # Errors
    /// [`Refused::FrameFull`] if it has not; the next one will.
    pub(super) fn open_frame(&mut self, need: usize) -> Result<&mut OpenFrame, Refused> {
        if self.tail.open.is_none() {
            self.tail.open = Some(self.begin_frame(need));
        }
        let open = self.tail.open.as_mut();
        let open = open.ok_or(Refused::FrameFull)?;
        if open.buffer.len() + need > open.room {
            // Whoever was refused waits for the next one.
            open.awaited = true;
            return Err(Refused::FrameFull);
        }
        Ok(open)
    }

    /// Whether the open frame holds only what nobody waits for. That may gather for some turns,
    /// though not until it is in the way ([`UNAWAITED_BYTES`]).
    #[must_use]
    pub fn is_unawaited(&self) -> bool {
        let open = self.tail.open.as_ref();
        open.is_some_and(|open| !open.awaited && open.buffer.len() <= UNAWAITED_BYTES)
    }

    /// From now on somebody waits for what is in the open frame.
    pub fn wait_for_all(&mut self) {
        if let Some(open) = &mut self.tail.open {
            open.awaited = true;
        }
    }

    /// Begins a frame that has room for `need` bytes of records, in a new segment if the current
    /// one has too little left.
    pub(super) fn begin_frame(&mut self, need: usize) -> OpenFrame {
        let mut buffer = std::mem::take(&mut self.tail.buffer);
        let limit = self.options.frame_bytes();
        let current = self.segments.get(&self.tail.segment);
        let left = current.map_or(0, |current| {
            current.header.data_end().saturating_sub(self.tail.offset as usize)
        });
        let least = (self.options.segment_bytes / LEAST_FRACTION) as usize;
        let fits = left >= (frame::HEADER + need).next_multiple_of(BLOCK).max(least);
        let (at, seed, room) = match current {
            Some(current) if fits => {
                let at = Address { segment: self.tail.segment, offset: self.tail.offset };
                (at, current.seed, left.min(frame::HEADER + limit))
            }
            _ => {
                let header = self.next_segment_header();
                let segment = Segment::new(header, None);
                let (at, seed) = (segment::DATA as u32, segment.seed);
                self.segments.insert(header.number, segment);
                let at = Address { segment: header.number, offset: at };
                (at, seed, frame::HEADER + frame::OPENING + limit)
            }
        };
        let opens = !fits;
        frame::begin(&mut buffer, opens);
        OpenFrame { buffer, at, seed, opens, first: self.tail.next, count: 0, awaited: false, room }
    }

    /// A frame without records in the current segment; nothing if no block is left there.
    pub(super) fn empty_frame(&mut self) -> Option<OpenFrame> {
        let current = self.segments.get(&self.tail.segment)?;
        let at = Address { segment: self.tail.segment, offset: self.tail.offset };
        if current.header.data_end() < at.offset as usize + BLOCK {
            return None;
        }
        let mut buffer = std::mem::take(&mut self.tail.buffer);
        frame::begin(&mut buffer, false);
        let (seed, first) = (current.seed, self.tail.next);
        let awaited = true;
        Some(OpenFrame { buffer, at, seed, opens: false, first, count: 0, awaited, room: 0 })
    }

    /// The header of the segment behind the newest one.
    fn next_segment_header(&self) -> SegmentHeader {
        let number = self.segments.last_key_value().map_or(1, |(number, _)| number + 1);
        SegmentHeader {
            number,
            epoch: self.seed.epoch(number, &self.options),
            store_id: self.store_id,
            start: self.start,
            bytes: self.options.segment_bytes,
        }
    }

    /// What the first frame of the next segment says.
    pub(super) fn opening(&self) -> Opening {
        let Tail { segment, offset, .. } = self.tail;
        Opening {
            log_id: self.log_id,
            start: self.start,
            prev: Some(PrevEnd { segment, end: offset, last: self.tail.durable }),
            verdict: self.verdict,
        }
    }
}
