//! The encoding of what two replicas of a group tell each other.
//!
//! A letter is a message of Raft, a piece of a copy (kind 16), the receipt of one (kind 17), a
//! replica's wish to be a member (kind 18), a follower's question how far it must have applied the
//! log (kind 19: `number`), or the leader's answer (kind 20: `number | term | leads u8 | index |
//! commit`).
//! A message is `kind u8 | generation of the sender | of the receiver | term | log term | index | commit | commit term | reject u8 | reject hint |
//! request snapshot | context bytes | count | entries`; numbers are varints. An entry is
//! `kind u8 | term | index | data bytes`. The nodes are those of the envelope around it.
//!
//! The library ends the process when a message says what no replica can say. So whatever can be
//! told from the message alone is checked here ([`makes_sense`]), and what takes the log to tell
//! by [`super::consensus`].

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::NodeId;
use raft::eraftpb::{Entry, EntryType, Message, MessageType};

use super::id::ReplicaId;
use super::membership::Join;
use super::piece::{Fate, Piece, Taken};
use super::reading::{Front, Told};
use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_flag, get_optional, get_size, get_varint, put_bytes, put_flag, put_optional,
    put_size, put_varint,
};

/// The messages that travel, each at the place that is its number on the wire. Raft has others,
/// which stay inside a replica, or which this store never sends: clients' requests travel in
/// envelopes of their own, and snapshots in pieces.
const KINDS: [MessageType; 9] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgTimeoutNow,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

/// No term and no index comes near this, so that nothing that is added to one overflows.
pub(super) const MAX_NUMBER: u64 = 1 << 60;

const PIECE: u8 = 16;
const TAKEN: u8 = 17;
const JOIN: u8 = 18;
const ASK: u8 = 19;
const TOLD: u8 = 20;

/// What a leader says in the context of `MsgTimeoutNow`: it has no lease any more in this term.
const RELEASED: &[u8] = b"released";

/// What one replica tells another.
#[derive(Debug, PartialEq)]
pub(super) enum Letter {
    Raft(Message),
    Piece(Piece),
    Taken(Taken),
    Join(Join),
    Ask(u64),
    Told(Told),
}

impl Letter {
    /// Whether a message is of a kind that travels.
    pub(super) fn travels(message: &Message) -> bool {
        KINDS.contains(&message.get_msg_type())
    }

    pub(super) fn encode(&self) -> Bytes {
        let mut out = BytesMut::new();
        match self {
            Letter::Raft(message) => put_message(&mut out, message),
            Letter::Piece(piece) => {
                out.put_u8(PIECE);
                piece.encode(&mut out);
            }
            Letter::Taken(taken) => {
                out.put_u8(TAKEN);
                put_varint(&mut out, taken.attempt);
                put_varint(&mut out, taken.number);
                out.put_u8(taken.fate.number());
            }
            Letter::Join(join) => {
                out.put_u8(JOIN);
                out.put_u32_le(join.generation);
                put_flag(&mut out, join.complete);
            }
            Letter::Ask(number) => {
                out.put_u8(ASK);
                put_varint(&mut out, *number);
            }
            Letter::Told(Told { number, term, front }) => {
                out.put_u8(TOLD);
                put_varint(&mut out, *number);
                put_varint(&mut out, *term);
                put_optional(&mut out, *front, |out, front| {
                    put_varint(out, front.index);
                    put_varint(out, front.commit);
                });
            }
        }
        out.freeze()
    }

    /// Makes a leader's last word before another leads say that it has no lease any more.
    pub(super) fn release(message: &mut Message) {
        message.context = Bytes::from_static(RELEASED);
    }

    /// Whether a message says that the leader of its term has no lease any more.
    pub(super) fn releases(message: &Message) -> bool {
        message.get_msg_type() == MessageType::MsgTimeoutNow && message.context == RELEASED
    }

