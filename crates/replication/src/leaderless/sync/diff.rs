//! What two replicas hold of a bucket, item by item.
//!
//! To tell every item by key and version would cost twenty bytes each, for thirty items that are
//! equal beside every one that is not. So the replica that asks sends 32 bits of each item's hash,
//! the other one answers with what does not match, and with the sum of the whole hashes of what does.
//! If two different items have the same print, the sums tell.

use bytes::Bytes;
use kvorum_core::digest::{self, Seed};
use kvorum_core::{Cursor, Header, Hlc, KeyspaceId, ScanLimit, Store, Want};

use super::letter::{Bucket, Item, Prints, Unmatched};

/// How many items of a slot are read from the index at a time.
const PAGE: ScanLimit = ScanLimit { items: 1024, bytes: usize::MAX };

/// An item of a bucket as it is stored here.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) key: Bytes,
    pub(super) header: Header,
    key_hash: u64,
    item_hash: u64,
    /// It cannot be read: the other replica is to think that it is not here, and sends it.
    corrupt: bool,
}

impl Held {
    const fn item(&self) -> Item {
        Item { key_hash: self.key_hash, version: self.header.version }
    }
}

/// The items of one bucket, in the order of their prints; those that cannot be read come last.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) bucket: Bucket,
    items: Vec<Held>,
}

impl Contents {
    pub(super) const fn len(&self) -> usize {
        self.items.len()
    }

    fn readable(&self) -> impl Iterator<Item = &Held> {
        self.items.iter().filter(|item| !item.corrupt)
    }

    /// What the other replica is asked about.
    pub(super) fn prints(&self, upper: bool) -> Prints {
        let prints = self.readable().map(|item| print(item.item_hash, upper)).collect();
        Prints { bucket: self.bucket, prints }
    }
}

/// Which half of item hashes is compared, and what is left out of comparisons.
#[derive(Clone, Copy, Debug)]
pub(super) struct View {
    pub(super) keyspace: KeyspaceId,
    pub(super) upper: bool,
    /// What may be purged below this floor is as good as gone, on both replicas.
    pub(super) floor: Hlc,
    /// Records that are corrupt are shown as if they were not. Never in a server.
    pub(super) shows_corrupt: bool,
}

/// Reads the items of `buckets`, which are in order. Stops behind a slot when there are at least
/// `enough`, so that those of the first buckets come out.
pub(super) fn contents(
    store: &mut dyn Store,
    view: View,
    buckets: &[Bucket],
    enough: usize,
) -> Vec<Contents> {
    let mut all: Vec<Contents> = Vec::new();
    let same_slot = |one: &Bucket, next: &Bucket| (one.slot, one.bits) == (next.slot, next.bits);
    for run in buckets.chunk_by(same_slot) {
        if all.iter().map(Contents::len).sum::<usize>() >= enough.max(1) {
            break;
        }
        all.extend(of_slot(store, view, run));
    }
    all
}

/// Reads the items of some buckets of one slot.
fn of_slot(store: &mut dyn Store, view: View, buckets: &[Bucket]) -> Vec<Contents> {
    let View { keyspace, upper, floor, shows_corrupt } = view;
    let empty = |bucket: &Bucket| Contents { bucket: *bucket, items: Vec::new() };
    let mut all: Vec<Contents> = buckets.iter().map(empty).collect();
    let Some(&Bucket { slot, bits, .. }) = buckets.first() else { return all };
    let seed = store.digest_seed();
    let mut from = Some(Cursor::start_of(slot));
    while let Some(start) = from {
        let page = store.page(keyspace, &start, slot, b"", PAGE, Want::Header);
        for (record, stored) in page.items {
            let key_hash = digest::key_hash(seed, &record.key);
            let number = digest::bucket(key_hash, bits);
            let at = buckets.binary_search_by_key(&number, |bucket| usize::from(bucket.number));
            let Some(contents) = at.ok().and_then(|at| all.get_mut(at)) else { continue };
            let header = stored.header;
            if header.may_be_purged(floor) {
                continue;
            }
            let item_hash = digest::item_hash(seed, keyspace, key_hash, &header);
            let corrupt = stored.corrupt && !shows_corrupt;
            contents.items.push(Held { key: record.key, header, key_hash, item_hash, corrupt });
        }
        from = page.next;
    }
    for contents in &mut all {
        contents.items.sort_by_key(|item| (item.corrupt, print(item.item_hash, upper)));
    }
    all
}

