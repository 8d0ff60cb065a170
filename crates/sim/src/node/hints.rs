//! What a node remembers for others, held against its limits.

use kvorum_core::SLOTS;

use super::Node;

impl Node {
    /// What the node remembers for others beyond its limits; nothing if all is well.
    #[must_use]
    pub fn too_many_hints(&self) -> Option<String> {
        let limits = &self.options.leaderless;
        let (keys, bytes) =
            if limits.hints { (limits.hint_keys, limits.hint_bytes) } else { (0, 0) };
        let pending = self.shard.as_ref()?.stats().hints;
        let over = pending.iter().find(|hints| {
            hints.keys > keys
                || hints.bytes > bytes
                || hints.in_flight > limits.hints_in_flight
                || hints.dirty_slots > usize::from(SLOTS)
        })?;
        Some(format!("{over:?} of {keys} keys and {bytes} bytes"))
    }
}
