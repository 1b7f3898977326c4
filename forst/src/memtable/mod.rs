//! The memtable: a hash index over an arena that is also the log (design D4, D5); what comes in key order needs none.
//!
//! **Invariants**: one live entry a key, of a value that grows possibly in pieces. An entry is overwritten in place only while its chunk is open, that is, while
//! no checkpoint has read it, and only if no deleted range came after it, so that a location tells which was first;
//! everything sealed is immutable and can be uploaded while the task writes on.
//!
//! **Threads**: written by the task thread alone; once frozen it is shared by reading threads behind an `Arc`.
mod arena;
mod ascending;
mod deletions;
mod log;
mod order;
mod pieces;
mod prefetch;
mod sorted;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use arena::grown_log;
pub(crate) use log::{Each, LogEntry, LogReader, LogRecord, read_log};
pub(crate) use order::{Bounds, KeyOrder, OrderedCursor};
pub(crate) use pieces::Pieces;
pub(crate) use sorted::{SortedCursor, SortedMemtable};

use std::hash::BuildHasher as _;

use alluvium_env::{Error, Result};
use bytes::Bytes;
use hashbrown::HashTable;

use crate::deleted::DeletedRanges;
use crate::entry::EntryKind;
use crate::key_range::KeyRange;
use crate::merge::MergeOperator;
use arena::{Arena, Location};
use ascending::Ascending;
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

/// Entries that move into the index with each write once keys no longer come in order: few, so that no write waits for long, and
/// enough for a memtable of half a million keys to have its index after 30,000 writes.
const INDEXED_A_WRITE: usize = 16;

/// Entries by key, in memory.
#[derive(Debug, Default)]
pub(crate) struct Memtable {
    arena: Arena,
    /// All but those that came in order and have not moved here.
    index: HashTable<Slot>,
    ascending: Ascending,
    hasher: foldhash::fast::FixedState,
    deletions: Deletions,
}

impl Memtable {
    #[inline]
    fn hash(&self, key: &[u8]) -> u32 {
        (self.hasher.hash_one(key) >> 32) as u32
    }

    /// The entry of a key, by its hash or in order.
    #[inline]
    fn find(&self, hash: u32, key: &[u8]) -> Option<Location> {
        let same = |slot: &Slot| slot.hash == hash && self.arena.key(slot.at) == key;
        match self.index.find(spread(hash), same) {
            Some(slot) => Some(slot.at),
            None if self.ascending.is_over() => None,
            None => self.ascending.find(&self.arena, key),
        }
    }

