//! What a frame carries: envelopes, each one group message or one step of a forwarded request.
//!
//! Little endian throughout. An envelope is `kind u8` and then:
//!
//! | kind | envelope | fields |
//! |---|---|---|
//! | 1 | group message | placement u16, partition u16, message (encoded by `kvorum-replication`) |
//! | 2 | forward | id u64, patience in µs u64, request |
//! | 3 | forwarded | id u64, outcome |
//!
//! Byte strings are preceded by their length (u32), optional fields by a byte that is 0 or 1.
//! Decoding never panics and never allocates more than the input justifies.

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Outcome, PartitionId, Reply, Request};
use kvorum_replication::{Found, Message, Ticket, WireError};

mod outcome;
mod request;

pub(crate) use outcome::queue;

#[cfg(test)]
mod tests;

/// Bytes assumed for everything in an envelope that is neither key nor value.
const ENVELOPE_OVERHEAD: usize = 64;

/// What travels between two shards.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Envelope {
    /// A message between two replicas of a partition.
    Group {
        /// The partition.
        partition: PartitionId,
        /// The message.
        message: Message,
    },
    /// A request that the receiver shall coordinate for the sender.
    Forward {
        /// The sender's name for it.
        id: Ticket,
        /// How long the sender waits.
        patience: Duration,
        /// The request. Its deadline means nothing on another node: the receiver sets it.
        request: Request,
    },
    /// The answer to [`Envelope::Forward`].
    Forwarded {
        /// The name the forwarding node gave it.
        id: Ticket,
        /// The answer.
        outcome: Outcome<Reply>,
    },
}

impl Envelope {
    /// About how many bytes the envelope takes: the measure of classes and queues.
    pub(crate) fn weight(&self) -> usize {
        ENVELOPE_OVERHEAD
            + match self {
                Envelope::Group { message, .. } => payload(message),
                Envelope::Forward { request, .. } => request.op.weight(),
                Envelope::Forwarded { outcome, .. } => outcome.as_ref().map_or(0, reply_weight),
            }
    }

    /// Appends the envelope.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Envelope::Group { partition, message } => {
                out.put_u8(1);
                put_partition(out, *partition);
                kvorum_replication::encode(message, out);
            }
            Envelope::Forward { id, patience, request } => {
                out.put_u8(2);
                out.put_u64_le(id.0);
                put_duration(out, *patience);
                request::encode(request, out);
            }
            Envelope::Forwarded { id, outcome } => {
                out.put_u8(3);
                out.put_u64_le(id.0);
                outcome::encode(outcome, out);
            }
        }
    }

    /// Takes one envelope off the front of `input`; keys and values are slices of it.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are not an envelope.
    pub(crate) fn decode(input: &mut Bytes) -> Result<Envelope, WireError> {
        match get_u8(input)? {
            1 => Ok(Envelope::Group {
                partition: get_partition(input)?,
                message: kvorum_replication::decode(input)?,
            }),
            2 => Ok(Envelope::Forward {
                id: Ticket(get_u64(input)?),
                patience: get_duration(input)?,
                request: request::decode(input)?,
            }),
            3 => Ok(Envelope::Forwarded {
                id: Ticket(get_u64(input)?),
                outcome: outcome::decode(input)?,
            }),
            _ => Err(WireError("unknown kind of envelope")),
        }
    }
}

/// Bytes of keys and values in a message.
fn payload(message: &Message) -> usize {
    match message {
        Message::Write { record, .. } => record.weight(),
        Message::Read { key, .. } => key.len(),
        Message::Held { found: Found::Record(_, value), .. } => value.len(),
        Message::Scan { from, prefix, .. } => from.key.len() + prefix.len(),
        Message::Scanned { page: Some((items, _)), .. } => items
            .iter()
            .map(|item| {
                ENVELOPE_OVERHEAD + item.key.len() + item.value.as_ref().map_or(0, Bytes::len)
            })
            .sum(),
        _ => 0,
    }
}

/// Bytes of keys and values in an answer.
fn reply_weight(reply: &Reply) -> usize {
    match reply {
        Reply::Found(item) => item.key.len() + item.value.len(),
        Reply::Page(items, _) => {
            items.iter().map(|item| ENVELOPE_OVERHEAD + item.key.len() + item.value.len()).sum()
        }
        Reply::Missing(_) | Reply::Written { .. } | Reply::Count(_) => 0,
    }
}

const TRUNCATED: WireError = WireError("cut short");

fn get_u8(input: &mut Bytes) -> Result<u8, WireError> {
    input.try_get_u8().map_err(|_| TRUNCATED)
}

fn get_u16(input: &mut Bytes) -> Result<u16, WireError> {
    input.try_get_u16_le().map_err(|_| TRUNCATED)
}

fn get_u32(input: &mut Bytes) -> Result<u32, WireError> {
    input.try_get_u32_le().map_err(|_| TRUNCATED)
}

fn get_u64(input: &mut Bytes) -> Result<u64, WireError> {
    input.try_get_u64_le().map_err(|_| TRUNCATED)
}

fn get_bool(input: &mut Bytes) -> Result<bool, WireError> {
    match get_u8(input)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError("a flag is neither 0 nor 1")),
    }
}

/// Counts and sizes: u64 on the wire, whatever the width of the machine's words.
fn put_size(out: &mut BytesMut, size: usize) {
    out.put_u64_le(u64::try_from(size).unwrap_or(u64::MAX));
}

fn get_size(input: &mut Bytes) -> Result<usize, WireError> {
    Ok(usize::try_from(get_u64(input)?).unwrap_or(usize::MAX))
}

/// Lengths are u32: the limits of keys, values and pages lie far below.
fn put_bytes(out: &mut BytesMut, bytes: &[u8]) {
    out.put_u32_le(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.put_slice(bytes);
}

fn get_bytes(input: &mut Bytes) -> Result<Bytes, WireError> {
    let len = usize::try_from(get_u32(input)?).unwrap_or(usize::MAX);
    if len > input.len() {
        return Err(TRUNCATED);
    }
    Ok(input.split_to(len))
}

fn put_text(out: &mut BytesMut, text: &str) {
    put_bytes(out, text.as_bytes());
}

fn get_text(input: &mut Bytes) -> Result<String, WireError> {
    let bytes = get_bytes(input)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(WireError("a text is not UTF-8")),
    }
}

fn put_duration(out: &mut BytesMut, span: Duration) {
    out.put_u64_le(u64::try_from(span.as_micros()).unwrap_or(u64::MAX));
}

fn get_duration(input: &mut Bytes) -> Result<Duration, WireError> {
    Ok(Duration::from_micros(get_u64(input)?))
}

fn put_partition(out: &mut BytesMut, partition: PartitionId) {
    out.put_u16_le(partition.placement);
    out.put_u16_le(partition.number);
}

fn get_partition(input: &mut Bytes) -> Result<PartitionId, WireError> {
    Ok(PartitionId { placement: get_u16(input)?, number: get_u16(input)? })
}
