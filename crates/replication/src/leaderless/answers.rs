//! What the members have answered to a read.

use bytes::Bytes;
use kvorum_core::{Header, Hlc, Mono, NodeId, Version};

use super::Options;
use crate::Found;

/// The answers to one read, one seat per member.
#[derive(Debug)]
pub(super) struct Answers {
    seats: Vec<(NodeId, Seat)>,
}

/// Where a member stands.
#[derive(Debug)]
pub(super) enum Seat {
    /// Not asked yet.
    Free,
    /// Asked at this time; no answer yet.
    Asked(Mono),
    /// Answered, and perhaps asked a second time for the value.
    Told { held: Held, fetching: bool },
    /// Asked, and of no use.
    Out,
}

/// What a member holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Held {
    /// Nothing; and whatever there was up to this floor is deleted for good.
    Nothing(Hlc),
    Header(Header),
    Record(Header, Bytes),
    Damaged(Header),
}

impl Held {
    fn of(found: Found) -> Option<Held> {
        match found {
            Found::Absent { floor } => Some(Held::Nothing(floor)),
            Found::Record(header, value) => Some(Held::Record(header, value)),
            // The header of a tombstone is all there is to it.
            Found::Header(header) if header.tombstone => Some(Held::Record(header, Bytes::new())),
            Found::Header(header) => Some(Held::Header(header)),
            Found::Corrupt(header) => Some(Held::Damaged(header)),
            Found::Rebuilding | Found::NotReplica => None,
        }
    }

    fn header(&self) -> Option<&Header> {
        match self {
            Held::Nothing(_) => None,
            Held::Header(header) | Held::Record(header, _) | Held::Damaged(header) => Some(header),
        }
    }

    /// Whether the member can show this record or a newer one, or shows nothing because it has
    /// seen the record and removed it.
    pub(super) fn shows(&self, header: &Header) -> bool {
        match self {
            Held::Nothing(floor) => header.may_be_purged(*floor),
            Held::Damaged(_) => false,
            Held::Header(held) | Held::Record(held, _) => held.version >= header.version,
        }
    }
}

impl Answers {
    /// The members with their seats, in the order in which they are asked.
    pub(super) const fn new(seats: Vec<(NodeId, Seat)>) -> Answers {
        Answers { seats }
    }

    /// The members not asked yet, in order.
    pub(super) fn free(&self) -> impl Iterator<Item = NodeId> {
        self.seats.iter().filter(|(_, seat)| matches!(seat, Seat::Free)).map(|&(node, _)| node)
    }

    /// How many members have been asked and not answered.
    pub(super) fn outstanding(&self) -> usize {
        self.awaited().count()
    }

    /// The members that have been asked and not answered, and when they were asked.
    pub(super) fn awaited(&self) -> impl Iterator<Item = (NodeId, Mono)> {
        self.seats.iter().filter_map(|(node, seat)| match seat {
            Seat::Asked(at) => Some((*node, *at)),
            _ => None,
        })
    }

    /// What every member that has answered holds.
    pub(super) fn told(&self) -> impl Iterator<Item = (NodeId, &Held)> {
        self.seats.iter().filter_map(|(node, seat)| match seat {
            Seat::Told { held, .. } => Some((*node, held)),
            _ => None,
        })
    }

    /// The newest header anybody holds.
    pub(super) fn newest(&self) -> Option<Header> {
        self.told().filter_map(|(_, held)| held.header()).max_by_key(|h| h.version).copied()
    }

    /// Whether a member has nothing, and whatever there was for the key up to `version` is deleted
    /// there for good.
    pub(super) fn settled(&self, version: Version) -> bool {
        let settled = |held: &Held| matches!(held, Held::Nothing(floor) if *floor >= version.hlc);
        self.told().any(|(_, held)| settled(held))
    }

    /// The record of a version with its value, if somebody has sent it.
    pub(super) fn record(&self, version: Version) -> Option<(Header, Bytes)> {
        self.told().find_map(|(_, held)| match held {
            Held::Record(header, value) if header.version == version => {
                Some((*header, value.clone()))
            }
            // Nothing is missing of a damaged tombstone.
            Held::Damaged(header) if header.version == version && header.tombstone => {
                Some((*header, Bytes::new()))
            }
            _ => None,
        })
    }

    /// Where the value of a version can be had from those that have told of it.
    pub(super) fn fetch_from(&self, version: Version) -> Fetch {
        let mut fetch = Fetch::Nowhere;
        for (node, seat) in &self.seats {
            match seat {
                Seat::Told { held: Held::Header(header), fetching }
                    if header.version == version =>
                {
                    if *fetching {
                        return Fetch::UnderWay;
                    }
                    if fetch == Fetch::Nowhere {
                        fetch = Fetch::From(*node);
                    }
                }
                _ => {}
            }
        }
        fetch
    }

    /// Notes that a member has been asked.
    pub(super) fn ask(&mut self, node: NodeId, now: Mono) {
        if let Some(seat) = self.seat(node) {
            match seat {
                Seat::Told { fetching, .. } => *fetching = true,
                seat => *seat = Seat::Asked(now),
            }
        }
    }

    /// Takes an answer, and tells when it was asked for if it is a member's first. A repeated one
    /// changes nothing, and neither does the answer to the question for the header once the value
    /// has been asked for.
    pub(super) fn take(&mut self, node: NodeId, found: Found) -> Option<Mono> {
        let seat = self.seat(node)?;
        let asked = match seat {
            Seat::Asked(at) => Some(*at),
            Seat::Told { fetching, .. } if *fetching && !matches!(found, Found::Header(_)) => None,
            Seat::Told { .. } | Seat::Free | Seat::Out => return None,
        };
        *seat = Held::of(found).map_or(Seat::Out, |held| Seat::Told { held, fetching: false });
        asked
    }

    /// Notes that a member is lost. What it has told counts no more: it may come back with an
    /// empty disk, and rebuild that from members that do not hold it yet. (A mutation keeps it.)
    pub(super) fn lose(&mut self, options: &Options, node: NodeId) {
        let Some(seat) = self.seat(node) else { return };
        match seat {
            Seat::Free => {}
            Seat::Told { .. } if options.counts_the_lost() => {}
            Seat::Asked(_) | Seat::Told { .. } | Seat::Out => *seat = Seat::Out,
        }
    }

    /// Forgets what a member told: its value is needed and cannot be had.
    pub(super) fn discard(&mut self, node: NodeId) {
        if let Some(seat) = self.seat(node) {
            *seat = Seat::Out;
        }
    }

    fn seat(&mut self, node: NodeId) -> Option<&mut Seat> {
        self.seats.iter_mut().find(|(member, _)| *member == node).map(|(_, seat)| seat)
    }
}

/// Where the value of a version can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    From(NodeId),
    UnderWay,
    Nowhere,
}
