//! Frames: what one node sends to another in one piece.
//!
//! Little endian. A frame is a header of [`HEADER`] bytes and the envelopes behind it:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | format version, 2 |
//! | 1 | 1 | flags: bit 0 is set in the bulk class; bits 1 and 2 are 0 if the sender should lead, 1 if it is reluctant, 2 if it is about to stop; the others are zero |
//! | 2 | 2 | number of envelopes |
//! | 4 | 8 | layout version of the sender |
//! | 12 | 8 | sequence number in its class, from 1; 0 for a frame without envelopes |
//! | 20 | 8 | highest sequence number the sender has received in the data class |
//! | 28 | 8 | the same in the bulk class |
//! | 36 | 8 | how far the sender's log is durable: its watermark, with every answer |
//! | 44 | 4 | CRC-32C of everything else in the frame |
//!
//! A frame without envelopes only acknowledges. It has no sequence number of its own, so it is
//! never acknowledged itself.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::Lsn;
use kvorum_replication::Willingness;

use crate::Class;
use crate::wire::Envelope;

/// Length of a frame's header in bytes.
pub(crate) const HEADER: usize = 48;
const FORMAT: u8 = 2;
const BULK: u8 = 1;
const RELUCTANT: u8 = 1 << 1;
const LEAVING: u8 = 2 << 1;
const CHECKSUM_AT: usize = 44;

/// The header of a frame, without its checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// The class the frame belongs to.
    pub(crate) class: Class,
    /// The number of envelopes.
    pub(crate) count: u16,
    /// The layout version of the sender.
    pub(crate) layout: u64,
    /// The sequence number in its class; zero if the frame only acknowledges.
    pub(crate) seq: u64,
    /// The highest sequence numbers the sender has received: of the data class, of the bulk class.
    pub(crate) acks: [u64; 2],
    /// How far the sender's log is durable.
    pub(crate) durable: Lsn,
    /// Whether the sender should lead.
    pub(crate) willingness: Willingness,
}

/// Fills in the header in front of the envelopes of `frame`, whose first [`HEADER`] bytes are
/// reserved for it, and takes the frame out of the buffer.
pub(crate) fn seal(header: &Header, frame: &mut BytesMut) -> Bytes {
    let mut bytes = [0u8; HEADER];
    let mut rest: &mut [u8] = &mut bytes;
    rest.put_u8(FORMAT);
    rest.put_u8(flags(header.class, header.willingness));
    rest.put_u16_le(header.count);
    rest.put_u64_le(header.layout);
    rest.put_u64_le(header.seq);
    for ack in header.acks {
        rest.put_u64_le(ack);
    }
    rest.put_u64_le(header.durable.0);
    let (fields, mut checksum_place) = bytes.split_at_mut(CHECKSUM_AT);
    let envelopes = frame.get(HEADER..).unwrap_or_default();
    checksum_place.put_u32_le(crc32c::crc32c_append(crc32c::crc32c(fields), envelopes));
    if let Some(place) = frame.get_mut(..HEADER) {
        place.copy_from_slice(&bytes);
    }
    frame.split().freeze()
}

const fn flags(class: Class, willingness: Willingness) -> u8 {
    let class = match class {
        Class::Data => 0,
        Class::Bulk => BULK,
    };
    class
        | match willingness {
            Willingness::Willing => 0,
            Willingness::Reluctant => RELUCTANT,
            Willingness::Leaving => LEAVING,
        }
}

/// How many messages a frame carries; zero if it only acknowledges, or is no frame. For metrics.
#[must_use]
pub fn messages(frame: &[u8]) -> u16 {
    frame.get(2..4).and_then(|count| count.try_into().ok()).map_or(0, u16::from_le_bytes)
}

