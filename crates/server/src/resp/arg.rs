//! One argument of a command.

use std::fmt;

use bytes::Bytes;

/// Bytes an argument holds without an allocation: command names, options and numbers fit.
const SHORT: usize = 38;

/// One argument of a command: short ones in place, long ones in a buffer of their own.
#[derive(Clone)]
pub(super) enum Arg {
    /// At most [`SHORT`] bytes, and how many.
    Short([u8; SHORT], u8),
    /// More.
    Long(Bytes),
}

impl Arg {
    /// A copy of `bytes`.
    pub(super) fn copy(bytes: &[u8]) -> Arg {
        let mut short = [0; SHORT];
        match (short.get_mut(..bytes.len()), u8::try_from(bytes.len())) {
            (Some(place), Ok(len)) => {
                place.copy_from_slice(bytes);
                Arg::Short(short, len)
            }
            _ => Arg::Long(Bytes::copy_from_slice(bytes)),
        }
    }

    /// The bytes.
    pub(super) fn as_slice(&self) -> &[u8] {
        match self {
            Arg::Short(bytes, len) => bytes.get(..usize::from(*len)).unwrap_or(bytes),
            Arg::Long(bytes) => bytes,
        }
    }

    /// Takes the bytes for an operation to keep; the argument is empty afterwards.
    pub(super) fn take(&mut self) -> Bytes {
        match std::mem::replace(self, Arg::Short([0; SHORT], 0)) {
            Arg::Long(bytes) => bytes,
            short @ Arg::Short(..) => Bytes::copy_from_slice(short.as_slice()),
        }
    }

    /// How many bytes it has.
    pub(super) fn len(&self) -> usize {
        self.as_slice().len()
    }

    /// Whether it is this word, in any case.
    pub(super) fn is(&self, word: &str) -> bool {
        self.as_slice().eq_ignore_ascii_case(word.as_bytes())
    }

    /// The decimal number it spells: no sign but a minus, no leading zeros, no spaces, as
    /// redis-server reads integers.
    pub(super) fn integer(&self) -> Option<i64> {
        parse_integer(self.as_slice())
    }

    /// Its text, with bytes that are no UTF-8 replaced.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(self.as_slice()).into_owned()
    }
}

impl fmt::Debug for Arg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_slice().escape_ascii())
    }
}

impl PartialEq for Arg {
    fn eq(&self, other: &Arg) -> bool {
        self.as_slice() == other.as_slice()
    }
}

/// Reads a decimal number as strictly as redis-server does (its `string2ll`).
pub(super) fn parse_integer(text: &[u8]) -> Option<i64> {
    let (negative, digits) = match text.split_first()? {
        (b'-', digits) => (true, digits),
        _ => (false, text),
    };
    match digits {
        [b'0'] => return (!negative).then_some(0),
        [b'1'..=b'9', ..] => {}
        _ => return None,
    }
    digits.iter().try_fold(0_i64, |number, &digit| {
        let digit = i64::from(digit.is_ascii_digit().then(|| digit - b'0')?);
        let number = number.checked_mul(10)?;
        if negative { number.checked_sub(digit) } else { number.checked_add(digit) }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_are_read_as_strictly_as_redis_does() {
        for (text, number) in [
            ("0", Some(0)),
            ("-1", Some(-1)),
            ("9223372036854775807", Some(i64::MAX)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("01", None),
            ("+1", None),
            (" 1", None),
            ("1 ", None),
            ("1e3", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), number, "{text:?}");
        }
    }

    #[test]
    fn arguments_of_every_length_keep_their_bytes() {
        for len in 0..100 {
            let bytes = vec![b'x'; len];
            let mut arg = Arg::copy(&bytes);
            assert_eq!(matches!(arg, Arg::Long(_)), len > SHORT);
            assert_eq!(arg.as_slice(), bytes);
            assert_eq!(arg.take(), bytes);
            assert_eq!(arg.len(), 0);
        }
    }
}
