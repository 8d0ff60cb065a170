//! What strangers and broken clients send: a precise error, nothing stored, and a process that
//! stays up and small.

use std::io::Write;
use std::net::TcpStream;

use kvorum_e2e::resp::{Answer, Resp};
use kvorum_e2e::{Cluster, Plan, http, until};

const BY_TOO_MUCH: &[u8] =
    br#"{"then": [{"op": "increment", "key": "k", "by": 9223372036854775808}]}"#;

/// One node is enough: what is refused never reaches the others.
struct Target {
    cluster: Cluster,
}

impl Target {
    fn start() -> Target {
        Target { cluster: Plan::nodes(1).start() }
    }

    fn resp(&self) -> Resp {
        self.cluster.node(1).resp()
    }

    fn http_port(&self) -> u16 {
        self.cluster.node(1).ports().http
    }

    /// Nothing was stored, the process is the same and still serves, and nothing panicked.
    fn assert_unharmed(mut self) {
        self.cluster.node_mut(1).assert_running();
        let mut client = self.resp();
        assert_eq!(client.say(&["DBSIZE"]), Answer::Integer(0), "something was stored");
        assert!(client.say(&["SET", "still", "works"]).is_ok());
        assert_eq!(client.say(&["GET", "still"]).value(), Some(b"works".as_slice()));
        let log = self.cluster.node(1).log();
        assert!(!log.contains("panicked"), "{log}");
        self.cluster.node_mut(1).stop();
    }
}

fn assert_error(answer: &Answer, words: &[&str]) {
    let text = answer.error().unwrap_or_else(|| panic!("expected an error, got {answer:?}"));
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
}

#[test]
fn redis_commands_beyond_the_limits_are_refused_and_the_connection_stays_usable() {
    let target = Target::start();
    let client = &mut target.resp();
    let (long_key, long_value) = (vec![b'k'; 4097], vec![b'v'; (1 << 20) + 1]);
    let said = |client: &mut Resp, command: &[&[u8]]| client.call(command).unwrap();
    for command in ["SET", "GET"] {
        let command = [command.as_bytes(), &long_key, b"v"];
        let command = &command[..if command[0] == b"SET" { 3 } else { 2 }];
        assert_error(&said(client, command), &["ERR", "4097", "4096"]);
    }
    assert_error(&said(client, &[b"SET", b"", b"v"]), &["ERR", "empty"]);
    assert_error(&said(client, &[b"SET", b"k", &long_value]), &["ERR", "1048577", "1048576"]);
    // Far beyond everything: skipped as it arrives, not kept.
    let huge = vec![b'x'; 64 << 20];
    assert_error(&said(client, &[b"SET", b"k", &huge]), &["ERR", "67108864", "1048576"]);
    let mset: Vec<&[u8]> = [&[b"MSET".as_slice()], &vec![b"k".as_slice(); 65_536][..]].concat();
    assert_error(&said(client, &mset), &["ERR", "65537 arguments", "65536"]);
    assert_error(&said(client, &mset[..65_536]), &["ERR", "wrong number of arguments"]);
    for (words, expected) in [
        (&["FLY", "high"][..], "unknown command 'FLY'"),
        (&["SET", "k"], "wrong number of arguments for 'set' command"),
        (&["SET", "k", "v", "EX", "soon"], "value is not an integer or out of range"),
        (&["SET", "k", "v", "EX", "-1"], "invalid expire time"),
        (&["SET", "k", "v", "LATER"], "syntax error"),
        (&["MSETNX", "a", "1", "b", "2"], "CROSSSLOT"),
        (&["SET", "k", "v", "PX", "9223372036854775807"], "invalid expire time"),
        (&["EXPIRE", "k", "9223372036854775807"], "invalid expire time"),
        (&["INCRBY", "k", "9223372036854775808"], "not an integer or out of range"),
        (&["DECRBY", "k", "-9223372036854775808"], "overflow"),
        (&["SETRANGE", "k", "1099511627776", "v"], "maximum allowed size"),
        (&["SETBIT", "k", "4294967295", "1"], "maximum allowed size"),
        (&["EXEC"], "EXEC without MULTI"),
        (&["KV.CONSISTENCY", "READ", "stale:4294967296"], "4294967295"),
        (&["KV.CONSISTENCY", "WRITE", "stale:0"], "one, quorum and all"),
        (&["SELECT", "99999"], "ERR"),
    ] {
        assert_error(&client.say(words), &[expected]);
    }
    assert_eq!(client.say(&["PING"]), Answer::Simple("PONG".to_owned()));
    target.assert_unharmed();
}

