//! The memtable: a hash index over an arena that is also the log (design D4, D5).
//!
//! **Invariants**: one live entry a key. An entry is overwritten in place only while its chunk is open, that is, while
//! no checkpoint has read it, and only if no deleted range came after it, so that a location tells which was first;
//! everything sealed is immutable and can be uploaded while the task writes on.
//!
//! **Threads**: written by the task thread alone; once frozen it is shared by reading threads behind an `Arc`.
mod arena;
mod deletions;
mod order;
mod sorted;

pub(crate) use arena::{LogEntry, LogRecord, read_log};
pub(crate) use order::{KeyOrder, OrderedCursor};
pub(crate) use sorted::SortedMemtable;

use std::hash::BuildHasher as _;

use alluvium_env::Result;
use bytes::Bytes;
use hashbrown::HashTable;

use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::key_range::KeyRange;
use crate::merge::MergeOperator;
use arena::{Arena, Location};
use deletions::Deletions;

#[derive(Clone, Copy, Debug)]
struct Slot {
    hash: u32,
    at: Location,
}

impl Slot {
    #[inline]
    fn spread(self) -> u64 {
        spread(self.hash)
    }
}

/// The table takes its tag from the top bits and its bucket from the bottom ones.
#[inline]
fn spread(hash: u32) -> u64 {
    (u64::from(hash) << 32) | u64::from(hash)
}

/// Entries by key, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    arena: Arena,
    index: HashTable<Slot>,
    hasher: foldhash::fast::FixedState,
    deletions: Deletions,
    order: Order,
}

/// How keys have come so far.
#[derive(Clone, Copy, Debug, Default)]
enum Order {
    #[default]
    None,
    /// Each above the one before, none twice; the last one is there.
    Ascending(Location),
    Any,
}

impl Memtable {
    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<Location> {
        let same = |slot: &Slot| slot.hash == hash && self.arena.entry(slot.at).key == key;
        self.index.find(spread(hash), same).map(|slot| slot.at)
    }

