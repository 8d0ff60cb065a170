//! The pieces of a copy, and what is said of them, as they travel.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{Header, Hlc, KeyspaceId, Record};
use raft::eraftpb::ConfState;

use super::consensus::Place;
use super::letter::MAX_NUMBER;
use super::options::Options;
use super::running::home;
use super::state::{are_members, get_members, put_members};
use super::stretch::{At, Outline, place_of};
use crate::wire::WireError;
use crate::wire::primitive::{
    get_bytes, get_flag, get_header, get_optional, get_size, get_slot, get_varint, put_bytes,
    put_flag, put_header, put_optional, put_size, put_slot, put_varint,
};

/// What a copy begins with: the state at the place it shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Front {
    /// The place in the log.
    pub(super) place: Place,
    /// The term of the leader that sends it.
    pub(super) term: u64,
    /// How many copies this leader has begun: pieces of two do not fit together, even if both show
    /// the same place.
    pub(super) attempt: u64,
    /// Where the log's clock stands there.
    pub(super) clock: Hlc,
    /// Who is a member there.
    pub(super) conf: ConfState,
}

impl Front {
    /// What makes the outlines of this copy different from those of others.
    pub(super) fn seed(&self) -> u64 {
        self.clock.0 ^ self.attempt.rotate_left(32) ^ self.term.rotate_left(48)
    }
}

/// One piece.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Piece {
    pub(super) front: Front,
    /// Counts from zero.
    pub(super) number: u64,
    /// Up to where it is everything there is, from where the piece before ended; nothing for the
    /// end of the partition, behind which nothing follows.
    pub(super) to: Option<At>,
    pub(super) content: Content,
}

/// What a piece says.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Content {
    /// All records of the stretch.
    Records(Vec<Record>),
    /// What they would be, for a receiver that may have them.
    Outline(Outline),
}

/// What a receiver says of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taken {
    /// The copy's [`Front::attempt`].
    pub(super) attempt: u64,
    pub(super) number: u64,
    pub(super) fate: Fate,
}

/// What becomes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The receiver holds what it said, and nothing behind it.
    Taken,
    /// The receiver holds what it said, and something behind it: perhaps what follows.
    TakenBefore,
    /// The receiver holds something else than the outline tells.
    Differs,
    /// The receiver has everything.
    Complete,
    /// The receiver does not know the pieces before: it has started since.
    Unknown,
}

impl Fate {
    /// Each at the place that is its number on the wire.
    const ALL: [Fate; 5] =
        [Fate::Taken, Fate::TakenBefore, Fate::Differs, Fate::Complete, Fate::Unknown];

    pub(super) fn number(self) -> u8 {
        Fate::ALL.iter().zip(0..).find(|(fate, _)| **fate == self).map_or(0, |(_, number)| number)
    }

    pub(super) fn from_number(number: u8) -> Option<Fate> {
        Fate::ALL.get(usize::from(number)).copied()
    }
}

impl Piece {
    /// The same without its records.
    pub(super) fn outline(&self) -> Piece {
        let records = match &self.content {
            Content::Records(records) => records.as_slice(),
            Content::Outline(_) => &[],
        };
        let content = Content::Outline(Outline::of(records.iter(), self.front.seed()));
        Piece { front: self.front.clone(), number: self.number, to: self.to.clone(), content }
    }

    /// Its records, if it is sent with them.
    pub(super) fn records(&self) -> &[Record] {
        match &self.content {
            Content::Records(records) => records,
            Content::Outline(_) => &[],
        }
    }

    /// Whether a leader could have sent this: what it says is stored unseen, and a configuration
    /// that makes no sense would end the process.
    pub(super) fn makes_sense(&self, options: &Options) -> bool {
        let Front { place, term, conf, .. } = &self.front;
        let numbers = 0 < place.term && place.term <= *term && 0 < place.index;
        let bounded = *term <= MAX_NUMBER && place.index <= MAX_NUMBER;
        let ours = |item: &Record| {
            options.keyspaces.contains(&item.keyspace)
                && options.slots.contains(&item.slot)
                && (1..=kvorum_core::limits::MAX_KEY).contains(&item.key.len())
        };
        let ours = |item: &Record| ours(item) || home(options).holds_session(item);
        numbers && bounded && are_members(conf) && self.records().iter().all(ours)
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let Front { place, term, attempt, clock, conf } = &self.front;
        for number in [place.index, place.term, *term, *attempt, clock.0, self.number] {
            put_varint(out, number);
        }
        put_members(out, conf);
        put_optional(out, self.to.as_ref(), put_place);
        let items = match &self.content {
            Content::Records(items) => items,
            Content::Outline(outline) => {
                put_flag(out, true);
                return outline.encode(out);
            }
        };
        put_flag(out, false);
        put_size(out, items.len());
        for item in items {
            put_place(out, &place_of(item));
            put_header(out, &item.header());
            put_bytes(out, item.value.as_deref().unwrap_or_default());
        }
    }

    /// # Errors
    /// [`WireError`] if the input holds no piece.
    pub(super) fn decode(input: &mut Bytes) -> Result<Piece, WireError> {
        let (index, at) = (get_varint(input)?, get_varint(input)?);
        let (term, attempt) = (get_varint(input)?, get_varint(input)?);
        let clock = Hlc(get_varint(input)?);
        let number = get_varint(input)?;
        let conf = get_members(input)?;
        let to = get_optional(input, get_place)?;
        let content = if get_flag(input)? {
            Content::Outline(Outline::decode(input)?)
        } else {
            let mut items = Vec::new();
            for _ in 0..get_size(input)? {
                let (at, header) = (get_place(input)?, get_header(input)?);
                items.push(record(&at, &header, get_bytes(input)?));
            }
            Content::Records(items)
        };
        let place = Place { term: at, index };
        Ok(Piece { front: Front { place, term, attempt, clock, conf }, number, to, content })
    }
}

fn put_place(out: &mut BytesMut, (keyspace, slot, key): &At) {
    out.put_u32_le(keyspace.0);
    put_slot(out, *slot);
    put_bytes(out, key);
}

fn get_place(input: &mut Bytes) -> Result<At, WireError> {
    Ok((KeyspaceId(input.try_get_u32_le()?), get_slot(input)?, get_bytes(input)?))
}

/// A record from its parts.
pub(super) fn record((keyspace, slot, key): &At, header: &Header, value: Bytes) -> Record {
    Record {
        keyspace: *keyspace,
        slot: *slot,
        key: key.clone(),
        version: header.version,
        tag: header.tag,
        expire_ms: header.expire_ms,
        value: Some(value),
    }
}
