//! Every message survives the trip; arbitrary bytes never cause a panic.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kvorum_core::{
    Action, Answer, Compare, Condition, Cursor, Done, Expiry, ExpiryIs, Header, Hlc, KeyspaceId,
    Output, Record, Refusal, ScanLimit, Slot, Step, Txn, Version, Want, Writer, digest,
};
use proptest::prelude::*;

use super::*;
use crate::leaderless::FloorLetter;
use crate::leaderless::sync::{
    Bucket, Decline, Item, Letter, Listing, Opening, Prints, Ranges, Unequal, Unmatched, Verdict,
};
use crate::{Found, Message, OpId, PageItem, ScannedPage, Status, WriteKind};

fn some_bytes() -> impl Strategy<Value = Bytes> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn slot() -> impl Strategy<Value = Slot> {
    (0..kvorum_core::SLOTS).prop_map(|n| Slot::new(n).unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    any::<(u64, u32)>().prop_map(|(hlc, writer)| Version { hlc: Hlc(hlc), writer: Writer(writer) })
}

fn rarely<T: Default + Clone + std::fmt::Debug + 'static>(
    some: impl Strategy<Value = T> + 'static,
) -> impl Strategy<Value = T> {
    prop_oneof![Just(T::default()), some]
}

prop_compose! {
    fn header()(
        version in version(),
        tombstone in any::<bool>(),
        tag in rarely(any::<u32>()),
        expire_ms in rarely(any::<u64>()),
        value_len in any::<u32>(),
    ) -> Header {
        Header { version, tombstone, tag, expire_ms, value_len }
    }
}

prop_compose! {
    fn record()(
        keyspace in any::<u32>(),
        slot in slot(),
        key in some_bytes(),
        header in header(),
        value in some_bytes(),
    ) -> Record {
        let Header { version, tombstone, tag, expire_ms, .. } = header;
        let value = (!tombstone).then_some(value);
        Record { keyspace: KeyspaceId(keyspace), slot, key, version, tag, expire_ms, value }
    }
}

fn with_value() -> impl Strategy<Value = (Header, Bytes)> {
    (header(), some_bytes())
        .prop_map(|(header, value)| (Header { value_len: value.len() as u32, ..header }, value))
}

fn item() -> impl Strategy<Value = PageItem> {
    let content = prop_oneof![
        header().prop_map(|header| (header, None)),
        with_value().prop_map(|(header, value)| (header, Some(value))),
    ];
    (slot(), some_bytes(), content).prop_map(|(slot, key, (header, value))| PageItem {
        slot,
        key,
        header,
        value,
    })
}

fn cursor() -> impl Strategy<Value = Cursor> {
    (slot(), some_bytes()).prop_map(|(slot, key)| Cursor { slot, key })
}

fn reading() -> impl Strategy<Value = Hlc> {
    any::<u64>().prop_map(Hlc)
}

prop_compose! {
    fn page()(
        items in prop::collection::vec(item(), 0..5),
        next in prop::option::of(cursor()),
        floor in reading(),
        promise in reading(),
    ) -> ScannedPage {
        ScannedPage { items, next, floor, promise }
    }
}

fn status() -> impl Strategy<Value = Status> {
    prop_oneof![
        any::<bool>().prop_map(|was_live| Status::Applied { was_live }),
        version().prop_map(Status::Superseded),
        Just(Status::Rebuilding),
        reading().prop_map(Status::Late),
        Just(Status::ClockSkew),
        Just(Status::DiskFull),
        Just(Status::IndexFull),
        Just(Status::Overloaded),
        Just(Status::NotReplica),
    ]
}

fn found() -> impl Strategy<Value = Found> {
    prop_oneof![
        reading().prop_map(|floor| Found::Absent { floor }),
        header().prop_map(Found::Header),
        with_value().prop_map(|(header, value)| Found::Record(header, value)),
        header().prop_map(Found::Corrupt),
        Just(Found::Rebuilding),
        Just(Found::NotReplica),
    ]
}

