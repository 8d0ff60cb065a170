//! One test for each rule of each action.

use std::time::Duration;

use kvorum_core::{Hlc, Writer};

use super::*;

const NOW_MS: u64 = 1_000_000;

fn moment() -> Moment {
    Moment { version: Version { hlc: Hlc(7), writer: Writer(0) }, time_ms: NOW_MS, room: 100 }
}

/// A value with a tag of its own that expires at `expire_ms`.
fn value(bytes: &str, expire_ms: u64) -> Value {
    let bytes = Bytes::copy_from_slice(bytes.as_bytes());
    let header = Header {
        version: Version { hlc: Hlc(3), writer: Writer(0) },
        tombstone: false,
        tag: 9,
        expire_ms,
        value_len: bytes.len() as u32,
    };
    Value { header, bytes }
}

/// The bytes, expiry and tag that an action leaves, and what it says.
fn put(action: &Action, old: Option<&Value>) -> (Bytes, u64, u32, Output) {
    let After { write, output } = moment().outcome(action, old).unwrap();
    let Write::Put(value) = write else { panic!("{action:?} left {write:?}") };
    assert_eq!(value.header.version, moment().version, "{action:?}");
    assert_eq!(value.header.value_len as usize, value.bytes.len(), "{action:?}");
    (value.bytes, value.header.expire_ms, value.header.tag, output)
}