const fn print(item_hash: u64, upper: bool) -> u32 {
    if upper { (item_hash >> 32) as u32 } else { item_hash as u32 }
}

/// How what is here differs from `asked`. At most `room` items are told.
pub(super) fn unmatched(
    contents: &Contents,
    asked: &Prints,
    upper: bool,
    room: &mut usize,
) -> Unmatched {
    let mut found = vec![false; asked.prints.len()];
    let mut answer = Unmatched { matched: 0, missing: Vec::new(), items: Vec::new(), more: false };
    for item in contents.readable() {
        let print = print(item.item_hash, upper);
        let first = asked.prints.partition_point(|other| *other < print);
        let same = asked.prints.iter().skip(first).take_while(|other| **other == print).count();
        let mut places = found.iter_mut().skip(first).take(same);
        if let Some(place) = places.find(|place| !**place) {
            *place = true;
            answer.matched = answer.matched.wrapping_add(item.item_hash);
        } else if *room > 0 {
            *room -= 1;
            answer.items.push(item.item());
        } else {
            answer.more = true;
        }
    }
    answer.items.sort_unstable();
    let missing = (0..).zip(&found).filter(|(_, found)| !**found);
    answer.missing = missing.map(|(at, _)| at).collect();
    answer
}

/// What follows from an answer for the replica that has asked.
#[derive(Debug, Default)]
pub(super) struct Difference {
    /// Items that the other replica lacks or holds older.
    pub(super) push: Vec<Held>,
    /// Items of the other replica that are newer than what is here.
    pub(super) fetch: Vec<Item>,
    /// The oldest item that neither replica can show to the other.
    pub(super) stuck: Option<Hlc>,
}

/// Compares what was listed here with the other replica's answer. `newer_only` is false for a
/// mutation.
pub(super) fn difference(contents: Contents, answer: &Unmatched, sends_older: bool) -> Difference {
    let mut difference = Difference::default();
    let mut stuck = |hlc: Hlc| {
        difference.stuck = Some(difference.stuck.map_or(hlc, |other: Hlc| other.min(hlc)));
    };
    let mut matched = 0_u64;
    let mut theirs = answer.items.clone();
    let mut push = Vec::new();
    let mut fetch = Vec::new();
    let mut missing = answer.missing.iter().peekable();
    for (at, held) in (0..).zip(contents.items) {
        let is_missing = missing.next_if_eq(&&at).is_some();
        if !held.corrupt && !is_missing {
            matched = matched.wrapping_add(held.item_hash);
            continue;
        }
        let same_key = theirs.iter().position(|item| item.key_hash == held.key_hash);
        let other = same_key.map(|at| theirs.swap_remove(at));
        match other {
            Some(other) if other.version > held.header.version => fetch.push(other),
            Some(other) if other.version == held.header.version => {
                if held.corrupt {
                    fetch.push(other);
                }
            }
            Some(_) | None if held.corrupt => stuck(held.header.version.hlc),
            Some(other) if sends_older => fetch.push(other),
            Some(_) | None => push.push(held),
        }
    }
    fetch.append(&mut theirs);
    if matched != answer.matched {
        stuck(Hlc::default());
    }
    Difference { push, fetch, ..difference }
}

/// Finds the keys with these hashes, which are in order, in a slot.
pub(super) fn keys(
    store: &mut dyn Store,
    keyspace: KeyspaceId,
    slot: kvorum_core::Slot,
    hashes: &[u64],
) -> Vec<Bytes> {
    let seed: Seed = store.digest_seed();
    let mut found = Vec::new();
    let mut from = Some(Cursor::start_of(slot));
    while let Some(start) = from.filter(|_| found.len() < hashes.len()) {
        let page = store.page(keyspace, &start, slot, b"", PAGE, Want::Header);
        let wanted = page
            .items
            .into_iter()
            .map(|(record, _)| record.key)
            .filter(|key| hashes.binary_search(&digest::key_hash(seed, key)).is_ok());
        found.extend(wanted);
        from = page.next;
    }
    found
}
