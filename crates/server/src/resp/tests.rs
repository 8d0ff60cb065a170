//! Whole dialogues against a node in memory. The scripts in `tests/dialogues` read like a
//! terminal: `>` is sent (with a line end), `>>` is sent as it is, `<` is a line of the reply,
//! `~` is a pattern for one, `!` is said to the world (`! closed` and `! reconnect` are about the
//! connection), `#` begins a comment. Backslashes escape as in Rust, and `{x*100}` repeats.
//!
//! The keyspace is the default one, which is strong; a script that says so runs in an eventual one
//! too. Every script runs several times, with its bytes in pieces of different lengths, and the node
//! answers calls in reverse order: replies must come out the same. Scripts whose first line says so
//! are what redis-server 7.0.15 answers, word for word.

mod world;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use bytes::{BufMut, BytesMut};
use kvorum_core::{Consistency, Op, Request};
use kvorum_node::{CallId, Flow, Port, Protocol, Session};

use super::{glob, protocol};
use world::World;

/// A connection to a node in memory.
struct Connection {
    session: Box<dyn Session>,
    input: BytesMut,
    next_call: u64,
    calls: Vec<(CallId, Request)>,
    closed: bool,
}

impl Connection {
    fn open(protocol: &mut impl Protocol) -> Connection {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 50_000));
        Connection {
            session: protocol.open(address),
            input: BytesMut::new(),
            next_call: 0,
            calls: Vec::new(),
            closed: false,
        }
    }

    fn receive(&mut self, bytes: &[u8], world: &World) {
        self.input.put_slice(bytes);
        let mut port = Port::new(world, &mut self.next_call, &mut self.calls);
        self.closed |= self.session.receive(&mut self.input, &mut port) == Flow::Close;
    }

    /// Answers all calls of this moment, the newest first.
    fn answer(&mut self, world: &World) {
        let calls = std::mem::take(&mut self.calls);
        let mut outcomes: Vec<_> =
            calls.iter().map(|(call, request)| (*call, world.run(request))).collect();
        while let Some((call, outcome)) = outcomes.pop() {
            let mut port = Port::new(world, &mut self.next_call, &mut self.calls);
            self.closed |= self.session.complete(call, outcome, &mut port) == Flow::Close;
        }
    }

    /// Answers until nothing is left to be answered or written.
    fn settle(&mut self, world: &World) -> Vec<u8> {
        let mut written = Vec::new();
        loop {
            while !self.calls.is_empty() {
                self.answer(world);
            }
            let output = self.session.output().split();
            if output.is_empty() {
                return written;
            }
            written.extend_from_slice(&output);
            let mut port = Port::new(world, &mut self.next_call, &mut self.calls);
            self.closed |= self.session.written(&mut port) == Flow::Close;
        }
    }
}

/// Sends everything at once and returns all replies, escaped.
fn talk(world: &World, bytes: &[u8]) -> String {
    let mut connection = Connection::open(&mut protocol(6379));
    connection.receive(bytes, world);
    connection.settle(world).escape_ascii().to_string()
}

/// Runs a script with its bytes in pieces of at most `piece` bytes, on a connection that has sent
/// `begin`.
fn play(name: &str, script: &str, piece: usize, begin: &str) {
    let world = World::new();
    let mut protocol = protocol(6379);
    let mut connection = Connection::open(&mut protocol);
    connection.receive(begin.as_bytes(), &world);
    connection.settle(&world);
    let mut replies: Vec<String> = Vec::new();
    let mut replies_of = 0;
    for (at, line) in (1..).zip(script.lines()) {
        let (kind, rest) = line.split_once(' ').unwrap_or((line, ""));
        let context = || format!("{name}:{at} (sent in pieces of {piece}, line {replies_of})");
        if matches!(kind, ">" | ">>" | "!") {
            assert_eq!(replies, [""; 0], "unexpected reply before {}", context());
        }
        match kind {
            "" | "#" => {}
            ">" | ">>" => {
                let mut bytes = unescape(rest);
                if kind == ">" {
                    bytes.extend_from_slice(b"\r\n");
                }
                for piece in bytes.chunks(piece) {
                    connection.receive(piece, &world);
                }
                let reply = String::from_utf8(connection.settle(&world)).unwrap();
                replies = reply.split("\r\n").map(str::to_owned).collect();
                assert_eq!(replies.pop().as_deref(), Some(""), "{}", context());
                replies_of = at;
            }
            "<" | "~" => {
                assert!(!replies.is_empty(), "no reply at {}", context());
                let reply = replies.remove(0);
                let expected = unescape(rest);
                let fits = match kind {
                    "<" => reply.as_bytes() == expected,
                    _ => glob::matches(&expected, reply.as_bytes()),
                };
                assert!(fits, "{}: got {reply:?} instead of {rest:?}", context());
            }
            "!" if rest == "closed" => {
                assert!(std::mem::take(&mut connection.closed), "still open: {}", context());
                connection = Connection::open(&mut protocol);
            }
            "!" if rest == "reconnect" => connection = Connection::open(&mut protocol),
            "!" => world.obey(rest),
            _ => panic!("{}: {line:?} is no line of a script", context()),
        }
        assert!(!connection.closed || !replies.is_empty() || is_followed_by_close(script, at));
    }
    assert_eq!(replies, [""; 0], "unexpected reply at the end of {name}");
}

