//! All choices of a schedule, from its seed.
use std::time::Duration;

use alluvium_env::Entropy;

/// Draws; the same seed draws the same.
#[derive(Debug)]
pub(crate) struct Random {
    entropy: Entropy,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self { entropy: Entropy::from_seed(seed) }
    }

    pub(crate) fn next(&self) -> u64 {
        self.entropy.next_u64()
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&self, end: u64) -> u64 {
        self.next() % end
    }

    /// A number from `from` to `to`, both included.
    pub(crate) fn between(&self, from: u64, to: u64) -> u64 {
        from + self.below(to - from + 1)
    }

    /// So often out of a thousand.
    pub(crate) fn permille(&self, chance: u64) -> bool {
        self.below(1000) < chance
    }

    pub(crate) fn millis(&self, from: u64, to: u64) -> Duration {
        Duration::from_millis(self.between(from, to))
    }
}
