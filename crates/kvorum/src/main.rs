//! The kvorum binary: the commands people type.

fn main() {}
