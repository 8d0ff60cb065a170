//! Drives a shard: disks, sockets between nodes, timers, threads.
