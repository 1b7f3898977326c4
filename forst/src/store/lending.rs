//! What memtables leave of their share is lent to the blocks, which give it back before it is written to (RFC 0007).
//!
//! Both belong to the task thread, and a block can leave at once, so that nothing has to be asked for or waited for: a write that
//! comes near to what is lent has a few blocks leave. What has been flushed counts as in use while a scan reads it, or a checkpoint
//! uploads its log.
use std::sync::{Arc, Weak};

use super::deltas::Delta;
use super::{Frozen, Store};
use crate::memtable::Memtable;
use crate::settings::Budget;

/// So far ahead of the active memtable the blocks give way: an arena's chunk, or some sixty blocks.
const AHEAD_BYTES: usize = 256 << 10;
/// In a small store the part of a memtable.
const AHEAD_SHARE: usize = 16;

/// For what is written at once and is not small beside that, room is made first.
pub(super) const LARGE_BYTES: usize = 16 << 10;

/// What is known of memory that was lent.
#[derive(Default)]
pub(super) struct Lending {
    /// From this size of the active memtable on less is lent.
    until_bytes: usize,
    /// What is left of memtables that were flushed, with what it takes.
    rests: Vec<(Rest, usize)>,
}

/// What is in memory of a memtable that was flushed.
enum Rest {
    /// All of it, for a scan.
    Table(Weak<Memtable>),
    /// A part of its log, for a checkpoint.
    Log(Weak<Delta>),
}

impl Rest {
    fn is_in_use(&self) -> bool {
        match self {
            Self::Table(table) => table.strong_count() > 0,
            Self::Log(delta) => delta.upgrade().is_some_and(|delta| delta.is_under_way()),
        }
    }
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

    /// Lends what flushed memtables took until now, if there was something left of them.
    pub(super) fn lend_rests(&mut self) {
        if !self.lending.rests.is_empty() {
            self.lend(0);
        }
    }

    /// Lends what memtables do not take, but for what will be written at once.
    pub(super) fn lend(&mut self, written_bytes: usize) {
        let (active, ahead) = (self.active_bytes(), self.budget.ahead_bytes() + written_bytes);
        self.lending.rests.retain(|(rest, _)| rest.is_in_use());
        let rests: usize = self.lending.rests.iter().map(|(_, bytes)| bytes).sum();
        let frozen: usize = self.frozen.iter().map(Frozen::size_bytes).sum();
        self.lending.until_bytes = active + ahead;
        self.cache.lend(self.budget.memtables_bytes().saturating_sub(active + frozen + rests + ahead));
    }

    /// A memtable has been flushed.
    pub(super) fn take_back(&mut self, flushed: Frozen) {
        let Frozen { table, deltas, .. } = flushed;
        // Who reads all of it has its log as well.
        if Arc::strong_count(&table) > 1 {
            self.lending.rests.push((Rest::Table(Arc::downgrade(&table)), table.size_bytes()));
        } else {
            let log = |delta: &Arc<Delta>| (Rest::Log(Arc::downgrade(delta)), delta.size_bytes as usize);
            self.lending.rests.extend(deltas.under_way().map(log));
        }
        drop((table, deltas));
        self.lend(0);
    }
}