#[test]
fn broken_redis_frames_are_named_and_end_the_connection() {
    let target = Target::start();
    let long_line = [vec![b'a'; 70_000], b"\r\n".to_vec()].concat();
    for (bytes, expected) in [
        (&b"*x\r\n"[..], "Protocol error: invalid multibulk length"),
        (b"*99999999999999999999\r\n", "Protocol error: invalid multibulk length"),
        (b"*1\r\n$x\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$-5\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n$536870913\r\n", "Protocol error: invalid bulk length"),
        (b"*1\r\n*1\r\n*1\r\n$4\r\nPING\r\n", "Protocol error: expected '$', got '*'"),
        (b"*2\r\n$3\r\nGET\r\n:5\r\n", "Protocol error: expected '$', got ':'"),
        (b"SET k \"open\r\n", "Protocol error: unbalanced quotes in request"),
        (&long_line, "Protocol error: too big inline request"),
    ] {
        let mut client = target.resp();
        client.send_raw(bytes).unwrap();
        assert_error(&client.receive().unwrap(), &["ERR", expected]);
        assert!(client.is_closed(), "{}", bytes[..bytes.len().min(40)].escape_ascii());
    }
    target.assert_unharmed();
}

#[test]
fn http_on_the_redis_port_and_redis_on_the_http_port_end_with_an_error() {
    let target = Target::start();
    // A browser that was tricked into posting commands must not get to execute them.
    let post = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\nSET smuggled yes\r\n";
    let answer = http::exchange(target.cluster.node(1).ports().resp, post).unwrap_or_default();
    assert!(!answer.starts_with(b"+OK"), "{}", answer.escape_ascii());
    let get = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let answer = http::exchange(target.cluster.node(1).ports().resp, get).unwrap_or_default();
    assert!(answer.starts_with(b"-ERR wrong number of arguments"), "{}", answer.escape_ascii());
    // A client of TLS waits for an answer to a line that never ends.
    let hello = [b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03".as_slice(), &[0x11; 190]].concat();
    let answer = http::exchange(target.cluster.node(1).ports().resp, &hello).unwrap_or_default();
    assert!(answer.starts_with(b"-ERR Protocol error: this port"), "{}", answer.escape_ascii());
    let set = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    let answer = http::exchange(target.http_port(), set).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400 "), "{}", answer.escape_ascii());
    target.assert_unharmed();
}

#[test]
fn garbage_on_the_grpc_and_the_peer_port_is_dropped() {
    let target = Target::start();
    let noise: Vec<u8> =
        (0..100_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let ports = target.cluster.node(1).ports();
    for port in [ports.grpc, ports.peer] {
        for bytes in [
            noise.clone(),
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(),
            b"*1\r\n$4\r\nPING\r\n".to_vec(),
            [preface.as_slice(), &noise].concat(),
            vec![0xff; 4096],
            vec![0; 4096],
        ] {
            // The other side may close before it has read everything; that is what is wanted.
            let _ = http::exchange(port, &bytes);
        }
    }
    target.assert_unharmed();
}

#[test]
fn http_requests_that_make_no_sense_get_a_problem_document_that_says_why() {
    let target = Target::start();
    let json = [("Content-Type", "application/json")];
    let deep = [vec![b'['; 100_000], vec![b']'; 100_000]].concat();
    let long_value = vec![b'v'; (1 << 20) + 1];
    let key = "/v1/keyspaces/default/keys/k";
    let long_key = format!("/v1/keyspaces/default/keys/{}", "k".repeat(4097));
    for (method, path, headers, body, status, word) in [
        ("PUT", key, &json[..], &b"{\"value\": "[..], 400, "EOF"),
        ("PUT", key, &json, b"{\"value\": 5}", 400, "invalid type"),
        ("PUT", key, &json, b"{\"valeu\": \"x\"}", 400, "valeu"),
        ("PUT", key, &json, b"{\"value\": \"\xff\xfe\"}", 400, ""),
        ("PUT", key, &json, b"{\"value_base64\": \"!\"}", 400, "base64"),
        ("PUT", key, &json, &deep, 400, ""),
        ("PUT", key, &[], &long_value, 413, "1048576"),
        ("PUT", &long_key, &[], b"v", 400, "4096"),
        ("PUT", "/v1/keyspaces/default/keys/%zz", &[], b"v", 400, ""),
        ("PUT", "/v1/keyspaces/nowhere/keys/k", &[], b"v", 404, "nowhere"),
        ("PUT", "/v1/keyspaces/default/keys/k?tll_ms=5", &[], b"v", 400, "tll_ms"),
        ("PUT", "/v1/keyspaces/default/keys/k?ttl_ms=soon", &[], b"v", 400, "ttl_ms"),
        ("PUT", key, &[("X-Kvorum-Consistency", "most")], b"v", 400, "X-Kvorum-Consistency"),
        ("PUT", key, &[("X-Kvorum-Consistency", "stale:4294967296")], b"v", 400, "4294967295"),
        ("PUT", key, &[("X-Kvorum-Consistency", "stale:5")], b"v", 400, "quorum"),
        ("GET", key, &[("X-Kvorum-Consistency", "one")], b"", 400, "lease"),
        ("PUT", key, &[("Idempotency-Key", "\"open")], b"v", 400, "Idempotency-Key"),
        ("PUT", key, &[("Idempotency-Key", &long_key)], b"v", 400, "255"),
        ("PUT", key, &[("Idempotency-Key", "a"), ("Idempotency-Key", "b")], b"v", 400, "once"),
        ("PUT", key, &[("If-Match", "version")], b"v", 400, "ETag"),
        ("PUT", key, &[("If-Match", "*")], b"v", 412, "no value"),
        (
            "PUT",
            "/v1/keyspaces/default/keys/k?ttl_ms=3155760000001",
            &[],
            b"v",
            400,
            "3155760000000",
        ),
        ("POST", "/v1/keyspaces/default/txn", &json, b"{\"then\": [{\"op\": ", 400, "EOF"),
        ("POST", "/v1/keyspaces/default/txn", &json, BY_TOO_MUCH, 400, "i64"),
        ("GET", "/v1/nothing/here", &[], b"", 404, "/v1/nothing/here"),
        ("PATCH", key, &[], b"v", 405, "PATCH"),
    ] {
        let place = format!("{method} {}", &path[..path.len().min(60)]);
        let answer = http::request(target.http_port(), method, path, headers, body);
        let answer = answer.unwrap_or_else(|error| panic!("{place}: {error}"));
        assert_eq!(answer.status, status, "{place}: {}", answer.text());
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{place}");
        let problem = answer.json();
        assert_eq!(problem["executed"], "no", "{place}: {problem}");
        assert!(problem["code"].is_string(), "{place}: {problem}");
        let detail = problem["detail"].as_str().unwrap_or_default();
        assert!(!detail.is_empty() && detail.contains(word), "{place}: {word:?} in {detail}");
    }
    let cut =
        b"PUT /v1/keyspaces/default/keys/k HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\ncut";
    let mut stream = TcpStream::connect(("127.0.0.1", target.http_port())).unwrap();
    stream.write_all(cut).unwrap();
    drop(stream);
    target.assert_unharmed();
}

#[test]
fn requests_that_announce_much_and_send_little_do_not_make_the_process_grow() {
    const LIMIT: u64 = 96 << 20;
    const CONNECTIONS: usize = 200;
    let target = Target::start();
    let node = target.cluster.node(1);
    let before = node.process().memory();
    let mut open: Vec<TcpStream> = Vec::new();
    for (port, bytes) in [
        (node.ports().resp, &b"*2\r\n$3\r\nGET\r\n$536870912\r\nabc"[..]),
        (node.ports().resp, b"*65536\r\n$3\r\nDEL\r\n$1048576\r\nabc"),
        (node.ports().http, b"PUT /kv/k HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{"),
        (node.ports().grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (node.ports().peer, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    ] {
        for _ in 0..CONNECTIONS / 5 {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            stream.write_all(bytes).unwrap();
            open.push(stream);
        }
    }
    // The node has taken all of that in once it answers those who came later.
    until("the node still answers", || {
        (node.resp().say(&["PING"]) == Answer::Simple("PONG".to_owned())).then_some(())
    });
    let after = node.process().memory();
    assert!(after < before + LIMIT, "grew from {before} to {after} bytes");
    drop(open);
    target.assert_unharmed();
}

#[test]
fn clients_that_take_every_connection_leave_the_files_of_the_store_alone() {
    const FILES: u32 = 400;
    const CONNECTIONS: usize = 120;
    let plan = Plan::nodes(1).with("max_value", "16KiB").with("segment_size", "256KiB");
    let mut cluster = plan.prepare();
    cluster.node_mut(1).limit_files(FILES);
    cluster.start_all();
    let mut client = cluster.node(1).resp();
    let mut open: Vec<TcpStream> = Vec::new();
    for (_, port) in cluster.node(1).ports().all() {
        for _ in 0..CONNECTIONS {
            open.push(TcpStream::connect(("127.0.0.1", port)).unwrap());
        }
    }
    // Each segment of the log is a new file.
    let value = vec![b'v'; 16 << 10];
    for number in 0..200 {
        let key = format!("key{number}");
        let answer = client.call(&[b"SET", key.as_bytes(), &value]).unwrap();
        assert!(answer.is_ok(), "{answer:?}");
    }
    let mut late = cluster.node(1).resp();
    assert_error(&late.receive().unwrap(), &["max number of clients reached"]);
    drop(open);
    until("there is room for others again", || {
        (cluster.node(1).resp().call(&[b"PING"]).ok()? == Answer::Simple("PONG".to_owned()))
            .then_some(())
    });
    cluster.node_mut(1).assert_running();
}
