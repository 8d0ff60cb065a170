//! What the gossip of nodes in a bad world must still do.

mod world;

use std::time::Duration;

use bytes::Bytes;
use kvorum_core::{Mono, Now};
use proptest::prelude::{any, proptest};

use self::world::{World, id};
use super::datagram::{Header, Sealer};
use super::*;

const SEEDS: u64 = 12;
/// How soon a node that is gone is suspect, and down.
const SUSPECT_WITHIN: Duration = Duration::from_secs(3);
const DOWN_WITHIN: Duration = Duration::from_secs(10);
/// How soon all nodes are alive again once nothing keeps them apart.
const ALIVE_WITHIN: Duration = Duration::from_secs(5);

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn settled(nodes: u32, seed: u64) -> World {
    let mut world = World::new(nodes, seed);
    let took = world.settle(ALIVE_WITHIN);
    assert!(took.is_some(), "seed {seed}: {nodes} nodes do not find each other");
    world.run(Duration::from_millis(seed * 137 % 2000));
    world
}

/// All of `by` come to think that of `of` within `most`.
fn assert_within(
    world: &mut World,
    seed: u64,
    by: &[u32],
    of: u32,
    standing: Standing,
    most: Duration,
) {
    let by: Vec<NodeId> = by.iter().map(|node| id(*node)).collect();
    let all = |world: &World| by.iter().all(|by| world.standing(*by, id(of)) == standing);
    let took = world.until(most, all);
    assert!(took.is_some(), "seed {seed}: node {of} is not {} after {most:?}", standing.name());
}

#[test]
fn nodes_find_each_other_in_any_order_and_tell_how_they_are() {
    for nodes in [1, 2, 3, 5, 12] {
        let mut world = settled(nodes, 7);
        let pulse = Pulse { operations: 5, serving: true, ..Pulse::default() };
        world.gossip(id(1)).set_pulse(pulse);
        let told = world.until(seconds(5), |world| {
            world.running().iter().skip(1).all(|by| world.pulse(*by, id(1)) == Some(pulse))
        });
        assert!(told.is_some(), "{nodes} nodes");
        assert!(world.refused.is_empty(), "{:?}", world.refused);
    }
}

#[test]
fn a_dead_node_is_suspect_and_then_down_for_all_others() {
    for seed in 0..SEEDS {
        for nodes in [3, 5] {
            let mut world = settled(nodes, seed);
            world.lost_per_mille = 50;
            world.kill(id(1));
            let others: Vec<u32> = (2..=nodes).collect();
            let dead = world.now;
            for by in &others {
                let doubted = |world: &World| world.standing(id(*by), id(1)) != Standing::Alive;
                let left = SUSPECT_WITHIN.saturating_sub(world.now.since(dead));
                assert!(world.until(left, doubted).is_some(), "seed {seed}, {nodes} nodes");
            }
            let left = DOWN_WITHIN.saturating_sub(world.now.since(dead));
            assert_within(&mut world, seed, &others, 1, Standing::Down, left);
            let suspects = world
                .log
                .iter()
                .filter(|(_, _, of, standing)| *of == id(1) && *standing == Standing::Suspect);
            assert_eq!(suspects.count(), others.len(), "nobody is down who was not suspect before");
        }
    }
}

#[test]
fn a_live_node_is_not_down_however_bad_the_network() {
    for seed in 0..SEEDS {
        let mut world = settled(3, seed);
        world.lost_per_mille = 300;
        world.run(seconds(60));
        let down = world.log.iter().filter(|(_, _, _, standing)| *standing == Standing::Down);
        assert_eq!(down.count(), 0, "seed {seed}: {:?}", world.log);
        assert_eq!(world.closed, 0, "seed {seed}: no stream is closed");
        world.lost_per_mille = 0;
        assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
    }
}

