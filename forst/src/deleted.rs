//! Deleted ranges: tombstones that cover many keys at once (a map's `clear`, a key group that moved away).
//!
//! **Invariants**: a source's ranges hide only what is *older* than the source: whatever the source holds itself was
//! written after them. Building a source keeps it so: a memtable drops what a deletion covers, a merge does as well.
use alluvium_env::{Error, Result};

use crate::coding::{Input, put_varint, read_section};
use crate::key_range::{KeyRange, is_before_end};

/// Ranges in key order that neither overlap nor touch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct DeletedRanges {
    ranges: Vec<KeyRange>,
}

impl DeletedRanges {
    pub(crate) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    pub(crate) fn iter(&self) -> std::slice::Iter<'_, KeyRange> {
        self.ranges.iter()
    }

    /// Everything that any of `ranges` covers.
    pub(crate) fn union(ranges: impl IntoIterator<Item = KeyRange>) -> Self {
        let mut all: Vec<_> = ranges.into_iter().filter(|range| !range.is_empty()).collect();
        all.sort_unstable_by(|a, b| a.start.cmp(&b.start));
        let mut union = Self::default();
        for range in all {
            match union.ranges.last_mut() {
                Some(last) if last.end.is_empty() || range.start <= last.end => last.extend(&range),
                _ => union.ranges.push(range),
            }
        }
        union
    }

    /// Whether a range covers `key`.
    #[inline]
    pub(crate) fn covers(&self, key: &[u8]) -> bool {
        any_covers(&self.ranges, key)
    }

    /// Those that have keys from `start` on and before `end`, of which an empty one is none; whole, and found without a
    /// look at most of the others.
    pub(crate) fn meeting(&self, start: &[u8], end: &[u8]) -> &[KeyRange] {
        let first = self.ranges.partition_point(|range| !range.ends_behind(start));
        let behind = self.ranges.partition_point(|range| is_before_end(&range.start, end));
        self.ranges.get(first..behind).unwrap_or_default()
    }

    /// Whether one range covers all of `keys`.
    pub(crate) fn covers_all(&self, keys: &KeyRange) -> bool {
        self.ranges.iter().any(|range| range.covers(keys))
    }

    /// The least range that holds them all.
    pub(crate) fn hull(&self) -> Option<KeyRange> {
        let mut hull = self.ranges.first()?.clone();
        self.ranges.iter().for_each(|range| hull.extend(range));
        Some(hull)
    }

    /// The parts within `keys`.
    pub(crate) fn clip(&self, keys: &KeyRange) -> impl Iterator<Item = KeyRange> {
        self.ranges.iter().map(|range| range.intersect(keys)).filter(|range| !range.is_empty())
    }

    /// Takes out what is before `key`.
    pub(crate) fn split_before(&mut self, key: &[u8]) -> Self {
        let (mut before, mut behind) = (Self::default(), Self::default());
        for range in std::mem::take(&mut self.ranges) {
            if range.start.as_slice() < key && range.ends_behind(key) {
                before.ranges.push(KeyRange::new(&range.start, key));
                behind.ranges.push(KeyRange { start: key.to_vec(), end: range.end });
            } else if range.start.as_slice() < key {
                before.ranges.push(range);
            } else {
                behind.ranges.push(range);
            }
        }
        *self = behind;
        before
    }

    pub(crate) fn size_bytes(&self) -> usize {
        let bytes = |range: &KeyRange| size_of::<KeyRange>() + range.start.len() + range.end.len();
        self.ranges.iter().map(bytes).sum()
    }

    /// Appends `count · (start_len · start · end_len · end)*`, numbers as varints.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.ranges.len() as u64);
        for part in self.ranges.iter().flat_map(|range| [&range.start, &range.end]) {
            put_varint(out, part.len() as u64);
            out.extend_from_slice(part);
        }
    }

    /// Reads the section of a table; one without bytes is one without ranges.
    pub(crate) fn read(stored: &[u8]) -> Result<Self> {
        if stored.is_empty() {
            return Ok(Self::default());
        }
        Self::decode(&read_section("the deleted ranges", stored)?)
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut input = Input::new("the deleted ranges", bytes);
        let mut ranges: Vec<KeyRange> = Vec::new();
        for number in 0..input.length()? {
            let length = input.length()?;
            let start = input.take(length)?;
            let length = input.length()?;
            let range = KeyRange::new(start, input.take(length)?);
            let ascends =
                ranges.last().is_none_or(|last| !last.end.is_empty() && last.end.as_slice() < start);
            if range.is_empty() || !ascends {
                return Err(Error::corruption(format!("deleted range {number} is empty or out of order")));
            }
            ranges.push(range);
        }
        Ok(Self { ranges })
    }
}

/// Whether one of these, which are in key order and apart, covers `key`.
#[inline]
pub(crate) fn any_covers(ranges: &[KeyRange], key: &[u8]) -> bool {
    let after = ranges.partition_point(|range| range.start.as_slice() <= key);
    after.checked_sub(1).and_then(|at| ranges.get(at)).is_some_and(|range| range.ends_behind(key))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ranges() -> impl Strategy<Value = Vec<(u8, u8)>> {
        proptest::collection::vec((0_u8..12, 0_u8..12), 0..8)
    }

    proptest! {
        #[test]
        fn a_union_covers_what_its_ranges_cover_and_survives_encoding(pairs in ranges(), cut in 0_u8..12) {
            // 11 stands for no end.
            let end = |e: u8| if e == 11 { Vec::new() } else { vec![e] };
            let all = pairs.iter().map(|(s, e)| KeyRange { start: vec![*s], end: end(*e) });
            let union = DeletedRanges::union(all.clone());
            let mut bytes = Vec::new();
            union.encode(&mut bytes);
            prop_assert_eq!(&DeletedRanges::decode(&bytes).unwrap(), &union);
            let mut behind = union.clone();
            let before = behind.split_before(&[cut]);
            for key in 0_u8..14 {
                let expected = all.clone().any(|range| range.contains(&[key]));
                prop_assert_eq!(union.covers(&[key]), expected);
                prop_assert_eq!(before.covers(&[key]), expected && key < cut);
                prop_assert_eq!(behind.covers(&[key]), expected && key >= cut);
            }
        }

        #[test]
        fn the_ranges_that_meet_keys_cover_of_them_what_all_do_and_no_range_is_elsewhere(
            pairs in ranges(), start in 0_u8..12, end in 0_u8..14,
        ) {
            let all = pairs.iter().map(|(s, e)| KeyRange { start: vec![*s], end: vec![*e] });
            let union = DeletedRanges::union(all);
            // 13 stands for no end.
            let keys = KeyRange { start: vec![start], end: if end == 13 { Vec::new() } else { vec![end] } };
            let met = union.meeting(&keys.start, &keys.end);
            prop_assert!(keys.is_empty() || met.iter().all(|range| range.overlaps(&keys)));
            for key in (0..14).filter(|key| keys.contains(&[*key])) {
                prop_assert_eq!(any_covers(met, &[key]), union.covers(&[key]));
            }
        }

        #[test]
        fn any_bytes_are_refused_or_asked(bytes in proptest::collection::vec(any::<u8>(), 0..60), key: Vec<u8>) {
            if let Ok(ranges) = DeletedRanges::decode(&bytes) {
                let _ = ranges.covers(&key);
            }
        }
    }
}
