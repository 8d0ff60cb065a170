//! Values that tell who wrote them, in each of their bytes.

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Expiry, Header, Item, Op, Want};

use crate::history::{Seen, Written};

/// The length of the number that a value begins with, in bytes.
pub(crate) const SHORTEST: u64 = 8;

/// The write of a value.
pub(crate) fn put(key: Bytes, written: Written) -> Op {
    let (value, expiry) = (whole(written), expiry(written));
    Op::Put { key, value, expiry, tag: tag(written.number) }
}

/// The bytes of a value.
pub(crate) fn whole(written: Written) -> Bytes {
    let len = usize::try_from(written.len).unwrap_or(0);
    bytes(written.number).take(len).collect::<Vec<u8>>().into()
}

/// When a value expires.
pub(crate) const fn expiry(written: Written) -> Expiry {
    match written.ttl_ms {
        0 => Expiry::Never,
        ttl_ms => Expiry::After(Duration::from_millis(ttl_ms)),
    }
}

/// What an item shows to somebody who wanted this much of it.
pub(crate) fn seen(item: &Item, want: Want) -> Seen {
    let header = item.header;
    let number = match want {
        Want::Header if item.value.is_empty() => None,
        Want::Value if item.value.len() == header.value_len as usize => {
            Some(decode(&item.value, header.tag))
        }
        _ => Some(Seen::GARBLED),
    };
    let Header { version, value_len: len, expire_ms, .. } = header;
    Seen { version, number, len, expire_ms }
}

/// The number a value carries, if all its bytes and its tag are those of that number.
fn decode(value: &[u8], tagged: u32) -> u64 {
    let number = value.first_chunk::<8>().map_or(0, |head| u64::from_le_bytes(*head));
    let same = value.iter().copied().eq(bytes(number).take(value.len()));
    if same && tagged == tag(number) { number } else { Seen::GARBLED }
}

/// The number, then bytes that follow from it: a multiplicative generator with the multiplier of
/// Steele and Vigna, "Computationally easy, spectrally good multipliers" (2021).
pub(crate) fn bytes(number: u64) -> impl Iterator<Item = u8> {
    let mut state = number.wrapping_mul(2) + 1;
    let padding = std::iter::repeat_with(move || {
        state = state.wrapping_mul(0xd134_2543_de82_ef95);
        state.to_le_bytes().into_iter().skip(4)
    });
    number.to_le_bytes().into_iter().chain(padding.flatten())
}

/// The client's own integer that a value is stored with.
pub(crate) fn tag(number: u64) -> u32 {
    u32::try_from(number % 1_000).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_flipped_bit_of_a_value_is_noticed() {
        let good: Vec<u8> = bytes(77).take(40).collect();
        assert_eq!(decode(&good, tag(77)), 77);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            if let Some(byte) = bad.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            assert_ne!(decode(&bad, tag(77)), 77, "bit {bit}");
        }
        assert_eq!(decode(&good, tag(78)), Seen::GARBLED);
    }
}
