//! The bytes of the SWIM library's messages.
//!
//! Numbers are little endian but for the counts that the library itself writes between the parts.

use bytes::{Buf, BufMut};
use foca::{Header, Member, Message, State};
use kvorum_core::NodeId;

use super::incarnation::{Id, Incarnation};
use crate::codec::{DecodeError, TRUNCATED};

/// A node, its start number and its renewal.
const ID_BYTES: usize = 12;
/// An id, how often it refuted a suspicion, and its state.
const MEMBER_BYTES: usize = ID_BYTES + 3;
/// Two ids, a refutation count, the kind of the message, its number and a third id.
const MOST_HEADER_BYTES: usize = 3 * ID_BYTES + 4;

/// There is no room for what is to be written.
const FULL: DecodeError = DecodeError("there is no room left");

/// Writes and reads headers and members. Holds the nodes of the cluster, because no other can be
/// spoken of.
#[derive(Debug)]
pub(super) struct Codec {
    /// Sorted.
    pub(super) nodes: Vec<NodeId>,
}

impl Codec {
    fn id(&self, buf: &mut impl Buf) -> Result<Id, DecodeError> {
        let node = NodeId::new(u32(buf)?).filter(|id| self.nodes.binary_search(id).is_ok());
        let node = node.ok_or(DecodeError("it names a node that is no member"))?;
        Ok(Id { node, incarnation: Incarnation { start: u32(buf)?, renewal: u32(buf)? } })
    }
}

fn u8(buf: &mut impl Buf) -> Result<u8, DecodeError> {
    buf.try_get_u8().map_err(|_| TRUNCATED)
}

fn u16(buf: &mut impl Buf) -> Result<u16, DecodeError> {
    buf.try_get_u16_le().map_err(|_| TRUNCATED)
}

fn u32(buf: &mut impl Buf) -> Result<u32, DecodeError> {
    buf.try_get_u32_le().map_err(|_| TRUNCATED)
}

fn put_id(buf: &mut impl BufMut, id: &Id) {
    buf.put_u32_le(id.node.get());
    buf.put_u32_le(id.incarnation.start);
    buf.put_u32_le(id.incarnation.renewal);
}

impl foca::Codec<Id> for Codec {
    type Error = DecodeError;

    fn encode_header(
        &mut self,
        header: &Header<Id>,
        mut buf: impl BufMut,
    ) -> Result<(), DecodeError> {
        if buf.remaining_mut() < MOST_HEADER_BYTES {
            return Err(FULL);
        }
        put_id(&mut buf, &header.src);
        buf.put_u16_le(header.src_incarnation);
        put_id(&mut buf, &header.dst);
        let (kind, number, about) = match &header.message {
            Message::Ping(number) => (1, Some(*number), None),
            Message::Ack(number) => (2, Some(*number), None),
            Message::PingReq { target, probe_number } => (3, Some(*probe_number), Some(target)),
            Message::IndirectPing { origin, probe_number } => {
                (4, Some(*probe_number), Some(origin))
            }
            Message::IndirectAck { target, probe_number } => (5, Some(*probe_number), Some(target)),
            Message::ForwardedAck { origin, probe_number } => {
                (6, Some(*probe_number), Some(origin))
            }
            Message::Announce => (7, None, None),
            Message::Feed => (8, None, None),
            Message::Gossip => (9, None, None),
            Message::Broadcast => (10, None, None),
            Message::TurnUndead => (11, None, None),
        };
        buf.put_u8(kind);
        if let Some(number) = number {
            buf.put_u8(number);
        }
        if let Some(about) = about {
            put_id(&mut buf, about);
        }
        Ok(())
    }

