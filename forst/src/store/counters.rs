//! What a store counts. Plain cells: only the task thread counts.
use std::cell::Cell;

/// Figures of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Blocks that a lookup found in memory.
    pub memory_hits: u64,
    /// Blocks that were read from the disk tier.
    pub disk_hits: u64,
    /// Blocks and tails that were read from the object store.
    pub misses: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Compactions done, trivial moves included.
    pub compactions: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    memory_hits: Cell<u64>,
    /// Hits and misses when the share of hits was taken, and whether they were the most.
    window: Cell<(u64, u64, bool)>,
    pub(super) disk_hits: u64,
    pub(super) misses: u64,
    pub(super) flushes: u64,
    pub(super) compactions: u64,
}

/// Lookups after which the share of hits is taken anew.
const WINDOW: u64 = 4096;

impl Counters {
    /// Whether most lookups of late found their block in memory.
    pub(super) fn mostly_hits(&self) -> bool {
        let (hits, misses) = (self.memory_hits.get(), self.disk_hits + self.misses);
        let (hits_before, misses_before, verdict) = self.window.get();
        if hits + misses < hits_before + misses_before + WINDOW {
            return verdict;
        }
        let verdict = hits - hits_before > misses - misses_before;
        self.window.set((hits, misses, verdict));
        verdict
    }

    #[inline]
    pub(super) fn memory_hit(&self) {
        self.memory_hits.set(self.memory_hits.get() + 1);
    }

    pub(super) fn read(&self) -> StoreCounters {
        StoreCounters {
            memory_hits: self.memory_hits.get(),
            disk_hits: self.disk_hits,
            misses: self.misses,
            flushes: self.flushes,
            compactions: self.compactions,
        }
    }
}
