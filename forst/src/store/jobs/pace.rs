//! How fast writes are let in: slower by degrees before they would have to stop.
//!
//! Writes that outrun flushes fill both memtables, those that outrun compactions pile up runs in level 0, and either has to
//! end: first at full speed and then not at all is what hurts. So writes are let in as fast as the work they leave gets on,
//! from the moment that it falls behind. What counts is work that is done, not time: a slow store and a busy machine slow
//! writes down just as far as they have to, and there is no rate to be set.
//!
//! - While a memtable is flushed the other one may be filled by half, and by the other half as far as the flush is. Checkpoints freeze
//!   memtables that are not full, several of them where flushes are slow: all together take no more than two full ones.
//! - From [`LEVEL0_SLOW`] runs on, each byte that a compaction takes out of level 0 lets in others: two at first, fewer
//!   with each run, none at [`LEVEL0_STOP`].
//!
//! **Threads**: the task thread's; it looks when it polls.
use std::sync::Arc;

use crate::compaction::{CompactionJob, LEVEL0_STOP, Progress};
use crate::store::{Frozen, Store};
use crate::table::TableFile;

/// Runs of level 0 from which on writes are slowed down: more than the policy lets lie there where compactions keep up.
pub(in crate::store) const LEVEL0_SLOW: usize = 32;

/// A job under way, as far as it concerns writes.
struct Job {
    progress: Arc<Progress>,
    /// How many it will write at most.
    entries: u64,
}

impl Job {
    /// How much of `whole` is done.
    fn share_of(&self, whole: u64) -> u64 {
        let (written, entries) = (u128::from(self.progress.written()), u128::from(self.entries.max(1)));
        u64::try_from(u128::from(whole) * written.min(entries) / entries).unwrap_or(whole)
    }
}

/// A compaction that takes bytes out of level 0.
struct Draining {
    job: Job,
    /// How many, as they were written.
    bytes: u64,
    /// Those that have been counted.
    counted: u64,
}

/// Bytes of a memtable and of the tables it became.
#[derive(Clone, Copy)]
struct Flushed {
    memtable_bytes: u64,
    table_bytes: u64,
}

/// What decides how far the active memtable may be filled for now.
pub(in crate::store) struct Pace {
    flush: Option<Job>,
    /// The last one.
    flushed: Flushed,
    draining: Option<Draining>,
    /// Bytes taken out of level 0 that have let nothing in yet.
    drained: u64,
    /// Bytes that level 0 lets in, while it is long.
    credit: u64,
    /// The active memtable's bytes when that was looked at last.
    seen: u64,
    limit_bytes: usize,
}

impl Default for Pace {
    fn default() -> Self {
        let (flush, draining, credit) = (None, None, 0);
        let flushed = Flushed { memtable_bytes: 1, table_bytes: 1 };
        Self { flush, flushed, draining, drained: 0, credit, seen: 0, limit_bytes: usize::MAX }
    }
}

impl Pace {
    /// Bytes at which the active memtable takes no more for now.
    #[inline]
    pub(in crate::store) fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// A flush of so many entries begins.
    pub(in crate::store) fn flush_began(&mut self, progress: Arc<Progress>, entries: u64) {
        self.flush = Some(Job { progress, entries });
    }

    /// So many bytes of a memtable have become so many of tables.
    pub(in crate::store) fn flushed(&mut self, memtable_bytes: usize, table_bytes: u64) {
        if table_bytes > 0 {
            self.flushed = Flushed { memtable_bytes: memtable_bytes as u64, table_bytes };
        }
    }

    /// No flush is under way.
    pub(in crate::store) fn flush_ended(&mut self) {
        self.flush = None;
    }