/// Whether the next line that says something expects the end of the connection.
fn is_followed_by_close(script: &str, at: usize) -> bool {
    let mut rest =
        script.lines().skip(at).filter(|line| !line.is_empty() && !line.starts_with('#'));
    rest.next() == Some("! closed")
}

/// Resolves escapes and repetitions.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        if let Some((repeat, behind)) = repetition(rest) {
            bytes.extend_from_slice(&repeat);
            rest = behind;
            continue;
        }
        let len = match (next, rest.get(1..2)) {
            ('\\', Some("x")) => {
                bytes.push(u8::from_str_radix(&rest[2..4], 16).unwrap());
                4
            }
            ('\\', Some(escape)) => {
                bytes.push(match escape {
                    "r" => b'\r',
                    "n" => b'\n',
                    "t" => b'\t',
                    "0" => 0,
                    other => other.as_bytes()[0],
                });
                2
            }
            _ => {
                bytes.extend_from_slice(next.to_string().as_bytes());
                next.len_utf8()
            }
        };
        rest = &rest[len..];
    }
    bytes
}

/// `{x*100}` at the beginning of a text.
fn repetition(text: &str) -> Option<(Vec<u8>, &str)> {
    let (inside, behind) = text.strip_prefix('{')?.split_once('}')?;
    let (what, count) = inside.split_once('*')?;
    Some((unescape(what).repeat(count.parse().ok()?), behind))
}

#[test]
fn every_dialogue_goes_as_written_however_its_bytes_are_split() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/resp/tests/dialogues");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let script = std::fs::read_to_string(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy();
        let both = script.lines().any(|line| line == "# In eventual keyspaces too.");
        for begin in ["", "SELECT 1\r\n"].into_iter().take(1 + usize::from(both)) {
            for piece in [usize::MAX, 1, 7, 100] {
                play(&name, &script, piece, begin);
            }
        }
        count += 1;
    }
    assert!(count > 5, "the dialogues are missing");
}

#[test]
fn replies_follow_the_order_of_the_commands_when_answers_do_not() {
    let world = World::new();
    let sent = "SET a 1\r\nGET a\r\nPING\r\nDEL a b\r\nMGET a b\r\nFOO\r\nGET a\r\nWAIT 1 0\r\n";
    let replies = talk(&world, sent.as_bytes());
    let unknown = "-ERR unknown command \\'FOO\\', with args beginning with: \\r\\n";
    let expected = format!(
        "+OK\\r\\n$1\\r\\n1\\r\\n+PONG\\r\\n:1\\r\\n*2\\r\\n$-1\\r\\n$-1\\r\\n{unknown}$-1\\r\\n:2\\r\\n"
    );
    assert_eq!(replies, expected);
}

