//! The filter of a table: a binary fuse filter of eight bits (Graf and Lemire, 2022) over the xxh3 hashes of its keys.
//!
//! 9.1 bits a key, 0.4 % false positives, no false negatives. It needs all keys at once and none of them twice, which
//! a table's builder has and a table guarantees.
use std::sync::Arc;

use alluvium_env::{Error, Result};
use xorf::{BinaryFuse8, Descriptor, Filter as _};

use crate::coding::Input;

/// Answers "certainly not here" for most keys that are not. Clones share it: a tail that gives up its index keeps it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    /// `None` answers "perhaps" to every key.
    fuse: Option<Arc<BinaryFuse8>>,
}

/// The persisted hash of a key in filters.
#[inline]
pub(crate) fn filter_hash(key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(key)
}

impl Filter {
    /// A filter over the hashes of a table's keys.
    pub(crate) fn build(mut hashes: Vec<u64>) -> Self {
        // Two keys of one 64-bit hash are as good as one to a filter, but stop its construction.
        hashes.sort_unstable();
        hashes.dedup();
        // Construction is probabilistic and retries; without a filter reads are slower, not wrong.
        Self { fuse: BinaryFuse8::try_from(&hashes).ok().map(Arc::new) }
    }

    #[inline]
    pub(crate) fn may_contain(&self, hash: u64) -> bool {
        self.fuse.as_ref().is_none_or(|fuse| fuse.contains(&hash))
    }

    /// Whether it denies any key.
    pub(crate) fn is_some(&self) -> bool {
        self.fuse.is_some()
    }

    pub(crate) fn size_bytes(&self) -> usize {
        self.fuse.as_ref().map_or(0, |fuse| fuse.fingerprints.len())
    }

    /// Appends `seed:u64 · segment_length:u64 · segment_count_length:u64 · fingerprints`, or nothing without a filter.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        if let Some(fuse) = &self.fuse {
            out.extend_from_slice(&fuse.descriptor.seed.to_le_bytes());
            out.extend_from_slice(&u64::from(fuse.descriptor.segment_length).to_le_bytes());
            out.extend_from_slice(&u64::from(fuse.descriptor.segment_count_length).to_le_bytes());
            out.extend_from_slice(&fuse.fingerprints);
        }
    }

    /// Reads what [`Filter::encode`] wrote, and checks what a probe relies on.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        if bytes.is_empty() {
            return Ok(Self { fuse: None });
        }
        let mut input = Input::new("a filter", bytes);
        let (seed, segment, count) = (input.u64()?, input.u64()?, input.u64()?);
        let fingerprints = bytes.get(input.offset()..).unwrap_or_default();
        let wrong = || {
            let length = fingerprints.len();
            Error::corruption(format!("a filter of {count} + 2 × {segment} slots has {length} fingerprints"))
        };
        let segment_length = u32::try_from(segment).map_err(|_| wrong())?;
        let segment_count_length = u32::try_from(count).map_err(|_| wrong())?;
        // A probe looks at most two segments behind the last one, and only if segments are powers of two.
        let whole = segment_length.is_power_of_two() && segment_count_length.is_multiple_of(segment_length);
        if !whole || segment_count_length == 0 || fingerprints.len() as u64 != count + 2 * segment {
            return Err(wrong());
        }
        let segment_length_mask = segment_length - 1;
        let descriptor = Descriptor { seed, segment_length, segment_length_mask, segment_count_length };
        let fuse = BinaryFuse8 { descriptor, fingerprints: fingerprints.into() };
        Ok(Self { fuse: Some(Arc::new(fuse)) })
    }

    #[cfg(test)]
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        self.fuse.as_ref().zip(other.fuse.as_ref()).is_some_and(|(a, b)| Arc::ptr_eq(a, b))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_key_is_found_again_and_few_others_are() {
        for keys in [1_u64, 2, 3, 10, 1000, 50_000] {
            let hash = |n: u64| filter_hash(&n.to_be_bytes());
            let built = Filter::build((0..keys).map(hash).collect());
            let mut bytes = Vec::new();
            built.encode(&mut bytes);
            let filter = Filter::decode(&bytes).unwrap();
            assert!((0..keys).all(|n| filter.may_contain(hash(n))));
            let wrong = (keys..keys + 10_000).filter(|n| filter.may_contain(hash(*n))).count();
            assert!(wrong < 100, "{wrong} of 10,000 absent keys pass a filter of {keys}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_refused_or_probed(bytes in proptest::collection::vec(any::<u8>(), 0..200), hash: u64) {
            if let Ok(filter) = Filter::decode(&bytes) {
                let _ = filter.may_contain(hash);
            }
        }
    }
}
