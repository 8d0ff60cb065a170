//! Nodes that die, hang or lose their disk while clients write: nothing acknowledged is lost, and
//! the others go on. Both modes of keyspaces go through the same stories.

use std::thread;
use std::time::{Duration, Instant};

use kvorum_e2e::{Cluster, Ledger, Load, Plan, until};

/// Three nodes whose keyspace is of this mode.
fn start(mode: &str) -> Cluster {
    Plan::nodes(3).with("default_mode", mode).start()
}

fn each_node_is_killed_in_turn(mut cluster: Cluster) {
    let load = Load::start(&cluster.resp_ports());
    for id in 1..=3 {
        load.await_progress(200);
        cluster.node_mut(id).kill();
        load.await_progress(200);
        cluster.start_all();
    }
    load.await_progress(200);
    load.stop().verify(&cluster.resp_ports());
}

#[test]
fn killing_each_node_in_turn_loses_nothing_of_an_eventual_keyspace() {
    each_node_is_killed_in_turn(start("eventual"));
}

#[test]
fn killing_each_node_in_turn_loses_nothing_of_a_strong_keyspace() {
    each_node_is_killed_in_turn(start("strong"));
}

fn all_nodes_are_killed_at_once(mut cluster: Cluster) {
    let load = Load::start(&cluster.resp_ports());
    for _ in 0..3 {
        load.await_progress(300);
        cluster.kill_all();
        cluster.start_all();
    }
    load.await_progress(300);
    load.stop().verify(&cluster.resp_ports());
}

#[test]
fn killing_all_nodes_at_once_loses_nothing_of_an_eventual_keyspace() {
    all_nodes_are_killed_at_once(start("eventual"));
}

#[test]
fn killing_all_nodes_at_once_loses_nothing_of_a_strong_keyspace() {
    all_nodes_are_killed_at_once(start("strong"));
}

#[test]
fn a_node_that_hangs_for_twenty_seconds_under_load_holds_nobody_up_and_rejoins() {
    const HANG: Duration = Duration::from_secs(20);
    let cluster = &mut start("eventual");
    let load = Load::start(&cluster.resp_ports());
    load.await_progress(200);
    let frozen = Instant::now();
    cluster.node(2).freeze();
    until("the others notice that node 2 is gone", || {
        let noticed = [1, 3].map(|id| cluster.node(id).sees() == 2);
        (noticed == [true, true]).then_some(())
    });
    let noticed = frozen.elapsed();
    assert!(noticed < HANG / 2, "it took {noticed:?} to notice");
    load.await_progress(200);
    // Sleep, because how long it hangs is what this test is about.
    thread::sleep(HANG.saturating_sub(frozen.elapsed()));
    load.await_progress(200);
    cluster.node(2).thaw();
    cluster.await_whole();
    load.await_progress(200);
    load.stop().verify(&cluster.resp_ports());
}

/// Node 3 loses its disk under load and is whole again. What was acknowledged is read without node
/// 1: from a majority with node 3.
fn a_disk_is_wiped(cluster: &mut Cluster) -> Ledger {
    let load = Load::start(&cluster.resp_ports());
    load.await_progress(500);
    cluster.node_mut(3).kill();
    cluster.node(3).wipe();
    load.await_progress(100);
    cluster.node_mut(3).start();
    cluster.await_whole();
    load.await_progress(100);
    let ledger = load.stop();
    assert!(cluster.node(3).log().contains("copied from other nodes"));
    cluster.node_mut(1).kill();
    ledger.verify(&cluster.resp_ports()[1..]);
    ledger
}

#[test]
fn a_node_whose_disk_was_wiped_rebuilds_an_eventual_keyspace_from_the_others() {
    let mut cluster = start("eventual");
    let ledger = a_disk_is_wiped(&mut cluster);
    // What it has rebuilt is whole: it alone has everything that was acknowledged.
    cluster.node_mut(2).kill();
    ledger.verify_alone(cluster.node(3).ports().resp);
}

#[test]
fn a_node_whose_disk_was_wiped_votes_on_a_strong_keyspace_again() {
    a_disk_is_wiped(&mut start("strong"));
}
