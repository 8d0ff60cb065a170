//! Long random runs: whatever happens, every request is answered exactly once, nothing stays
//! behind, and the same inputs give the same outputs.

use std::time::Duration;

use kvorum_core::{NodeId, Op};
use proptest::prelude::{ProptestConfig, any, prop_assert_eq, proptest};

use super::world::{PARTITIONS, World, get, id, key_in, put};
use crate::Class;

const NODES: usize = 4;

fn node(byte: u8) -> NodeId {
    id(usize::from(byte) % NODES + 1)
}

fn operation(byte: u8) -> Op {
    let key = key_in(usize::from(byte) % PARTITIONS);
    match byte % 5 {
        0 | 1 => put(&key, &"v".repeat(usize::from(byte) * 8)),
        2 => Op::Delete { key: key.into() },
        _ => get(&key),
    }
}

/// What one step of a run does to the world.
fn act(world: &mut World, (kind, a, b): (u8, u8, u8)) {
    let (from, to) = (node(a), node(b));
    let class = if a >= 128 { Class::Bulk } else { Class::Data };
    match kind % 16 {
        0..=3 => {
            for n in 0..a % 4 {
                world.ask(from, operation(b.wrapping_add(n * 3)));
            }
            world.end_turn(from);
        }
        4..=8 if from != to => {
            world.deliver((from, to, class));
        }
        9 | 10 => world.sync(from),
        11 if from != to => world.disconnect(from, to),
        12 if from != to => world.connect_anew(from, to),
        13 => world.pass(Duration::from_millis(u64::from(a) * 10)),
        14 if from != to => world.lose_or_repeat((from, to, class), b >= 128),
        15 => world.settle(),
        _ => {}
    }
}

fn run(steps: &[(u8, u8, u8)]) -> World {
    let mut world = World::new(NODES, |options| {
        options.max_pending_requests = 20;
        options.max_pending_bytes = 12_000;
        options.max_peer_bytes = 8000;
        options.frame_bytes = 2000;
        options.bulk_bytes = 1000;
    });
    for &step in steps {
        act(&mut world, step);
    }
    world
}

impl World {
    fn connect_anew(&mut self, a: NodeId, b: NodeId) {
        self.disconnect(a, b);
        self.connect(a, b);
    }

    /// The network loses a frame, or delivers it and keeps it to deliver it once more.
    fn lose_or_repeat(&mut self, stream: (NodeId, NodeId, Class), repeat: bool) {
        let Some(frames) = self.streams.get_mut(&stream) else { return };
        if repeat {
            if let Some(frame) = frames.front().cloned() {
                frames.push_front(frame);
            }
        } else {
            frames.pop_front();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_exactly_once(
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..250),
    ) {
        let mut world = run(&steps);
        for _ in 0..3 {
            world.settle();
            world.pass(Duration::from_secs(31));
        }
        world.settle();
        let mut answered: Vec<u64> = world.replies.iter().map(|(ticket, _)| ticket.0).collect();
        answered.sort_unstable();
        prop_assert_eq!(answered, (1..=world.asked()).collect::<Vec<u64>>());
        for node in &world.nodes {
            let stats = node.shard.stats();
            let left = (stats.pending_requests, stats.pending_bytes, stats.waiting_for_log);
            prop_assert_eq!(left, (0, 0, 0));
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs(
        steps in proptest::collection::vec(any::<(u8, u8, u8)>(), 1..120),
    ) {
        let (one, other) = (run(&steps), run(&steps));
        prop_assert_eq!(one.replies, other.replies);
        prop_assert_eq!(one.others, other.others);
        prop_assert_eq!(one.streams, other.streams);
    }
}
