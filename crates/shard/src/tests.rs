//! Whole shards with real groups, over a store and a network in memory.

mod figures;
mod leaders;
mod overload;
mod rounds;
mod rules;
mod runs;
mod scripts;
mod store;
mod world;