    /// Decodes a letter from one node to another.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are none.
    pub(super) fn decode(mut input: Bytes, from: NodeId, to: NodeId) -> Result<Letter, WireError> {
        let kind = input.try_get_u8()?;
        let letter = match kind {
            PIECE => Letter::Piece(Piece::decode(&mut input)?),
            TAKEN => {
                let (attempt, number) = (get_varint(&mut input)?, get_varint(&mut input)?);
                let fate = Fate::from_number(input.try_get_u8()?);
                let fate = fate.ok_or(WireError("unknown end of a piece"))?;
                Letter::Taken(Taken { attempt, number, fate })
            }
            JOIN => {
                let generation = input.try_get_u32_le()?;
                Letter::Join(Join { generation, complete: get_flag(&mut input)? })
            }
            ASK => Letter::Ask(get_varint(&mut input)?),
            TOLD => {
                let (number, term) = (get_varint(&mut input)?, get_varint(&mut input)?);
                let front = get_optional(&mut input, |input| {
                    Ok(Front { index: get_varint(input)?, commit: get_varint(input)? })
                })?;
                let far = front.is_some_and(|front| front.commit > MAX_NUMBER);
                if far || term == 0 {
                    return Err(WireError("a leader's answer makes no sense"));
                }
                Letter::Told(Told { number, term, front })
            }
            _ => Letter::Raft(get_message(&mut input, kind, from, to)?),
        };
        if input.is_empty() {
            Ok(letter)
        } else {
            Err(WireError("a letter goes on behind its end"))
        }
    }
}

/// Encodes messages for the nodes they are meant for; of snapshots only the receivers.
pub(super) fn letters(messages: Vec<Message>, behind: &mut Vec<NodeId>) -> Vec<(NodeId, Bytes)> {
    let mut letters = Vec::with_capacity(messages.len());
    for message in messages {
        let Some(to) = ReplicaId::from_raft(message.to).map(ReplicaId::node) else { continue };
        if message.get_msg_type() == MessageType::MsgSnapshot {
            behind.push(to);
        } else if Letter::travels(&message) {
            letters.push((to, Letter::Raft(message).encode()));
        }
    }
    letters
}

fn put_message(out: &mut BytesMut, message: &Message) {
    let entries: usize = message.entries.iter().map(|entry| entry.data.len() + 32).sum();
    out.reserve(64 + entries);
    let kind = KINDS.iter().position(|kind| *kind == message.get_msg_type());
    out.put_u8(kind.and_then(|kind| u8::try_from(kind).ok()).unwrap_or(u8::MAX));
    for replica in [message.from, message.to] {
        let generation = ReplicaId::from_raft(replica).map_or(0, ReplicaId::generation);
        put_varint(out, generation.into());
    }
    put_varint(out, message.term);
    put_varint(out, message.log_term);
    put_varint(out, message.index);
    put_varint(out, message.commit);
    put_varint(out, message.commit_term);
    put_flag(out, message.reject);
    put_varint(out, message.reject_hint);
    put_varint(out, message.request_snapshot);
    put_bytes(out, &message.context);
    put_size(out, message.entries.len());
    for entry in &message.entries {
        put_entry(out, entry);
    }
}

fn get_message(
    input: &mut Bytes,
    kind: u8,
    from: NodeId,
    to: NodeId,
) -> Result<Message, WireError> {
    let mut message = Message::default();
    let kind = KINDS.get(usize::from(kind));
    message.set_msg_type(*kind.ok_or(WireError("unknown kind of Raft message"))?);
    message.from = get_id(input, from)?;
    message.to = get_id(input, to)?;
    message.term = get_varint(input)?;
    message.log_term = get_varint(input)?;
    message.index = get_varint(input)?;
    message.commit = get_varint(input)?;
    message.commit_term = get_varint(input)?;
    message.reject = get_flag(input)?;
    message.reject_hint = get_varint(input)?;
    message.request_snapshot = get_varint(input)?;
    message.context = get_bytes(input)?;
    let mut entries = Vec::new();
    for _ in 0..get_size(input)? {
        entries.push(get_entry(input)?);
    }
    message.entries = entries.into();
    if makes_sense(&message) {
        Ok(message)
    } else {
        Err(WireError("a Raft message makes no sense"))
    }
}

/// Whether a replica could have sent this message, as far as it shows by itself.
fn makes_sense(message: &Message) -> bool {
    let Message { term, log_term, index, commit, commit_term, .. } = *message;
    let numbers =
        [term, log_term, index, commit, commit_term, message.reject_hint, message.request_snapshot];
    // The library takes term zero for a message of this replica to itself.
    if term == 0 || numbers.into_iter().any(|number| number > MAX_NUMBER) {
        return false;
    }
    // Only the place before the first entry has term zero; terms never go back on the way.
    let appends = message.get_msg_type() == MessageType::MsgAppend;
    let begins = !appends || (log_term <= term && (index == 0) == (log_term == 0));
    let terms = std::iter::once(log_term.max(1)).chain(message.entries.iter().map(|e| e.term));
    let follows = (index + 1..).zip(&message.entries).all(|(at, entry)| entry.index == at);
    let carries = message.entries.is_empty() || (appends && terms.is_sorted() && follows);
    begins && carries && message.entries.iter().all(|entry| entry.term <= term)
}

