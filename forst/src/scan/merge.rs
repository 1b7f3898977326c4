//! The merge of sorted sources: each key once, folded from its newest entry down.
use std::sync::Arc;

use alluvium_env::{Error, Result};

use super::Source;
use crate::entry::EntryKind;
use crate::merge::MergeOperators;

/// Whether anything older than the sources exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Older entries may exist: deletes and operands are kept for them.
    Middle,
    /// Nothing is older: deletes have done their work, and an operand is a value.
    Bottom,
}

/// Kind, key and value.
type Entry<'a> = (EntryKind, &'a [u8], &'a [u8]);

/// A position in the merge. It owns the current entry.
pub(crate) struct MergeScan {
    sources: Vec<Source>,
    /// Indexes of sources that have an entry: a binary heap by (key, recency).
    heap: Vec<usize>,
    operators: Arc<dyn MergeOperators>,
    depth: Depth,
    kind: EntryKind,
    key: Vec<u8>,
    value: Vec<u8>,
    older: Vec<u8>,
}

impl MergeScan {
    /// A merge of sources, newest first.
    pub(crate) fn new(sources: Vec<Source>, operators: Arc<dyn MergeOperators>, depth: Depth) -> Self {
        let heap =
            (0..sources.len()).filter(|i| sources.get(*i).is_some_and(|s| s.entry().is_some())).collect();
        let mut scan = Self {
            sources,
            heap,
            operators,
            depth,
            kind: EntryKind::Delete,
            key: Vec::new(),
            value: Vec::new(),
            older: Vec::new(),
        };
        for index in (0..scan.heap.len() / 2).rev() {
            scan.sift_down(index);
        }
        scan
    }

    /// The next key, `None` at the end.
    pub(crate) fn next_entry(&mut self) -> Result<Option<Entry<'_>>> {
        while self.take_newest()? {
            self.fold_older()?;
            match (self.depth, self.kind) {
                (Depth::Bottom, EntryKind::Delete) => {}
                (Depth::Bottom, _) => return Ok(Some((EntryKind::Put, &self.key, &self.value))),
                (Depth::Middle, kind) => return Ok(Some((kind, &self.key, &self.value))),
            }
        }
        Ok(None)
    }

    /// Copies the lowest key's newest entry out and moves its source on.
    fn take_newest(&mut self) -> Result<bool> {
        let Some((kind, key, value)) = top(&self.sources, &self.heap) else { return Ok(false) };
        self.kind = kind;
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        self.value.extend_from_slice(value);
        self.advance_top()?;
        Ok(true)
    }

    /// Folds the older entries of the current key into it, or skips them.
    fn fold_older(&mut self) -> Result<()> {
        while let Some((kind, key, value)) = top(&self.sources, &self.heap) {
            if key != self.key {
                break;
            }
            if self.kind == EntryKind::Merge {
                match kind {
                    EntryKind::Delete => self.kind = EntryKind::Put,
                    EntryKind::Put | EntryKind::Merge => {
                        let operator =
                            self.operators.operator(&self.key).ok_or_else(|| unfoldable(&self.key))?;
                        self.older.clear();
                        self.older.extend_from_slice(value);
                        operator.merge(&mut self.older, &self.value)?;
                        std::mem::swap(&mut self.older, &mut self.value);
                        self.kind = kind;
                    }
                }
            }
            self.advance_top()?;
        }
        Ok(())
    }

    fn advance_top(&mut self) -> Result<()> {
        let Some(source) = self.heap.first().and_then(|top| self.sources.get_mut(*top)) else {
            return Ok(());
        };
        source.advance()?;
        if source.entry().is_none() {
            self.heap.swap_remove(0);
        }
        self.sift_down(0);
        Ok(())
    }

    fn less(&self, a: usize, b: usize) -> bool {
        let key = |at: usize| {
            let source = *self.heap.get(at)?;
            self.sources.get(source)?.entry().map(|(_, key, _)| (key, source))
        };
        key(a) < key(b)
    }

    fn sift_down(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut lowest = at;
            if left < self.heap.len() && self.less(left, lowest) {
                lowest = left;
            }
            if right < self.heap.len() && self.less(right, lowest) {
                lowest = right;
            }
            if lowest == at {
                return;
            }
            self.heap.swap(at, lowest);
            at = lowest;
        }
    }
}

fn top<'a>(sources: &'a [Source], heap: &[usize]) -> Option<Entry<'a>> {
    sources.get(*heap.first()?)?.entry()
}

#[cold]
pub(crate) fn unfoldable(key: &[u8]) -> Error {
    let start = key.get(..key.len().min(4)).unwrap_or_default();
    Error::invalid(format!(
        "keys that begin with {start:02x?} hold merge operands but no operator is registered for them; register the \
         state under the name and kind it was written with"
    ))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::memtable::{Memtable, SortedMemtable};
    use crate::merge::MergeOperator as _;
    use crate::merge::tests::Sum;

    proptest! {
        #[test]
        fn merging_sources_is_applying_them_oldest_first(
            sources in proptest::collection::vec(
                proptest::collection::btree_map(0_u8..12, (1_u64..4, any::<u64>()), 0..12), 0..6),
            bottom: bool,
        ) {
            let mut model: BTreeMap<u8, (EntryKind, u64)> = BTreeMap::new();
            let mut tables = Vec::new();
            for source in &sources {
                let mut table = Memtable::default();
                for (key, (code, number)) in source {
                    let kind = EntryKind::from_code(*code).unwrap();
                    table.write(kind, &[*key], &number.to_le_bytes()).unwrap();
                    let folded = match (kind, model.get(key)) {
                        (EntryKind::Merge, Some((EntryKind::Delete, _))) => (EntryKind::Put, *number),
                        (EntryKind::Merge, Some((older, n))) => (*older, n.wrapping_add(*number)),
                        _ => (kind, *number),
                    };
                    model.insert(*key, folded);
                }
                tables.insert(0, Source::memtable(SortedMemtable::new(Arc::new(table))));
            }
            let depth = if bottom { Depth::Bottom } else { Depth::Middle };
            let mut scan = MergeScan::new(tables, Arc::new(Sum), depth);
            let mut found = Vec::new();
            while let Some((kind, key, value)) = scan.next_entry().unwrap() {
                found.push((key[0], kind, u64::from_le_bytes(value.try_into().unwrap())));
            }
            let expected: Vec<_> = model.into_iter().filter_map(|(key, (kind, n))| match (bottom, kind) {
                (true, EntryKind::Delete) => None,
                (true, _) => Some((key, EntryKind::Put, n)),
                (false, kind) => Some((key, kind, n)),
            }).collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn operands_without_an_operator_are_an_error_that_says_so() {
        let table = |n: u64| {
            let mut table = Memtable::default();
            table.merge(b"k", &n.to_le_bytes(), &Sum).unwrap();
            Source::memtable(SortedMemtable::new(Arc::new(table)))
        };
        let mut scan =
            MergeScan::new(vec![table(1), table(2)], Arc::new(crate::merge::NoMerges), Depth::Bottom);
        assert!(scan.next_entry().unwrap_err().message().contains("no operator"));
        let mut acc = 1_u64.to_le_bytes().to_vec();
        Sum.merge(&mut acc, &2_u64.to_le_bytes()).unwrap();
        assert_eq!(acc, 3_u64.to_le_bytes());
    }
}
