//! What a shard counts.

use super::world::{World, get, id, key_in, put};

#[test]
fn records_sent_to_other_replicas_are_counted() {
    let mut world = World::new(3, |_| {});
    world.ask(id(1), put(&key_in(0), "v"));
    world.end_turn(id(1));
    world.ask(id(1), get(&key_in(0)));
    world.end_turn(id(1));
    assert_eq!(world.node(id(1)).shard.stats().sent_records, 2);
}
