//! The text form of a place in a scan: opaque to clients, valid on every node.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kvorum_core::{Cursor, Error, Outcome, Slot, limits};

/// The first byte: the form may change.
const FORM: u8 = 1;

/// Writes a cursor.
#[must_use]
pub fn encode_cursor(cursor: &Cursor) -> String {
    let mut bytes = vec![FORM];
    bytes.extend_from_slice(&cursor.slot.get().to_be_bytes());
    bytes.extend_from_slice(&cursor.key);
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; nothing when the text is empty.
///
/// # Errors
/// [`Error::Invalid`] if [`encode_cursor`] never wrote this text.
pub fn decode_cursor(text: &str) -> Outcome<Option<Cursor>> {
    if text.is_empty() {
        return Ok(None);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text).ok();
    let cursor = bytes.as_deref().and_then(|bytes| match bytes {
        // The place behind the longest key is one byte longer than the key.
        [FORM, high, low, key @ ..] if key.len() <= limits::MAX_KEY + 1 => {
            let slot = Slot::new(u16::from_be_bytes([*high, *low]))?;
            Some(Cursor { slot, key: key.to_vec().into() })
        }
        _ => None,
    });
    cursor.map(Some).ok_or_else(|| Error::invalid("the cursor is not one that a scan returned"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::proptest;

    proptest! {
        #[test]
        fn any_text_is_refused_or_means_one_place(text in "[A-Za-z0-9_-]{1,16}") {
            if let Ok(Some(cursor)) = decode_cursor(&text) {
                assert_eq!(encode_cursor(&cursor), text);
            }
        }
    }

    #[test]
    fn a_cursor_survives_its_text() {
        for key in [&b""[..], b"\0\xff/", &[7; limits::MAX_KEY + 1]] {
            let cursor = Cursor { slot: Slot::of(b"foo"), key: key.to_vec().into() };
            assert_eq!(decode_cursor(&encode_cursor(&cursor)), Ok(Some(cursor)));
        }
        assert_eq!(decode_cursor(""), Ok(None));
    }

    #[test]
    fn texts_that_are_no_cursors_are_refused() {
        for text in ["x", "AA", "!!!!", &URL_SAFE_NO_PAD.encode([FORM, 0x40, 0]), "AgAA"] {
            assert!(decode_cursor(text).is_err(), "{text}");
        }
    }
}
