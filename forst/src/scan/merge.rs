//! The merge of sorted sources: each key once, folded from its newest entry down.
use std::sync::Arc;

use alluvium_env::Error;

use super::{SortedSource, Source};
use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::expiry::{Fate, Moment, Stamp};
use crate::merge::MergeOperators;
use crate::table::head;
use crate::values::ValuePlace;

/// Whether anything older than the sources exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// Older entries may exist: deletes and operands are kept for them.
    Middle,
    /// Nothing is older: deletes have done their work, and an operand is a value.
    Bottom,
}

/// What a merge keeps of its buffers from one entry to the next.
const MAX_IDLE_BYTES: usize = 1 << 20;

/// Kind, key and value.
pub(crate) type Entry<'a> = (EntryKind, &'a [u8], &'a [u8]);

/// One key of a merge.
#[derive(Clone, Copy)]
pub(crate) struct Merged<'a> {
    pub(crate) entry: Entry<'a>,
    /// When it was updated, if it was judged and expires.
    pub(crate) stamp: Option<Stamp>,
    /// Where the value lies, if the entry is a pointer.
    pub(crate) place: Option<&'a ValuePlace>,
    /// Whether the newest entry of the key came from a block that was in memory.
    pub(crate) is_warm: bool,
}

/// A source in the heap, with the head of its key: mostly that tells two keys apart without going to the sources.
#[derive(Clone, Copy)]
struct Place {
    head: u64,
    source: usize,
}

/// A position in the merge. It owns the current entry.
pub(crate) struct MergeScan<S> {
    sources: Vec<S>,
    /// Whether any of them has deleted ranges, as far as they have come: a run learns of its tables' one by one.
    has_walls: bool,
    /// Sources that have an entry: a binary heap by (key, recency).
    heap: Vec<Place>,
    operators: Arc<dyn MergeOperators>,
    depth: Depth,
    /// When entries are judged; `None` lets the expired ones pass.
    moment: Option<Moment>,
    kind: EntryKind,
    head: u64,
    key: Vec<u8>,
    value: Vec<u8>,
    older: Vec<u8>,
    place: Option<ValuePlace>,
    is_warm: bool,
}

impl<S: SortedSource> MergeScan<S> {
    /// A merge of sources, newest first.
    pub(crate) fn new(sources: Vec<S>, operators: Arc<dyn MergeOperators>, depth: Depth) -> Self {
        let place =
            |(source, of): (usize, &S)| of.entry().map(|(_, key, _)| Place { head: head(key, 0), source });
        let heap = sources.iter().enumerate().filter_map(place).collect();
        let mut scan = Self {
            has_walls: sources.iter().any(SortedSource::deletes_any),
            sources,
            heap,
            operators,
            depth,
            moment: None,
            kind: EntryKind::Delete,
            head: 0,
            key: Vec::new(),
            value: Vec::new(),
            older: Vec::new(),
            place: None,
            is_warm: false,
        };
        for index in (0..scan.heap.len() / 2).rev() {
            scan.sift_down(index);
        }
        scan
    }

    /// Drops what has expired by a moment.
    pub(crate) fn judged_at(mut self, moment: Option<Moment>) -> Self {
        self.moment = moment;
        self
    }

