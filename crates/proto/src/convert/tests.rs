//! Tests of the conversions.

use std::time::Duration;

use super::*;
use kvorum_core::{Header, Hlc, Writer};

#[test]
fn every_consistency_survives_the_wire() {
    let levels = ["one", "quorum", "all", "lease", "safe", "follower", "stale:250"];
    let levels = levels.map(|level| Some(level.parse().unwrap()));
    for level in levels.into_iter().chain([None]) {
        let (number, max_stale_ms) = wire_consistency(level);
        assert_eq!(consistency(number.into(), max_stale_ms), Ok(level));
    }
    assert!(consistency(8, 0).unwrap_err().to_string().contains("no consistency 8"));
}

#[test]
fn versions_are_texts_and_an_empty_one_is_none() {
    let stamp = Version { hlc: Hlc(77), writer: Writer(9) };
    assert_eq!(version(&wire_version(Some(stamp))), Ok(Some(stamp)));
    assert_eq!(version(""), Ok(None));
    assert!(version("12").unwrap_err().to_string().contains("\"12\""));
}

#[test]
fn a_put_takes_one_kind_of_expiry_and_refuses_the_impossible() {
    let put = |expiry| Op::try_from(&mut v1::PutRequest { expiry, ..Default::default() });
    let expiry_of = |expiry| match put(expiry) {
        Ok(Op::Put { expiry, .. }) => Ok(expiry),
        Ok(other) => panic!("{other:?}"),
        Err(error) => Err(error.to_string()),
    };
    assert_eq!(expiry_of(None), Ok(Expiry::Never));
    assert_eq!(expiry_of(Some(WireExpiry::TtlMs(5))), Ok(Expiry::After(Duration::from_millis(5))));
    assert_eq!(expiry_of(Some(WireExpiry::ExpiresAtMs(5))), Ok(Expiry::At(5)));
    assert!(expiry_of(Some(WireExpiry::TtlMs(0))).is_err());
    assert!(expiry_of(Some(WireExpiry::TtlMs(u64::MAX))).is_err());
    assert!(expiry_of(Some(WireExpiry::ExpiresAtMs(0))).is_err());
}

#[test]
fn an_item_keeps_everything_it_knows() {
    let header = Header {
        version: Version { hlc: Hlc(1), writer: Writer(2) },
        tombstone: false,
        tag: 3,
        expire_ms: 4,
        value_len: 1,
    };
    let item = Item { key: "k".into(), header, value: "v".into() };
    let wire = v1::Item::from(item.clone());
    assert_eq!((&wire.key[..], &wire.value[..]), (&b"k"[..], &b"v"[..]));
    assert_eq!((wire.tag, wire.expires_at_ms, wire.value_length), (3, 4, 1));
    let found = v1::GetResponse::from(item);
    assert!(found.found);
    assert_eq!(found.version, wire.version);
}
