//! What a node refuses to start with: exit code 78, and one sentence that names the reason.

use std::net::TcpListener;

use kvorum_e2e::{Cluster, Node, Plan};

/// A node refuses, and its last words name all of these.
fn assert_refused(node: &Node, words: &[&str]) {
    let refusal = node.refuse();
    assert_eq!(refusal.code, Some(78), "{}", refusal.sentence);
    let sentence = &refusal.sentence;
    assert!(sentence.starts_with("kvorum: "), "{sentence}");
    for word in words {
        assert!(sentence.contains(word), "{word:?} is missing in: {sentence}");
    }
}

#[test]
fn the_data_directory_of_another_node_is_refused() {
    let mut cluster = Cluster::start();
    cluster.node_mut(1).stop();
    cluster.node_mut(2).stop();
    let data_of_one = cluster.node(1).data_dir().to_owned();
    cluster.node_mut(2).set_data_dir(&data_of_one);
    assert_refused(cluster.node(2), &["node 1"]);
}

#[test]
fn the_data_directory_of_another_cluster_is_refused() {
    let mut cluster = Cluster::start();
    cluster.node_mut(1).stop();
    cluster.node_mut(1).set("cluster", "elsewhere");
    assert_refused(cluster.node(1), &["kvorum", "elsewhere"]);
}

#[test]
fn a_node_of_another_cluster_of_the_same_name_is_refused() {
    let mut one = Cluster::start();
    let mut other = Cluster::start();
    one.node_mut(3).stop();
    other.node_mut(3).stop();
    let strange = other.node(3).data_dir().to_owned();
    one.node_mut(3).set_data_dir(&strange);
    assert_refused(one.node(3), &["cluster"]);
}

#[test]
fn a_second_process_on_the_same_data_directory_is_refused() {
    let cluster = Plan::nodes(1).start();
    let mut second = cluster.stranger(1, "");
    second.set_data_dir(cluster.node(1).data_dir());
    assert_refused(&second, &["in use", &cluster.node(1).data_dir().display().to_string()]);
}

#[test]
fn busy_ports_are_refused_and_named_with_their_settings() {
    let mut cluster = Plan::nodes(1).prepare();
    for (purpose, port) in cluster.node(1).ports().all() {
        let _holder = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let setting = format!("{purpose}_port");
        assert_refused(cluster.node(1), &[&port.to_string(), &setting, "in use"]);
    }
    cluster.start_all();
}

#[test]
fn another_list_of_peers_than_the_clusters_is_refused() {
    let mut cluster = Cluster::start();
    cluster.node_mut(3).stop();
    let longer = format!("{},4=127.0.0.1:1", cluster.peers());
    cluster.node_mut(3).set_flag("peers", &longer);
    assert_refused(cluster.node(3), &["peers"]);
}

#[test]
fn a_newcomer_that_is_not_on_the_list_of_peers_is_refused() {
    let cluster = Cluster::start();
    let peers = cluster.peers();
    assert_refused(&cluster.stranger(4, &peers), &["peers"]);
}

#[test]
fn unknown_settings_and_impossible_values_are_refused_with_their_place() {
    let cluster = Plan::nodes(1).prepare();
    let file = cluster.scratch().join("kvorum.toml");
    let refused = |text: &str, words: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let mut node = cluster.stranger(1, "");
        node.set("config", file.to_str().unwrap());
        assert_refused(&node, words);
    };
    refused("segment_sise = \"1MiB\"", &["segment_sise", "kvorum.toml"]);
    refused("max_value = \"17MiB\"", &["max_value", "16MiB", "kvorum.toml"]);
    refused("segment_size = 1", &["segment_size", "256KiB"]);
    refused("max_value = [", &["kvorum.toml", "line 1"]);
    let mut node = cluster.stranger(1, "");
    node.set("replication_factor", "three");
    assert_refused(&node, &["replication_factor", "three", "KVORUM_REPLICATION_FACTOR"]);
    let mut node = cluster.stranger(1, "");
    node.set("compat_keyspace", "elsewhere");
    assert_refused(&node, &["compat_keyspace", "elsewhere", "default and eventual"]);
    let mut node = cluster.stranger(1, "");
    node.set("compat_keyspace", "eventual");
    assert_refused(&node, &["compat_keyspace", "eventual", "of this cluster"]);
    let mut node = cluster.stranger(1, "");
    node.set("bind", "0.0.0.0");
    assert_refused(&node, &["0.0.0.0", "insecure"]);
}

#[test]
fn a_directory_that_holds_something_else_is_refused_and_left_alone() {
    let cluster = Plan::nodes(1).prepare();
    let store = cluster.node(1).data_dir().join("store");
    std::fs::create_dir_all(&store).unwrap();
    std::fs::write(store.join("holiday.jpg"), "a photo").unwrap();
    assert_refused(cluster.node(1), &["holiday.jpg"]);
    assert_eq!(std::fs::read_to_string(store.join("holiday.jpg")).unwrap(), "a photo");
}