fn opening() -> impl Strategy<Value = Opening> {
    let sums = prop::collection::vec(any::<(u32, u64)>(), 0..4);
    any::<(u64, u64)>().prop_flat_map(move |(floor, promise)| {
        sums.clone().prop_map(move |sums| Opening {
            floor: Hlc(floor),
            promise: Hlc(promise),
            sums: sums.into_iter().map(|(keyspace, sum)| (KeyspaceId(keyspace), sum)).collect(),
        })
    })
}

fn numbers() -> impl Strategy<Value = Vec<u64>> {
    prop::collection::vec(any::<u64>(), 0..5)
}

fn prints() -> impl Strategy<Value = Prints> {
    let bucket = (0..=digest::MAX_BITS)
        .prop_flat_map(|bits| (Just(bits), 0..1_u16 << bits, slot()))
        .prop_map(|(bits, number, slot)| Bucket { slot, bits, number });
    let prints = prop::collection::vec(any::<u32>(), 0..5);
    (bucket, prints).prop_map(|(bucket, prints)| Prints { bucket, prints })
}

fn unmatched() -> impl Strategy<Value = Unmatched> {
    let missing = prop::collection::btree_set(any::<u32>(), 0..5);
    let item = (any::<u64>(), version());
    let items = item.prop_map(|(key_hash, version)| Item { key_hash, version });
    (any::<u64>(), missing, prop::collection::vec(items, 0..4), any::<bool>()).prop_map(
        |(matched, missing, items, more)| {
            let missing = missing.into_iter().collect();
            Unmatched { matched, missing, items, more }
        },
    )
}

fn letter() -> impl Strategy<Value = Letter> {
    let decline =
        prop_oneof![Just(Decline::Rebuilding), Just(Decline::Unknown), Just(Decline::NotReplica)];
    let keyspace = || any::<u32>().prop_map(KeyspaceId);
    let ranges = prop::collection::vec((any::<u8>(), numbers()), 0..4);
    prop_oneof![
        opening().prop_map(Letter::Open),
        opening().prop_map(Letter::Opened),
        decline.prop_map(Letter::Declined),
        (keyspace(), slot(), slot(), any::<u16>(), numbers()).prop_map(
            |(keyspace, first, last, width, sums)| {
                Letter::Compare(Ranges { keyspace, first, last, width, sums })
            }
        ),
        (any::<u8>(), ranges)
            .prop_map(|(compared, ranges)| Letter::Unequal(Unequal { compared, ranges })),
        (keyspace(), any::<bool>(), prop::collection::vec(prints(), 0..4)).prop_map(
            |(keyspace, upper, buckets)| Letter::List(Listing { keyspace, upper, buckets })
        ),
        prop::collection::vec(unmatched(), 0..4).prop_map(Letter::Unmatched),
        (keyspace(), slot(), numbers()).prop_map(|(keyspace, slot, hashes)| Letter::Fetch {
            keyspace,
            slot,
            hashes
        }),
        (prop::collection::vec(record(), 0..4), any::<u64>()).prop_map(|(records, pause)| {
            Letter::Fetched { records, pause: Duration::from_micros(pause) }
        }),
        (prop::option::of(any::<u64>()), any::<bool>()).prop_map(|(through, complete)| {
            Letter::Close(Verdict { through: through.map(Hlc), complete })
        }),
    ]
}

fn floor_letter() -> impl Strategy<Value = FloorLetter> {
    let node = || (1..100_u32).prop_map(|id| kvorum_core::NodeId::new(id).unwrap());
    let with = prop::collection::vec((node(), reading()), 0..4);
    let lives = prop::collection::vec((node(), version()), 0..4);
    prop_oneof![
        reading().prop_map(FloorLetter::Propose),
        version().prop_map(|life| FloorLetter::Promised { life }),
        Just(FloorLetter::Ask),
        (version(), reading(), with).prop_map(|(life, promise, with)| FloorLetter::Clean {
            life,
            promise,
            with
        }),
        (reading(), lives).prop_map(|(floor, lives)| FloorLetter::Commit { floor, lives }),
        reading().prop_map(FloorLetter::Compare),
        (reading(), reading()).prop_map(|(floor, promise)| FloorLetter::Told { floor, promise }),
        Just(FloorLetter::Declined),
    ]
}