    /// The entry of a key; a deleted range is a delete of each key that it covers.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<(EntryKind, &[u8])> {
        if self.is_empty() {
            return None;
        }
        match self.find(self.hash(key), key) {
            Some(at) if !self.deletions.hide(key, at) => {
                let entry = self.arena.entry(at);
                Some((entry.kind, entry.value))
            }
            None if !self.deletions.cover(key) => None,
            _ => Some((EntryKind::Delete, &[])),
        }
    }

    /// Replaces the entry of a key.
    pub(crate) fn write(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let hash = self.hash(key);
        match self.find(hash, key) {
            Some(at) if self.deletions.are_before(at) && self.arena.overwrite(at, kind, value) => {
                self.order = Order::Any;
                Ok(())
            }
            Some(old) => {
                self.order = Order::Any;
                let new = self.arena.append(kind, key, value)?;
                self.point(hash, old, new);
                Ok(())
            }
            None => self.insert(hash, kind, key, value),
        }
    }

    /// Folds an operand into the entry of a key, or adds it as an operand for older entries.
    pub(crate) fn merge(&mut self, key: &[u8], operand: &[u8], operator: &dyn MergeOperator) -> Result<()> {
        let hash = self.hash(key);
        let Some(at) = self.find(hash, key) else {
            // Behind a deleted range there is nothing to fold onto, so the operand is the value.
            let kind = if self.deletions.cover(key) { EntryKind::Put } else { EntryKind::Merge };
            return self.insert(hash, kind, key, operand);
        };
        self.order = Order::Any;
        if self.deletions.hide(key, at) {
            return self.write(EntryKind::Put, key, operand);
        }
        if self.deletions.are_before(at)
            && let Some((kind, value)) = self.arena.open_value(at)
            && kind != EntryKind::Delete
            && operator.merge_in_place(value, operand)
        {
            return Ok(());
        }
        let entry = self.arena.entry(at);
        // A delete hides what is older, so the operand is the value.
        if entry.kind == EntryKind::Delete {
            return self.write(EntryKind::Put, key, operand);
        }
        let (kind, mut folded) = (entry.kind, entry.value.to_vec());
        operator.merge(&mut folded, operand)?;
        self.write(kind, key, &folded)
    }

    /// Deletes every key of a range, here and in whatever is older.
    pub(crate) fn delete_range(&mut self, range: KeyRange) -> Result<()> {
        let at = self.arena.append_range(&range)?;
        self.deletions.add(range, at);
        Ok(())
    }

    /// Takes over a record of a log.
    pub(crate) fn replay(&mut self, record: LogRecord<'_>) -> Result<()> {
        match record {
            LogRecord::Entry(entry) => self.write(entry.kind, entry.key, entry.value),
            LogRecord::DeleteRange { start, end } => self.delete_range(KeyRange::new(start, end)),
        }
    }

    /// What this memtable hides of older sources beyond its own keys.
    pub(crate) fn deleted(&self) -> DeletedRanges {
        self.deletions.ranges()
    }

    fn insert(&mut self, hash: u32, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let at = self.arena.append(kind, key, value)?;
        self.order = match self.order {
            Order::Ascending(last) if self.arena.entry(last).key >= key => Order::Any,
            Order::Any => Order::Any,
            Order::None | Order::Ascending(_) => Order::Ascending(at),
        };
        self.index.insert_unique(spread(hash), Slot { hash, at }, |slot| slot.spread());
        Ok(())
    }

    fn point(&mut self, hash: u32, old: Location, new: Location) {
        if let Some(slot) = self.index.find_mut(spread(hash), |slot| slot.at == old) {
            slot.at = new;
        }
    }

    /// Makes everything written so far immutable: the mark of a checkpoint. O(chunks since the last mark).
    pub(crate) fn seal(&mut self) {
        self.arena.seal();
    }

    /// The sealed log from chunk `from` on.
    pub(crate) fn sealed_from(&self, from: usize) -> Vec<Bytes> {
        self.arena.sealed_from(from)
    }

    /// Chunks so far; after [`Memtable::seal`] the place where the next delta begins.
    pub(crate) fn chunks(&self) -> usize {
        self.arena.chunks()
    }

    /// Whether keys came in ascending order and none twice, as they do where state is loaded: more of them would not fold here.
    pub(crate) fn is_in_order(&self) -> bool {
        matches!(self.order, Order::Ascending(_))
    }

    /// Keys that have an entry.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty() && self.deletions.is_empty()
    }

    /// Memory it takes: the arena and the index (one control byte and a slot a bucket).
    pub(crate) fn size_bytes(&self) -> usize {
        let index = self.index.capacity() * 8 / 7 * (size_of::<Slot>() + 1);
        self.arena.size_bytes() + index + self.deletions.size_bytes()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::merge::tests::Sum;

    #[derive(Clone, Debug)]
    enum Op {
        Put(u8, Vec<u8>),
        Delete(u8),
        Merge(u8, u64),
        DeleteRange(u8, u8),
        Seal,
        Order,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0_u8..20, proptest::collection::vec(any::<u8>(), 8)).prop_map(|(k, v)| Op::Put(k, v)),
            (0_u8..20).prop_map(Op::Delete),
            (0_u8..20, any::<u64>()).prop_map(|(k, n)| Op::Merge(k, n)),
            (0_u8..20, 0_u8..6).prop_map(|(k, n)| Op::DeleteRange(k, k + n)),
            Just(Op::Seal),
            Just(Op::Order),
        ]
    }

    #[test]
    fn keys_are_in_order_until_one_is_not_above_the_last_or_comes_twice() {
        let mut memtable = Memtable::default();
        assert!(!memtable.is_in_order(), "nothing has come");
        for key in [b"a", b"b", b"d"] {
            memtable.write(EntryKind::Put, key, b"1").unwrap();
            assert!(memtable.is_in_order());
        }
        memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum).unwrap();
        assert!(memtable.is_in_order());
        let ends: [fn(&mut Memtable) -> Result<()>; 4] = [
            |memtable| memtable.write(EntryKind::Put, b"c", b"1"),
            |memtable| memtable.write(EntryKind::Put, b"d", b"2"),
            |memtable| memtable.write(EntryKind::Put, b"d", b"longer"),
            |memtable| memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum),
        ];
        for end in ends {
            let mut memtable = Memtable::default();
            memtable.write(EntryKind::Put, b"d", b"1").unwrap();
            memtable.merge(b"e", &1_u64.to_le_bytes(), &Sum).unwrap();
            end(&mut memtable).unwrap();
            memtable.write(EntryKind::Put, b"z", b"1").unwrap();
            assert!(!memtable.is_in_order());
        }
    }

    proptest! {
        #[test]
        fn it_holds_the_last_entry_of_every_key_and_its_log_replays_to_the_same(
            ops in proptest::collection::vec(op(), 0..200),
        ) {
            let mut table = Memtable::default();
            let mut order = KeyOrder::default();
            let mut model: BTreeMap<Vec<u8>, (EntryKind, Vec<u8>)> = BTreeMap::new();
            for op in ops {
                match op {
                    Op::Put(k, v) => {
                        table.write(EntryKind::Put, &[k], &v).unwrap();
                        model.insert(vec![k], (EntryKind::Put, v));
                    }
                    Op::Delete(k) => {
                        table.write(EntryKind::Delete, &[k], &[]).unwrap();
                        model.insert(vec![k], (EntryKind::Delete, vec![]));
                    }
                    Op::Merge(k, n) => {
                        table.merge(&[k], &n.to_le_bytes(), &Sum).unwrap();
                        let fresh = (EntryKind::Merge, n.to_le_bytes().to_vec());
                        model.entry(vec![k]).and_modify(|(kind, v)| {
                            if *kind == EntryKind::Delete {
                                (*kind, *v) = (EntryKind::Put, n.to_le_bytes().to_vec());
                            } else {
                                Sum.merge(v, &n.to_le_bytes()).unwrap();
                            }
                        }).or_insert(fresh);
                    }
                    Op::DeleteRange(start, end) if start < end => {
                        table.delete_range(KeyRange::new(&[start], &[end])).unwrap();
                        (start..end).for_each(|k| drop(model.insert(vec![k], (EntryKind::Delete, vec![]))));
                    }
                    Op::DeleteRange(..) => {}
                    Op::Seal => table.seal(),
                    Op::Order => order.catch_up(&table),
                }
            }
            for k in 0..30 {
                let expected = model.get([k].as_slice()).map(|(kind, v)| (*kind, v.as_slice()));
                prop_assert_eq!(table.get(&[k]), expected);
            }
            table.seal();
            let mut replayed = Memtable::default();
            for chunk in table.sealed_from(0) {
                read_log(&chunk, &mut |record| replayed.replay(record)).unwrap();
            }
            let sorted = SortedMemtable::new(std::sync::Arc::new(replayed));
            let entry = |e: LogEntry<'_>| (e.key.to_vec(), (e.kind, e.value.to_vec()));
            let all: BTreeMap<_, _> = (0..).map_while(|i| sorted.get(i)).map(entry).collect();
            order.catch_up(&table);
            let mut cursor = OrderedCursor::new(&table, &order, &[3], true);
            let mut ordered = Vec::new();
            while let Some(e) = cursor.entry() {
                ordered.push(entry(e));
                cursor.advance();
            }
            let behind: Vec<_> = all.range(vec![4]..).map(|(k, e)| (k.clone(), e.clone())).collect();
            prop_assert_eq!(ordered, behind);
            // A delete is an entry or a range.
            for k in 0..30 {
                let expected = model.get([k].as_slice());
                match all.get([k].as_slice()) {
                    Some(found) => prop_assert_eq!(Some(found), expected),
                    None if sorted.deleted().covers(&[k]) => {
                        prop_assert_eq!(expected.map(|(kind, _)| *kind), Some(EntryKind::Delete));
                    }
                    None => prop_assert_eq!(expected, None),
                }
            }
            let hidden: Vec<bool> = (0..30).map(|k| sorted.deleted().covers(&[k])).collect();
            let (first, second) = sorted.halves();
            let entries = |half: &SortedMemtable| (0..).map_while(|i| half.get(i)).map(entry).collect::<Vec<_>>();
            prop_assert_eq!([entries(&first), entries(&second)].concat(), all.into_iter().collect::<Vec<_>>());
            let middle = second.get(0).map_or(0, |e| e.key[0]);
            for k in 0..30 {
                let (below, above) = (first.deleted().covers(&[k]), second.deleted().covers(&[k]));
                prop_assert_eq!((below, above), (hidden[usize::from(k)] && k < middle, hidden[usize::from(k)] && k >= middle));
            }
        }
    }

    #[test]
    fn a_sealed_entry_is_never_overwritten() {
        let mut table = Memtable::default();
        table.write(EntryKind::Put, b"k", b"old").unwrap();
        table.seal();
        let before = table.sealed_from(0).concat();
        table.write(EntryKind::Put, b"k", b"new").unwrap();
        assert_eq!(table.sealed_from(0).concat(), before);
        assert_eq!(table.get(b"k"), Some((EntryKind::Put, b"new".as_slice())));
    }

    #[test]
    fn entries_larger_than_a_chunk_have_their_own() {
        let mut table = Memtable::default();
        let large = vec![7; 1 << 20];
        table.write(EntryKind::Put, b"small", b"1").unwrap();
        table.write(EntryKind::Put, b"large", &large).unwrap();
        table.write(EntryKind::Put, b"after", b"2").unwrap();
        assert_eq!(table.get(b"large"), Some((EntryKind::Put, large.as_slice())));
        assert_eq!(table.get(b"after"), Some((EntryKind::Put, b"2".as_slice())));
    }
}
