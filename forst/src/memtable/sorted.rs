//! A frozen memtable in key order: what a flush and a scan read.
use std::sync::Arc;

use super::order::{KeyOrder, Slot};
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
        let middle = order.first().map_or_else(Vec::new, |slot| self.table.arena.entry(slot.at).key.to_vec());
        let before = self.deleted.split_before(&middle);
        let deleted = std::mem::replace(&mut self.deleted, before);
        let second = Self { table: Arc::clone(&self.table), order, deleted };
        (self, second)
    }

    /// What it hides of older sources beyond its own keys.
    pub(crate) fn deleted(&self) -> &DeletedRanges {
        &self.deleted
    }

    /// The entry at a position of the order.
    #[inline]
    pub(crate) fn get(&self, index: usize) -> Option<LogEntry<'_>> {
        self.order.get(index).map(|slot| self.table.arena.entry(slot.at))
    }
}
