//! The hybrid logical clock that stamps versions.

use crate::{Hlc, Version, Writer};

/// A node's hybrid logical clock: never goes back, stays ahead of all it has observed.
#[derive(Clone, Debug)]
pub struct HybridClock {
    last: Hlc,
    writer: Writer,
}

impl HybridClock {
    /// A clock for `writer` that has already seen `highest` (restored from the log).
    #[must_use]
    pub const fn new(writer: Writer, highest: Hlc) -> HybridClock {
        HybridClock { last: highest, writer }
    }

    /// Stamps a new version, larger than everything stamped or observed before.
    pub fn tick(&mut self, wall_ms: u64) -> Version {
        self.last = self.last.next().max(Hlc::from_wall_ms(wall_ms));
        Version { hlc: self.last, writer: self.writer }
    }

    /// Who stamps with this clock; new at every start of the node.
    #[must_use]
    pub const fn writer(&self) -> Writer {
        self.writer
    }

    /// Notes a reading seen in a peer's record.
    pub fn observe(&mut self, seen: Hlc) {
        self.last = self.last.max(seen);
    }

    /// The newest reading stamped or observed.
    #[must_use]
    pub const fn latest(&self) -> Hlc {
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeId;

    #[test]
    fn it_never_goes_back_when_the_wall_clock_does() {
        let writer = Writer::new(NodeId::new(3).unwrap(), 1);
        let mut clock = HybridClock::new(writer, Hlc::default());
        let first = clock.tick(1_700_000_000_000);
        let second = clock.tick(1_600_000_000_000);
        assert!(second > first);
        clock.observe(Hlc::from_wall_ms(1_800_000_000_000));
        assert!(clock.tick(1_700_000_000_000).hlc > Hlc::from_wall_ms(1_800_000_000_000));
    }
}
