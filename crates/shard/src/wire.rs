//! What a frame carries: envelopes, each one group message or one step of a forwarded request.
//!
//! Little endian throughout. An envelope is `kind u8` and then:
//!
//! | kind | envelope | fields |
//! |---|---|---|
//! | 1 | group message | placement u16, partition u16, message (encoded by `kvorum-replication`) |
//! | 2 | forward | id u64, patience, optional name (session u32, number, optional reading), request |
//! | 3 | forwarded | id u64, outcome |
//! | 4 | roots | round varint, layout version u64, count varint, of each run: placement u16, first partition u16, count varint, hashes u64 |
//! | 5 | roots compared | round varint, count varint, bits: bit `i` of byte `n` is partition `8 n + i`, set if equal |
//!
//! Byte strings, optional fields, time spans and sizes are written as in the messages
//! ([`primitive`](kvorum_replication::wire::primitive)).

use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Attempt, Done, Hlc, Outcome, PartitionId, Reply, Request, Writer};
use kvorum_replication::wire::primitive::{
    get_bytes, get_duration, get_optional, get_size, get_slice, get_varint, put_bytes,
    put_duration, put_optional, put_size, put_varint,
};
use kvorum_replication::wire::{self, WireError};
use kvorum_replication::{Found, Message, Ticket};

use crate::rounds::Run;

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
        /// What a write of a strong keyspace is called.
        attempt: Option<Attempt>,
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
    /// The roots of the sender's replicas of partitions that both nodes hold.
    Roots {
        /// The sender's number for them.
        round: u64,
        /// Its layout.
        layout: u64,
        /// The roots.
        runs: Vec<Run>,
    },
    /// The answer to [`Envelope::Roots`].
    RootsCompared {
        /// The number they had.
        round: u64,
        /// For each partition, in the order of the roots, whether they are equal.
        equal: Vec<bool>,
    },
}

impl Envelope {
    /// About how many bytes the envelope takes: the measure of classes and queues.
    pub(crate) fn weight(&self) -> usize {
        ENVELOPE_OVERHEAD
            + match self {
                Envelope::Group { message, .. } => payload(message),
                Envelope::Forward { request, .. } => request.op.weight(),
                Envelope::Roots { runs, .. } => {
                    runs.iter().map(|run| 8 + 8 * run.hashes.len()).sum()
                }
                Envelope::RootsCompared { equal, .. } => equal.len() / 8,
                Envelope::Forwarded { outcome, .. } => outcome.as_ref().map_or(0, reply_weight),
            }
    }

    /// Appends the envelope.
    pub(crate) fn encode(&self, out: &mut BytesMut) {
        match self {
            Envelope::Group { partition, message } => {
                out.put_u8(1);
                put_partition(out, *partition);
                wire::encode(message, out);
            }
            Envelope::Forward { id, patience, attempt, request } => {
                out.put_u8(2);
                out.put_u64_le(id.0);
                put_duration(out, *patience);
                put_optional(out, attempt.as_ref(), put_attempt);
                request::encode(request, out);
            }
            Envelope::Forwarded { id, outcome } => {
                out.put_u8(3);
                out.put_u64_le(id.0);
                outcome::encode(outcome, out);
            }
            Envelope::Roots { round, layout, runs } => {
                out.put_u8(4);
                put_varint(out, *round);
                out.put_u64_le(*layout);
                put_size(out, runs.len());
                for run in runs {
                    put_partition(out, run.first);
                    put_size(out, run.hashes.len());
                    run.hashes.iter().for_each(|hash| out.put_u64_le(*hash));
                }
            }
            Envelope::RootsCompared { round, equal } => {
                out.put_u8(5);
                put_varint(out, *round);
                put_size(out, equal.len());
                for bits in equal.chunks(8) {
                    let set = (0_u8..).zip(bits).filter(|(_, equal)| **equal);
                    out.put_u8(set.fold(0, |byte, (bit, _)| byte | 1 << bit));
                }
            }
        }
    }

    /// Takes one envelope off the front of `input`; keys and values are slices of it.
    ///
    /// # Errors
    /// [`WireError`] if the bytes are not an envelope.
    pub(crate) fn decode(input: &mut Bytes) -> Result<Envelope, WireError> {
        match input.try_get_u8()? {
            1 => Ok(Envelope::Group {
                partition: get_partition(input)?,
                message: wire::decode(input)?,
            }),
            2 => Ok(Envelope::Forward {
                id: Ticket(input.try_get_u64_le()?),
                patience: get_duration(input)?,
                attempt: get_optional(input, get_attempt)?,
                request: request::decode(input)?,
            }),
            3 => Ok(Envelope::Forwarded {
                id: Ticket(input.try_get_u64_le()?),
                outcome: outcome::decode(input)?,
            }),
            4 => Ok(Envelope::Roots {
                round: get_varint(input)?,
                layout: input.try_get_u64_le()?,
                runs: get_runs(input)?,
            }),
            5 => Ok(Envelope::RootsCompared { round: get_varint(input)?, equal: get_bits(input)? }),
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
        Message::Sync { letter, .. } => letter.weight(),
        Message::Scan { from, prefix, .. } => from.key.len() + prefix.len(),
        Message::Scanned { page: Some(page), .. } => page
            .items
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
        Reply::Txn(answer) => {
            let previous = |done: &Done| done.previous.as_ref().map_or(0, |p| p.value.len());
            answer.steps.iter().map(|done| ENVELOPE_OVERHEAD + previous(done)).sum()
        }
        Reply::Missing(_) | Reply::Written { .. } | Reply::Count(_) => 0,
    }
}

/// The counts are only promises; the lists grow as elements really appear.
fn get_runs(input: &mut Bytes) -> Result<Vec<Run>, WireError> {
    let mut runs = Vec::new();
    for _ in 0..get_varint(input)? {
        let mut run = Run { first: get_partition(input)?, hashes: Vec::new() };
        for _ in 0..get_varint(input)? {
            run.hashes.push(input.try_get_u64_le()?);
        }
        runs.push(run);
    }
    Ok(runs)
}

fn get_bits(input: &mut Bytes) -> Result<Vec<bool>, WireError> {
    let count = get_size(input)?;
    let bytes = get_slice(input, count.div_ceil(8) as u64)?;
    let bits = bytes.iter().flat_map(|byte| (0..8).map(move |bit| byte >> bit & 1 == 1));
    Ok(bits.take(count).collect())
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

fn put_attempt(out: &mut BytesMut, attempt: &Attempt) {
    out.put_u32_le(attempt.session.0);
    put_varint(out, attempt.seq);
    put_optional(out, attempt.since, |out, since| put_varint(out, since.0));
}

fn get_attempt(input: &mut Bytes) -> Result<Attempt, WireError> {
    let session = Writer(input.try_get_u32_le()?);
    let seq = get_varint(input)?;
    let since = get_optional(input, |input| get_varint(input).map(Hlc))?;
    Ok(Attempt { session, seq, since })
}

fn put_partition(out: &mut BytesMut, partition: PartitionId) {
    out.put_u16_le(partition.placement);
    out.put_u16_le(partition.number);
}

fn get_partition(input: &mut Bytes) -> Result<PartitionId, WireError> {
    Ok(PartitionId { placement: input.try_get_u16_le()?, number: input.try_get_u16_le()? })
}
