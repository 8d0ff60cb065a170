//! The heart of a node, without I/O: one turn of the loop.
