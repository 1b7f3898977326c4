//! Randomness: tokens that tell one attempt from another; seeded, so that a simulation replays.
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// A source of random numbers (`SplitMix64`; not for secrets).
#[derive(Debug)]
pub struct Entropy {
    state: AtomicU64,
}

impl Entropy {
    /// Seeded by the operating system.
    pub fn from_os() -> Self {
        Self::from_seed(RandomState::new().build_hasher().finish())
    }

    /// Seeded by hand: the same seed gives the same numbers.
    pub fn from_seed(seed: u64) -> Self {
        Self { state: AtomicU64::new(seed) }
    }

    /// The next number.
    pub fn next_u64(&self) -> u64 {
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let mut z = self.state.fetch_add(GOLDEN, Ordering::Relaxed).wrapping_add(GOLDEN);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_gives_one_sequence() {
        let (a, b) = (Entropy::from_seed(7), Entropy::from_seed(7));
        let first: Vec<u64> = (0..8).map(|_| a.next_u64()).collect();
        assert_eq!(first, (0..8).map(|_| b.next_u64()).collect::<Vec<_>>());
        assert_ne!(first.first(), Some(&Entropy::from_seed(8).next_u64()));
    }
}
