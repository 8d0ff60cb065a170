//! Commands about the bits of values: SETBIT, GETBIT, BITCOUNT.

use kvorum_core::{Action, Step};

use super::call::Call;
use super::error::ErrorReply;
use super::plan::{Plan, Planned, number};
use super::rewrite::range;

/// redis-server takes no bit of a value of more than 512 MiB.
const MAX_OFFSET: u64 = 512 << 23;

/// `SETBIT key offset bit`
pub(super) fn setbit(call: &mut Call<'_, '_>) -> Planned {
    let offset = offset(call)?;
    let on = match call.args.get(3).and_then(super::arg::Arg::integer) {
        Some(0) => false,
        Some(1) => true,
        _ => return Err(ErrorReply::err("bit is not an integer or out of range")),
    };
    let key = call.key(1)?;
    Plan::step(Step::new(key, Action::SetBit { offset, on }), number)
}

/// `GETBIT key offset`
pub(super) fn getbit(call: &mut Call<'_, '_>) -> Planned {
    let offset = offset(call)?;
    Plan::read(call.key(1)?, move |item, finish| {
        let at = usize::try_from(offset / 8).unwrap_or(usize::MAX);
        let byte = item.and_then(|item| item.value.get(at)).copied().unwrap_or(0);
        finish.out.integer(i64::from(byte & (0x80 >> (offset % 8)) != 0));
        Ok(())
    })
}

fn offset(call: &Call<'_, '_>) -> Result<u64, ErrorReply> {
    let offset = call.integer(2).ok().and_then(|offset| u64::try_from(offset).ok());
    let offset = offset.filter(|&offset| offset < MAX_OFFSET);
    offset.ok_or_else(|| ErrorReply::err("bit offset is not an integer or out of range"))
}

/// `BITCOUNT key [start end [BYTE | BIT]]`
pub(super) fn bitcount(call: &mut Call<'_, '_>) -> Planned {
    // redis-server looks at the options only if there is a value.
    let options = options(call);
    Plan::read(call.key(1)?, move |item, finish| {
        let Some(item) = item else {
            finish.out.integer(0);
            return Ok(());
        };
        let bits = match options? {
            None => item.value.iter().map(|byte| u64::from(byte.count_ones())).sum(),
            Some((start, end, true)) => {
                range(start, end, item.value.len() * 8).map_or(0, |range| count(&item.value, range))
            }
            Some((start, end, false)) => range(start, end, item.value.len())
                .map_or(0, |range| count(&item.value, range.start * 8..range.end * 8)),
        };
        finish.out.count(bits);
        Ok(())
    })
}

/// Where to count, and whether the numbers mean bits.
fn options(call: &Call<'_, '_>) -> Result<Option<(i64, i64, bool)>, ErrorReply> {
    match call.args_from(2) {
        [] => Ok(None),
        [_, _, unit @ ..] => {
            let (start, end) = (call.integer(2)?, call.integer(3)?);
            match unit {
                [] => Ok(Some((start, end, false))),
                [unit] if unit.is("BYTE") => Ok(Some((start, end, false))),
                [unit] if unit.is("BIT") => Ok(Some((start, end, true))),
                _ => Err(ErrorReply::syntax()),
            }
        }
        _ => Err(ErrorReply::syntax()),
    }
}

/// How many of these bits are set.
fn count(bytes: &[u8], bits: std::ops::Range<usize>) -> u64 {
    let (first, behind) = (bits.start / 8, bits.end.div_ceil(8));
    let inside = bytes.get(first..behind).unwrap_or_default();
    let whole: u64 = inside.iter().map(|byte| u64::from(byte.count_ones())).sum();
    let before = inside.first().map_or(0, |byte| byte & !(0xff >> (bits.start % 8)));
    let after =
        inside.last().map_or(0, |byte| byte & ((1_u16 << (behind * 8 - bits.end)) - 1) as u8);
    whole - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_counted_as_one_by_one() {
        let bytes = [0b1010_1010, 0b1111_0000, 0b0000_1111];
        let set = |bit: usize| bytes[bit / 8] & (0x80 >> (bit % 8)) != 0;
        for start in 0..24 {
            for end in start + 1..=24 {
                let expected = (start..end).filter(|&bit| set(bit)).count() as u64;
                assert_eq!(count(&bytes, start..end), expected, "{start}..{end}");
            }
        }
    }
}
