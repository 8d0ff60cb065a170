//! The log is the store: segments, recovery, index, checkpoints and compaction.
