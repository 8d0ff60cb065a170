//! The only source of randomness of a run: everything is drawn from its seed.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A seeded generator.
#[derive(Debug)]
pub struct Chance(ChaCha8Rng);

impl Chance {
    /// The generator of a seed.
    #[must_use]
    pub fn new(seed: u64) -> Chance {
        Chance(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A generator of its own, so that drawing more in one place does not change another.
    pub fn fork(&mut self) -> Chance {
        Chance::new(self.0.next_u64())
    }

    /// Any number.
    pub fn any(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number of `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        let span = high.saturating_sub(low).saturating_add(1);
        low + self.0.next_u64() % span.max(1)
    }

    /// An index below `count` (zero if there is none).
    pub fn index(&mut self, count: usize) -> usize {
        let drawn = self.between(0, (count as u64).saturating_sub(1));
        usize::try_from(drawn).unwrap_or(0)
    }

    /// True `permille` times out of a thousand.
    pub fn permille(&mut self, permille: u64) -> bool {
        self.between(0, 999) < permille
    }

    /// One of the items.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }

    /// A seed for something else.
    pub fn bytes(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        self.0.fill_bytes(&mut bytes);
        bytes
    }
}
