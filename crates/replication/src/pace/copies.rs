//! How many copies of whole partitions leave a node at once.
//!
//! Each holds a piece of the partition and what changes meanwhile in memory, and takes disk and
//! network from everything else. So they go one behind the other, up to a few at a time.

use std::sync::Arc;

/// Copies that leave a node at once.
const MOST: usize = 2;

/// The copies under way.
#[derive(Debug, Default)]
pub struct Copies(Arc<()>);

/// One copy. It counts as long as this is held.
#[derive(Debug)]
pub struct Permit(#[allow(dead_code, reason = "only counted")] Arc<()>);

impl Copies {
    /// Leave to send one copy more; nothing while too many are under way.
    #[must_use]
    pub fn permit(&self) -> Option<Permit> {
        // This itself holds one, and so does each permit.
        (Arc::strong_count(&self.0) <= MOST).then(|| Permit(Arc::clone(&self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_that_ends_makes_room_for_another() {
        let copies = Copies::default();
        let held = [copies.permit(), copies.permit()];
        assert!(held.iter().all(Option::is_some));
        assert!(copies.permit().is_none());
        drop(held);
        assert!(copies.permit().is_some());
    }
}