fn message() -> impl Strategy<Value = Message> {
    let op = || any::<u64>().prop_map(OpId);
    let patience = || any::<u64>().prop_map(Duration::from_micros);
    let want = || prop_oneof![Just(Want::Value), Just(Want::Header)];
    let kind = prop_oneof![Just(WriteKind::Client), Just(WriteKind::Repair)];
    let keyspace = || any::<u32>().prop_map(KeyspaceId);
    let limit = any::<(usize, usize)>().prop_map(|(items, bytes)| ScanLimit { items, bytes });
    let page = prop::option::of(page());
    prop_oneof![
        (op(), record(), kind, patience())
            .prop_map(|(op, record, kind, patience)| Message::Write { op, record, kind, patience }),
        (op(), status()).prop_map(|(op, status)| Message::Written { op, status }),
        (op(), keyspace(), slot(), some_bytes(), want(), patience()).prop_map(
            |(op, keyspace, slot, key, want, patience)| Message::Read {
                op,
                keyspace,
                slot,
                key,
                want,
                patience
            }
        ),
        (op(), found()).prop_map(|(op, found)| Message::Held { op, found }),
        (op(), keyspace(), cursor(), some_bytes(), limit, want(), patience()).prop_map(
            |(op, keyspace, from, prefix, limit, want, patience)| Message::Scan {
                op,
                keyspace,
                from,
                prefix,
                limit,
                want,
                patience
            }
        ),
        (op(), page).prop_map(|(op, page)| Message::Scanned { op, page }),
        (op(), any::<u32>(), letter()).prop_map(|(session, step, letter)| Message::Sync {
            session,
            step,
            letter
        }),
        (op(), floor_letter()).prop_map(|(op, letter)| Message::Floor { op, letter }),
    ]
}