fn get_id(input: &mut Bytes, node: NodeId) -> Result<u64, WireError> {
    let generation = u32::try_from(get_varint(input)?);
    let generation = generation.map_err(|_| WireError("no such generation"))?;
    Ok(ReplicaId::new(node, generation).raft())
}

/// Appends an entry.
pub(super) fn put_entry(out: &mut BytesMut, entry: &Entry) {
    out.put_u8(u8::from(entry.get_entry_type() != EntryType::EntryNormal));
    put_varint(out, entry.term);
    put_varint(out, entry.index);
    put_bytes(out, &entry.data);
}

/// Takes an entry.
///
/// # Errors
/// [`WireError`] if there is none.
pub(super) fn get_entry(input: &mut Bytes) -> Result<Entry, WireError> {
    let membership = get_flag(input)?;
    let (term, index) = (get_varint(input)?, get_varint(input)?);
    let mut entry = Entry { term, index, data: get_bytes(input)?, ..Entry::default() };
    if membership {
        entry.set_entry_type(EntryType::EntryConfChangeV2);
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: u32) -> NodeId {
        NodeId::new(id).unwrap()
    }

    fn message() -> Message {
        let mut message = Message { from: 1, to: 2, term: 7, index: 4, ..Message::default() };
        message.set_msg_type(MessageType::MsgAppend);
        message.log_term = 6;
        message.commit = 4;
        message.context = Bytes::from_static(b"round");
        let entry = |index| Entry { term: 7, index, data: "x".into(), ..Entry::default() };
        message.entries = vec![entry(5), entry(6)].into();
        message
    }

    #[test]
    fn a_letter_comes_out_as_it_went_in_and_not_if_it_is_cut() {
        let taken = Taken { attempt: 300, number: 2, fate: Fate::Differs };
        let join = Join { generation: 7, complete: false };
        let told = |front| Letter::Told(Told { number: 1 << 40, term: 9, front });
        let front = told(Some(Front { index: 300, commit: 299 }));
        let letters = [Letter::Raft(message()), Letter::Taken(taken), Letter::Join(join)];
        for sent in letters.into_iter().chain([Letter::Ask(u64::MAX), told(None), front]) {
            let bytes = sent.encode();
            assert_eq!(Letter::decode(bytes.clone(), node(1), node(2)).unwrap(), sent);
            for len in 0..bytes.len() {
                assert!(Letter::decode(bytes.slice(..len), node(1), node(2)).is_err());
            }
        }
    }

    #[test]
    fn entries_with_a_gap_are_refused() {
        let mut sent = message();
        sent.entries.last_mut().unwrap().index = 9;
        assert!(Letter::decode(Letter::Raft(sent).encode(), node(1), node(2)).is_err());
    }

    #[test]
    fn what_no_replica_can_say_is_refused() {
        let nonsense: [fn(&mut Message); 9] = [
            |message| message.term = 0,
            |message| message.term = u64::MAX,
            |message| message.index = u64::MAX,
            |message| message.commit = u64::MAX,
            |message| message.reject_hint = u64::MAX,
            |message| message.log_term = 0,
            |message| message.log_term = 8,
            |message| message.entries.last_mut().unwrap().term = 6,
            |message| message.entries.last_mut().unwrap().term = 8,
        ];
        for change in nonsense {
            let mut sent = message();
            sent.entries.first_mut().unwrap().term = 7;
            change(&mut sent);
            assert!(Letter::decode(Letter::Raft(sent).encode(), node(1), node(2)).is_err());
        }
    }

    #[test]
    fn what_stays_inside_a_replica_does_not_travel() {
        let mut hup = Message::default();
        hup.set_msg_type(MessageType::MsgHup);
        assert!(!Letter::travels(&hup));
        assert!(Letter::decode(Letter::Raft(hup).encode(), node(1), node(2)).is_err());
    }
}
