//! Ranges of keys: what a reference sees of its table, what a table spans, what a deletion covers.

/// The keys from `start` on and before `end`; an empty `end` is no end.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub(crate) struct KeyRange {
    pub(crate) start: Vec<u8>,
    pub(crate) end: Vec<u8>,
}

impl KeyRange {
    pub(crate) fn new(start: &[u8], end: &[u8]) -> Self {
        Self { start: start.to_vec(), end: end.to_vec() }
    }

    /// The keys that begin with `prefix`.
    pub(crate) fn of_prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if let Some(next) = last.checked_add(1) {
                end.push(next);
                break;
            }
        }
        Self { start: prefix.to_vec(), end }
    }

    /// The least range that holds both keys.
    pub(crate) fn through(first: &[u8], last: &[u8]) -> Self {
        // No key lies between `last` and `last · 00`.
        let mut end = last.to_vec();
        end.push(0);
        Self { start: first.to_vec(), end }
    }

    #[inline]
    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.start.as_slice() <= key && self.ends_behind(key)
    }

    /// Whether `key` is before the end.
    #[inline]
    pub(crate) fn ends_behind(&self, key: &[u8]) -> bool {
        is_before_end(key, &self.end)
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.ends_behind(&self.start)
    }

    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.ends_behind(&other.start) && other.ends_behind(&self.start)
    }

    /// Whether every key of `other` is one of this range.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        self.start <= other.start && (self.end.is_empty() || (!other.end.is_empty() && other.end <= self.end))
    }

    /// The common part; it may be empty.
    pub(crate) fn intersect(&self, other: &Self) -> Self {
        let end = earlier_end(&self.end, &other.end).to_vec();
        Self { start: self.start.clone().max(other.start.clone()), end }
    }

    /// Extends the range over another one.
    pub(crate) fn extend(&mut self, other: &Self) {
        if other.start < self.start {
            self.start.clone_from(&other.start);
        }
        if later_end(&other.end, &self.end) {
            self.end.clone_from(&other.end);
        }
    }
}

/// The end that comes first.
pub(crate) fn earlier_end<'a>(a: &'a [u8], b: &'a [u8]) -> &'a [u8] {
    if later_end(a, b) { b } else { a }
}

/// Whether `key` is before `end`, of which an empty one is none.
#[inline]
pub(crate) fn is_before_end(key: &[u8], end: &[u8]) -> bool {
    end.is_empty() || key < end
}

/// Whether `a` ends behind `b`.
fn later_end(a: &[u8], b: &[u8]) -> bool {
    match (a.is_empty(), b.is_empty()) {
        (_, true) => false,
        (true, false) => true,
        (false, false) => a > b,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(prop_oneof![Just(0_u8), Just(1), Just(255)], 0..4)
    }

    proptest! {
        #[test]
        fn a_prefix_range_holds_what_begins_with_it(prefix in key(), other in key()) {
            prop_assert_eq!(KeyRange::of_prefix(&prefix).contains(&other), other.starts_with(&prefix));
        }

        #[test]
        fn ranges_relate_as_their_keys_do(a in key(), b in key(), c in key(), d in key(), probe in key()) {
            let (x, y) = (KeyRange::new(&a, &b), KeyRange::new(&c, &d));
            let both = x.contains(&probe) && y.contains(&probe);
            prop_assert_eq!(x.intersect(&y).contains(&probe), both);
            prop_assert!(!both || x.overlaps(&y));
            let mut hull = x.clone();
            hull.extend(&y);
            prop_assert!(!(x.contains(&probe) || y.contains(&probe)) || hull.contains(&probe));
            prop_assert!(!x.covers(&y) || !y.contains(&probe) || x.contains(&probe));
        }
    }
}
