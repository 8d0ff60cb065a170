//! Tracing the log backward: which segments make it up, and where each of them ends.

use kvorum_core::Lsn;

use super::Replay;
use crate::damage::Cause;
use crate::error::OpenError;
use crate::inventory::Found;
use crate::log::BLOCK;
use crate::log::frame::{self, Opening};
use crate::log::segment;

/// A segment of the chain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    pub(super) number: u32,
    /// The proved end of it, as the segment behind it says; unknown for the newest, and where the
    /// chain is broken.
    pub(super) limit: Option<u32>,
}

impl Replay<'_> {
    /// The segments to be replayed, oldest first.
    pub(super) fn trace(&mut self) -> Result<Vec<Link>, OpenError> {
        let mut links = Vec::new();
        let mut next = self.newest_born()?.map(|number| Link { number, limit: None });
        while let Some(link) = next {
            links.push(link);
            next = self.before(link)?;
        }
        links.reverse();
        Ok(links)
    }

    /// The newest segment that was ever written to. Those behind it were never born: the process
    /// ended before their first frame was durable, and nothing else can be in them.
    fn newest_born(&mut self) -> Result<Option<u32>, OpenError> {
        let inventory = self.inventory;
        for (number, found) in inventory.segments.iter().rev() {
            let bytes = self.load(found, None)?;
            let born = frame::find(&bytes, segment::DATA, found.header.seed()).is_some();
            self.buffer = bytes;
            if born {
                return Ok(Some(*number));
            }
            self.out.unborn.push(*number);
        }
        Ok(None)
    }

    /// The segment that the log was in before this one; nothing at its beginning, and nothing
    /// where the checkpoint covers the rest.
    fn before(&mut self, link: Link) -> Result<Option<Link>, OpenError> {
        let Some(found) = self.inventory.segments.get(&link.number) else { return Ok(None) };
        let Some(opening) = peek(found)? else {
            // The gap is noted when the segment is replayed.
            return Ok(self.older_than(link.number));
        };
        let covered = self.base.min();
        let Some(prev) = opening.prev else {
            self.expected = Some(Lsn(1));
            return Ok(None);
        };
        if prev.last <= covered {
            self.expected = Some(Lsn(prev.last.0 + 1));
            return Ok(None);
        }
        if self.inventory.segments.contains_key(&prev.segment) {
            return Ok(Some(Link { number: prev.segment, limit: Some(prev.end) }));
        }
        let lost = if self.base.ranges.is_empty() { Cause::Checkpoint } else { Cause::Segment };
        self.note(lost, prev.segment, Lsn(covered.0 + 1), prev.last);
        Ok(self.older_than(prev.segment))
    }

    /// Where to go on behind a gap: with whatever is left.
    fn older_than(&self, number: u32) -> Option<Link> {
        let (number, _) = self.inventory.segments.range(..number).next_back()?;
        Some(Link { number: *number, limit: None })
    }
}

/// What the first frame of a segment says, if its front verifies.
fn peek(found: &Found) -> Result<Option<Opening>, OpenError> {
    let mut block = vec![0; BLOCK];
    let name = segment::name(found.header.number);
    let read = found.file.read_at(&mut block, segment::DATA as u64);
    read.map_err(OpenError::io(format!("read {name}")))?;
    Ok(frame::peek_opening(&block, segment::DATA, found.header.seed()))
}
