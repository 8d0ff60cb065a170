//! Files that changed behind a node's back: found, rebuilt from the others, never served.

use std::fs;
use std::path::Path;

use kvorum_e2e::{Cluster, Ledger, Plan, checkpoint, find, flip_a_byte, oldest_segment, until};

/// A cluster whose log soon has several segments. Its keyspace is eventual, so that a node can be
/// asked what it alone has.
fn with_small_segments() -> Cluster {
    let plan = Plan::nodes(3).with("default_mode", "eventual");
    plan.with("max_value", "16KiB").with("segment_size", "256KiB").start()
}

/// Some megabytes of values, each written once, so that every old segment is full of live ones.
fn fill(cluster: &Cluster) -> Ledger {
    Ledger::write(cluster.node(1).ports().resp, 1000, 2000)
}

fn middle_of(file: &Path) -> u64 {
    fs::metadata(file).unwrap().len() / 2
}

/// Node 2 has found that something is missing, says so, and has got it back.
fn assert_rebuilt(cluster: &mut Cluster, ledger: &Ledger, rebuilds: usize) {
    cluster.start_all();
    let told = cluster.node(2).log().matches("are copied from other nodes").count();
    assert_eq!(told, rebuilds, "the damage was not noticed");
    let ports = cluster.resp_ports();
    ledger.verify(&ports);
    ledger.verify_alone(ports[1]);
}

#[test]
fn a_flipped_bit_in_an_old_segment_and_one_in_a_checkpoint_are_found_and_made_good() {
    let mut cluster = with_small_segments();
    let ledger = fill(&cluster);
    cluster.node_mut(2).stop();
    let segment = oldest_segment(cluster.node(2).data_dir());
    flip_a_byte(&segment, middle_of(&segment));
    assert_rebuilt(&mut cluster, &ledger, 1);

    // After a rebuild a checkpoint makes the damaged part of the log needless.
    let data_dir = cluster.node(2).data_dir().to_owned();
    let file = until("node 2 has a checkpoint", || checkpoint(&data_dir));
    cluster.node_mut(2).stop();
    flip_a_byte(&file, middle_of(&file));
    assert_rebuilt(&mut cluster, &ledger, 2);
}

#[test]
fn a_bit_that_flips_while_the_node_runs_is_never_served() {
    let cluster = with_small_segments();
    let ledger = fill(&cluster);
    let segment = oldest_segment(cluster.node(2).data_dir());
    // Some way into a value, which is long: what stands there is read when its key is.
    let value = find(&segment, middle_of(&segment), "=1:static:key");
    flip_a_byte(&segment, value + 500);
    let ports = cluster.resp_ports();
    ledger.verify(&ports);
    until("node 2 has noticed the damage and is whole again", || {
        let noticed = cluster.node(2).log().contains("damaged records");
        (noticed && cluster.node(2).is_whole()).then_some(())
    });
    ledger.verify_alone(ports[1]);
}