#[test]
fn in_a_strong_keyspace_reads_and_writes_do_not_overtake_each_other() {
    let world = World::new();
    let mut connection = Connection::open(&mut protocol(6379));
    connection.receive(b"", &world);
    connection.settle(&world);
    let sent = "SET a 1\r\nINCR a\r\nGET a\r\nSTRLEN a\r\nWATCH a\r\nINCR a\r\nMULTI\r\nGET a\r\n\
                EXEC\r\nGET a\r\nDEL a\r\n";
    connection.receive(sent.as_bytes(), &world);
    let mut rounds = Vec::new();
    while !connection.calls.is_empty() {
        let kinds = connection.calls.iter().map(|(_, request)| request.op.is_write());
        rounds.push(kinds.collect::<Vec<_>>());
        connection.answer(&world);
    }
    let (read, write) = (false, true);
    let expected: [&[bool]; 5] =
        [&[write, write], &[read, read, read], &[write], &[read, read], &[write]];
    assert_eq!(rounds, expected);
    let replies = connection.session.output().split().escape_ascii().to_string();
    let expected = "+OK\\r\\n:2\\r\\n$1\\r\\n2\\r\\n:1\\r\\n+OK\\r\\n:3\\r\\n+OK\\r\\n+QUEUED\\r\\n\
                    *-1\\r\\n$1\\r\\n3\\r\\n:1\\r\\n";
    assert_eq!(replies, expected);
}

#[test]
fn a_transaction_is_one_request_with_its_watched_versions() {
    let world = World::new();
    talk(&world, b"WATCH {t}a\r\nMULTI\r\nSET {t}a 1\r\nINCR {t}b\r\nEXEC\r\n");
    let seen = world.seen.borrow();
    let Some(Op::Txn(txn)) = seen.last().map(|request| &request.op) else { panic!("{seen:?}") };
    assert_eq!((txn.compare.len(), txn.then.len(), seen.len()), (1, 2, 2));
}

#[test]
fn a_transaction_over_several_slots_is_refused_as_soon_as_that_is_known() {
    let world = World::new();
    let queued = talk(&world, b"MULTI\r\nSET a 1\r\nSET b 1\r\nEXEC\r\nGET a\r\n");
    let lines: Vec<&str> = queued.split("\\r\\n").collect();
    assert!(lines[2].starts_with("-CROSSSLOT "), "{queued}");
    assert_eq!(lines[3], "-EXECABORT Transaction discarded because of previous errors.");
    assert_eq!(lines[4], "$-1");
    let watched = talk(&world, b"WATCH c\r\nMULTI\r\nSET a 1\r\nEXEC\r\nGET a\r\n");
    let lines: Vec<&str> = watched.split("\\r\\n").collect();
    assert!(lines[3].starts_with("-CROSSSLOT ") && lines[4] == "$-1", "{watched}");
    for command in ["MSETNX a 1 b 2", "RENAME a b", "COPY a b"] {
        let reply = talk(&world, format!("{command}\r\n").as_bytes());
        assert!(reply.contains("-CROSSSLOT") && reply.contains("nothing was executed"), "{reply}");
    }
}

#[test]
fn what_waits_for_exec_has_limits() {
    let world = World::new();
    // Each of these is one step.
    for command in ["INCR n\r\n", "SET n 1\r\n", "GET n\r\n"] {
        let many = format!("MULTI\r\n{}EXEC\r\n", command.repeat(1025));
        let replies = talk(&world, many.as_bytes());
        assert!(replies.contains("-ERR a transaction has at most 1024 steps"), "{replies}");
        assert_eq!(replies.matches("+QUEUED").count(), 1024);
        assert!(
            replies.ends_with("-EXECABORT Transaction discarded because of previous errors.\\r\\n")
        );
    }
    let value = "v".repeat(1 << 20);
    let large = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${}\r\n{value}\r\n", value.len());
    let replies = talk(&world, format!("MULTI\r\n{}", large.repeat(9)).as_bytes());
    assert_eq!(replies.matches("+QUEUED").count(), 7);
    assert!(replies.contains("-ERR a transaction holds at most 8388608 bytes"), "{replies}");
}

#[test]
fn commands_behind_a_flush_wait_for_its_end() {
    let world = World::new();
    let mut sent = String::new();
    for n in 0..500 {
        sent += &format!("SET key{n} x\r\n");
    }
    sent += "FLUSHDB\r\nSET survivor 1\r\nDBSIZE\r\n";
    let replies = talk(&world, sent.as_bytes());
    assert_eq!(replies, "+OK\\r\\n".repeat(502) + ":1\\r\\n");
}

