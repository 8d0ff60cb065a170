//! The commands of strong keyspaces on real nodes: what one node was told, every other one knows,
//! and no two clients do the same step twice.

use std::thread;

use kvorum_e2e::resp::{Answer, Resp};
use kvorum_e2e::{Cluster, Plan};

fn bulk(text: &str) -> Answer {
    Answer::Bulk(text.as_bytes().to_vec())
}

fn ok() -> Answer {
    Answer::Simple("OK".to_owned())
}

#[test]
fn every_node_goes_on_where_another_one_stopped() {
    let cluster = Cluster::start();
    let mut nodes = [1, 2, 3].map(|id| cluster.node(id).resp());
    let script: &[(&str, Answer)] = &[
        ("INCR n", Answer::Integer(1)),
        ("INCRBY n 10", Answer::Integer(11)),
        ("DECR n", Answer::Integer(10)),
        ("INCRBYFLOAT n 0.5", bulk("10.5")),
        ("APPEND n x", Answer::Integer(5)),
        ("SETRANGE n 0 2", Answer::Integer(5)),
        ("GETRANGE n 0 3", bulk("20.5")),
        ("GETSET n new", bulk("20.5x")),
        ("SETNX n other", Answer::Integer(0)),
        ("SET n newer XX GET", bulk("new")),
        ("EXPIRE n 1000", Answer::Integer(1)),
        ("EXPIRE n 10 GT", Answer::Integer(0)),
        ("PERSIST n", Answer::Integer(1)),
        ("TTL n", Answer::Integer(-1)),
        ("GETDEL n", bulk("newer")),
        ("GET n", Answer::Null),
        ("MSETNX {m}a 1 {m}b 2", Answer::Integer(1)),
        ("MSETNX {m}b 3 {m}c 4", Answer::Integer(0)),
        ("MGET {m}a {m}b {m}c", Answer::Array(vec![bulk("1"), bulk("2"), Answer::Null])),
        ("RENAME {m}a {m}c", ok()),
        ("COPY {m}c {m}b", Answer::Integer(0)),
        ("COPY {m}c {m}b REPLACE", Answer::Integer(1)),
        ("GET {m}b", bulk("1")),
        ("SETBIT bits 7 1", Answer::Integer(0)),
        ("BITCOUNT bits", Answer::Integer(1)),
        ("DEL {m}b {m}c bits", Answer::Integer(3)),
        ("SET last 1", ok()),
        ("KEYS *", Answer::Array(vec![bulk("last")])),
        ("RANDOMKEY", bulk("last")),
        ("DBSIZE", Answer::Integer(1)),
    ];
    for (at, (command, expected)) in script.iter().enumerate() {
        let words: Vec<&str> = command.split(' ').collect();
        let answer = nodes[at % 3].say(&words);
        assert_eq!(answer, *expected, "{command}");
    }
}

#[test]
fn a_transaction_fails_if_another_node_changed_what_it_watches() {
    let cluster = Cluster::start();
    let (mut one, mut two) = (cluster.node(1).resp(), cluster.node(2).resp());
    let transfer = |client: &mut Resp| {
        for command in [&["MULTI"][..], &["DECRBY", "{t}a", "5"], &["INCRBY", "{t}b", "5"]] {
            client.say(command);
        }
        client.say(&["EXEC"])
    };
    one.say(&["SET", "{t}a", "5"]);
    two.say(&["WATCH", "{t}a"]);
    assert_eq!(transfer(&mut one), Answer::Array(vec![Answer::Integer(0), Answer::Integer(5)]));
    assert_eq!(transfer(&mut two), Answer::Null);
    let both = Answer::Array(vec![bulk("0"), bulk("5")]);
    assert_eq!(cluster.node(3).resp().say(&["MGET", "{t}a", "{t}b"]), both);
}

#[test]
fn increments_of_many_clients_on_all_nodes_are_all_different() {
    const EACH: i64 = 100;
    let cluster = Cluster::start();
    let clients = [1, 2, 3, 1, 2, 3].map(|id| {
        let mut client = cluster.node(id).resp();
        thread::spawn(move || {
            let numbers = (0..EACH).map(|_| match client.say(&["INCR", "n"]) {
                Answer::Integer(number) => number,
                other => panic!("{other:?}"),
            });
            numbers.collect::<Vec<i64>>()
        })
    });
    let mut numbers: Vec<i64> =
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=6 * EACH).collect::<Vec<_>>());
}

#[test]
fn a_pipeline_takes_effect_in_its_order() {
    let cluster = Cluster::start();
    for id in 1..=3 {
        let mut client = cluster.node(id).resp();
        let mut commands: Vec<Vec<&[u8]>> = Vec::new();
        for _ in 0..50 {
            commands.push(vec![b"INCR", b"{p}n"]);
            commands.push(vec![b"GET", b"{p}n"]);
        }
        client.say(&["DEL", "{p}n"]);
        let answers = client.pipeline(&commands);
        for (number, pair) in (1..).zip(answers.chunks(2)) {
            assert_eq!(pair, [Answer::Integer(number), bulk(&number.to_string())], "node {id}");
        }
    }
}

#[test]
fn the_mode_of_the_default_keyspace_is_fixed_at_birth() {
    let mut cluster = Plan::nodes(1).with("default_mode", "eventual").start();
    let refused = cluster.node(1).resp().say(&["INCR", "n"]);
    assert!(refused.error().is_some_and(|text| text.starts_with("NOTSTRONG ")), "{refused:?}");
    cluster.stop_all();
    cluster.node_mut(1).set("default_mode", "strong");
    cluster.start_all();
    assert_eq!(cluster.node(1).resp().say(&["INCR", "n"]), refused);
    assert!(
        cluster.node(1).log().contains("birth is ignored: a keyspace `default` that is strong")
    );
}
