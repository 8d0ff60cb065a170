//! Leaders that die, hang or stop in order while counters are incremented.

use std::thread;
use std::time::Duration;

use kvorum_e2e::{Cluster, Load, Pulse};

/// The RESP ports of all nodes but one.
fn ports_without(cluster: &Cluster, id: u32) -> Vec<u16> {
    let others = cluster.nodes().iter().filter(|node| node.id() != id);
    others.map(|node| node.ports().resp).collect()
}

#[test]
fn partitions_that_others_lead_do_not_notice_that_a_leader_is_killed() {
    let mut cluster = Cluster::start();
    for victim in 1..=3 {
        cluster.await_spread();
        let ports = ports_without(&cluster, victim);
        let round = format!("without{victim}");
        let mut others = Vec::new();
        for other in (1..=3).filter(|id| *id != victim) {
            others.push(Pulse::start(&cluster.key_led_by(other, &round), &ports));
        }
        let own = Pulse::start(&cluster.key_led_by(victim, &round), &ports);
        own.await_progress(50);
        cluster.node_mut(victim).kill();
        for pulse in &others {
            pulse.await_progress(50);
        }
        own.await_progress(50);
        for pulse in others {
            let tally = pulse.stop();
            assert_eq!(tally.again, 0, "{tally:?}");
            tally.assert_flawless(ports[0]);
        }
        own.stop().assert_counted(ports[0]);
        cluster.start_all();
    }
}

#[test]
fn a_restart_of_one_node_after_the_other_under_load_fails_no_operation() {
    let mut cluster = Cluster::start();
    cluster.await_spread();
    let ports = cluster.resp_ports();
    let mut pulses = Vec::new();
    for id in 1..=3 {
        // Each begins with another node.
        let mut order = ports.clone();
        order.rotate_left(id as usize - 1);
        pulses.push(Pulse::start(&cluster.key_led_by(id, "led"), &order));
        pulses.push(Pulse::start(&format!("counter{id}"), &order));
    }
    for id in 1..=3 {
        pulses.iter().for_each(|pulse| pulse.await_progress(50));
        cluster.node_mut(id).stop();
        pulses.iter().for_each(|pulse| pulse.await_progress(50));
        cluster.node_mut(id).start();
        cluster.await_whole();
    }
    pulses.iter().for_each(|pulse| pulse.await_progress(50));
    for pulse in pulses {
        pulse.stop().assert_flawless(ports[0]);
    }
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
