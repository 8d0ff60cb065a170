//! With which start number and from which reading on a process stamps versions.

use kvorum_core::{Hlc, HybridClock, Writer};

use super::Founding;

impl Founding {
    /// The start number of this process: that of its log, unless an earlier log of this node was
    /// started more often.
    #[must_use]
    pub fn start(&self) -> u32 {
        let offset = self.membership.as_ref().map_or(0, |membership| membership.start_offset);
        self.me.start.saturating_add(offset)
    }

    /// The clock that this process stamps versions with, once it serves at `wall_ms` (milliseconds
    /// since 1970).
    ///
    /// A version holds the start number modulo [`Writer::STARTS`], so from there on an earlier
    /// start has stamped under the same name. Nothing it stamped may be stamped again: there is no
    /// clock as long as the wall clock has not passed every reading in the log.
    #[must_use]
    pub fn clock(&self, wall_ms: u64) -> Option<HybridClock> {
        let rebuilding = self.membership.as_ref().is_some_and(|membership| membership.rebuilding);
        let above = if rebuilding { self.clock_above } else { Hlc::default() };
        let highest = self.me.highest.max(above);
        let mut clock = HybridClock::new(Writer::new(self.me.node, self.start()), highest);
        if self.start() >= Writer::STARTS {
            if wall_ms <= highest.wall_ms() {
                return None;
            }
            clock.observe(Hlc::from_wall_ms(wall_ms));
        }
        Some(clock)
    }
}
