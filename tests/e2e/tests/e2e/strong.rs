//! The strong keyspace while nodes die, hang or lose their disk: nothing acknowledged is lost, no
//! read goes back, and the others go on.

use std::thread;
use std::time::Duration;

use kvorum_e2e::{Cluster, Load};

#[test]
fn killing_each_node_in_turn_loses_nothing_and_others_lead_on() {
    let mut cluster = Cluster::start();
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
fn killing_all_nodes_at_once_loses_nothing() {
    let mut cluster = Cluster::start();
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
fn a_node_that_led_and_wakes_up_again_shows_nothing_old() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.resp_ports());
    load.await_progress(200);
    for id in 1..=3 {
        cluster.node(id).freeze();
        // Sleep, because it must be longer than an election takes.
        thread::sleep(Duration::from_secs(4));
        load.await_progress(200);
        cluster.node(id).thaw();
        load.await_progress(200);
    }
    cluster.await_whole();
    load.stop().verify(&cluster.resp_ports());
}

#[test]
fn a_node_whose_disk_was_wiped_is_replaced_and_counts_again() {
    let mut cluster = Cluster::start();
    let load = Load::start(&cluster.resp_ports());
    load.await_progress(500);
    cluster.node_mut(3).kill();
    cluster.node(3).wipe();
    load.await_progress(100);
    cluster.node_mut(3).start();
    cluster.await_whole();
    load.await_progress(100);
    let ledger = load.stop();
    // A majority without node 1 is one with node 3.
    cluster.node_mut(1).kill();
    ledger.verify(&cluster.resp_ports()[1..]);
}