#[test]
fn a_minority_calls_nobody_down_and_a_majority_does() {
    for seed in 0..SEEDS {
        for (nodes, away) in [(2, vec![2]), (3, vec![3]), (5, vec![4, 5]), (4, vec![3, 4])] {
            let mut world = settled(nodes, seed);
            world.part(&away);
            world.run(DOWN_WITHIN);
            let is_majority = |side: usize| side > nodes as usize / 2;
            for by in world.running() {
                for of in world.running().into_iter().filter(|of| *of != by) {
                    let apart = |node: NodeId| away.contains(&node.get());
                    let side = if apart(by) { away.len() } else { nodes as usize - away.len() };
                    let expected = match (apart(by) == apart(of), is_majority(side)) {
                        (true, _) => Standing::Alive,
                        (false, true) => Standing::Down,
                        (false, false) => Standing::Suspect,
                    };
                    let got = world.standing(by, of);
                    assert_eq!(got, expected, "seed {seed}: node {by} on {of} of {nodes}");
                }
            }
            world.heal();
            assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}, {nodes} nodes");
        }
    }
}

#[test]
fn cut_directions_and_pairs_take_nobody_away_whom_others_reach() {
    for seed in 0..SEEDS {
        let mut world = settled(3, seed);
        world.cut.insert((id(1), id(2)));
        world.run(seconds(20));
        world.cut.insert((id(2), id(1)));
        world.run(seconds(20));
        let down = world.log.iter().filter(|(_, _, _, standing)| *standing == Standing::Down);
        assert_eq!(down.count(), 0, "seed {seed}: {:?}", world.log);
        world.heal();
        assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
    }
}

#[test]
fn a_node_that_hears_nobody_calls_nobody_down_and_is_called_down() {
    for seed in 0..SEEDS {
        let mut world = settled(3, seed);
        world.cut.extend([(id(1), id(3)), (id(2), id(3))]);
        assert_within(&mut world, seed, &[1, 2], 3, Standing::Down, DOWN_WITHIN);
        world.run(seconds(20));
        for node in [1, 2] {
            assert_eq!(world.standing(id(3), id(node)), Standing::Suspect);
            assert_eq!(world.standing(id(3 - node), id(node)), Standing::Alive, "seed {seed}");
        }
        world.heal();
        assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
    }
}

#[test]
fn a_restarted_node_is_alive_at_once_whatever_its_disk_remembers() {
    for seed in 0..SEEDS {
        for (away, start) in [(0, 2), (20, 2), (0, 1), (20, 1)] {
            let mut world = settled(3, seed);
            // It has been started three times before.
            for start in 2..=4 {
                world.kill(id(2));
                world.start(id(2), start);
                assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
            }
            world.kill(id(2));
            world.run(seconds(away));
            // With a blank disk it begins to count anew, and goes on above what the others know.
            world.start(id(2), if start == 2 { 5 } else { 1 });
            let took = world.settle(ALIVE_WITHIN);
            assert!(took.is_some(), "seed {seed}, away for {away} s, start {start}");
            // Not only because its streams have come back.
            world.run(seconds(10));
            let pulse = Pulse { operations: 7, ..Pulse::default() };
            world.gossip(id(2)).set_pulse(Pulse { serving: true, ..pulse });
            let told = |world: &World| world.pulse(id(1), id(2)).is_some_and(|p| p.operations == 7);
            assert!(world.until(seconds(5), told).is_some(), "seed {seed}: start {start}");
            assert!(world.settle(Duration::ZERO).is_some(), "seed {seed}: {:?}", world.log);
        }
    }
}

#[test]
fn a_stopped_process_is_noticed_and_blames_nobody_when_it_goes_on() {
    for seed in 0..SEEDS {
        let mut world = settled(3, seed);
        world.pause(id(3));
        let closed = |world: &World| world.closed >= 2;
        assert!(world.until(SUSPECT_WITHIN, closed).is_some(), "its streams are closed");
        assert_within(&mut world, seed, &[1, 2], 3, Standing::Down, DOWN_WITHIN);
        world.run(seconds(30));
        let before = world.log.len();
        world.resume(id(3));
        assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
        world.run(seconds(10));
        let blamed = world.log[before..]
            .iter()
            .filter(|(_, by, _, standing)| *by == id(3) && *standing != Standing::Alive);
        assert_eq!(blamed.count(), 0, "seed {seed}");
    }
}

