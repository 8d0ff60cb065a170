//! Reads and writes through several nodes.

use kvorum_core::{Consistency, Reply};
use kvorum_node::WalSync;

use crate::world::World;

#[tokio::test]
async fn a_value_written_on_one_node_is_read_on_the_others() {
    for wal_sync in [WalSync::Inline, WalSync::Thread] {
        let mut world = World::new(3);
        world.wal_sync = wal_sync;
        let nodes = world.start_all().await;
        let written = nodes[0].put("greeting", "hello").await.unwrap();
        assert!(matches!(written, Reply::Written { acked: 2.., was_live: false, .. }));
        for node in &nodes {
            assert_eq!(node.get("greeting").await.unwrap().unwrap(), "hello");
        }
        for node in nodes {
            node.stop().await;
        }
    }
}

#[tokio::test]
async fn many_requests_at_once_are_answered_in_their_order() {
    let world = World::new(3);
    let nodes = world.start_all().await;
    let requests = (0..1000).map(|n| nodes[1].put_request(&format!("key-{n}"), format!("{n}")));
    for outcome in nodes[1].node.run_all(requests.collect()).await {
        outcome.unwrap();
    }
    for n in (0..1000).step_by(97) {
        let value = nodes[2].get(&format!("key-{n}")).await.unwrap();
        assert_eq!(value.unwrap(), format!("{n}"));
    }
}

#[tokio::test]
async fn large_values_travel_beside_small_ones() {
    let world = World::new(3);
    let nodes = world.start_all().await;
    let large = vec![7u8; 120 << 10];
    let keys: Vec<String> = (0..20).map(|n| format!("large-{n}")).collect();
    let mut requests: Vec<_> =
        keys.iter().map(|k| nodes[0].put_request(k, large.clone())).collect();
    requests.push(nodes[0].put_request("small", "x"));
    for outcome in nodes[0].node.run_all(requests).await {
        outcome.unwrap();
    }
    for key in keys.iter().map(String::as_str) {
        assert_eq!(nodes[2].get_at(key, Consistency::All).await.unwrap().unwrap(), large);
    }
}
