//! Gossip: who is alive in whose eyes when processes die, hang and are told nonsense.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use kvorum_e2e::{Cluster, Plan, http, until};

/// How soon a node that is gone is down in the others' eyes.
const DOWN_WITHIN: Duration = Duration::from_secs(10);

/// Node 2 has just gone: the others come to think so.
fn assert_is_missed(cluster: &Cluster) {
    let gone = Instant::now();
    let others = [1, 3].map(|id| cluster.node(id));
    until("node 2 is suspect", || {
        others.iter().all(|node| node.thinks_of(2) == "suspect").then_some(())
    });
    let members = http::get(others[0].ports().http, "/membership").unwrap().json();
    assert_eq!(members["node-2"]["state"], "suspect", "{members}");
    until("node 2 is down", || others.iter().all(|node| node.thinks_of(2) == "down").then_some(()));
    assert!(gone.elapsed() < DOWN_WITHIN, "it took {:?}", gone.elapsed());
    for node in others {
        let members = http::get(node.ports().http, "/membership").unwrap().json();
        assert_eq!(members.as_object().unwrap().len(), 2, "{members}");
        let log = node.log();
        assert!(log.contains("[GOSSIP] node 2 is suspect"), "{log}");
        assert!(log.contains("[GOSSIP] node 2 is down"), "{log}");
    }
}

#[test]
fn a_node_that_was_killed_is_suspect_then_down_and_alive_once_it_is_back() {
    let cluster = &mut Cluster::start();
    cluster.node_mut(2).kill();
    assert_is_missed(cluster);
    assert_eq!(cluster.status(1, 2)["state"], "down");
    cluster.start_all();
    for id in [1, 3] {
        assert_eq!(cluster.node(id).thinks_of(2), "alive");
    }
    assert_eq!(cluster.status(3, 2)["state"], "alive");
}

#[test]
fn a_node_that_hangs_is_suspect_then_down_and_alive_once_it_goes_on() {
    let cluster = &mut Cluster::start();
    cluster.node(2).freeze();
    assert_is_missed(cluster);
    cluster.node(2).thaw();
    cluster.await_whole();
    let blamed = cluster.node(2).log();
    assert!(!blamed.contains("is down"), "who slept blames nobody: {blamed}");
}

#[test]
fn a_node_that_is_alone_calls_nobody_down() {
    let cluster = &mut Cluster::start();
    cluster.node_mut(2).kill();
    cluster.node_mut(3).kill();
    until("node 1 has lost the majority", || {
        cluster.node(1).log().contains("[GOSSIP] lost majority").then_some(())
    });
    // Sleep, because how long it is alone is what this test is about.
    std::thread::sleep(DOWN_WITHIN);
    for gone in [2, 3] {
        assert_eq!(cluster.node(1).thinks_of(gone), "suspect");
    }
}

#[test]
fn nonsense_by_udp_is_counted_and_does_nothing() {
    let cluster = &Plan::nodes(3).with("cluster_secret", "a secret of three nodes").start();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let target = ("127.0.0.1", cluster.node(1).ports().http);
    let mut sent = 0.0;
    for len in 0..1500_usize {
        // The first bytes are those of a datagram of the right format, sealed or not.
        let mut bytes: Vec<u8> = (0..len).map(|at| (at * 31 + len) as u8).collect();
        for (at, byte) in [1, (len % 2) as u8, 1].into_iter().enumerate().take(len) {
            bytes[at] = byte;
        }
        socket.send_to(&bytes, target).unwrap();
        sent += 1.0;
        // As many as the socket holds in any case are on their way at once.
        if len % 50 == 49 {
            until("the datagrams were refused", || {
                (cluster.node(1).metric("kvorum_gossip_refused_total") >= sent).then_some(())
            });
        }
    }
    for by in 1..=3 {
        assert_eq!(cluster.node(by).sees(), 3);
    }
    let log = cluster.node(1).log();
    assert!(!log.contains("a secret of three nodes"), "{log}");
    assert!(log.contains("unauthentic") && !log.contains("is suspect"), "{log}");
}

#[test]
fn while_secrets_differ_streams_keep_the_nodes_together() {
    let cluster = &mut Plan::nodes(3).with("cluster_secret", "a secret of three nodes").start();
    cluster.node_mut(3).stop();
    cluster.node_mut(3).set("cluster_secret", "the next secret of them");
    cluster.start_all();
    until("gossip with another secret was refused", || {
        (cluster.node(1).metric("kvorum_gossip_refused_total") >= 30.0).then_some(())
    });
    let log = cluster.node(3).log();
    assert!(!log.contains("it is suspect and does not answer"), "{log}");
    assert_eq!((cluster.node(1).sees(), cluster.node(3).sees()), (3, 3));
}