#[test]
fn without_udp_streams_carry_the_gossip() {
    for seed in 0..SEEDS {
        let mut world = settled(3, seed);
        for node in [1, 2] {
            world.udp_cut.extend([(id(node), id(3)), (id(3), id(node))]);
        }
        world.run(seconds(60));
        let bad = world.log.iter().filter(|(_, _, _, standing)| *standing == Standing::Down);
        assert_eq!((bad.count(), world.closed), (0, 0), "seed {seed}: {:?}", world.log);
        for (by, of) in [(1, 3), (2, 3), (3, 1), (3, 2)] {
            assert_eq!(world.standing(id(by), id(of)), Standing::Alive, "seed {seed}");
        }
        let pulse = Pulse { operations: 7, serving: true, ..Pulse::default() };
        world.gossip(id(3)).set_pulse(pulse);
        let told = |world: &World| world.pulse(id(1), id(3)) == Some(pulse);
        assert!(world.until(seconds(5), told).is_some(), "seed {seed}: reports come through");
        world.pause(id(3));
        let closed = |world: &World| world.closed >= 2;
        assert!(world.until(SUSPECT_WITHIN, closed).is_some(), "seed {seed}");
        assert_within(&mut world, seed, &[1, 2], 3, Standing::Down, DOWN_WITHIN);
        world.resume(id(3));
        assert!(world.settle(ALIVE_WITHIN).is_some(), "seed {seed}");
    }
}

#[test]
fn a_cluster_that_starts_without_udp_is_whole_all_the_same() {
    for seed in 0..SEEDS {
        let mut world = World::new(3, seed);
        world.lost_per_mille = 1000;
        assert!(world.settle(seconds(10)).is_some(), "seed {seed}");
        world.run(seconds(20));
        assert_eq!(world.closed, 0, "seed {seed}");
        assert!(world.settle(Duration::ZERO).is_some(), "seed {seed}: {:?}", world.log);
    }
}

#[test]
fn the_same_seed_gives_the_same_story() {
    let story = |seed| {
        let mut world = World::new(5, seed);
        world.lost_per_mille = 100;
        world.run(seconds(5));
        world.part(&[1, 2]);
        world.run(seconds(12));
        world.heal();
        world.kill(id(3));
        world.run(seconds(12));
        (world.log, world.refused, world.closed)
    };
    assert_eq!(story(5), story(5));
    assert_ne!(story(5).0, story(6).0);
}

#[test]
fn a_secret_keeps_out_whoever_does_not_know_it() {
    let secret = |text: &'static [u8]| Secret::new(Bytes::from_static(text));
    let mut world = World::new(3, 1);
    world.secret = secret(b"a secret of the cluster");
    for node in 1..=2 {
        world.start(id(node), 2);
    }
    world.secret = secret(b"not a secret of the cluster");
    world.start(id(3), 2);
    world.run(seconds(10));
    assert_eq!(world.standing(id(1), id(2)), Standing::Alive);
    assert!(world.refused[&Refusal::Unauthentic] > 10);
    let view = world.gossip(id(1)).view(id(3)).unwrap();
    assert_eq!((view.heartbeat, view.pulse), (0, None), "nothing of it was taken");
}

