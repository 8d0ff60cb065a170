//! Which nodes start, which wait, and which refuse.

use kvorum_core::{Error, NodeId};
use kvorum_node::{PeerAddress, StartError};

use crate::world::{PATIENCE, World};

#[tokio::test]
async fn a_node_without_peers_serves_alone() {
    let world = World::new(1);
    let mut options = world.options(1);
    options.peers.clear();
    let alone = world.start_with(options, Vec::new()).await.unwrap();
    alone.connected(1).await;
    alone.put("a", "1").await.unwrap();
    assert_eq!(alone.get("a").await.unwrap().unwrap(), "1");
    alone.stop().await;
}

#[tokio::test]
async fn a_node_that_waits_for_its_peers_says_so_and_executes_nothing() {
    let world = World::new(3);
    let first = world.start(1).await;
    let Err(Error::NotServing(why)) = first.put("a", "1").await else { panic!("it served") };
    assert!(!why.is_empty());
    assert!(first.node.layout().is_none());
    let second = world.start(2).await;
    let third = world.start(3).await;
    for node in [&first, &second, &third] {
        node.connected(3).await;
    }
    assert_eq!(first.get("a").await.unwrap(), None);
}

#[tokio::test]
async fn ids_are_learned_where_the_list_of_peers_has_none() {
    let world = World::new(3);
    let mut nodes = Vec::new();
    for id in 1..=3 {
        let mut options = world.options(id);
        for peer in &mut options.peers {
            peer.id = None;
        }
        nodes.push(world.start_with(options, Vec::new()).await.unwrap());
    }
    for node in &nodes {
        node.connected(3).await;
    }
    nodes[2].put("a", "1").await.unwrap();
    assert_eq!(nodes[0].get("a").await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn two_processes_cannot_have_one_directory() {
    let world = World::new(1);
    let first = world.start(1).await;
    let second = world.start_with(world.options(1), Vec::new()).await;
    assert!(matches!(second, Err(StartError::Refused(why)) if why.contains("another process")));
    first.stop().await;
    world.start(1).await.connected(1).await;
}

#[tokio::test]
async fn the_data_of_another_node_cluster_or_list_is_refused() {
    let world = World::new(1);
    let first = world.start(1).await;
    first.connected(1).await;
    first.stop().await;
    let options = world.options(1);
    let mut other_cluster = options.clone();
    other_cluster.cluster = "other".to_owned();
    let mut other_node = options.clone();
    other_node.id = NodeId::new(7).unwrap();
    other_node.peers.clear();
    let mut other_list = options.clone();
    other_list.peers.push(PeerAddress {
        id: NodeId::new(2),
        host: "127.0.0.1".to_owned(),
        port: 9,
    });
    for wrong in [other_cluster, other_node, other_list] {
        let refused = kvorum_node::Node::start(wrong, Vec::new()).await;
        assert!(matches!(refused, Err(StartError::Refused(_))), "{refused:?}");
    }
    world.start(1).await.connected(1).await;
}

#[tokio::test]
async fn nodes_of_two_clusters_do_not_found_one_and_end() {
    let world = World::new(2);
    let first = world.start(1).await;
    let mut options = world.options(2);
    options.cluster = "other".to_owned();
    let stranger = world.start_with(options, Vec::new()).await.unwrap();
    for node in [&first, &stranger] {
        let ended = tokio::time::timeout(PATIENCE, node.node.ended()).await.unwrap();
        assert!(matches!(ended, Err(StartError::Refused(why)) if why.contains("cluster")));
        assert!(node.node.layout().is_none());
    }
}

#[tokio::test]
async fn a_stranger_does_not_disturb_a_cluster() {
    let world = World::new(3);
    let mut nodes = world.start_all().await;
    nodes.remove(2).stop().await;
    let mut options = world.options(3);
    options.cluster = "other".to_owned();
    std::fs::remove_dir_all(&options.data_dir).unwrap();
    let stranger = world.start_with(options, Vec::new()).await.unwrap();
    let ended = tokio::time::timeout(PATIENCE, stranger.node.ended()).await.unwrap();
    assert!(matches!(ended, Err(StartError::Refused(why)) if why.contains("cluster")));
    nodes[0].put("a", "1").await.unwrap();
    assert_eq!(nodes[1].get("a").await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn a_port_that_is_taken_is_named() {
    let world = World::new(1);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut options = world.options(1);
    options.peer_listen = taken.local_addr().unwrap();
    let port = options.peer_listen.port().to_string();
    let refused = world.start_with(options, Vec::new()).await.map(|_| ());
    assert!(matches!(refused, Err(StartError::Refused(why)) if why.contains(&port)));
    // Nothing holds the directory: the next start may have it.
    world.start(1).await.connected(1).await;
}
