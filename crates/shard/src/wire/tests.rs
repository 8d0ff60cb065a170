//! Everything that can be forwarded survives the journey; nothing that arrives can do harm.

use kvorum_core::{
    Consistency, Cursor, Error, Executed, Expiry, Header, Hlc, IdempotencyKey, Identity, Item,
    KeyspaceId, Mono, Op, ScanLimit, Slot, Version, Want, Writer,
};
use kvorum_replication::wire::primitive::TRUNCATED;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, proptest};
use proptest::{collection, option, prop_oneof};

use super::*;

fn bytes() -> impl Strategy<Value = Bytes> {
    collection::vec(any::<u8>(), 0..40).prop_map(Bytes::from)
}

fn version() -> impl Strategy<Value = Version> {
    any::<(u64, u32)>().prop_map(|(hlc, writer)| Version { hlc: Hlc(hlc), writer: Writer(writer) })
}

fn want() -> impl Strategy<Value = Want> {
    prop_oneof![Just(Want::Value), Just(Want::Header)]
}

fn cursor() -> impl Strategy<Value = Cursor> {
    let slot = (0..kvorum_core::SLOTS).prop_filter_map("in range", Slot::new);
    (slot, bytes()).prop_map(|(slot, key)| Cursor { slot, key })
}

fn partition() -> impl Strategy<Value = PartitionId> {
    any::<(u16, u16)>().prop_map(|(placement, number)| PartitionId { placement, number })
}

