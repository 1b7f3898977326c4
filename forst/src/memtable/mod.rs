//! The memtable: a hash index over an arena that is also the log (design D4, D5).
//!
//! **Invariants**: one live entry a key. An entry is overwritten in place only while its chunk is open, that is, while
//! no checkpoint has read it; everything sealed is immutable and can be uploaded while the task writes on.
//!
//! **Threads**: written by the task thread alone; once frozen it is shared by reading threads behind an `Arc`.
mod arena;
mod sorted;

pub(crate) use arena::{LogEntry, read_log};
pub(crate) use sorted::SortedMemtable;

use std::hash::BuildHasher as _;

use alluvium_env::Result;
use bytes::Bytes;
use hashbrown::HashTable;

use crate::entry::EntryKind;
use crate::merge::MergeOperator;
use arena::{Arena, Location};

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

    /// The entry of a key.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<(EntryKind, &[u8])> {
        if self.index.is_empty() {
            return None;
        }
        let entry = self.arena.entry(self.find(self.hash(key), key)?);
        Some((entry.kind, entry.value))
    }

    /// Replaces the entry of a key.
    pub(crate) fn write(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let hash = self.hash(key);
        match self.find(hash, key) {
            Some(at) if self.arena.overwrite(at, kind, value) => Ok(()),
            Some(old) => {
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
            return self.insert(hash, EntryKind::Merge, key, operand);
        };
        if let Some((kind, value)) = self.arena.open_value(at)
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

    fn insert(&mut self, hash: u32, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let at = self.arena.append(kind, key, value)?;
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

    pub(crate) fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// Memory it takes: the arena and the index (one control byte and a slot a bucket).
    pub(crate) fn size_bytes(&self) -> usize {
        self.arena.size_bytes() + self.index.capacity() * 8 / 7 * (size_of::<Slot>() + 1)
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
        Seal,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0_u8..20, proptest::collection::vec(any::<u8>(), 8)).prop_map(|(k, v)| Op::Put(k, v)),
            (0_u8..20).prop_map(Op::Delete),
            (0_u8..20, any::<u64>()).prop_map(|(k, n)| Op::Merge(k, n)),
            Just(Op::Seal),
        ]
    }

    proptest! {
        #[test]
        fn it_holds_the_last_entry_of_every_key_and_its_log_replays_to_the_same(
            ops in proptest::collection::vec(op(), 0..200),
        ) {
            let mut table = Memtable::default();
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
                    Op::Seal => table.seal(),
                }
            }
            for k in 0..20 {
                let expected = model.get([k].as_slice()).map(|(kind, v)| (*kind, v.as_slice()));
                prop_assert_eq!(table.get(&[k]), expected);
            }
            table.seal();
            let mut replayed = Memtable::default();
            for chunk in table.sealed_from(0) {
                read_log(&chunk, &mut |e| replayed.write(e.kind, e.key, e.value)).unwrap();
            }
            let sorted = SortedMemtable::new(std::sync::Arc::new(replayed));
            let all: Vec<_> = (0..).map_while(|i| sorted.get(i)).map(|e| (e.key.to_vec(), (e.kind, e.value.to_vec()))).collect();
            prop_assert_eq!(all, model.into_iter().collect::<Vec<_>>());
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
