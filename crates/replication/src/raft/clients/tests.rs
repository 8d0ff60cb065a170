//! What is remembered of clients' sessions, and for how long.

use kvorum_core::{Executed, Writer};
use proptest::collection;
use proptest::prelude::{any, prop_assert_eq, proptest};

use super::*;

const MOST_OF_ONE: usize = 1024;

fn key(client: u128, seq: u64) -> IdempotencyKey {
    IdempotencyKey { client, seq }
}

fn at(ms: u64, ordinal: u32) -> At {
    At { index: ms, stamp: Hlc::from_wall_ms(1_700_000_000_000 + ms), ordinal }
}

fn wrote(at: At) -> Reply {
    let version = kvorum_core::Version { hlc: at.stamp, writer: Writer(at.ordinal) };
    Reply::Written { version, acked: 2, was_live: true }
}

fn remember(clients: &mut Clients, at: At, key: IdempotencyKey) {
    clients.remember(at, key, 5, &wrote(at), MOST_OF_ONE);
}

fn told(clients: &Clients, key: IdempotencyKey) -> Option<Outcome<Reply>> {
    clients.answer(key, 5, 2).unwrap()
}

#[test]
fn a_key_is_answered_as_before_and_another_request_under_it_is_refused() {
    let mut clients = Clients::default();
    assert_eq!(told(&clients, key(1, 0)), None);
    remember(&mut clients, at(1, 7), key(1, 0));
    assert_eq!(told(&clients, key(1, 0)), Some(Ok(wrote(at(1, 7)))));
    assert_eq!(told(&clients, key(2, 0)), None);
    assert_eq!(told(&clients, key(1, 1)), None);
    assert_eq!(clients.answer(key(1, 0), 6, 2).unwrap(), Some(Err(Error::KeyReused)));
    assert_eq!(Error::KeyReused.executed(), Executed::No);
}

#[test]
fn what_the_store_lacks_is_weighed_as_it_is_now() {
    let mut clients = Clients::default();
    let weighed = |clients: &Clients| -> usize {
        clients.changed().map(|(_, session)| CHANGE + session.map_or(0, Session::weight)).sum()
    };
    for round in 0..3 {
        for seq in 0..40 {
            // The sessions of the round before are too old by now.
            let at = at(round * 2 * KEPT_MS + seq, 0);
            remember(&mut clients, at, key(u128::from(10 * round + seq % 3), seq));
            assert_eq!(clients.changed_bytes(), weighed(&clients), "{round}, {seq}");
        }
        assert!(clients.changed_bytes() > 0);
        if round == 1 {
            clients.committed();
            assert_eq!(clients.changed_bytes(), 0);
        }
    }
}

#[test]
fn a_session_keeps_its_last_numbers_and_does_nothing_below_them() {
    let mut clients = Clients::default();
    for seq in 1..=20 {
        remember(&mut clients, at(seq, 0), key(1, seq));
    }
    assert_eq!(told(&clients, key(1, 4)), Some(Err(Error::SessionLost)));
    assert_eq!(told(&clients, key(1, 1)), Some(Err(Error::SessionLost)));
    assert_eq!(told(&clients, key(1, 5)), Some(Ok(wrote(at(5, 0)))));
    assert_eq!(told(&clients, key(1, 21)), None);
}

#[test]
fn a_session_is_kept_for_an_hour_of_the_log_after_its_last_write() {
    let mut clients = Clients::default();
    remember(&mut clients, at(0, 0), key(1, 0));
    remember(&mut clients, at(0, 1), key(2, 0));
    remember(&mut clients, at(KEPT_MS - 1, 0), key(2, 1));
    assert!(told(&clients, key(1, 0)).is_some());
    clients.committed();
    remember(&mut clients, at(KEPT_MS, 0), key(3, 0));
    assert_eq!(told(&clients, key(1, 0)), None);
    assert!(told(&clients, key(2, 0)).is_some());
    let changed: Vec<_> = clients.changed().map(|(client, s)| (client, s.is_some())).collect();
    assert_eq!(changed, [(1, false), (3, true)]);
}

#[test]
fn the_session_that_was_used_longest_ago_makes_room() {
    let mut clients = Clients::default();
    let most = MOST as u128;
    for client in 0..most {
        remember(&mut clients, at(client as u64, 0), key(client, 0));
    }
    remember(&mut clients, at(MOST as u64, 0), key(0, 1));
    remember(&mut clients, at(MOST as u64, 1), key(most, 0));
    assert_eq!(clients.sessions.len(), MOST);
    assert!(told(&clients, key(0, 0)).is_some());
    assert_eq!(told(&clients, key(1, 0)), None);
}

proptest! {
    #[test]
    fn what_is_written_down_is_read_again(writes in collection::vec(any::<(u8, u8, u32)>(), 0..80)) {
        let mut clients = Clients::default();
        for (ms, (client, seq, ordinal)) in (1..).zip(writes) {
            remember(&mut clients, at(ms, ordinal), key((client % 4).into(), seq.into()));
        }
        clients.committed();
        let mut read = Clients::default();
        for (client, session) in clients.all() {
            read.put(client, Session::decode(session.encode()).unwrap());
        }
        prop_assert_eq!(read, clients);
    }

    #[test]
    fn nothing_that_is_read_can_do_harm(bytes in collection::vec(any::<u8>(), 0..60)) {
        let value = [&[FORMAT][..], &bytes].concat();
        if let Ok(session) = Session::decode(value.into()) {
            let mut clients = Clients::default();
            clients.put(1, session);
            let _ = clients.answer(key(1, 0), 5, 2);
        }
    }
}
