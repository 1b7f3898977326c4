//! The keys: 8 bytes, as good as random, known by their index; and the order in which they are drawn.
//!
//! `Keys.java` is the same, number for number: both jobs see the same records in the same order.

const STEP: u64 = 0x9E37_79B9_7F4A_7C15;

/// A bijective mix of 64 bits, the finalizer of `SplitMix64`.
#[inline]
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// All keys of one benchmark.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys {
    pub(crate) count: u64,
    pub(crate) seed: u64,
}

impl Keys {
    /// The key of an index.
    #[inline]
    pub(crate) fn key(self, index: u64) -> u64 {
        mix(index.wrapping_add(mix(self.seed)))
    }

    /// What a source draws.
    pub(crate) fn draw(self, source: u64) -> Draw {
        Draw { keys: self, state: mix(self.seed ^ mix(source.wrapping_add(1))) }
    }
}

/// Keys drawn uniformly: `SplitMix64`, scaled by the high half of a product.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    keys: Keys,
    state: u64,
}

impl Draw {
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        let index = (u128::from(mix(self.state)) * u128::from(self.keys.count)) >> 64;
        self.keys.key(index as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `Keys.java` makes of the same seed.
    #[test]
    fn keys_are_those_of_the_java_job() {
        let keys = Keys { count: 1_000_000, seed: 1 };
        let mut draw = keys.draw(0);
        assert_eq!([keys.key(0), keys.key(1)], [8_841_707_400_507_832_957, 15_690_285_813_532_428_630]);
        assert_eq!([draw.next(), draw.next()], [13_247_724_719_314_517_050, 11_614_981_912_935_585_471]);
    }
}
