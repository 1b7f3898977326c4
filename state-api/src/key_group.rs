//! Key groups: the unit in which keyed state is assigned to subtasks (Flink's term and Flink's formulas).
use std::fmt;

use alluvium_env::{Error, Result};

/// The number of key groups of an operator: the most subtasks it can ever have. Fixed for the life of its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxParallelism(u16);

/// One slice of the key space, `0..max_parallelism`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyGroup(pub u16);

/// A contiguous range of key groups, `start..end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyGroupRange {
    /// The first key group inside.
    pub start: u16,
    /// The first key group after it.
    pub end: u16,
}

/// The persisted hash of an encoded record key (xxh3, 64 bits): it decides the key group and may never change.
#[inline]
pub fn key_hash(encoded_key: &[u8]) -> u64 {
    xxhash_rust::xxh3::xxh3_64(encoded_key)
}

impl MaxParallelism {
    /// Flink's default lower bound, 128.
    pub const DEFAULT: Self = Self(128);

    /// A maximum between 1 and 32768.
    ///
    /// # Errors
    /// `Invalid` outside that range.
    pub fn new(max: u16) -> Result<Self> {
        if max == 0 || max > 1 << 15 {
            return Err(Error::invalid(format!("max parallelism must be between 1 and 32768, not {max}")));
        }
        Ok(Self(max))
    }

    /// The number itself.
    pub fn get(self) -> u16 {
        self.0
    }

    /// The key group of a key with this [`key_hash`]: its low 32 bits scaled to `0..max`.
    #[inline]
    pub fn key_group(self, hash: u64) -> KeyGroup {
        let low = hash & 0xFFFF_FFFF;
        KeyGroup(((low * u64::from(self.0)) >> 32) as u16)
    }

    /// The subtask that owns a key group at `parallelism`.
    #[inline]
    pub fn subtask_of(self, group: KeyGroup, parallelism: u16) -> u16 {
        let index = u32::from(group.0) * u32::from(parallelism) / u32::from(self.0);
        index as u16
    }

    /// The key groups of subtask `index` of `parallelism`.
    ///
    /// # Errors
    /// `Invalid` if `parallelism` is zero or above the maximum, or `index` is not below `parallelism`.
    pub fn range_of(self, index: u16, parallelism: u16) -> Result<KeyGroupRange> {
        if parallelism == 0 || parallelism > self.0 {
            let max = self.0;
            return Err(Error::invalid(format!(
                "parallelism must be between 1 and {max}, not {parallelism}"
            )));
        }
        if index >= parallelism {
            return Err(Error::invalid(format!(
                "subtask {index} does not exist at parallelism {parallelism}"
            )));
        }
        let (max, p, i) = (u32::from(self.0), u32::from(parallelism), u32::from(index));
        let start = (i * max).div_ceil(p) as u16;
        let end = ((i + 1) * max).div_ceil(p) as u16;
        Ok(KeyGroupRange { start, end })
    }
}

impl Default for MaxParallelism {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl KeyGroupRange {
    /// Every key group there can be.
    pub const ALL: Self = Self { start: 0, end: u16::MAX };

    /// Whether the group is inside.
    #[inline]
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&group.0)
    }

    /// The common part, `None` if there is none.
    pub fn intersect(self, other: Self) -> Option<Self> {
        let both = Self { start: self.start.max(other.start), end: self.end.min(other.end) };
        (both.start < both.end).then_some(both)
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}, {})", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_partition_the_groups_and_agree_with_the_owner() {
        for max in [1, 2, 3, 100, 128, 32768] {
            let max = MaxParallelism::new(max).unwrap();
            for parallelism in [1, 2, 3, 5, 64, 127, 128].into_iter().filter(|p| *p <= max.get()) {
                let mut next = 0;
                for index in 0..parallelism {
                    let range = max.range_of(index, parallelism).unwrap();
                    assert_eq!(range.start, next);
                    for group in range.start..range.end {
                        assert_eq!(max.subtask_of(KeyGroup(group), parallelism), index);
                    }
                    next = range.end;
                }
                assert_eq!(next, max.get());
            }
        }
    }

    #[test]
    fn the_hash_of_a_key_never_changes() {
        let hash = key_hash(b"alluvium\0\0");
        assert_eq!(hash, xxhash_rust::xxh3::xxh3_64(b"alluvium\0\0"));
        assert_eq!(MaxParallelism::DEFAULT.key_group(0xFFFF_FFFF), KeyGroup(127));
        assert_eq!(MaxParallelism::DEFAULT.key_group(0x7FFF_FFFF), KeyGroup(63));
    }

    #[test]
    fn impossible_parallelism_is_refused() {
        assert!(MaxParallelism::new(0).is_err());
        assert!(MaxParallelism::DEFAULT.range_of(0, 129).is_err());
        assert!(MaxParallelism::DEFAULT.range_of(2, 2).is_err());
    }
}
