//! Sums of decimal numbers, the same on every machine.
//!
//! redis-server adds in the widest floating point of its processor and prints 17 digits behind the
//! point. A replicated state machine cannot: another processor would store another value. Here
//! numbers below 10^20 are added exactly, in units of 10^-17, so that 0.1 and 0.2 are 0.3; larger
//! ones are added as IEEE 754 doubles, which are the same everywhere.

use bytes::Bytes;
use kvorum_core::Refusal;

/// Digits behind the point.
const DIGITS: usize = 17;
/// 1, in the unit of exact numbers.
const ONE: u128 = 10_u128.pow(DIGITS as u32);
/// Numbers from here on are not exact.
const WIDE: f64 = 1e20;
/// The longest text that is read as a number, as in redis-server.
const MAX_TEXT: usize = 5 * 1024;

#[derive(Clone, Copy)]
enum Number {
    Exact(i128),
    Wide(f64),
}

/// The sum of two numbers in decimal; a missing first one counts as zero.
///
/// # Errors
/// [`Refusal::NotANumber`] and [`Refusal::NotFinite`].
pub(super) fn add(old: Option<&[u8]>, by: &[u8]) -> Result<Bytes, Refusal> {
    let old = old.map_or(Some(Number::Exact(0)), parse).ok_or(Refusal::NotANumber)?;
    let by = parse(by).ok_or(Refusal::NotANumber)?;
    if let (Number::Exact(old), Number::Exact(by)) = (old, by)
        && let Some(sum) = old.checked_add(by)
    {
        return Ok(text(sum).into());
    }
    let sum = double(old) + double(by);
    if sum.is_finite() { Ok(sum.to_string().into()) } else { Err(Refusal::NotFinite) }
}

fn double(number: Number) -> f64 {
    match number {
        Number::Exact(units) => units as f64 / ONE as f64,
        Number::Wide(number) => number,
    }
}

fn text(units: i128) -> String {
    let sign = if units < 0 { "-" } else { "" };
    let (whole, rest) = (units.unsigned_abs() / ONE, units.unsigned_abs() % ONE);
    let rest = format!("{rest:0DIGITS$}");
    match rest.trim_end_matches('0') {
        "" => format!("{sign}{whole}"),
        rest => format!("{sign}{whole}.{rest}"),
    }
}

fn parse(bytes: &[u8]) -> Option<Number> {
    let text = std::str::from_utf8(bytes).ok().filter(|text| text.len() <= MAX_TEXT)?;
    let number: f64 = text.parse().ok().filter(|number: &f64| !number.is_nan())?;
    if number.is_infinite() {
        // Infinity by name is a number that no sum may be; one that is written out is too large.
        return (!text.contains(|c: char| c.is_ascii_digit())).then_some(Number::Wide(number));
    }
    if number.abs() >= WIDE { Some(Number::Wide(number)) } else { exact(text).map(Number::Exact) }
}

/// A number below 10^20 that is known to be written correctly, rounded to the nearest unit.
fn exact(text: &str) -> Option<i128> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        // An exponent that no integer holds belongs to a zero or to nothing that can be seen.
        Some((mantissa, exponent)) => (mantissa, exponent.parse::<i64>().unwrap_or(i64::MIN / 2)),
        None => (text, 0),
    };
    let negative = mantissa.starts_with('-');
    let mantissa = mantissa.trim_start_matches(['+', '-']);
    let (whole, rest) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = whole.bytes().chain(rest.bytes()).map(|digit| u128::from(digit - b'0'));
    // How many of the digits are units or more; zeros follow if there are not so many.
    let kept = exponent + i64::try_from(whole.len() + DIGITS).ok()?;
    let written = i64::try_from(whole.len() + rest.len()).ok()?;
    let mut units = 0_u128;
    for digit in digits.clone().take(usize::try_from(kept).unwrap_or(0)) {
        units = units.checked_mul(10)?.checked_add(digit)?;
    }
    if kept < written {
        let next = usize::try_from(kept).ok().and_then(|kept| digits.clone().nth(kept));
        units += u128::from(next.is_some_and(|digit| digit >= 5));
    } else if units > 0 {
        let zeros = u32::try_from(kept - written).ok()?;
        units = units.checked_mul(10_u128.checked_pow(zeros)?)?;
    }
    let units = i128::try_from(units).ok()?;
    Some(if negative { -units } else { units })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(old: &str, by: &str) -> Result<String, Refusal> {
        add(Some(old.as_bytes()), by.as_bytes()).map(|sum| String::from_utf8(sum.into()).unwrap())
    }

    #[test]
    fn sums_are_exact_in_decimal() {
        for (old, by, expected) in [
            ("0.1", "0.2", "0.3"),
            ("3.0", "1.1", "4.1"),
            ("10.50", "0.1", "10.6"),
            ("5.0e3", "2.0e2", "5200"),
            ("1", "-1.1", "-0.1"),
            ("-.5", "+.5", "0"),
            ("-0", "0", "0"),
            ("5.", "0", "5"),
            ("17179869184", "17179869184", "34359738368"),
            ("0", "1e-17", "0.00000000000000001"),
            ("0", "5e-18", "0.00000000000000001"),
            ("0", "4e-18", "0"),
            ("0", "1e-99999999999999999999", "0"),
            ("0e999999999999999999999", "1", "1"),
            ("000000000000000000000000000000000000000000001", "1", "2"),
            ("99999999999999999999", "1", "100000000000000000000"),
            ("1e30", "1", "1000000000000000000000000000000"),
        ] {
            assert_eq!(sum(old, by).as_deref(), Ok(expected), "{old} + {by}");
        }
        assert_eq!(add(None, b"1.50"), Ok(Bytes::from_static(b"1.5")));
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", " 1", "1 ", "a", "1a", "nan", "0x1", "1e999999", "1\0", "-", ".", "1e"] {
            assert_eq!(sum(text, "1"), Err(Refusal::NotANumber), "{text:?}");
            assert_eq!(sum("1", text), Err(Refusal::NotANumber), "{text:?}");
        }
        assert_eq!(sum("1", "+inf"), Err(Refusal::NotFinite));
        assert_eq!(sum("1.7e308", "1.7e308"), Err(Refusal::NotFinite));
    }
}