#[test]
fn a_long_pipeline_is_executed_within_its_limits() {
    let world = World::new();
    let mut connection = Connection::open(&mut protocol(6379));
    connection.receive("SET key value\r\n".repeat(50_000).as_bytes(), &world);
    assert!(connection.calls.len() <= 1024, "{} calls are open", connection.calls.len());
    assert!(connection.session.pending_bytes() > 1 << 19, "the driver is not told to stop");
    let replies = connection.settle(&world);
    assert_eq!(replies, "+OK\r\n".repeat(50_000).as_bytes());
    assert_eq!(connection.session.pending_bytes(), 0);
}

#[test]
fn a_client_that_does_not_read_gets_no_more_commands_executed() {
    let world = World::new();
    let mut connection = Connection::open(&mut protocol(6379));
    let value = "v".repeat(100_000);
    let sent = format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n{value}\r\n");
    connection.receive(sent.as_bytes(), &world);
    connection.settle(&world);
    connection.receive("GET k\r\n".repeat(1000).as_bytes(), &world);
    while !connection.calls.is_empty() {
        connection.answer(&world);
    }
    let waiting = connection.session.output().len();
    assert!(waiting < 32 << 20, "{waiting} bytes wait");
    let replies = connection.settle(&world);
    assert_eq!(replies.len(), 1000 * ("$100000\r\n\r\n".len() + value.len()));
}

#[test]
fn scan_returns_every_key_once_and_then_ends() {
    let world = World::new();
    let mut connection = Connection::open(&mut protocol(6379));
    for n in 0..300 {
        connection.receive(format!("SET key:{n} x\r\n").as_bytes(), &world);
    }
    connection.receive(b"SELECT 1\r\nSET elsewhere x\r\nSELECT 0\r\n", &world);
    connection.settle(&world);
    for count in [1, 7, 10, 1000] {
        let mut found = Vec::new();
        let mut cursor = "0".to_owned();
        loop {
            let sent = format!("SCAN {cursor} COUNT {count} MATCH key:*\r\n");
            connection.receive(sent.as_bytes(), &world);
            let reply = String::from_utf8(connection.settle(&world)).unwrap();
            let mut lines = reply.split("\r\n");
            cursor = lines.nth(2).unwrap().to_owned();
            found.extend(lines.filter(|line| line.starts_with("key:")).map(str::to_owned));
            if cursor == "0" {
                break;
            }
        }
        found.sort();
        let mut expected: Vec<_> = (0..300).map(|n| format!("key:{n}")).collect();
        expected.sort();
        assert_eq!(found, expected, "with COUNT {count}");
    }
}

#[test]
fn the_chosen_consistency_goes_with_every_request() {
    let world = World::new();
    talk(&world, b"SET a 1\r\nKV.CONSISTENCY READ all WRITE ONE\r\nGET a\r\nSET a 2\r\n");
    let seen = world.seen.borrow();
    let consistency: Vec<_> = seen.iter().map(|request| request.consistency).collect();
    assert_eq!(consistency, [None, Some(Consistency::All), Some(Consistency::One)]);
}

#[test]
fn a_large_value_is_stored_whole_and_a_larger_one_not_at_all() {
    let world = World::new();
    world.max_value.set(200_000);
    for (len, stored) in [(199_999, true), (200_000, true), (200_001, false)] {
        let mut sent = format!("*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n${len}\r\n").into_bytes();
        sent.resize(sent.len() + len, b'v');
        sent.extend_from_slice(b"\r\nPING\r\n");
        let mut connection = Connection::open(&mut protocol(6379));
        for piece in sent.chunks(10_000) {
            assert_eq!(connection.session.pending_bytes(), 0, "the driver must go on reading");
            connection.receive(piece, &world);
        }
        let replies = String::from_utf8(connection.settle(&world)).unwrap();
        let expected = if stored {
            "+OK\r\n+PONG\r\n".to_owned()
        } else {
            format!(
                "-ERR value is {len} bytes long; the limit is 200000; nothing was executed\r\n\
                 +PONG\r\n"
            )
        };
        assert_eq!(replies, expected);
        let put = world.seen.borrow_mut().pop();
        let put = put.map(|request| request.op);
        assert!(
            matches!(&put, Some(Op::Put { value, .. }) if value.len() == len) == stored,
            "{len} bytes"
        );
    }
}
