//! A frozen memtable in key order: what a flush and a scan read.
use std::sync::Arc;

use super::arena::Location;
use super::{LogEntry, Memtable};
use crate::deleted::DeletedRanges;

/// The entries of a frozen memtable, sorted once.
pub(crate) struct SortedMemtable {
    table: Arc<Memtable>,
    order: Vec<Location>,
    deleted: DeletedRanges,
}

/// The first bytes of a key as a number; most comparisons end here, without touching the arena. Key group and state
/// take the first four bytes of every key, so four more are of the record's.
pub(super) fn prefix(key: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(key) {
        *to = *from;
    }
    u64::from_be_bytes(bytes)
}

impl SortedMemtable {
    pub(crate) fn new(table: Arc<Memtable>) -> Self {
        let mut keyed: Vec<(u64, Location)> =
            table.index.iter().map(|slot| (prefix(table.arena.entry(slot.at).key), slot.at)).collect();
        if !table.deletions.is_empty() {
            keyed.retain(|(_, at)| !table.deletions.hide(table.arena.entry(*at).key, *at));
        }
        keyed.sort_unstable_by(|a, b| {
            a.0.cmp(&b.0).then_with(|| table.arena.entry(a.1).key.cmp(table.arena.entry(b.1).key))
        });
        let order = keyed.into_iter().map(|(_, at)| at).collect();
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
        self.order.get(index).map(|at| self.table.arena.entry(*at))
    }
}
