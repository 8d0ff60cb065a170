//! Letters of anti-entropy sessions to bytes and back.
//!
//! | letter | is | fields |
//! |---|---|---|
//! | 0 | Open | floor, promise, count varint, keyspace u32 and sum u64 of each |
//! | 1 | Opened | the same |
//! | 2 | Declined | reason u8 |
//! | 3 | Compare | keyspace u32, first slot u16, last slot u16, width u16, count varint, sums u64 |
//! | 4 | Unequal | compared u8, count varint, of each: range u8, count varint, sums u64 |
//! | 5 | List | keyspace u32, half u8, count varint, of each: slot u16, bits u8, number u16, count varint, prints u32 |
//! | 6 | Unmatched | count varint, of each: sum u64, count varint, distances between missing prints as varints, count varint, items (key hash u64, version), more u8 |
//! | 7 | Fetch | keyspace u32, slot u16, count varint, hashes u64 |
//! | 8 | Fetched | time span, count varint, records as in Write |
//! | 9 | Close | 0; or 1, reading; complete u8 |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use kvorum_core::{KeyspaceId, digest};

use super::primitive::{
    get_duration, get_flag, get_hlc, get_optional, get_slot, get_varint, get_version, put_duration,
    put_flag, put_hlc, put_optional, put_size, put_slot, put_varint, put_version,
};
use super::{WireError, decode, encode};
use crate::leaderless::sync::{
    Bucket, Decline, Item, Letter, Listing, Opening, Prints, Ranges, Unequal, Unmatched, Verdict,
};

/// Appends a letter.
pub(super) fn put_letter(out: &mut BytesMut, letter: &Letter) {
    match letter {
        Letter::Open(opening) => {
            out.put_u8(0);
            put_opening(out, opening);
        }
        Letter::Opened(opening) => {
            out.put_u8(1);
            put_opening(out, opening);
        }
        Letter::Declined(decline) => {
            out.put_u8(2);
            out.put_u8(match decline {
                Decline::Rebuilding => 0,
                Decline::Unknown => 1,
                Decline::NotReplica => 2,
            });
        }
        Letter::Compare(Ranges { keyspace, first, last, width, sums }) => {
            out.put_u8(3);
            out.put_u32_le(keyspace.0);
            put_slot(out, *first);
            put_slot(out, *last);
            out.put_u16_le(*width);
            put_list(out, sums, |out, sum| out.put_u64_le(*sum));
        }
        Letter::Unequal(Unequal { compared, ranges }) => {
            out.put_u8(4);
            out.put_u8(*compared);
            put_list(out, ranges, |out, (range, buckets)| {
                out.put_u8(*range);
                put_list(out, buckets, |out, sum| out.put_u64_le(*sum));
            });
        }
        Letter::List(Listing { keyspace, upper, buckets }) => {
            out.put_u8(5);
            out.put_u32_le(keyspace.0);
            put_flag(out, *upper);
            put_list(out, buckets, put_prints);
        }
        Letter::Unmatched(buckets) => {
            out.put_u8(6);
            put_list(out, buckets, put_unmatched);
        }
        Letter::Fetch { keyspace, slot, hashes } => {
            out.put_u8(7);
            out.put_u32_le(keyspace.0);
            put_slot(out, *slot);
            put_list(out, hashes, |out, hash| out.put_u64_le(*hash));
        }
        Letter::Fetched { records, pause } => {
            out.put_u8(8);
            put_duration(out, *pause);
            put_list(out, records, encode::put_record);
        }
        Letter::Close(Verdict { through, complete }) => {
            out.put_u8(9);
            put_optional(out, *through, put_hlc);
            put_flag(out, *complete);
        }
    }
}

