//! A frozen memtable in key order: what a flush and a scan read.
use std::sync::Arc;

use super::order::{KeyOrder, Slot};
use super::pieces::Here;
use super::{LogEntry, Memtable};
use crate::deleted::DeletedRanges;

/// The entries of a frozen memtable, sorted once.
pub(crate) struct SortedMemtable {
    table: Arc<Memtable>,
    order: Vec<Slot>,
    deleted: DeletedRanges,
}

impl SortedMemtable {
    pub(crate) fn new(table: Arc<Memtable>) -> Self {
        let order = KeyOrder::of(&table);
        let deleted = table.deleted();
        Self { table, order, deleted }
    }

    /// Two of about as many entries each, whose keys are apart.
    pub(crate) fn halves(mut self) -> (Self, Self) {
        let order = self.order.split_off(self.order.len() / 2);
        let middle = order.first().map_or_else(Vec::new, |slot| self.table.arena.key(slot.at).to_vec());
        let before = self.deleted.split_before(&middle);
        let deleted = std::mem::replace(&mut self.deleted, before);
        let second = Self { table: Arc::clone(&self.table), order, deleted };
        (self, second)
    }

    /// What it hides of older sources beyond its own keys.
    pub(crate) fn deleted(&self) -> &DeletedRanges {
        &self.deleted
    }

    /// A cursor at the first entry.
    pub(crate) fn into_cursor(self) -> SortedCursor {
        let mut cursor = SortedCursor { sorted: self, next: 0, here: Here::default() };
        cursor.advance();
        cursor
    }
}

/// Entries lie as they were written, so the next one in key order is a cache miss away: those of so many are waited for at a
/// time. More than a core has under way would be of no use.
const AHEAD: usize = 16;

/// A position in a frozen memtable.
pub(crate) struct SortedCursor {
    sorted: SortedMemtable,
    next: usize,
    here: Here,
}

impl SortedCursor {
    pub(crate) fn deleted(&self) -> &DeletedRanges {
        self.sorted.deleted()
    }

    /// The entry here, `None` at the end.
    #[inline]
    pub(crate) fn entry(&self) -> Option<LogEntry<'_>> {
        self.here.entry(&self.sorted.table)
    }

    /// Goes to the next entry.
    #[inline]
    pub(crate) fn advance(&mut self) {
        if self.next.is_multiple_of(AHEAD) {
            self.touch_ahead();
        }
        match self.sorted.order.get(self.next) {
            Some(slot) => self.here.go(&self.sorted.table, slot.at),
            None => self.here.leave(),
        }
        self.next += 1;
    }

    /// Has the entries from here on brought into the processor's cache: nothing of one is needed to find the next, so all their
    /// misses are under way at once.
    fn touch_ahead(&self) {
        let ahead = self.sorted.order.iter().skip(self.next).take(AHEAD);
        for slot in ahead {
            std::hint::black_box(self.sorted.table.arena.touch(slot.at));
        }
    }
}