fn bytes(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

fn set_range(offset: u64, text: &str) -> Action {
    Action::SetRange { offset, bytes: bytes(text) }
}

#[test]
fn what_builds_on_a_value_keeps_its_expiry_and_its_tag() {
    let old = value("10", NOW_MS + 5);
    for (action, left, output) in [
        (Action::Add(-3), "7", Output::Integer(7)),
        (Action::AddDecimal(bytes("0.5")), "10.5", Output::Value(bytes("10.5"))),
        (Action::Append(bytes("x")), "10x", Output::Integer(3)),
        (set_range(1, "23"), "123", Output::Integer(3)),
        (Action::SetBit { offset: 7, on: false }, "00", Output::Integer(1)),
    ] {
        let expected = (bytes(left), NOW_MS + 5, 9, output);
        assert_eq!(put(&action, Some(&old)), expected, "{action:?}");
    }
}

#[test]
fn what_builds_on_nothing_begins_with_zero_or_no_bytes() {
    for (action, left, output) in [
        (Action::Add(-3), "-3", Output::Integer(-3)),
        (Action::AddDecimal(bytes("0.50")), "0.5", Output::Value(bytes("0.5"))),
        (Action::Append(bytes("x")), "x", Output::Integer(1)),
        (set_range(2, "ab"), "\0\0ab", Output::Integer(4)),
        (Action::SetBit { offset: 9, on: true }, "\0@", Output::Integer(0)),
    ] {
        assert_eq!(put(&action, None), (bytes(left), 0, 0, output), "{action:?}");
    }
}

#[test]
fn sums_of_what_is_no_integer_or_too_large_are_refused() {
    let refusal = |by, old: &str| moment().outcome(&Action::Add(by), Some(&value(old, 0)));
    for text in ["", "a", "1.0", " 1", "01", "+1", "-0", "9223372036854775808"] {
        assert_eq!(refusal(1, text), Err(Refusal::NotAnInteger), "{text:?}");
    }
    assert_eq!(refusal(1, "9223372036854775807"), Err(Refusal::Overflow));
    assert_eq!(refusal(-1, "-9223372036854775808"), Err(Refusal::Overflow));
}

#[test]
fn no_value_grows_longer_than_there_is_room() {
    let old = value("0123456789", 0);
    let (long, huge) = (bytes(&"x".repeat(91)), u64::MAX);
    for action in [
        Action::Append(long.clone()),
        set_range(100, "x"),
        set_range(huge, "x"),
        Action::SetBit { offset: 800, on: true },
        Action::SetBit { offset: huge, on: true },
        Action::Put { value: bytes(&"x".repeat(101)), expiry: None, tag: 0 },
    ] {
        assert_eq!(moment().outcome(&action, Some(&old)), Err(Refusal::TooLong), "{action:?}");
    }
    assert_eq!(put(&set_range(99, "x"), Some(&old)).3, Output::Integer(100));
    assert_eq!(put(&Action::Append(long.slice(1..)), Some(&old)).3, Output::Integer(100));
}

#[test]
fn an_empty_range_writes_nothing_wherever_it_begins() {
    for (old, len) in [(None, 0), (Some(value("abc", 0)), 3)] {
        let after = moment().outcome(&set_range(u64::MAX, ""), old.as_ref()).unwrap();
        assert_eq!(after, After { write: Write::Nothing, output: Output::Integer(len) });
    }
}

#[test]
fn bits_are_counted_from_the_highest_of_the_first_byte() {
    let old = value("\u{1}", 0);
    assert_eq!(put(&Action::SetBit { offset: 7, on: true }, Some(&old)).3, Output::Integer(1));
    assert_eq!(put(&Action::SetBit { offset: 0, on: false }, Some(&old)).3, Output::Integer(0));
    let set = put(&Action::SetBit { offset: 1, on: true }, Some(&old));
    assert_eq!((&set.0[..], set.3), (&b"A"[..], Output::Integer(0)));
}

#[test]
fn a_put_decides_the_expiry_by_the_time_of_the_log() {
    let old = value("old", NOW_MS + 5);
    let with = |expiry| Action::Put { value: bytes("new"), expiry, tag: 4 };
    let after = |span| Some(Expiry::After(Duration::from_millis(span)));
    for (expiry, expire_ms) in [
        (None, NOW_MS + 5),
        (Some(Expiry::Never), 0),
        (after(20), NOW_MS + 20),
        (Some(Expiry::At(NOW_MS + 1)), NOW_MS + 1),
    ] {
        let expected = (bytes("new"), expire_ms, 4, Output::Done);
        assert_eq!(put(&with(expiry), Some(&old)), expected);
    }
    assert_eq!(put(&with(None), None).1, 0);
    for past in [NOW_MS, 1, 0] {
        let after = moment().outcome(&with(Some(Expiry::At(past))), Some(&old)).unwrap();
        assert_eq!(after.write, Write::Remove, "at {past}");
    }
}

#[test]
fn an_expiry_is_changed_if_all_that_is_asked_of_the_present_one_holds() {
    let in_ms = |ms| Expiry::At(NOW_MS + ms);
    let (mortal, immortal) = (value("v", NOW_MS + 50), value("v", 0));
    for (only, expiry, of_mortal, of_immortal) in [
        (vec![], in_ms(10), true, true),
        (vec![], Expiry::Never, true, true),
        (vec![ExpiryIs::Absent], in_ms(10), false, true),
        (vec![ExpiryIs::Present], in_ms(10), true, false),
        (vec![ExpiryIs::Earlier], in_ms(60), true, false),
        (vec![ExpiryIs::Earlier], in_ms(50), false, false),
        (vec![ExpiryIs::Later], in_ms(40), true, true),
        (vec![ExpiryIs::Later], in_ms(50), false, true),
        (vec![ExpiryIs::Present, ExpiryIs::Earlier], in_ms(40), false, false),
        (vec![ExpiryIs::Present, ExpiryIs::Later], in_ms(40), true, false),
    ] {
        let action = Action::Expire { expiry, only };
        for (old, changes) in [(&mortal, of_mortal), (&immortal, of_immortal)] {
            if changes {
                let at = if let Expiry::At(at) = expiry { at } else { 0 };
                let expected = (bytes("v"), at, 9, Output::Integer(1));
                assert_eq!(put(&action, Some(old)), expected, "{action:?}");
            } else {
                let after = moment().outcome(&action, Some(old)).unwrap();
                let expected = After { write: Write::Nothing, output: Output::Integer(0) };
                assert_eq!(after, expected, "{action:?}");
            }
        }
        let missing = moment().outcome(&action, None).unwrap();
        assert_eq!(missing, After { write: Write::Nothing, output: Output::Integer(0) });
    }
}

#[test]
fn an_expiry_that_has_passed_removes_the_value() {
    let action = Action::Expire { expiry: Expiry::At(NOW_MS), only: Vec::new() };
    let after = moment().outcome(&action, Some(&value("v", 0))).unwrap();
    assert_eq!(after, After { write: Write::Remove, output: Output::Integer(1) });
}
