//! A set of split numbers as ranges: splits end nearly in order, so a job's done splits are one range and a few more.
use std::ops::Range;

/// Disjoint, non-adjacent, ascending ranges.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct SplitRanges(Vec<Range<u64>>);

impl SplitRanges {
    /// Adds a range; an empty one changes nothing.
    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        // Those that touch the new one become one with it.
        let first = self.0.partition_point(|r| r.end < range.start);
        let after = self.0.partition_point(|r| r.start <= range.end);
        let touched = self.0.get(first..after).unwrap_or_default();
        let start = touched.first().map_or(range.start, |r| r.start.min(range.start));
        let end = touched.last().map_or(range.end, |r| r.end.max(range.end));
        self.0.splice(first..after, std::iter::once(start..end));
    }

    pub(crate) fn contains(&self, split: u64) -> bool {
        self.containing(split).is_some()
    }

    /// The first split from `split` on that is not in the set.
    pub(crate) fn next_missing(&self, split: u64) -> u64 {
        self.containing(split).map_or(split, |range| range.end)
    }

    fn containing(&self, split: u64) -> Option<&Range<u64>> {
        let index = self.0.partition_point(|r| r.end <= split);
        self.0.get(index).filter(|r| r.contains(&split))
    }

    pub(crate) fn iter(&self) -> impl ExactSizeIterator<Item = &Range<u64>> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::{Entropy, HashSet};

    use super::*;

    #[test]
    fn ranges_behave_as_a_set_and_stay_minimal() {
        let entropy = Entropy::from_seed(3);
        for _ in 0..200 {
            let (mut ranges, mut model) = (SplitRanges::default(), HashSet::default());
            for _ in 0..12 {
                let start = entropy.next_u64() % 30;
                let end = start + entropy.next_u64() % 5;
                ranges.insert(start..end);
                model.extend(start..end);
            }
            for split in 0..40 {
                assert_eq!(ranges.contains(split), model.contains(&split));
                let missing = (split..99).find(|s| !model.contains(s)).unwrap();
                assert_eq!(ranges.next_missing(split), missing);
            }
            let list: Vec<_> = ranges.iter().cloned().collect();
            assert!(list.windows(2).all(|pair| pair[0].end < pair[1].start), "{list:?}");
        }
    }
}
