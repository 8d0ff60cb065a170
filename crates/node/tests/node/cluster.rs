//! Nodes that stop, come back, or come back with less than they had.

use kvorum_core::{Consistency, Error};
use kvorum_node::Serving;

use crate::world::{Running, World, eventually};

#[tokio::test]
async fn two_of_three_nodes_go_on_and_the_third_comes_back_with_its_data() {
    let world = World::new(3);
    let mut nodes = world.start_all().await;
    nodes[0].put("before", "1").await.unwrap();
    nodes.remove(2).stop().await;
    for node in &nodes {
        node.connected(2).await;
    }
    nodes[1].put("meanwhile", "2").await.unwrap();
    let all = nodes[0].get_at("before", Consistency::All).await;
    assert!(matches!(all, Err(Error::Unavailable { need: 3, live: 2 })));
    let back = world.start(3).await;
    back.connected(3).await;
    assert_eq!(back.get_at("before", Consistency::One).await.unwrap().unwrap(), "1");
    assert_eq!(back.get("meanwhile").await.unwrap().unwrap(), "2");
}

#[tokio::test]
async fn all_nodes_restart_and_nothing_is_lost() {
    let world = World::new(3);
    let nodes = world.start_all().await;
    for n in 0..100 {
        nodes[n % 3].put(&format!("key-{n}"), format!("{n}")).await.unwrap();
    }
    for node in nodes {
        node.stop().await;
    }
    let nodes = world.start_all().await;
    for n in 0..100 {
        let value = nodes[(n + 1) % 3].get(&format!("key-{n}")).await.unwrap();
        assert_eq!(value.unwrap(), format!("{n}"));
    }
}

#[tokio::test]
async fn a_wiped_node_copies_its_data_from_the_others() {
    let world = World::new(3);
    let mut nodes = world.start_all().await;
    let requests = (0..300).map(|n| nodes[0].put_request(&format!("key-{n}"), format!("{n}")));
    for outcome in nodes[0].node.run_all(requests.collect()).await {
        outcome.unwrap();
    }
    nodes.remove(1).stop().await;
    std::fs::remove_dir_all(world.data_dir(2)).unwrap();
    let wiped = world.start(2).await;
    wiped.connected(3).await;
    eventually("every key is back", async || wiped.node.status().keys == 300).await;
    assert_eq!(wiped.node.status().serving, Serving::Yes);
    for n in (0..300).step_by(29) {
        let value = wiped.get_at(&format!("key-{n}"), Consistency::One).await.unwrap();
        assert_eq!(value.unwrap(), format!("{n}"));
    }
}

#[tokio::test]
async fn a_write_to_a_minority_is_refused_and_not_executed() {
    let world = World::new(3);
    let mut nodes = world.start_all().await;
    nodes.remove(2).stop().await;
    nodes.remove(1).stop().await;
    let alone = nodes.remove(0);
    alone.connected(1).await;
    let refused = alone.put("a", "1").await;
    assert!(matches!(refused, Err(Error::Unavailable { need: 2, live: 1 })), "{refused:?}");
    assert_eq!(alone.get_at("a", Consistency::One).await.unwrap(), None);
    alone.stop().await;
}

#[tokio::test]
async fn a_stopped_node_answers_that_it_serves_no_more() {
    let world = World::new(1);
    let node = world.start(1).await;
    node.connected(1).await;
    node.node.stop().await;
    assert!(matches!(node.put("a", "1").await, Err(Error::NotServing(_))));
}

#[tokio::test]
async fn a_node_that_is_down_keeps_its_name_and_addresses_when_another_one_restarts() {
    let world = World::new(3);
    let mut named = world.options(3);
    named.name = "third".to_owned();
    named.advertised.resp_port = 6381;
    let first = world.start(1).await;
    let second = world.start(2).await;
    let third = world.start_with(named.clone(), Vec::new()).await.unwrap();
    first.connected(3).await;
    let seen = |node: &Running| {
        let status = node.node.status();
        let third = status.nodes.iter().find(|node| node.id == named.id);
        third.map(|node| (node.name.clone(), node.advertised.resp_port, node.up))
    };
    assert_eq!(seen(&first), Some(("third".to_owned(), 6381, true)));
    third.stop().await;
    first.stop().await;
    let first = world.start(1).await;
    first.connected(2).await;
    assert_eq!(seen(&first), Some(("third".to_owned(), 6381, false)));
    first.stop().await;
    second.stop().await;
}