    /// The next key, `None` at the end.
    pub(crate) fn next_merged(&mut self) -> Result<Option<Merged<'_>>, S::Stop> {
        while let Some(source) = self.take_newest()? {
            let wall = self.wall();
            self.fold_older(wall)?;
            if source > wall {
                continue;
            }
            let stamp = match self.judge()? {
                Fate::Lasts => None,
                Fate::Lives(stamp) => Some(stamp),
                Fate::Expired { hides_older: false } => continue,
                Fate::Expired { hides_older: true } => {
                    self.kind = EntryKind::Delete;
                    self.place = None;
                    self.value.clear();
                    None
                }
            };
            let kind = match (self.depth, self.kind) {
                (Depth::Bottom, EntryKind::Delete) => continue,
                (Depth::Bottom, EntryKind::Merge) => EntryKind::Put,
                (_, kind) => kind,
            };
            let (entry, place) = ((kind, self.key.as_slice(), self.value.as_slice()), self.place.as_ref());
            return Ok(Some(Merged { entry, stamp, place, is_warm: self.is_warm }));
        }
        Ok(None)
    }

    /// The key that it is at: what is below has been passed, whatever stopped it.
    pub(crate) fn key(&self) -> &[u8] {
        &self.key
    }

    /// What time has done to the current entry.
    fn judge(&mut self) -> Result<Fate, Error> {
        let (Some(moment), Some(expiry)) = (self.moment, self.operators.expiry()) else {
            return Ok(Fate::Lasts);
        };
        match self.kind {
            EntryKind::Delete => Ok(Fate::Lasts),
            EntryKind::Put | EntryKind::Merge => expiry.judge(&self.key, &mut self.value, moment),
            EntryKind::Pointer => {
                let Some(stamp) = self.place.as_ref().and_then(|place| place.stamp) else {
                    return Ok(Fate::Lasts);
                };
                Ok(match expiry.judge_class(stamp.class, stamp.updated_millis, moment) {
                    Fate::Lives(_) => Fate::Lives(stamp),
                    fate => fate,
                })
            }
        }
    }

    /// The newest source whose deleted ranges cover the current key: what older ones hold of it is gone.
    fn wall(&self) -> usize {
        if !self.has_walls {
            return usize::MAX;
        }
        let covering = self.sources.iter().position(|source| source.deletes(&self.key));
        covering.unwrap_or(usize::MAX)
    }

    /// Copies the lowest key's newest entry out and moves its source on; returns which one it was.
    fn take_newest(&mut self) -> Result<Option<usize>, S::Stop> {
        let Some((source, (kind, key, value))) = top(&self.sources, &self.heap) else { return Ok(None) };
        self.place = match kind {
            EntryKind::Pointer => self.sources.get(source).map(|of| of.place(value)).transpose()?,
            _ => None,
        };
        self.is_warm = self.sources.get(source).is_some_and(SortedSource::is_warm);
        self.kind = kind;
        self.head = self.heap.first().map_or(0, |place| place.head);
        self.key.clear();
        self.key.extend_from_slice(key);
        self.value.clear();
        // A merge that has seen one large value need not hold its size for good.
        self.value.shrink_to(MAX_IDLE_BYTES.max(value.len()));
        self.value.extend_from_slice(value);
        self.advance_top()?;
        Ok(Some(source))
    }

    /// Folds the older entries of the current key into it, or skips them; those behind the wall are gone.
    fn fold_older(&mut self, wall: usize) -> Result<(), S::Stop> {
        while self.heap.first().is_some_and(|place| place.head == self.head)
            && let Some((source, (kind, key, value))) = top(&self.sources, &self.heap)
            && key == self.key
        {
            if self.kind == EntryKind::Merge {
                match kind {
                    _ if source > wall => self.kind = EntryKind::Put,
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
                    EntryKind::Pointer => {
                        let operator =
                            self.operators.operator(&self.key).ok_or_else(|| unfoldable(&self.key))?;
                        let Some(of) = self.sources.get(source) else { break };
                        let place = of.place(value)?;
                        self.older.clear();
                        self.older.extend_from_slice(place.value_in(&of.record(&place)?, &self.key)?);
                        operator.merge(&mut self.older, &self.value)?;
                        std::mem::swap(&mut self.older, &mut self.value);
                        self.kind = EntryKind::Put;
                    }
                }
            }
            self.advance_top()?;
        }
        if self.kind == EntryKind::Merge && wall != usize::MAX {
            self.kind = EntryKind::Put;
        }
        Ok(())
    }

    fn advance_top(&mut self) -> Result<(), S::Stop> {
        let Some(top) = self.heap.first_mut() else { return Ok(()) };
        let Some(source) = self.sources.get_mut(top.source) else { return Ok(()) };
        source.advance()?;
        self.has_walls |= source.deletes_any();
        match source.entry() {
            Some((_, key, _)) => top.head = head(key, 0),
            None => drop(self.heap.swap_remove(0)),
        }
        self.sift_down(0);
        Ok(())
    }

    fn less(&self, a: usize, b: usize) -> bool {
        let (Some(a), Some(b)) = (self.heap.get(a), self.heap.get(b)) else { return false };
        if a.head != b.head {
            return a.head < b.head;
        }
        let key =
            |place: &Place| self.sources.get(place.source)?.entry().map(|(_, key, _)| (key, place.source));
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

impl MergeScan<Source> {
    /// The ranges that the merge hides of what is older than its sources.
    pub(crate) fn deleted(&self) -> DeletedRanges {
        match self.depth {
            Depth::Bottom => DeletedRanges::default(),
            Depth::Middle => {
                let all = self.sources.iter().flat_map(|source| source.deleted().iter().cloned());
                DeletedRanges::union(all)
            }
        }
    }
}

fn top<'a, S: SortedSource>(sources: &'a [S], heap: &[Place]) -> Option<(usize, Entry<'a>)> {
    let newest = heap.first()?.source;
    Some((newest, sources.get(newest)?.entry()?))
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
    use crate::expiry::tests::Ten;
    use crate::key_range::KeyRange;
    use crate::memtable::{Memtable, SortedMemtable};
    use crate::merge::MergeOperator as _;
    use crate::merge::tests::Sum;

    /// What one source does: its deleted range, then its entries.
    fn apply(
        model: &mut BTreeMap<u8, (EntryKind, u64)>,
        deleted: &[(u8, u8)],
        entries: &BTreeMap<u8, (u64, u64)>,
    ) -> Source {
        let mut table = Memtable::default();
        for (start, end) in deleted.iter().filter(|(start, end)| start < end) {
            table.delete_range(KeyRange::new(&[*start], &[*end])).unwrap();
            for key in *start..*end {
                model.insert(key, (EntryKind::Delete, 0));
            }
        }
        for (key, (code, number)) in entries {
            let kind = EntryKind::from_code(*code).unwrap();
            match kind {
                EntryKind::Merge => table.merge(&[*key], &number.to_le_bytes(), &Sum).unwrap(),
                kind => table.write(kind, &[*key], &number.to_le_bytes()).unwrap(),
            }
            let folded = match (kind, model.get(key)) {
                (EntryKind::Merge, Some((EntryKind::Delete, _))) => (EntryKind::Put, *number),
                (EntryKind::Merge, Some((older, n))) => (*older, n.wrapping_add(*number)),
                _ => (kind, *number),
            };
            model.insert(*key, folded);
        }
        Source::memtable(SortedMemtable::new(Arc::new(table)))
    }

    proptest! {
        #[test]
        fn merging_sources_is_applying_them_oldest_first(
            sources in proptest::collection::vec((
                proptest::collection::vec((0_u8..12, 0_u8..13), 0..3),
                proptest::collection::btree_map(0_u8..12, (1_u64..4, any::<u64>()), 0..12)), 0..6),
            bottom: bool,
        ) {
            let mut model: BTreeMap<u8, (EntryKind, u64)> = BTreeMap::new();
            let mut tables = Vec::new();
            for (deleted, entries) in &sources {
                tables.insert(0, apply(&mut model, deleted, entries));
            }
            let depth = if bottom { Depth::Bottom } else { Depth::Middle };
            let mut scan = MergeScan::new(tables, Arc::new(Sum), depth);
            let deleted = scan.deleted();
            prop_assert!(!bottom || deleted.is_empty());
            let mut found = BTreeMap::new();
            while let Some(Merged { entry: (kind, key, value), .. }) = scan.next_merged().unwrap() {
                prop_assert!(found.last_key_value().is_none_or(|(last, _)| *last < key[0]), "keys ascend");
                found.insert(key[0], (kind, u64::from_le_bytes(value.try_into().unwrap())));
            }
            for key in 0..13 {
                let expected = model.get(&key).copied();
                let alive = expected.filter(|(kind, _)| *kind != EntryKind::Delete);
                match found.get(&key).copied() {
                    Some((EntryKind::Delete, _)) => {
                        prop_assert!(!bottom);
                        prop_assert_eq!(expected.map(|(kind, _)| kind), Some(EntryKind::Delete));
                    }
                    Some((EntryKind::Put, n)) if bottom => prop_assert_eq!(alive.map(|(_, n)| n), Some(n)),
                    Some(entry) => prop_assert_eq!(alive, Some(entry)),
                    None => {
                        prop_assert_eq!(alive, None);
                        // A delete that must still reach what is older is an entry or a range.
                        prop_assert!(bottom || expected.is_none() || deleted.covers(&[key]));
                    }
                }
            }
        }
    }

    impl MergeOperators for Ten {
        fn operator(&self, _: &[u8]) -> Option<&dyn crate::merge::MergeOperator> {
            None
        }
        fn expiry(&self) -> Option<&dyn crate::expiry::Expiry> {
            Some(self)
        }
    }

    /// A memtable in which keys were put at a time, or deleted.
    fn written(at: u8, entries: &BTreeMap<u8, bool>) -> Source {
        let mut table = Memtable::default();
        for (key, is_put) in entries {
            let kind = if *is_put { EntryKind::Put } else { EntryKind::Delete };
            table.write(kind, &[*key], if *is_put { std::slice::from_ref(&at) } else { &[] }).unwrap();
        }
        Source::memtable(SortedMemtable::new(Arc::new(table)))
    }

    proptest! {
        /// Keys 0, 1 and 9: one that lasts, one that expires, one whose older entries must stay hidden.
        #[test]
        fn what_has_expired_leaves_a_merge_and_nothing_older_comes_back(
            sources in proptest::collection::vec(
                (0_u8..8, proptest::collection::btree_map(
                    proptest::sample::select(vec![0_u8, 1, 9]), any::<bool>(), 0..3)), 1..6),
            now in 0_u64..60,
            bottom: bool,
        ) {
            let (mut at, mut newest) = (0, BTreeMap::new());
            let mut tables = Vec::new();
            for (pause, entries) in &sources {
                at += pause;
                newest.extend(entries.iter().map(|(key, is_put)| (*key, is_put.then_some(at))));
                tables.insert(0, written(at, entries));
            }
            let depth = if bottom { Depth::Bottom } else { Depth::Middle };
            let moment = Moment { now_millis: now, horizon_millis: now };
            let mut scan = MergeScan::new(tables, Arc::new(Ten { now }), depth).judged_at(Some(moment));
            let mut found = BTreeMap::new();
            while let Some(Merged { entry: (kind, key, value), stamp, .. }) = scan.next_merged().unwrap() {
                prop_assert_eq!(stamp.is_some(), kind == EntryKind::Put && key[0] != 0);
                prop_assert!(stamp.is_none_or(|stamp| stamp.updated_millis == u64::from(value[0])));
                found.insert(key[0], (kind == EntryKind::Put).then(|| value[0]));
            }
            for (key, entry) in newest {
                let lives = |at: u8| key == 0 || now < u64::from(at) + 10;
                let expected = match entry {
                    Some(at) if lives(at) => Some(Some(at)),
                    Some(_) if key == 1 => None,
                    _ if bottom => None,
                    _ => Some(None),
                };
                prop_assert_eq!(found.get(&key).copied(), expected, "key {}", key);
            }
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
        assert!(scan.next_merged().is_err_and(|e| e.message().contains("no operator")));
        let mut acc = 1_u64.to_le_bytes().to_vec();
        Sum.merge(&mut acc, &2_u64.to_le_bytes()).unwrap();
        assert_eq!(acc, 3_u64.to_le_bytes());
    }
}