/// Verifies a frame and returns its header and the bytes of its envelopes.
///
/// # Errors
/// What is wrong with the frame.
pub(crate) fn open(mut frame: Bytes) -> Result<(Header, Bytes), &'static str> {
    let (Some(fields), Some(envelopes)) = (frame.get(..CHECKSUM_AT), frame.get(HEADER..)) else {
        return Err("the frame is shorter than its header");
    };
    if fields.first() != Some(&FORMAT) {
        return Err("the frame has a format version this node does not know");
    }
    let checksum = crc32c::crc32c_append(crc32c::crc32c(fields), envelopes);
    let mut head = frame.split_to(HEADER);
    head.advance(1);
    let flags = head.get_u8();
    let count = head.get_u16_le();
    let layout = head.get_u64_le();
    let seq = head.get_u64_le();
    let acks = [head.get_u64_le(), head.get_u64_le()];
    let durable = Lsn(head.get_u64_le());
    if head.get_u32_le() != checksum {
        return Err("the frame fails its checksum");
    }
    let class = if flags & BULK == 0 { Class::Data } else { Class::Bulk };
    let willingness = match flags & !BULK {
        0 => Willingness::Willing,
        RELUCTANT => Willingness::Reluctant,
        LEAVING => Willingness::Leaving,
        _ => return Err("the frame has flags this node does not know"),
    };
    if (seq == 0) != (count == 0) || (count == 0 && !frame.is_empty()) {
        return Err(
            "the frame's sequence number and its number of envelopes contradict each other",
        );
    }
    Ok((Header { class, count, layout, seq, acks, durable, willingness }, frame))
}

/// Decodes the envelopes of a frame into `out`; nothing is added if one of them is malformed.
///
/// # Errors
/// What is wrong with the frame.
pub(crate) fn decode(
    count: u16,
    mut body: Bytes,
    out: &mut Vec<Envelope>,
) -> Result<(), &'static str> {
    let before = out.len();
    for _ in 0..count {
        match Envelope::decode(&mut body) {
            Ok(envelope) => out.push(envelope),
            Err(error) => {
                out.truncate(before);
                return Err(error.0);
            }
        }
    }
    if body.is_empty() {
        Ok(())
    } else {
        out.truncate(before);
        Err("the frame has bytes behind its last envelope")
    }
}

#[cfg(test)]
mod tests {
    use kvorum_core::Error;
    use kvorum_replication::Ticket;
    use proptest::prelude::{any, prop_assert, prop_assert_eq, proptest};

    use super::*;

    fn frame(count: u16) -> (Header, Bytes) {
        let mut buffer = BytesMut::zeroed(HEADER);
        for id in 0..u64::from(count) {
            let outcome = Err(Error::invalid("no"));
            Envelope::Forwarded { id: Ticket(id), outcome }.encode(&mut buffer);
        }
        let seq = u64::from(count > 0) * 7;
        let (class, durable, willingness) = (Class::Bulk, Lsn(9), Willingness::Leaving);
        let header = Header { class, count, layout: 3, seq, acks: [5, 6], durable, willingness };
        (header, seal(&header, &mut buffer))
    }

    #[test]
    fn a_sealed_frame_opens_to_what_was_put_in() {
        for count in [0, 1, 5] {
            let (header, frame) = frame(count);
            let (opened, body) = open(frame).unwrap();
            let mut envelopes = Vec::new();
            decode(opened.count, body, &mut envelopes).unwrap();
            assert_eq!((opened, envelopes.len()), (header, usize::from(count)));
        }
    }

    #[test]
    fn a_count_that_does_not_match_the_envelopes_is_refused() {
        let (_, frame) = frame(2);
        let (_, body) = open(frame).unwrap();
        let mut envelopes = Vec::new();
        assert!(decode(3, body.clone(), &mut envelopes).is_err());
        assert!(decode(1, body, &mut envelopes).is_err());
        assert!(envelopes.is_empty());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_anywhere_is_noticed(count in 0u16..4, at in any::<proptest::sample::Index>()) {
            let (_, frame) = frame(count);
            let mut damaged = BytesMut::from(&frame[..]);
            let bit = at.index(damaged.len() * 8);
            damaged[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(open(damaged.freeze()).is_err());
        }

        #[test]
        fn a_frame_cut_short_is_refused(count in 0u16..4, at in any::<proptest::sample::Index>()) {
            let (_, frame) = frame(count);
            let cut = frame.slice(..at.index(frame.len()));
            prop_assert_eq!(open(cut).is_err(), true);
        }
    }
}
