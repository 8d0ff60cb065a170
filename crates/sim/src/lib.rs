//! A seeded world: simulated network, disks and clocks, faults, and checkers.