/// A node of a cluster of three that is alone, and a datagram that it would take.
fn target() -> (Gossip, Header, Sealer) {
    let nodes: Vec<NodeId> = (1..=3).map(id).collect();
    let options = Options {
        me: id(1),
        cluster: fingerprint("test", &nodes),
        nodes,
        incarnation: Incarnation::of_start(4),
        process: 5,
        secret: None,
        interval: Duration::from_millis(500),
        addresses: Addresses::default(),
    };
    let header = Header {
        kind: Kind::Echo,
        cluster: options.cluster,
        from: id(2),
        incarnation: Incarnation::of_start(1),
        process: 6,
        to: id(1),
        known: Incarnation::default(),
        number: 1,
    };
    (Gossip::new(options, Mono(0)), header, Sealer::new(None))
}

#[test]
fn what_is_not_meant_for_a_node_is_refused_by_its_reason_and_changes_nothing() {
    let (mut gossip, header, sealer) = target();
    let mut take =
        |header: &Header| gossip.receive(Now::default(), Path::Udp, &sealer.seal(header, &[0; 8]));
    let refusals = [
        (Header { cluster: 1, ..header }, Refusal::OtherCluster),
        (Header { from: id(9), ..header }, Refusal::Stranger),
        (Header { from: id(1), ..header }, Refusal::Stranger),
        (Header { to: id(3), ..header }, Refusal::Misaddressed),
    ];
    for (header, refusal) in refusals {
        assert_eq!(take(&header), Err(refusal));
    }
    assert_eq!(take(&header), Ok((id(2), Kind::Echo)));
    assert_eq!(take(&header), Err(Refusal::Replayed));
    assert_eq!(take(&Header { number: 2, kind: Kind::Swim, ..header }), Err(Refusal::Malformed));
}

#[test]
fn one_vote_calls_nobody_down() {
    let (mut gossip, ..) = target();
    let mut now = Mono(0);
    while now < Mono(30_000_000) {
        now = gossip.next_deadline();
        gossip.tick(now);
        // Node 2 is alive, and says nothing of node 3.
        gossip.heard(id(2), now, 1);
    }
    assert_eq!(gossip.view(id(2)).unwrap().standing, Standing::Alive);
    assert_eq!(gossip.view(id(3)).unwrap().standing, Standing::Suspect);
}

#[test]
fn the_sleep_of_a_process_is_not_held_against_the_others() {
    let (mut gossip, ..) = target();
    gossip.tick(Mono(0));
    gossip.heard(id(2), Mono(0), 1);
    let sleep = seconds(60);
    for begun in [Mono(0), Mono(0) + sleep] {
        let awake = begun + sleep;
        gossip.tick(awake);
        assert_eq!(gossip.view(id(2)).unwrap().standing, Standing::Alive);
        assert!(gossip.next_deadline() > awake, "it has caught up");
        gossip.heard(id(2), awake, 1);
    }
}

proptest! {
    #[test]
    fn no_bytes_do_any_harm(bytes in proptest::collection::vec(any::<u8>(), 0..1500)) {
        let (mut gossip, ..) = target();
        assert!(gossip.receive(Now::default(), Path::Udp, &bytes).is_err());
        assert_eq!(gossip.view(id(2)).unwrap().standing, Standing::Suspect);
        assert_eq!(gossip.view(id(2)).unwrap().seen_ms, 0);
    }

    /// Bytes behind a good seal: what a node of another build might say.
    #[test]
    fn no_content_does_any_harm(
        contents in proptest::collection::vec(
            (0..3_usize, proptest::collection::vec(any::<u8>(), 0..60)),
            1..20,
        ),
        truncated in any::<bool>(),
    ) {
        let (mut gossip, header, sealer) = target();
        for (number, (kind, content)) in (1..).zip(contents) {
            let header = Header { number, kind: Kind::ALL[kind], ..header };
            let mut datagram = sealer.seal(&header, &content).to_vec();
            datagram.truncate(datagram.len() - usize::from(truncated));
            // Whether it is taken makes no difference here.
            let _ = gossip.receive(Now::default(), Path::Udp, &datagram);
            gossip.tick(Mono(number * 100_000));
            gossip.take_effects();
        }
        assert_ne!(gossip.view(id(3)).unwrap().standing, Standing::Down);
    }
}
