//! Writes replies in RESP2 or RESP3 (Redis serialization protocol specification).

use bytes::{BufMut, Bytes, BytesMut};

/// The version of the protocol a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Version {
    /// The one every connection begins with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

impl Version {
    /// Its number.
    pub(super) const fn number(self) -> i64 {
        match self {
            Version::Resp2 => 2,
            Version::Resp3 => 3,
        }
    }
}

/// A buffer of replies.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    buffer: BytesMut,
    /// The version in which replies are written from now on.
    pub(super) version: Version,
}

impl Encoder {
    /// The bytes written so far.
    pub(super) const fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// How many bytes wait.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    /// Adds a reply that was encoded before.
    pub(super) fn encoded(&mut self, reply: &[u8]) {
        self.buffer.put_slice(reply);
    }

    /// A short text such as `OK`, without line ends.
    pub(super) fn simple(&mut self, text: &str) {
        self.buffer.put_u8(b'+');
        self.buffer.put_slice(text.as_bytes());
        self.line_end();
    }

    /// An error: a code in capitals and a text. Line ends in the text become spaces.
    pub(super) fn error(&mut self, code: &str, text: &str) {
        self.buffer.put_u8(b'-');
        self.buffer.put_slice(code.as_bytes());
        self.buffer.put_u8(b' ');
        for byte in text.bytes() {
            self.buffer.put_u8(if matches!(byte, b'\r' | b'\n') { b' ' } else { byte });
        }
        self.line_end();
    }

    /// An integer.
    pub(super) fn integer(&mut self, number: i64) {
        self.header(b':', number);
    }

    /// A count as an integer.
    pub(super) fn count(&mut self, number: u64) {
        self.integer(i64::try_from(number).unwrap_or(i64::MAX));
    }

    /// A string of bytes.
    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        self.length(b'$', bytes.len());
        self.buffer.reserve(bytes.len() + 2);
        self.buffer.put_slice(bytes);
        self.line_end();
    }

    /// A text for people: a bulk string, in RESP3 marked as plain text.
    pub(super) fn text(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.buffer.put_slice(b"txt:");
                self.buffer.put_slice(text.as_bytes());
                self.line_end();
            }
        }
    }

    /// The absence of a value.
    pub(super) fn null(&mut self) {
        self.buffer.put_slice(match self.version {
            Version::Resp2 => b"$-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// The absence of an array.
    pub(super) fn null_array(&mut self) {
        self.buffer.put_slice(match self.version {
            Version::Resp2 => b"*-1\r\n",
            Version::Resp3 => b"_\r\n",
        });
    }

    /// The beginning of an array of so many items.
    pub(super) fn array(&mut self, items: usize) {
        self.length(b'*', items);
    }

    /// The beginning of a map of so many pairs; in RESP2 an array of keys and values in turn.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.version {
            Version::Resp2 => self.length(b'*', 2 * pairs),
            Version::Resp3 => self.length(b'%', pairs),
        }
    }

    /// The beginning of a set of so many items; in RESP2 an array.
    pub(super) fn set(&mut self, items: usize) {
        match self.version {
            Version::Resp2 => self.length(b'*', items),
            Version::Resp3 => self.length(b'~', items),
        }
    }

    /// A number with decimals, as it is to be read; in RESP2 a string.
    pub(super) fn double(&mut self, text: &str) {
        match self.version {
            Version::Resp2 => self.bulk(text.as_bytes()),
            Version::Resp3 => self.line(b',', text),
        }
    }

    /// An integer of any size in decimal; in RESP2 a string.
    pub(super) fn big_number(&mut self, digits: &str) {
        match self.version {
            Version::Resp2 => self.bulk(digits.as_bytes()),
            Version::Resp3 => self.line(b'(', digits),
        }
    }

    /// Yes or no; in RESP2 1 or 0.
    pub(super) fn boolean(&mut self, yes: bool) {
        match self.version {
            Version::Resp2 => self.integer(i64::from(yes)),
            Version::Resp3 => self.line(b'#', if yes { "t" } else { "f" }),
        }
    }

    /// The beginning of so many attributes of the reply behind them. RESP2 has none.
    pub(super) fn attribute(&mut self, pairs: usize) {
        self.length(b'|', pairs);
    }

    /// The beginning of a message of so many items that is no reply. RESP2 has none.
    pub(super) fn push(&mut self, items: usize) {
        self.length(b'>', items);
    }

    /// Takes everything written so far.
    pub(super) fn take(&mut self) -> Bytes {
        self.buffer.split().freeze()
    }

    fn line(&mut self, kind: u8, text: &str) {
        self.buffer.put_u8(kind);
        self.buffer.put_slice(text.as_bytes());
        self.line_end();
    }

    fn length(&mut self, kind: u8, len: usize) {
        self.header(kind, i64::try_from(len).unwrap_or(i64::MAX));
    }

    /// A kind and a number in decimal.
    fn header(&mut self, kind: u8, number: i64) {
        let mut digits = [0_u8; 20];
        let mut rest = number.unsigned_abs();
        let mut used = 0;
        for place in digits.iter_mut().rev() {
            *place = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        self.buffer.reserve(used + 4);
        self.buffer.put_u8(kind);
        if number < 0 {
            self.buffer.put_u8(b'-');
        }
        self.buffer.put_slice(digits.get(digits.len() - used..).unwrap_or_default());
        self.line_end();
    }

    fn line_end(&mut self) {
        self.buffer.put_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(version: Version, write: impl FnOnce(&mut Encoder)) -> String {
        let mut encoder = Encoder { version, ..Encoder::default() };
        write(&mut encoder);
        encoder.take().escape_ascii().to_string()
    }

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 1, 9, 10, -1, 1234, i64::MAX, i64::MIN] {
            let text = written(Version::Resp2, |out| out.integer(number));
            assert_eq!(text, format!(":{number}\\r\\n"));
        }
    }

    #[test]
    fn each_version_has_its_own_nulls_maps_and_texts() {
        let write = |out: &mut Encoder| {
            out.map(1);
            out.null();
            out.text("a");
            out.set(0);
            out.null_array();
        };
        assert_eq!(written(Version::Resp2, write), r"*2\r\n$-1\r\n$1\r\na\r\n*0\r\n*-1\r\n");
        assert_eq!(written(Version::Resp3, write), r"%1\r\n_\r\n=5\r\ntxt:a\r\n~0\r\n_\r\n");
    }

    #[test]
    fn an_error_stays_on_one_line() {
        let text = written(Version::Resp2, |out| out.error("ERR", "a\r\nb"));
        assert_eq!(text, r"-ERR a  b\r\n");
    }
}
