//! Nodes in one process, over real sockets on loopback and real files in temporary directories.

// A test may panic: that is how it fails.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

mod cluster;
mod founding;
mod replication;
mod sessions;
mod world;
