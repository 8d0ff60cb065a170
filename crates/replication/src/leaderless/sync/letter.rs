//! What the two replicas of a session tell each other.

use std::time::Duration;

use kvorum_core::{Hlc, KeyspaceId, Record, Slot, Version};

/// How many ranges one letter compares, and into how many an unequal one is divided.
pub const FAN_OUT: usize = 64;

/// A letter of a session. The replica that began it asks; the other one answers each letter with
/// one of its own, and keeps nothing but the name of the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Letter {
    /// Let us compare what we hold. Asked first.
    Open(Opening),
    /// The answer: what the other replica holds.
    Opened(Opening),
    /// The answer to anything, if there is nothing to compare with.
    Declined(Decline),
    /// How do your sums of these ranges of slots compare with mine?
    Compare(Ranges),
    /// The answer.
    Unequal(Unequal),
    /// Which items of these buckets do you hold and I do not, and which only I?
    List(Listing),
    /// The answer, bucket by bucket. Fewer than were asked about if there was too much to tell.
    Unmatched(Vec<Unmatched>),
    /// Send me what you hold for these keys.
    Fetch {
        /// Their keyspace.
        keyspace: KeyspaceId,
        /// Their slot.
        slot: Slot,
        /// The hashes of the keys, in order.
        hashes: Vec<u64>,
    },
    /// The answer.
    Fetched {
        /// The records that could be read, as many as fit.
        records: Vec<Record>,
        /// The sender has other things to do and sends nothing for so long.
        pause: Duration,
    },
    /// The session is over.
    Close(Verdict),
}

/// What a session has come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Verdict {
    /// The replicas are clean up to this reading, if at all.
    pub through: Option<Hlc>,
    /// All that was found was repaired, except for writes under way.
    pub complete: bool,
}

/// What a replica tells of itself when a session begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Its floor.
    pub floor: Hlc,
    /// Its promise.
    pub promise: Hlc,
    /// The sums of all its slots, by keyspace.
    pub sums: Vec<(KeyspaceId, u64)>,
}

/// Why a replica does not compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decline {
    /// It is rebuilding: what it holds is incomplete.
    Rebuilding,
    /// It does not know the session (any more).
    Unknown,
    /// It does not hold what the letter is about.
    NotReplica,
}

impl Decline {
    /// In words, for logs.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Decline::Rebuilding => "the other replica is being rebuilt",
            Decline::Unknown => "the other replica has given the session up",
            Decline::NotReplica => "the other node does not hold the partition",
        }
    }
}

/// Sums of consecutive ranges of slots of a keyspace, of equal width; the last may be shorter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranges {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// The first slot.
    pub first: Slot,
    /// The last slot.
    pub last: Slot,
    /// How many slots each range has.
    pub width: u16,
    /// The sums.
    pub sums: Vec<u64>,
}

impl Ranges {
    /// As few ranges of the slots as one letter compares.
    #[must_use]
    pub fn over(keyspace: KeyspaceId, first: Slot, last: Slot) -> Ranges {
        let span = usize::from(last.get().saturating_sub(first.get())) + 1;
        let width = span.div_ceil(FAN_OUT).next_power_of_two();
        let width = u16::try_from(width).unwrap_or(u16::MAX);
        Ranges { keyspace, first, last, width, sums: Vec::new() }
    }

    /// The first and the last slot of a range; nothing if there is no such range.
    #[must_use]
    pub fn range(&self, number: u8) -> Option<(Slot, Slot)> {
        let offset = u16::from(number).checked_mul(self.width)?;
        let first = self.first.get().checked_add(offset).and_then(Slot::new)?;
        let last = first.get().saturating_add(self.width - 1).min(self.last.get());
        Some((first, Slot::new(last)?)).filter(|_| first <= self.last)
    }
}

/// Which ranges of a [`Letter::Compare`] are unequal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unequal {
    /// How many ranges were compared: from the first on, and all unless there was too much to tell.
    pub compared: u8,
    /// Which of them differ, in order. For single slots with the sums of the buckets, as finely as
    /// the sender keeps them; else without.
    pub ranges: Vec<(u8, Vec<u64>)>,
}

/// The items of some buckets of a keyspace, each by 32 bits of its hash: *prints*.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The keyspace.
    pub keyspace: KeyspaceId,
    /// Whether the prints are the upper halves of the hashes.
    pub upper: bool,
    /// The buckets, in order.
    pub buckets: Vec<Prints>,
}

/// Where a bucket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bucket {
    /// The slot.
    pub slot: Slot,
    /// Into how many the slot is divided: 2^bits.
    pub bits: u8,
    /// Which of them.
    pub number: u16,
}

/// The items of one bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prints {
    /// The bucket.
    pub bucket: Bucket,
    /// The prints of its items, in ascending order.
    pub prints: Vec<u32>,
}

/// How what a replica holds of one bucket differs from the prints it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmatched {
    /// The sum of the hashes of all items that have a print. If it is the sum of those items of
    /// the asking replica that are not `missing`, then these are the same.
    pub matched: u64,
    /// Which prints, counted from zero, belong to no item here; in order.
    pub missing: Vec<u32>,
    /// The items here that have no print.
    pub items: Vec<Item>,
    /// There are more of them than could be told.
    pub more: bool,
}

/// An item that only one replica holds in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Item {
    /// The hash of its key.
    pub key_hash: u64,
    /// Its version.
    pub version: Version,
}

impl Letter {
    /// Whether the receiver must do something for the sender.
    #[must_use]
    pub const fn asks(&self) -> bool {
        match self {
            Letter::Open(_) | Letter::Compare(_) | Letter::List(_) | Letter::Fetch { .. } => true,
            Letter::Opened(_)
            | Letter::Declined(_)
            | Letter::Unequal(_)
            | Letter::Unmatched(_)
            | Letter::Fetched { .. }
            | Letter::Close(_) => false,
        }
    }

    /// About how many bytes the letter takes.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Letter::Open(opening) | Letter::Opened(opening) => 16 + 12 * opening.sums.len(),
            Letter::Declined(_) | Letter::Close(_) => 10,
            Letter::Compare(ranges) => 10 + 8 * ranges.sums.len(),
            Letter::Unequal(unequal) => {
                unequal.ranges.iter().map(|(_, buckets)| 2 + 8 * buckets.len()).sum::<usize>() + 2
            }
            Letter::List(listing) => {
                listing.buckets.iter().map(|bucket| 6 + 4 * bucket.prints.len()).sum::<usize>() + 6
            }
            Letter::Unmatched(buckets) => {
                buckets.iter().map(|b| 11 + b.missing.len() + 20 * b.items.len()).sum::<usize>() + 1
            }
            Letter::Fetch { hashes, .. } => 7 + 8 * hashes.len(),
            Letter::Fetched { records, .. } => records.iter().map(record_weight).sum::<usize>() + 2,
        }
    }
}

/// Bytes that a record takes in a letter or a message, about.
pub(super) fn record_weight(record: &Record) -> usize {
    24 + record.weight()
}
