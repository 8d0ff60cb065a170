//! Election timeouts from randomness that was given, so that one seed takes one course.

/// A sequence of numbers that looks random: SplitMix64 (Steele, Lea and Flood, "Fast splittable
/// pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(super) struct Draw(u64);

impl Draw {
    /// The sequence of a seed.
    pub(super) const fn new(seed: u64) -> Draw {
        Draw(seed)
    }

    /// Another sequence that follows from this one.
    pub(super) fn fork(&mut self) -> Draw {
        Draw(self.next())
    }

    /// The next number of the range `from..to`; `from` if that is empty.
    pub(super) fn between(&mut self, from: usize, to: usize) -> usize {
        let width = to.saturating_sub(from).max(1) as u64;
        from + usize::try_from(self.next() % width).unwrap_or(0)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence_and_stays_in_its_range() {
        let draws = |seed| {
            let mut draw = Draw::new(seed);
            (0..100).map(|_| draw.between(15, 30)).collect::<Vec<_>>()
        };
        assert_eq!(draws(1), draws(1));
        assert_ne!(draws(1), draws(2));
        assert!(draws(3).iter().all(|ticks| (15..30).contains(ticks)));
        assert_eq!(Draw::new(1).between(7, 7), 7);
    }
}
