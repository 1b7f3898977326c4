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