    /// A compaction begins that takes these bytes of tables out of level 0 and writes at most so many entries for it.
    pub(in crate::store) fn compaction_began(
        &mut self,
        progress: Arc<Progress>,
        entries: u64,
        table_bytes: u64,
    ) {
        let Flushed { memtable_bytes, table_bytes: flushed } = self.flushed;
        let bytes = u128::from(table_bytes) * u128::from(memtable_bytes) / u128::from(flushed.max(1));
        let bytes = u64::try_from(bytes).unwrap_or(table_bytes);
        self.draining = Some(Draining { job: Job { progress, entries }, bytes, counted: 0 });
    }

    /// The compaction has ended; if it failed level 0 is as long as before.
    pub(in crate::store) fn compaction_ended(&mut self, done: bool) {
        if let Some(draining) = self.draining.take().filter(|_| done) {
            self.drained += draining.bytes - draining.counted;
        }
    }

    /// A memtable of so many bytes is full; the next one is filled.
    pub(in crate::store) fn rotated(&mut self, active_bytes: usize) {
        self.credit = self.credit.saturating_sub((active_bytes as u64).saturating_sub(self.seen));
        self.seen = 0;
    }

    /// Sets the limit for an active memtable of so many bytes, of `memtable_bytes` at most, beside so many that are frozen and over a
    /// level 0 of so many runs.
    pub(in crate::store) fn set(
        &mut self,
        active_bytes: usize,
        memtable_bytes: usize,
        frozen_bytes: Option<usize>,
        runs: usize,
    ) {
        let half = memtable_bytes / 2;
        let of_flush = self.flush.as_ref().map(|flush| half + flush.share_of(half as u64) as usize);
        let of_frozen = frozen_bytes.map(|bytes| (2 * memtable_bytes).saturating_sub(bytes));
        let of_level0 = self.credit(active_bytes as u64, memtable_bytes as u64, runs);
        let of_level0 = of_level0.map(|credit| active_bytes + credit as usize);
        self.limit_bytes = of_flush.into_iter().chain(of_frozen).chain(of_level0).min().unwrap_or(usize::MAX);
        // Whoever comes to the limit sleeps without asking again.
        if self.limit_bytes < usize::MAX {
            let jobs = self.flush.iter().chain(self.draining.as_ref().map(|draining| &draining.job));
            jobs.for_each(|job| job.progress.wait());
        }
    }

    /// What level 0 lets in after what was written since this was asked last.
    fn credit(&mut self, active_bytes: u64, memtable_bytes: u64, runs: usize) -> Option<u64> {
        if let Some(draining) = &mut self.draining {
            let done = draining.job.share_of(draining.bytes);
            self.drained += done - draining.counted;
            draining.counted = done;
        }
        let (drained, spent) = (std::mem::take(&mut self.drained), active_bytes.saturating_sub(self.seen));
        self.seen = active_bytes;
        if runs < LEVEL0_SLOW {
            // Who comes from full speed may go on for a while.
            self.credit = memtable_bytes / 2;
            return None;
        }
        let left = LEVEL0_STOP.saturating_sub(runs) as u64;
        let earned = drained * 2 * left / (LEVEL0_STOP - LEVEL0_SLOW) as u64;
        // What is saved up is not let in all at once.
        self.credit = (self.credit.saturating_sub(spent) + earned).min(memtable_bytes);
        // Where nothing is taken out of level 0 nothing would come of waiting.
        self.draining.is_some().then_some(self.credit)
    }
}

impl Store {
    /// Looks how far writes may go.
    #[inline]
    pub(in crate::store) fn set_pace(&mut self) {
        let runs = self.version.level0.len();
        let frozen = self.frozen.iter().map(Frozen::size_bytes).reduce(|a, b| a + b);
        self.pace.set(self.active_bytes(), self.budget.memtable_bytes, frozen, runs);
    }

