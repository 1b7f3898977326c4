//! The keys of a benchmark: 16 bytes each, as good as random, and known by their index.
//!
//! The index goes through two bijective mixes (the finalizer of `SplitMix64`), one for each half of the key: keys are
//! spread evenly over key groups and within them, no two are equal, and nothing has to be remembered about them.
use std::ops::Range;

use alluvium_state_api::{KeyGroup, KeyGroupRange, MaxParallelism, key_hash};

/// Bytes of a key.
pub(super) const KEY_BYTES: usize = 16;
const HALF: usize = KEY_BYTES / 2;
const FACTORS: [u64; 2] = [0xBF58_476D_1CE4_E5B9, 0x94D0_49BB_1331_11EB];
const SHIFTS: [u32; 3] = [30, 27, 31];
/// Tells the second half from the first.
const SECOND: u64 = 0x9E37_79B9_7F4A_7C15;
/// An absent key differs from a present one in the first bit of its second half: it lies among them.
const ABSENT: u64 = 1 << 63;

/// A bijective mix of 64 bits.
#[inline]
pub(super) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> SHIFTS[0])).wrapping_mul(FACTORS[0]);
    z = (z ^ (z >> SHIFTS[1])).wrapping_mul(FACTORS[1]);
    z ^ (z >> SHIFTS[2])
}

/// What [`mix`] made `z` of.
fn unmix(mut z: u64) -> u64 {
    z = unshift(z, SHIFTS[2]).wrapping_mul(inverse(FACTORS[1]));
    z = unshift(z, SHIFTS[1]).wrapping_mul(inverse(FACTORS[0]));
    unshift(z, SHIFTS[0])
}

/// The `x` with `x ^ (x >> shift) == z`.
fn unshift(z: u64, shift: u32) -> u64 {
    z ^ (z >> shift) ^ z.checked_shr(2 * shift).unwrap_or(0)
}

/// The inverse of an odd number modulo 2^64, by Newton's method.
const fn inverse(odd: u64) -> u64 {
    let mut inverse = odd;
    let mut step = 0;
    while step < 5 {
        inverse = inverse.wrapping_mul(2_u64.wrapping_sub(odd.wrapping_mul(inverse)));
        step += 1;
    }
    inverse
}

/// A key and its hash, which decides its key group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Key {
    pub(super) bytes: [u8; KEY_BYTES],
    pub(super) hash: u64,
}

/// All keys of one benchmark.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keys {
    /// How many there are; their indexes are below.
    pub(super) count: u64,
    salt: u64,
}

impl Keys {
    pub(super) fn new(count: u64, seed: u64) -> Self {
        Self { count, salt: mix(seed) }
    }

    /// Only the first `count` of them.
    pub(super) fn first(self, count: u64) -> Self {
        Self { count, ..self }
    }

    /// The key of an index.
    #[inline]
    pub(super) fn key(&self, index: u64) -> Key {
        self.with(index, 0)
    }

    /// A key that was never loaded, beside the one of the index.
    pub(super) fn absent(&self, index: u64) -> Key {
        self.with(index, ABSENT)
    }

    #[inline]
    fn with(&self, index: u64, flip: u64) -> Key {
        let first = mix(index.wrapping_add(self.salt));
        let second = mix(first ^ SECOND) ^ flip;
        let mut bytes = [0; KEY_BYTES];
        let (head, tail) = bytes.split_at_mut(HALF);
        head.copy_from_slice(&first.to_be_bytes());
        tail.copy_from_slice(&second.to_be_bytes());
        Key { bytes, hash: key_hash(&bytes) }
    }

    /// The index of the key whose first half this is.
    fn index(&self, first: u64) -> u64 {
        unmix(first).wrapping_sub(self.salt)
    }

    /// The indexes of all keys of these key groups, in the order of their state keys. Takes eight bytes a key.
    pub(super) fn ascending(&self, groups: Range<u16>) -> impl Iterator<Item = u64> + use<> {
        let mut by_group: Vec<Vec<u64>> = groups.clone().map(|_| Vec::new()).collect();
        for index in 0..self.count {
            let key = self.key(index);
            let group = MaxParallelism::DEFAULT.key_group(key.hash);
            let place = group.0.checked_sub(groups.start).map(usize::from);
            if let Some(list) = place.and_then(|place| by_group.get_mut(place)) {
                list.push(mix(index.wrapping_add(self.salt)));
            }
        }
        let keys = *self;
        for list in &mut by_group {
            list.sort_unstable();
        }
        by_group.into_iter().flatten().map(move |first| keys.index(first))
    }

    /// Whether there is a key in these key groups.
    pub(super) fn any_in(&self, groups: KeyGroupRange) -> bool {
        (0..self.count).any(|index| groups.contains(self.key(index).group()))
    }
}

impl Key {
    /// The key group it belongs to.
    #[inline]
    pub(super) fn group(&self) -> KeyGroup {
        MaxParallelism::DEFAULT.key_group(self.hash)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn mixing_is_undone_by_unmixing() {
        for z in [0, 1, 42, u64::MAX, 0x0123_4567_89AB_CDEF].into_iter().chain(0..1000) {
            assert_eq!(unmix(mix(z)), z);
        }
    }

    #[test]
    fn the_ascending_order_is_complete_and_is_the_order_of_state_keys() {
        let keys = Keys::new(5000, 7);
        let all: Vec<u64> = keys.ascending(0..40).chain(keys.ascending(40..128)).collect();
        let in_order: Vec<_> =
            all.iter().map(|index| (keys.key(*index).group(), keys.key(*index).bytes)).collect();
        assert!(in_order.is_sorted());
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), (0..5000).collect());
        assert_eq!(all.len(), 5000);
    }

    #[test]
    fn absent_keys_lie_among_the_present_and_are_none_of_them() {
        let keys = Keys::new(1000, 1);
        let present: BTreeSet<_> = (0..1000).map(|index| keys.key(index).bytes).collect();
        let absent = (0..1000).map(|index| keys.absent(index).bytes);
        assert!(absent.clone().all(|key| !present.contains(&key)));
        assert!(absent.filter(|key| present.range(*key..).next().is_some()).count() > 990);
    }
}