proptest! {
    #[test]
    fn messages_survive_the_trip_one_behind_the_other(
        messages in prop::collection::vec(message(), 1..4)
    ) {
        let mut out = BytesMut::new();
        for message in &messages {
            encode(message, &mut out);
        }
        let mut input = out.freeze();
        for message in &messages {
            prop_assert_eq!(&decode(&mut input).unwrap(), message);
        }
        prop_assert!(input.is_empty());
    }

    #[test]
    fn a_message_cut_short_is_refused(message in message(), cut in any::<prop::sample::Index>()) {
        let mut out = BytesMut::new();
        encode(&message, &mut out);
        let mut input = out.freeze();
        input.truncate(cut.index(input.len()));
        prop_assert!(decode(&mut input).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_cause_a_panic(
        kind in 0..9u8, rest in prop::collection::vec(any::<u8>(), 0..200)
    ) {
        let mut bytes = vec![kind];
        bytes.extend(rest);
        let _ = decode(&mut Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_message_never_causes_a_panic(
        message in message(), at in any::<prop::sample::Index>(), byte in any::<u8>()
    ) {
        let mut out = BytesMut::new();
        encode(&message, &mut out);
        let at = at.index(out.len());
        out[at] = byte;
        let _ = decode(&mut out.freeze());
    }
}

#[test]
fn a_write_of_a_small_record_costs_little_more_than_its_bytes() {
    let record = Record {
        keyspace: KeyspaceId::DEFAULT,
        slot: Slot::of(b"key"),
        key: Bytes::from_static(b"key"),
        version: Version::default(),
        tag: 0,
        expire_ms: 0,
        value: Some(Bytes::from_static(b"value")),
    };
    let patience = Duration::from_secs(2);
    let mut out = BytesMut::new();
    encode(&Message::Write { op: OpId(1), record, kind: WriteKind::Client, patience }, &mut out);
    assert_eq!(out.len(), 1 + 8 + 1 + 3 + 6 + 13 + (1 + 3) + (1 + 5));
    out.clear();
    encode(&Message::Written { op: OpId(1), status: Status::Rebuilding }, &mut out);
    assert_eq!(out.len(), 10);
}

#[test]
fn values_are_slices_of_the_frame() {
    let value = Bytes::from(vec![7u8; 100]);
    let header = Header {
        version: Version::default(),
        tombstone: false,
        tag: 0,
        expire_ms: 0,
        value_len: 100,
    };
    let mut out = BytesMut::new();
    encode(&Message::Held { op: OpId(1), found: Found::Record(header, value) }, &mut out);
    let frame = out.freeze();
    let Ok(Message::Held { found: Found::Record(_, value), .. }) = decode(&mut frame.clone())
    else {
        panic!("another message came out");
    };
    assert!(frame.as_ptr_range().contains(&value.as_ptr()));
}

#[test]
fn a_count_without_items_allocates_nothing() {
    let mut out = BytesMut::new();
    encode(&Message::Scanned { op: OpId(1), page: Some(ScannedPage::default()) }, &mut out);
    out.truncate(out.len() - 1);
    out.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
    assert_eq!(decode(&mut out.freeze()), Err(WireError("it ends too early")));
}

#[test]
fn every_transaction_and_every_answer_survives_the_wire() {
    let steps = |inner: Option<Txn>| {
        let expire = Action::Expire {
            expiry: Expiry::After(Duration::from_millis(7)),
            only: vec![ExpiryIs::Absent, ExpiryIs::Present, ExpiryIs::Earlier, ExpiryIs::Later],
        };
        let actions = [
            Action::Read,
            Action::Put { value: "v".into(), expiry: None, tag: 3 },
            Action::Delete,
            Action::Add(-1),
            Action::AddDecimal("0.5".into()),
            Action::Append("tail".into()),
            Action::SetRange { offset: 1 << 40, bytes: "b".into() },
            Action::SetBit { offset: 9, on: true },
            expire,
            Action::Copy { from: "other".into() },
        ];
        let inner = inner.map(|inner| Action::Txn(Box::new(inner)));
        let actions = actions.into_iter().chain(inner);
        actions.map(|action| Step { key: "k".into(), action, previous: true }).collect::<Vec<_>>()
    };
    let compare = [
        Condition::Absent,
        Condition::Present,
        Condition::Version(Version::default()),
        Condition::Value("v".into()),
        Condition::TagBelow(4),
    ];
    let compare = compare.map(|condition| Compare { key: "k".into(), condition }).to_vec();
    let flat = Txn { compare: compare.clone(), then: steps(None), otherwise: steps(None) };
    let deep = Txn { compare, then: steps(Some(flat)), otherwise: Vec::new() };
    assert_eq!(deep.depth(), Txn::MAX_DEPTH);
    let mut out = BytesMut::new();
    txn::put_txn(&mut out, &deep);
    assert_eq!(txn::get_txn(&mut out.freeze()), Ok(deep.clone()));
    let mut out = BytesMut::new();
    txn::put_txn(&mut out, &Txn { then: steps(Some(deep)), ..Txn::default() });
    assert!(txn::get_txn(&mut out.freeze()).is_err(), "transactions lie three deep");

    let done = |output| Done { existed: true, previous: None, version: None, output };
    let refusals = [
        Refusal::NotAnInteger,
        Refusal::Overflow,
        Refusal::TooLong,
        Refusal::NotANumber,
        Refusal::NotFinite,
        Refusal::NoSuchKey,
        Refusal::AnswerTooLong,
    ];
    let mut outputs = vec![Output::Done, Output::Integer(-1), Output::Value("0.5".into())];
    outputs.extend(refusals.map(Output::Refused));
    let flat = Answer { held: false, steps: outputs.into_iter().map(done).collect() };
    let deep = Answer { held: true, steps: vec![done(Output::Txn(Box::new(flat)))] };
    let mut out = BytesMut::new();
    txn::put_answer(&mut out, &deep);
    assert_eq!(txn::get_answer(&mut out.freeze()), Ok(deep));
}
