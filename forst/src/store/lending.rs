//! What memtables leave of their share is lent to the blocks, which give it back before it is written to (RFC 0007).
//!
//! Both belong to the task thread, and a block can leave at once, so that nothing has to be asked for or waited for: a write that
//! comes near to what is lent has a few blocks leave. What has been flushed but is still read by a scan counts as in use.
use std::sync::{Arc, Weak};

use super::Store;
use crate::memtable::Memtable;
use crate::settings::Budget;

/// So far ahead of the active memtable the blocks give way: about an arena's chunk, for some twenty microseconds of blocks.
const AHEAD_BYTES: usize = 256 << 10;
/// In a small store the part of a memtable.
const AHEAD_SHARE: usize = 16;

/// What is known of memory that was lent.
#[derive(Default)]
pub(super) struct Lending {
    /// From this size of the active memtable on less is lent.
    until_bytes: usize,
    /// Memtables that were flushed while somebody read them, with what they take.
    read: Vec<(Weak<Memtable>, usize)>,
}

impl Budget {
    fn ahead_bytes(&self) -> usize {
        AHEAD_BYTES.min(self.memtable_bytes / AHEAD_SHARE)
    }
}

impl Store {
    /// After a write, before the next one: the active memtable takes so much.
    #[inline]
    pub(super) fn lend_after_write(&mut self, active_bytes: usize) {
        if active_bytes >= self.lending.until_bytes {
            self.lend(0);
        }
    }

    /// Lends what flushed memtables took until now, if some were read.
    pub(super) fn lend_what_was_read(&mut self) {
        if !self.lending.read.is_empty() {
            self.lend(0);
        }
    }

    /// Lends what memtables do not take, but for what will be written at once.
    pub(super) fn lend(&mut self, written_bytes: usize) {
        let (active, ahead) = (self.active.size_bytes(), self.budget.ahead_bytes() + written_bytes);
        self.lending.read.retain(|(table, _)| table.strong_count() > 0);
        let read: usize = self.lending.read.iter().map(|(_, bytes)| bytes).sum();
        let frozen: usize = self.frozen.iter().map(|frozen| frozen.table.size_bytes()).sum();
        self.lending.until_bytes = active + ahead;
        self.cache.lend(self.budget.memtables_bytes().saturating_sub(active + frozen + read + ahead));
    }

    /// A memtable has been flushed.
    pub(super) fn take_back(&mut self, flushed: Arc<Memtable>) {
        if Arc::strong_count(&flushed) > 1 {
            self.lending.read.push((Arc::downgrade(&flushed), flushed.size_bytes()));
        }
        drop(flushed);
        self.lend(0);
    }
}