    /// The entry of a key; a deleted range is a delete of each key that it covers.
    #[inline]
    pub(crate) fn get(&self, key: &[u8]) -> Option<Pieces<'_>> {
        let at = if self.index.is_empty() {
            if self.is_empty() {
                return None;
            }
            self.ascending.find(&self.arena, key)
        } else {
            self.find(self.hash(key), key)
        };
        match at {
            Some(at) if !self.deletions.hide(key, at) => Some(Pieces::new(&self.arena, self.arena.piece(at))),
            None if !self.deletions.cover(key) => None,
            _ => Some(Pieces::deleted(&self.arena)),
        }
    }

    /// Replaces the entry of a key.
    #[inline]
    pub(crate) fn write(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        if !self.ascending.is_over() {
            if self.ascending.is_next(&self.arena, key) {
                return self.push(kind, key, value);
            }
            self.leave_order();
        }
        self.write_hashed(self.hash(key), kind, key, value)
    }

    #[inline]
    fn write_hashed(&mut self, hash: u32, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        match self.find(hash, key) {
            Some(at) if self.deletions.are_before(at) && self.arena.overwrite(at, kind, value) => Ok(()),
            Some(old) => {
                let new = self.arena.append(kind, key, value)?;
                self.point((hash, key), old, new);
                Ok(())
            }
            None => self.insert(hash, kind, key, value),
        }
    }

    /// Writes a key that is above all others.
    #[inline]
    fn push(&mut self, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let at = self.arena.append(kind, key, value)?;
        self.ascending.push(at);
        Ok(())
    }

    /// A key came that is not next.
    #[inline(never)]
    fn leave_order(&mut self) {
        self.ascending.end();
        self.index_some(INDEXED_A_WRITE);
    }

    /// Moves up to so many entries that came in order into the index.
    pub(crate) fn index_some(&mut self, count: usize) {
        if self.ascending.len() == 0 {
            return;
        }
        self.index.reserve(self.ascending.len(), |slot| slot.spread());
        for _ in 0..count {
            let Some(at) = self.ascending.pop() else { break };
            let hash = self.hash(self.arena.key(at));
            self.index.insert_unique(spread(hash), Slot { hash, at }, |slot| slot.spread());
        }
    }

    /// Folds an operand into the entry of a key, or adds it as an operand for older entries.
    pub(crate) fn merge(&mut self, key: &[u8], operand: &[u8], operator: &dyn MergeOperator) -> Result<()> {
        // Behind a deleted range there is nothing to fold onto, so the operand is the value.
        let first = |deletions: &Deletions| {
            if deletions.cover(key) { EntryKind::Put } else { EntryKind::Merge }
        };
        if !self.ascending.is_over() {
            if self.ascending.is_next(&self.arena, key) {
                return self.push(first(&self.deletions), key, operand);
            }
            self.leave_order();
        }
        let hash = self.hash(key);
        let Some(at) = self.find(hash, key) else {
            return self.insert(hash, first(&self.deletions), key, operand);
        };
        if self.deletions.hide(key, at) {
            return self.write_hashed(hash, EntryKind::Put, key, operand);
        }
        if self.deletions.are_before(at)
            && let Some((kind, value)) = self.arena.open_value(at)
            && kind != EntryKind::Delete
            && operator.merge_in_place(value, operand)
        {
            return Ok(());
        }
        // A delete hides what is older, so the operand is the value.
        if self.arena.piece(at).kind == EntryKind::Delete {
            return self.write_hashed(hash, EntryKind::Put, key, operand);
        }
        if operator.concatenates() {
            return self.grow(hash, at, key, operand);
        }
        let mut folded = Vec::new();
        let kind = self.arena.join(at, &mut folded);
        operator.merge(&mut folded, operand)?;
        self.write_hashed(hash, kind, key, &folded)
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
            LogRecord::Continuation { key, bytes } => {
                self.leave_order();
                let hash = self.hash(key);
                let begun = self.find(hash, key).filter(|at| {
                    !self.deletions.hide(key, *at) && self.arena.piece(*at).kind != EntryKind::Delete
                });
                let at = begun.ok_or_else(|| {
                    Error::corruption(format!(
                        "a log continues the value of {key:02x?}, which it has not begun"
                    ))
                })?;
                self.grow(hash, at, key, bytes)
            }
            LogRecord::DeleteRange { start, end } => self.delete_range(KeyRange::new(start, end)),
        }
    }

    /// What this memtable hides of older sources beyond its own keys.
    pub(crate) fn deleted(&self) -> DeletedRanges {
        self.deletions.ranges()
    }

    #[inline]
    fn insert(&mut self, hash: u32, kind: EntryKind, key: &[u8], value: &[u8]) -> Result<()> {
        let at = self.arena.append(kind, key, value)?;
        self.index.insert_unique(spread(hash), Slot { hash, at }, |slot| slot.spread());
        Ok(())
    }

    fn point(&mut self, (hash, key): (u32, &[u8]), old: Location, new: Location) {
        if let Some(slot) = self.index.find_mut(spread(hash), |slot| slot.at == old) {
            slot.at = new;
        } else {
            self.ascending.point(&self.arena, key, new);
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
        self.ascending.goes_on()
    }

    /// Entries that came in order and are not in the index.
    #[cfg(test)]
    pub(crate) fn unindexed(&self) -> usize {
        self.ascending.len()
    }

    /// Keys that have an entry.
    pub(crate) fn len(&self) -> usize {
        self.index.len() + self.ascending.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0 && self.deletions.is_empty()
    }

    /// Memory it takes: the arena, the index (one control byte and a slot a bucket), and what finds entries that came in order.
    pub(crate) fn size_bytes(&self) -> usize {
        let index = self.index.capacity() * 8 / 7 * (size_of::<Slot>() + 1);
        self.arena.size_bytes() + index + self.ascending.size_bytes() + self.deletions.size_bytes()
    }
}