    fn decode_header(&mut self, mut buf: impl Buf) -> Result<Header<Id>, DecodeError> {
        let buf = &mut buf;
        let src = self.id(buf)?;
        let src_incarnation = u16(buf)?;
        let dst = self.id(buf)?;
        let message = match u8(buf)? {
            1 => Message::Ping(u8(buf)?),
            2 => Message::Ack(u8(buf)?),
            3 => Message::PingReq { probe_number: u8(buf)?, target: self.id(buf)? },
            4 => Message::IndirectPing { probe_number: u8(buf)?, origin: self.id(buf)? },
            5 => Message::IndirectAck { probe_number: u8(buf)?, target: self.id(buf)? },
            6 => Message::ForwardedAck { probe_number: u8(buf)?, origin: self.id(buf)? },
            7 => Message::Announce,
            8 => Message::Feed,
            9 => Message::Gossip,
            10 => Message::Broadcast,
            11 => Message::TurnUndead,
            _ => return Err(DecodeError("an unknown message")),
        };
        Ok(Header { src, src_incarnation, dst, message })
    }

    fn encode_member(
        &mut self,
        member: &Member<Id>,
        mut buf: impl BufMut,
    ) -> Result<(), DecodeError> {
        if buf.remaining_mut() < MEMBER_BYTES {
            return Err(FULL);
        }
        put_id(&mut buf, member.id());
        buf.put_u16_le(member.incarnation());
        buf.put_u8(match member.state() {
            State::Alive => 1,
            State::Suspect => 2,
            State::Down => 3,
        });
        Ok(())
    }

    fn decode_member(&mut self, mut buf: impl Buf) -> Result<Member<Id>, DecodeError> {
        let buf = &mut buf;
        let (id, refuted) = (self.id(buf)?, u16(buf)?);
        let state = match u8(buf)? {
            1 => State::Alive,
            2 => State::Suspect,
            3 => State::Down,
            _ => return Err(DecodeError("an unknown state")),
        };
        Ok(Member::new(id, refuted, state))
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use foca::Codec as _;

    use super::*;

    fn id(node: u32) -> Id {
        let incarnation = Incarnation { start: 7 * node, renewal: node };
        Id { node: NodeId::new(node).unwrap(), incarnation }
    }

    fn codec() -> Codec {
        Codec { nodes: (1..=3).map(|n| NodeId::new(n).unwrap()).collect() }
    }

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let about = id(3);
        let messages = [
            Message::Ping(200),
            Message::Ack(1),
            Message::PingReq { target: about, probe_number: 2 },
            Message::IndirectPing { origin: about, probe_number: 3 },
            Message::IndirectAck { target: about, probe_number: 4 },
            Message::ForwardedAck { origin: about, probe_number: 5 },
            Message::Announce,
            Message::Feed,
            Message::Gossip,
            Message::Broadcast,
            Message::TurnUndead,
        ];
        for message in messages {
            let header = Header { src: id(1), src_incarnation: 9, dst: id(2), message };
            let mut bytes = BytesMut::new();
            codec().encode_header(&header, &mut bytes).unwrap();
            assert!(bytes.len() <= MOST_HEADER_BYTES);
            let mut read = &bytes[..];
            assert_eq!(codec().decode_header(&mut read), Ok(header));
            assert!(read.is_empty());
            for len in 0..bytes.len() {
                assert_eq!(codec().decode_header(&bytes[..len]), Err(TRUNCATED));
            }
        }
    }

    #[test]
    fn members_are_read_as_they_were_written_and_strangers_are_not() {
        for state in [State::Alive, State::Suspect, State::Down] {
            let mut bytes = BytesMut::new();
            codec().encode_member(&Member::new(id(2), 5, state), &mut bytes).unwrap();
            assert_eq!(bytes.len(), MEMBER_BYTES);
            assert_eq!(codec().decode_member(&bytes[..]), Ok(Member::new(id(2), 5, state)));
        }
        let mut bytes = BytesMut::new();
        codec().encode_member(&Member::alive(id(4)), &mut bytes).unwrap();
        assert!(codec().decode_member(&bytes[..]).is_err());
    }

    #[test]
    fn what_does_not_fit_is_not_begun() {
        let mut room = [0; MEMBER_BYTES - 1];
        let mut rest = &mut room[..];
        assert_eq!(codec().encode_member(&Member::alive(id(2)), &mut rest), Err(FULL));
        assert_eq!(rest.len(), MEMBER_BYTES - 1);
    }
}