fn roots() -> impl Strategy<Value = Envelope> {
    let hashes = collection::vec(any::<u64>(), 0..5);
    let run = (partition(), hashes).prop_map(|(first, hashes)| Run { first, hashes });
    let runs = collection::vec(run, 0..4);
    prop_oneof![
        (any::<u64>(), any::<u64>(), runs).prop_map(|(round, layout, runs)| Envelope::Roots {
            round,
            layout,
            runs
        }),
        (any::<u64>(), collection::vec(any::<bool>(), 0..30))
            .prop_map(|(round, equal)| Envelope::RootsCompared { round, equal }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let expiry = prop_oneof![
        Just(Expiry::Never),
        any::<u32>().prop_map(|ms| Expiry::After(Duration::from_millis(ms.into()))),
        any::<u64>().prop_map(Expiry::At),
    ];
    let limit = any::<(u32, u32)>()
        .prop_map(|(items, bytes)| ScanLimit { items: items as usize, bytes: bytes as usize });
    prop_oneof![
        (bytes(), want()).prop_map(|(key, want)| Op::Get { key, want }),
        (bytes(), bytes(), expiry, any::<u32>()).prop_map(|(key, value, expiry, tag)| Op::Put {
            key,
            value,
            expiry,
            tag
        }),
        bytes().prop_map(|key| Op::Delete { key }),
        (partition(), cursor(), bytes(), limit, want()).prop_map(
            |(partition, from, prefix, limit, want)| Op::Scan {
                partition,
                from,
                prefix,
                limit,
                want
            }
        ),
        partition().prop_map(|partition| Op::Count { partition }),
    ]
}

fn request() -> impl Strategy<Value = Request> {
    let identity = prop_oneof![
        Just(Identity::ANONYMOUS),
        "[a-zé]{0,12}".prop_map(|name: String| Identity::named(name)),
    ];
    let level =
        prop_oneof![Just(Consistency::One), Just(Consistency::Quorum), Just(Consistency::All)];
    let key = any::<(u128, u64)>().prop_map(|(client, seq)| IdempotencyKey { client, seq });
    let level = option::of(level);
    (identity, any::<u32>(), op(), level, option::of(version()), option::of(key)).prop_map(
        |(identity, keyspace, op, consistency, min_version, key)| Request {
            identity,
            keyspace: KeyspaceId(keyspace),
            op,
            consistency,
            min_version,
            key,
            deadline: Mono::default(),
        },
    )
}

fn item() -> impl Strategy<Value = Item> {
    let rest = any::<(bool, u32, u64, u32)>();
    (bytes(), version(), rest, bytes()).prop_map(
        |(key, version, (tombstone, tag, expire_ms, value_len), value)| Item {
            key,
            header: Header { version, tombstone, tag, expire_ms, value_len },
            value,
        },
    )
}

fn reply() -> impl Strategy<Value = Reply> {
    prop_oneof![
        item().prop_map(Reply::Found),
        option::of(version()).prop_map(Reply::Missing),
        (version(), 0..9usize, any::<bool>())
            .prop_map(|(version, acked, was_live)| Reply::Written { version, acked, was_live }),
        (collection::vec(item(), 0..4), option::of(cursor()))
            .prop_map(|(items, next)| Reply::Page(items, next)),
        any::<u64>().prop_map(Reply::Count),
    ]
}

fn error() -> impl Strategy<Value = Error> {
    let executed = || prop_oneof![Just(Executed::No), Just(Executed::Unknown)];
    let queues = [queue::PENDING, queue::PEER, queue::LOG, queue::OTHER];
    prop_oneof![
        "\\PC{0,20}".prop_map(Error::invalid),
        "\\PC{0,20}".prop_map(Error::NoKeyspace),
        Just(Error::NotStrong("this operation")),
        (0..9usize, 0..9usize).prop_map(|(need, live)| Error::Unavailable { need, live }),
        (0..9usize, 0..9usize, executed()).prop_map(|(need, acked, executed)| Error::Timeout {
            need,
            acked,
            executed
        }),
        (proptest::sample::select(queues.to_vec()), executed())
            .prop_map(|(what, executed)| Error::Overloaded { what, executed }),
        executed().prop_map(|executed| Error::DiskFull { executed }),
        executed().prop_map(|executed| Error::IndexFull { executed }),
        executed().prop_map(|executed| Error::ClockSkew { executed }),
        executed().prop_map(|executed| Error::Corrupt { executed }),
        "\\PC{0,20}".prop_map(|text: String| Error::NotServing(text.into())),
        executed().prop_map(|executed| Error::CoordinatorLost { executed }),
        Just(Error::SessionLost),
        Just(Error::KeyReused),
    ]
}

fn attempt() -> impl Strategy<Value = Attempt> {
    any::<(u32, u64, Option<u64>)>().prop_map(|(session, seq, since)| Attempt {
        session: Writer(session),
        seq,
        since: since.map(Hlc),
    })
}

fn envelope() -> impl Strategy<Value = Envelope> {
    let outcome = prop_oneof![reply().prop_map(Ok), error().prop_map(Err)];
    prop_oneof![
        (any::<u64>(), any::<u32>(), option::of(attempt()), request()).prop_map(
            |(id, patience, attempt, request)| {
                let patience = Duration::from_micros(patience.into());
                Envelope::Forward { id: Ticket(id), patience, attempt, request }
            }
        ),
        (any::<u64>(), outcome)
            .prop_map(|(id, outcome)| Envelope::Forwarded { id: Ticket(id), outcome }),
        roots(),
    ]
}

proptest! {
    #[test]
    fn envelopes_round_trip(first in envelope(), second in envelope()) {
        let mut encoded = BytesMut::new();
        first.encode(&mut encoded);
        second.encode(&mut encoded);
        let mut input = encoded.freeze();
        prop_assert_eq!(Envelope::decode(&mut input), Ok(first));
        prop_assert_eq!(Envelope::decode(&mut input), Ok(second));
        prop_assert_eq!(input.len(), 0);
    }

    #[test]
    fn an_envelope_cut_short_is_refused(envelope in envelope(), cut in any::<proptest::sample::Index>()) {
        let mut encoded = BytesMut::new();
        envelope.encode(&mut encoded);
        let mut input = encoded.freeze();
        input.truncate(cut.index(input.len()));
        prop_assert_eq!(Envelope::decode(&mut input), Err(TRUNCATED));
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(kind in 2u8..4, bytes in collection::vec(0u8..8, 0..200)) {
        let mut input = BytesMut::from(&[kind][..]);
        input.put_slice(&bytes);
        let _ = Envelope::decode(&mut input.freeze());
    }
}

#[test]
fn a_queue_unknown_here_is_still_a_queue() {
    let mut encoded = BytesMut::new();
    let error = Error::Overloaded { what: "the seventh queue", executed: Executed::No };
    Envelope::Forwarded { id: Ticket(1), outcome: Err(error) }.encode(&mut encoded);
    let decoded = Envelope::decode(&mut encoded.freeze());
    let expected = Error::Overloaded { what: queue::OTHER, executed: Executed::No };
    assert_eq!(decoded, Ok(Envelope::Forwarded { id: Ticket(1), outcome: Err(expected) }));
}