/// Takes a letter.
///
/// # Errors
/// [`WireError`] if there is none.
pub(super) fn get_letter(input: &mut Bytes) -> Result<Letter, WireError> {
    Ok(match input.try_get_u8()? {
        0 => Letter::Open(get_opening(input)?),
        1 => Letter::Opened(get_opening(input)?),
        2 => Letter::Declined(match input.try_get_u8()? {
            0 => Decline::Rebuilding,
            1 => Decline::Unknown,
            2 => Decline::NotReplica,
            _ => return Err(WireError("unknown reason to decline")),
        }),
        3 => Letter::Compare(Ranges {
            keyspace: KeyspaceId(input.try_get_u32_le()?),
            first: get_slot(input)?,
            last: get_slot(input)?,
            width: input.try_get_u16_le()?,
            sums: get_list(input, get_u64)?,
        }),
        4 => Letter::Unequal(Unequal {
            compared: input.try_get_u8()?,
            ranges: get_list(input, |input| Ok((input.try_get_u8()?, get_list(input, get_u64)?)))?,
        }),
        5 => Letter::List(Listing {
            keyspace: KeyspaceId(input.try_get_u32_le()?),
            upper: get_flag(input)?,
            buckets: get_list(input, get_prints)?,
        }),
        6 => Letter::Unmatched(get_list(input, get_unmatched)?),
        7 => Letter::Fetch {
            keyspace: KeyspaceId(input.try_get_u32_le()?),
            slot: get_slot(input)?,
            hashes: get_list(input, get_u64)?,
        },
        8 => {
            let pause = get_duration(input)?;
            Letter::Fetched { records: get_list(input, decode::record)?, pause }
        }
        9 => {
            let through = get_optional(input, get_hlc)?;
            Letter::Close(Verdict { through, complete: get_flag(input)? })
        }
        _ => return Err(WireError("unknown letter of a session")),
    })
}

fn put_opening(out: &mut BytesMut, opening: &Opening) {
    put_hlc(out, opening.floor);
    put_hlc(out, opening.promise);
    put_list(out, &opening.sums, |out, (keyspace, sum)| {
        out.put_u32_le(keyspace.0);
        out.put_u64_le(*sum);
    });
}

fn get_opening(input: &mut Bytes) -> Result<Opening, WireError> {
    let (floor, promise) = (get_hlc(input)?, get_hlc(input)?);
    let sums = get_list(input, |input| Ok((KeyspaceId(input.try_get_u32_le()?), get_u64(input)?)))?;
    Ok(Opening { floor, promise, sums })
}

fn put_prints(out: &mut BytesMut, Prints { bucket, prints }: &Prints) {
    put_slot(out, bucket.slot);
    out.put_u8(bucket.bits);
    out.put_u16_le(bucket.number);
    put_list(out, prints, |out, print| out.put_u32_le(*print));
}

fn get_prints(input: &mut Bytes) -> Result<Prints, WireError> {
    let slot = get_slot(input)?;
    let (bits, number) = (input.try_get_u8()?, input.try_get_u16_le()?);
    if bits > digest::MAX_BITS || usize::from(number) >= 1 << bits {
        return Err(WireError("no such bucket"));
    }
    let prints = get_list(input, |input| Ok(input.try_get_u32_le()?))?;
    Ok(Prints { bucket: Bucket { slot, bits, number }, prints })
}

fn put_unmatched(out: &mut BytesMut, unmatched: &Unmatched) {
    out.put_u64_le(unmatched.matched);
    let mut former = 0;
    put_list(out, &unmatched.missing, |out, at| {
        put_varint(out, u64::from(at.wrapping_sub(former)));
        former = *at;
    });
    put_list(out, &unmatched.items, |out, Item { key_hash, version }| {
        out.put_u64_le(*key_hash);
        put_version(out, *version);
    });
    put_flag(out, unmatched.more);
}

fn get_unmatched(input: &mut Bytes) -> Result<Unmatched, WireError> {
    let matched = get_u64(input)?;
    let mut former = 0_u32;
    let missing = get_list(input, |input| {
        let distance = u32::try_from(get_varint(input)?).ok();
        let at = distance.and_then(|distance| former.checked_add(distance));
        former = at.ok_or(WireError("a number is too large"))?;
        Ok(former)
    })?;
    let items = get_list(input, |input| {
        Ok(Item { key_hash: get_u64(input)?, version: get_version(input)? })
    })?;
    Ok(Unmatched { matched, missing, items, more: get_flag(input)? })
}

fn get_u64(input: &mut Bytes) -> Result<u64, WireError> {
    Ok(input.try_get_u64_le()?)
}

fn put_list<T>(out: &mut BytesMut, list: &[T], mut put: impl FnMut(&mut BytesMut, &T)) {
    put_size(out, list.len());
    for element in list {
        put(out, element);
    }
}

/// The count is only a promise; the list grows as elements really appear.
fn get_list<T>(
    input: &mut Bytes,
    mut get: impl FnMut(&mut Bytes) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = get_varint(input)?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push(get(input)?);
    }
    Ok(list)
}
