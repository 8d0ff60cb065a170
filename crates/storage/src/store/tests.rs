//! The store from outside: what is put can be read, now and after a restart.

mod basics;
mod commits;
mod crashes;
mod damage;
mod mutations;
mod promises;
mod rig;
mod space;
mod sums;
mod world;
mod write_once;
