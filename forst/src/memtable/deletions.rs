//! The deleted ranges of a memtable, each with the place in the log that tells what it is older than.
use std::collections::BTreeMap;
use std::ops::Bound;

use super::arena::Location;
use crate::deleted::DeletedRanges;
use crate::key_range::{KeyRange, is_before_end};

/// Disjoint ranges by start; a later deletion cuts what it covers out of the earlier ones.
#[derive(Debug, Default)]
pub(super) struct Deletions {
    by_start: BTreeMap<Vec<u8>, Deletion>,
    last: Option<Location>,
    size_bytes: usize,
}

#[derive(Debug)]
struct Deletion {
    /// Empty: no end.
    end: Vec<u8>,
    at: Location,
}

/// What the map adds to the bytes of a range, about.
const RANGE_OVERHEAD_BYTES: usize = 96;

impl Deletions {
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.last.is_none()
    }

    /// Whether every deletion came before the entry at `at`, whatever its key.
    #[inline]
    pub(super) fn are_before(&self, at: Location) -> bool {
        self.last.is_none_or(|last| last < at)
    }

    /// Whether a deletion that came after the entry at `at` covers its key.
    #[inline]
    pub(super) fn hide(&self, key: &[u8], at: Location) -> bool {
        !self.are_before(at) && self.covering(key).is_some_and(|deletion| deletion.at > at)
    }

    /// Whether a deletion covers `key`.
    #[inline]
    pub(super) fn cover(&self, key: &[u8]) -> bool {
        !self.is_empty() && self.covering(key).is_some()
    }

    /// Whether any of them has keys from `start` on and before `end`, of which an empty one is none.
    pub(super) fn meet(&self, start: &[u8], end: &[u8]) -> bool {
        let next = || self.by_start.range::<[u8], _>((Bound::Included(start), Bound::Unbounded)).next();
        self.cover(start) || next().is_some_and(|(start, _)| is_before_end(start, end))
    }

    fn covering(&self, key: &[u8]) -> Option<&Deletion> {
        let (_, deletion) =
            self.by_start.range::<[u8], _>((Bound::Unbounded, Bound::Included(key))).next_back()?;
        is_before_end(key, &deletion.end).then_some(deletion)
    }

    pub(super) fn add(&mut self, range: KeyRange, at: Location) {
        self.last = Some(at);
        let mut cut = Vec::new();
        let until =
            if range.end.is_empty() { Bound::Unbounded } else { Bound::Excluded(range.end.as_slice()) };
        for (start, deletion) in self.by_start.range::<[u8], _>((Bound::Unbounded, until)).rev() {
            let old = KeyRange::new(start, &deletion.end);
            if !old.overlaps(&range) {
                break;
            }
            cut.push((old, deletion.at));
        }
        for (old, old_at) in cut {
            self.by_start.remove(&old.start);
            let reaches_behind = !range.end.is_empty() && old.ends_behind(&range.end);
            let KeyRange { start, end } = old;
            if start < range.start {
                self.by_start.insert(start, Deletion { end: range.start.clone(), at: old_at });
            }
            if reaches_behind {
                self.by_start.insert(range.end.clone(), Deletion { end, at: old_at });
            }
        }
        self.size_bytes += range.start.len() + range.end.len() + RANGE_OVERHEAD_BYTES;
        self.by_start.insert(range.start, Deletion { end: range.end, at });
    }

    pub(super) fn ranges(&self) -> DeletedRanges {
        let range = |(start, deletion): (&Vec<u8>, &Deletion)| KeyRange::new(start, &deletion.end);
        DeletedRanges::union(self.by_start.iter().map(range))
    }

    pub(super) fn size_bytes(&self) -> usize {
        self.size_bytes
    }
}