    /// A compaction begins, which may make room in level 0.
    pub(in crate::store) fn pace_by(&mut self, job: &CompactionJob) {
        let Some(progress) = &job.progress else { return };
        let is_of_level0 =
            |file: &TableFile| self.version.level0.iter().flatten().any(|other| other.id == file.id);
        let upper = job.compaction.upper.iter().flatten();
        if !upper.clone().next().is_some_and(|file| is_of_level0(file)) {
            return;
        }
        let table_bytes = upper.map(|file| file.shown_bytes()).sum();
        let entries = job.compaction.inputs().map(|file| file.shown_entries()).sum();
        self.pace.compaction_began(Arc::clone(progress), entries, table_bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMTABLE: usize = 1000;

    fn progress() -> Arc<Progress> {
        Progress::new(Arc::new(|| ()))
    }

    #[test]
    fn a_memtable_fills_by_half_and_then_as_far_as_the_flush_of_the_other_is() {
        let (mut pace, flush) = (Pace::default(), progress());
        pace.set(900, MEMTABLE, None, 0);
        assert_eq!(pace.limit_bytes(), usize::MAX, "nothing is behind");
        pace.flush_began(Arc::clone(&flush), 4096);
        pace.set(100, MEMTABLE, None, 0);
        assert_eq!(pace.limit_bytes(), 500);
        flush.advance(1024);
        pace.set(500, MEMTABLE, None, 0);
        assert_eq!(pace.limit_bytes(), 625);
        flush.advance(9999);
        pace.set(625, MEMTABLE, None, 0);
        assert_eq!(pace.limit_bytes(), 1000, "a flush that wrote more than was thought is a whole one");
        pace.flush_ended();
        pace.set(625, MEMTABLE, None, 0);
        assert_eq!(pace.limit_bytes(), usize::MAX);
    }

    #[test]
    fn frozen_memtables_and_the_active_one_take_no_more_than_two_full_ones() {
        let mut pace = Pace::default();
        for (frozen, expected) in [(300, 1700), (1000, 1000), (1900, 100), (2100, 0)] {
            pace.set(50, MEMTABLE, Some(frozen), 0);
            assert_eq!(pace.limit_bytes(), expected);
        }
    }

    /// Bytes that are let in for a hundred drained, in the long run, over a level 0 of so many runs.
    fn rate(runs: usize) -> usize {
        let (mut pace, mut active, mut written) = (Pace::default(), 0, 0);
        pace.set(0, MEMTABLE, None, 0);
        for _ in 0..100 {
            let compaction = progress();
            pace.compaction_began(Arc::clone(&compaction), 2048, 200);
            for advanced in [1024, 0, 1024] {
                compaction.advance(advanced);
                pace.set(active, MEMTABLE, None, runs);
                written += pace.limit_bytes() - active;
                active = pace.limit_bytes();
                if active > MEMTABLE {
                    pace.rotated(active);
                    active = 0;
                }
            }
            pace.compaction_ended(true);
        }
        written / 200
    }

    #[test]
    fn the_longer_level_0_the_fewer_writes_are_let_in_for_what_leaves_it() {
        let mut pace = Pace::default();
        pace.compaction_began(progress(), 2048, 200);
        pace.set(100, MEMTABLE, None, LEVEL0_SLOW - 1);
        assert_eq!(pace.limit_bytes(), usize::MAX, "compactions keep up");
        pace.compaction_ended(true);
        pace.set(900, MEMTABLE, None, LEVEL0_STOP);
        assert_eq!(pace.limit_bytes(), usize::MAX, "nothing would come of waiting");
        let rates: Vec<_> = [32, 36, 40, 44, 48].into_iter().map(rate).collect();
        for (rate, expected) in rates.iter().zip([200, 150, 100, 50, 0]) {
            // Half a memtable is what it starts with.
            assert!((expected..expected + 5).contains(rate), "{rates:?}");
        }
    }

    #[test]
    fn a_compaction_that_fails_lets_nothing_in_for_what_it_did_not_do() {
        let mut pace = Pace::default();
        pace.set(0, MEMTABLE, None, 0);
        for (done, expected) in [(false, 500), (true, 500), (true, 700)] {
            pace.compaction_began(progress(), 10, 200);
            pace.set(500, MEMTABLE, None, 40);
            assert_eq!(pace.limit_bytes(), expected, "the first half memtable is used up");
            pace.compaction_ended(done);
        }
    }
}
