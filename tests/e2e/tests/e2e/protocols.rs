//! Every node serves every key, in every protocol, also after a restart.

use kvorum_e2e::{Cluster, Node, Plan, http};
use serde_json::json;

/// How one protocol writes and reads.
struct Protocol {
    name: &'static str,
    write: fn(&Node, &str, &str),
    read: fn(&Node, &str) -> Option<String>,
    delete: fn(&Node, &str),
}

const PROTOCOLS: [Protocol; 3] = [
    Protocol {
        name: "redis",
        write: |node, key, value| assert!(node.resp().say(&["SET", key, value]).is_ok()),
        read: |node, key| {
            let answer = node.resp().say(&["GET", key]);
            answer.value().map(|value| String::from_utf8(value.to_vec()).unwrap())
        },
        delete: |node, key| {
            node.resp().say(&["DEL", key]);
        },
    },
    Protocol {
        name: "http",
        write: |node, key, value| {
            let body = json!({ "value": value }).to_string();
            let headers = [("Content-Type", "application/json")];
            let answer =
                http::request(node.ports().http, "PUT", &path(key), &headers, body.as_bytes());
            let answer = answer.unwrap();
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert!(answer.json()["acked"].as_u64().unwrap() >= 2, "{}", answer.text());
        },
        read: |node, key| {
            let answer = http::get(node.ports().http, &path(key)).unwrap();
            match answer.status {
                200 => Some(answer.json()["value"].as_str().unwrap().to_owned()),
                404 => None,
                _ => panic!("{}", answer.text()),
            }
        },
        delete: |node, key| {
            let answer = http::request(node.ports().http, "DELETE", &path(key), &[], b"");
            assert_eq!(answer.unwrap().status, 200);
        },
    },
    Protocol {
        name: "grpc",
        write: |node, key, value| {
            let written = node.rpc().put(key, value).unwrap();
            assert!(written.acked >= 2, "{written:?}");
        },
        read: |node, key| {
            let found = node.rpc().get(key).unwrap();
            found.map(|found| String::from_utf8(found.value.to_vec()).unwrap())
        },
        delete: |node, key| {
            node.rpc().delete(key).unwrap();
        },
    },
];

fn path(key: &str) -> String {
    format!("/v1/keyspaces/default/keys/{key}")
}

#[test]
fn what_is_written_on_one_node_is_read_on_every_other_in_every_protocol() {
    let cluster = Cluster::start();
    for (writer, from) in PROTOCOLS.iter().zip(cluster.nodes()) {
        let (key, value) = (format!("by-{}", writer.name), format!("from node {}", from.id()));
        (writer.write)(from, &key, &value);
        for node in cluster.nodes() {
            for reader in &PROTOCOLS {
                let place = format!("{key} read by {} on node {}", reader.name, node.id());
                assert_eq!((reader.read)(node, &key).as_ref(), Some(&value), "{place}");
            }
        }
        (writer.delete)(from, &key);
        for node in cluster.nodes() {
            assert_eq!((writer.read)(node, &key), None, "{key} on node {}", node.id());
        }
    }
}

#[test]
fn the_interfaces_of_the_reference_systems_share_the_data() {
    let cluster = Cluster::start();
    let [one, two, three] = [1, 2, 3].map(|id| cluster.node(id).ports().http);
    let body = br#"{"key": "shared", "value": "by put"}"#;
    assert_eq!(http::request(one, "POST", "/put", &[], body).unwrap().status, 200);
    assert_eq!(http::get(two, "/get?key=shared").unwrap().json()["value"], "by put");
    assert_eq!(http::get(three, "/api/kv/shared").unwrap().json()["value"], "by put");
    assert_eq!(http::get(two, "/kv/shared").unwrap().json()["value"], "by put");
    let members = http::get(three, "/membership").unwrap().json();
    assert_eq!(members.as_object().unwrap().len(), 3, "{members}");
}

#[test]
fn data_survives_a_restart_of_all_nodes() {
    let mut cluster = Cluster::start();
    for (protocol, node) in PROTOCOLS.iter().zip(cluster.nodes()) {
        (protocol.write)(node, protocol.name, "kept");
        (protocol.write)(node, &format!("{}-deleted", protocol.name), "gone");
        (protocol.delete)(node, &format!("{}-deleted", protocol.name));
    }
    let mut client = cluster.node(1).resp();
    assert!(client.say(&["SET", "with-ttl", "kept", "EX", "600"]).is_ok());
    cluster.stop_all();
    cluster.start_all();
    for node in cluster.nodes() {
        for protocol in &PROTOCOLS {
            let place = format!("{} on node {}", protocol.name, node.id());
            assert_eq!((protocol.read)(node, protocol.name).as_deref(), Some("kept"), "{place}");
            assert_eq!(
                (protocol.read)(node, &format!("{}-deleted", protocol.name)),
                None,
                "{place}"
            );
        }
        match node.resp().say(&["TTL", "with-ttl"]) {
            kvorum_e2e::resp::Answer::Integer(seconds) => assert!((1..=600).contains(&seconds)),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn with_five_nodes_and_three_copies_every_node_answers_every_key_even_without_one_of_them() {
    const KEYS: usize = 300;
    let mut cluster = Plan::nodes(5).with("replication_factor", "3").start();
    let keys: Vec<String> = (0..KEYS).map(|number| format!("key{number}")).collect();
    let mut writer = cluster.node(1).resp();
    let commands: Vec<Vec<&[u8]>> =
        keys.iter().map(|key| vec![b"SET".as_slice(), key.as_bytes(), key.as_bytes()]).collect();
    let answers = writer.pipeline(&commands);
    assert!(answers.iter().all(kvorum_e2e::resp::Answer::is_ok), "{answers:?}");
    assert_every_node_answers(&cluster, &keys);
    let held: Vec<u64> =
        cluster.nodes().iter().map(|node| node.rpc().status().unwrap().keys).collect();
    assert!(held.iter().all(|keys| *keys < KEYS as u64), "three copies on five nodes: {held:?}");
    cluster.node_mut(5).kill();
    assert_every_node_answers(&cluster, &keys);
}

fn assert_every_node_answers(cluster: &Cluster, keys: &[String]) {
    for node in cluster.nodes().iter().filter(|node| node.is_up()) {
        let mut reader = kvorum_e2e::Reader::new(node.ports().resp);
        for key in keys {
            assert_eq!(reader.get(key).as_deref(), Some(key.as_bytes()), "node {}", node.id());
        }
    }
}
