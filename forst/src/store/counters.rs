//! What a store counts. Plain cells: only the task thread counts.
use std::cell::Cell;

use super::tails::Lookups;

/// Figures of a store since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreCounters {
    /// Blocks that a lookup found in memory.
    pub memory_hits: u64,
    /// Blocks that were read from the disk tier.
    pub disk_hits: u64,
    /// Blocks and tails that were read from the object store.
    pub misses: u64,
    /// Blocks that a warm-up has brought into memory, from wherever.
    pub warmed: u64,
    /// Lookups by an index block, in tables whose whole index is not in memory.
    pub slim_lookups: u64,
    /// Memtables flushed.
    pub flushes: u64,
    /// Compactions done, trivial moves included.
    pub compactions: u64,
}

#[derive(Debug)]
pub(super) struct Counters {
    memory_hits: Cell<u64>,
    slim_lookups: Cell<u64>,
    /// Reads to which the tables had nothing to say.
    absent: Cell<u64>,
    /// Reads that the tables' parts in memory answered.
    answered: Cell<u64>,
    /// Both of these when they were compared, and whether the first were the most.
    window: Cell<(u64, u64, bool)>,
    /// How surely a key that is asked of the bottom run is there: up with each that is, further down with each that is not.
    bottom_has: Cell<u8>,
    pub(super) disk_hits: u64,
    pub(super) misses: u64,
    pub(super) warmed: u64,
    /// Reads of a key that memory could not answer.
    pub(super) missed_reads: u64,
    pub(super) flushes: u64,
    pub(super) compactions: u64,
}

impl Default for Counters {
    /// Hopes for hits until it knows.
    fn default() -> Self {
        Self {
            memory_hits: Cell::default(),
            slim_lookups: Cell::default(),
            absent: Cell::default(),
            answered: Cell::default(),
            window: Cell::new((0, 0, true)),
            bottom_has: Cell::default(),
            disk_hits: 0,
            misses: 0,
            warmed: 0,
            missed_reads: 0,
            flushes: 0,
            compactions: 0,
        }
    }
}

/// How far `bottom_has` goes, and from where on it is sure.
const BOTTOM_MOST: u8 = 128;
const BOTTOM_SURE: u8 = 64;
/// One key that is not there for so many that are: a search for nothing costs several times what its filter does.
const BOTTOM_LACKS: u8 = 16;

/// Reads after which they are compared anew.
const WINDOW: u64 = 4096;

impl Counters {
    /// Whether most reads of late were answered by what memory holds of the tables.
    pub(super) fn mostly_hits(&self) -> bool {
        let (answered, missed) = (self.answered.get(), self.missed_reads);
        let (answered_before, missed_before, verdict) = self.window.get();
        if answered + missed < answered_before + missed_before + WINDOW {
            return verdict;
        }
        let verdict = answered - answered_before > missed - missed_before;
        self.window.set((answered, missed, verdict));
        verdict
    }

    /// Whether it is known that most reads of late were: not where nothing is read.
    pub(super) fn is_resident(&self) -> bool {
        let (answered_before, ..) = self.window.get();
        self.mostly_hits() && answered_before > 0
    }

    /// Whether nearly all keys that are asked of the bottom run are there.
    #[inline]
    pub(super) fn bottom_has_all(&self) -> bool {
        self.bottom_has.get() >= BOTTOM_SURE
    }

    /// A run, the bottom one or another, was asked for a key, and had it or not.
    #[inline]
    pub(super) fn asked(&self, is_bottom: bool, had: bool) {
        if is_bottom {
            let sure = self.bottom_has.get();
            let sure = if had { (sure + 1).min(BOTTOM_MOST) } else { sure.saturating_sub(BOTTOM_LACKS) };
            self.bottom_has.set(sure);
        }
    }

    /// Whether a read has been answered, of which so many have not been.
    pub(super) fn has_answered(&self, under_way: u64) -> bool {
        self.answered.get() > 0 || self.memory_hits.get() > 0 || self.missed_reads > under_way
    }

    #[inline]
    pub(super) fn answered(&self) {
        self.answered.set(self.answered.get() + 1);
    }

    /// Counts a read of a key that no table has.
    #[inline]
    pub(super) fn absent(&self) {
        self.absent.set(self.absent.get() + 1);
    }

    /// Reads that went to the tables, and those of them that found nothing.
    pub(super) fn lookups(&self) -> Lookups {
        Lookups { reads: self.answered.get() + self.missed_reads, absent: self.absent.get() }
    }

    #[inline]
    pub(super) fn memory_hit(&self) {
        self.memory_hits.set(self.memory_hits.get() + 1);
    }

    pub(super) fn slim_lookup(&self) {
        self.slim_lookups.set(self.slim_lookups.get() + 1);
    }

    pub(super) fn read(&self) -> StoreCounters {
        StoreCounters {
            memory_hits: self.memory_hits.get(),
            disk_hits: self.disk_hits,
            misses: self.misses,
            warmed: self.warmed,
            slim_lookups: self.slim_lookups.get(),
            flushes: self.flushes,
            compactions: self.compactions,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bottom_runs_filters_are_asked_again_once_one_key_in_sixteen_is_not_there() {
        let counters = Counters::default();
        assert!(!counters.bottom_has_all(), "before it is known");
        (0..100).for_each(|_| counters.asked(true, true));
        assert!(counters.bottom_has_all());
        for _ in 0..1000 {
            counters.asked(true, false);
            (0..10).for_each(|_| counters.asked(true, true));
        }
        assert!(!counters.bottom_has_all(), "one in eleven");
        for _ in 0..1000 {
            (0..50).for_each(|_| counters.asked(true, true));
            counters.asked(true, false);
        }
        assert!(counters.bottom_has_all(), "one in fifty");
    }
}
