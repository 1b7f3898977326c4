//! Background jobs: when they start, and what is done with the results of compactions.
//!
//! One flush and one compaction at a time a store. Level 0 is ordered by flush, so flushes must not overtake each
//! other; a compaction's inputs must still be there when it ends, so a second one could only take what is left.
pub(super) mod close;
mod flush;
pub(super) mod pace;
pub(super) mod trips;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use alluvium_env::{Error, ErrorKind, HashSet, Result};
use tracing::field::display;
use tracing::{Metadata, Span, warn};

use super::Store;
use crate::block::Block;
use crate::cache::SMALL_SHARE;
use crate::compaction::{
    Compaction, CompactionJob, LevelTargets, Progress, Separation, Written, debt_bytes, garbage_of,
};
use crate::compression::Compression;
use crate::metrics::Job;
use crate::remote::{Posted, Trip};
use crate::settings::MAX_READ_AHEAD_BYTES;
use crate::table::{FileId, Keep, Keeping, KeptBlock, TableFile, TableOptions, WarmBlocks};
use crate::version::{LEVELS, VersionEdit};
use close::Reach;

/// What blocks take unpacked, in parts of what they take on the store, for most data at most.
const UNPACKED: u64 = 3;
/// Failures in a row after which a job is not tried again. Each has had its own retries.
const MAX_FAILURES: u32 = 3;

/// What is under way; its end is [`self::close`].
pub(super) struct Jobs {
    pub(super) reach: Reach,
    pub(super) flushing: bool,
    pub(super) compacting: bool,
    /// What the jobs under way hold for the cache.
    pub(super) kept_by_flush: Keeping,
    kept_by_compaction: Keeping,
    /// What the compaction under way has borrowed of the cache's memory for what it reads ahead.
    pub(super) borrowed_bytes: usize,
    /// All that.
    held_bytes: Arc<AtomicUsize>,
    /// Whether nothing is due of this version but what time makes due; and whether memory answered most reads then, by which
    /// the targets differ.
    settled: Option<bool>,
    /// Whether memory answered most reads when jobs were looked for the last time. The debt goes by that too: who waits for it waits
    /// for a job that has begun.
    resident: bool,
    /// The compaction that is done elsewhere.
    pub(super) posted: Option<Posted>,
    /// Failures in a row, of flushes and of compactions.
    pub(super) flushes_failed: u32,
    compactions_failed: u32,
    failure: Option<Error>,
}

impl Jobs {
    pub(super) fn new(reach: Reach) -> Self {
        Self {
            reach,
            flushing: false,
            compacting: false,
            kept_by_flush: Keeping::default(),
            kept_by_compaction: Keeping::default(),
            borrowed_bytes: 0,
            held_bytes: Arc::default(),
            settled: None,
            resident: false,
            posted: None,
            flushes_failed: 0,
            compactions_failed: 0,
            failure: None,
        }
    }

    /// Whether the picker has not been asked about this version, or had an answer.
    pub(super) fn may_be_due(&self) -> bool {
        self.settled != Some(self.resident)
    }

    /// Bytes that jobs have of the cache: blocks that they hold for it, and what is borrowed.
    pub(super) fn held_bytes(&self) -> usize {
        self.held_bytes.load(Ordering::Relaxed)
    }

    /// What one keeps for the cache, of so much room.
    fn keeping(&self, which: Keep, most_bytes: usize) -> Keeping {
        Keeping::new(which, most_bytes, Arc::clone(&self.held_bytes))
    }

    fn borrow(&mut self, bytes: usize) {
        self.give_back();
        self.held_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.borrowed_bytes = bytes;
    }

    fn give_back(&mut self) {
        self.held_bytes.fetch_sub(std::mem::take(&mut self.borrowed_bytes), Ordering::Relaxed);
    }

    /// Why the store cannot go on, if so.
    pub(super) fn failure(&self) -> Option<Error> {
        self.failure.as_ref().map(Error::duplicate)
    }

    fn failed(&mut self, job: Job, error: Error) {
        let (failures, what) = match job {
            Job::Flush => (&mut self.flushes_failed, "flush"),
            Job::Compaction => (&mut self.compactions_failed, "compaction"),
        };
        *failures += 1;
        if error.kind() != ErrorKind::Unavailable || *failures >= MAX_FAILURES {
            self.failure = Some(error.context(what));
        }
    }
}

/// Runs a job within its span, which is told what it wrote. A panic is the job's error.
pub(super) fn guarded<T>(
    span: &Span,
    job: impl FnOnce() -> Result<T>,
    written: impl Fn(&T) -> &Written,
) -> Result<T> {
    let _entered = span.enter();
    let what = span.metadata().map_or("job", Metadata::name);
    let result = catch_unwind(AssertUnwindSafe(job))
        .unwrap_or_else(|_| Err(Error::internal(format!("a {what} panicked"))));
    match &result {
        Ok(done) if !span.is_disabled() => {
            let written = written(done);
            span.record("tables", display(names(written.tables.iter().map(|table| &table.file))));
            span.record("bytes", written_bytes(written));
        }
        Ok(_) => {}
        Err(error) => warn!(%error, "it failed and may be tried again"),
    }
    result
}

/// The objects of tables, for a person.
pub(super) fn names<'a>(files: impl Iterator<Item = &'a Arc<TableFile>>) -> String {
    files.map(|file| file.name()).collect::<Vec<_>>().join(" ")
}

pub(super) fn written_bytes(written: &Written) -> u64 {
    written.tables.iter().map(|table| table.file.meta.size_bytes).sum()
}

impl Store {
    /// Starts what is due.
    pub(super) fn schedule(&mut self) {
        self.account_kept();
        self.cache.hold_back(self.jobs.held_bytes());
        self.jobs.resident = self.counters.is_resident();
        if self.jobs.failure.is_some() {
            return;
        }
        if self.frozen.is_empty() && self.active_bytes() >= self.budget.memtable_bytes {
            // One that was restored full, which no write has found so.
            return self.rotate();
        }
        if !self.jobs.flushing && !self.frozen.is_empty() {
            self.start_flush();
        }
        if !self.jobs.compacting {
            self.start_compaction();
        }
        self.watch_expiry();
    }

    pub(super) fn table_options(&self) -> TableOptions {
        TableOptions {
            block_size_bytes: self.settings.block_size_bytes,
            table_size_bytes: self.budget.table_size_bytes,
            compression: self.settings.compression,
        }
    }

    /// What a flush puts into the cache: as much as pushes out nothing that has been asked for again.
    pub(super) fn keeping_of_flush(&self) -> Keeping {
        self.jobs.keeping(Keep::All, self.cache.room_bytes(SMALL_SHARE))
    }

    /// What a compaction puts into the cache: all it writes if that pushes out nothing, else what has been there, for which
    /// its inputs make room when they go.
    fn keeping_of_compaction(&self, input_bytes: u64) -> Keeping {
        let room_bytes = self.cache.room_bytes(SMALL_SHARE);
        if input_bytes.saturating_mul(UNPACKED) <= room_bytes as u64 {
            self.jobs.keeping(Keep::All, room_bytes)
        } else {
            self.jobs.keeping(Keep::Warm, self.cache.room_bytes(4))
        }
    }

    /// Which blocks of a compaction's inputs are in memory.
    fn warm_blocks(&self, compaction: &Compaction) -> WarmBlocks {
        let mut warm = WarmBlocks::default();
        for file in compaction.inputs() {
            if let Some(blocks) = self.cache.blocks_of(file.id) {
                warm.add(file.id, blocks);
            }
        }
        warm
    }

    /// What the tables of a level are compressed with. The last one is cold once memory cannot hold it.
    fn compression_into(&self, level: usize) -> Compression {
        let is_cold = level == LEVELS && self.version.level_bytes(level) > self.budget.resident_bytes as u64;
        if is_cold { self.settings.cold_compression } else { self.settings.compression }
    }

    /// Which values of a job are kept apart; those of `garbage` files are written anew.
    pub(super) fn separation(&self, garbage: HashSet<FileId>) -> Separation {
        Separation {
            threshold_bytes: self.settings.value_threshold_bytes,
            file_bytes: self.budget.table_size_bytes,
            garbage,
            operators: Arc::clone(&self.operators),
        }
    }

    fn start_compaction(&mut self) {
        let operators = Arc::clone(&self.operators);
        let aging = self.aging(operators.as_ref());
        while let Some(compaction) = self.next_compaction(aging.as_ref()) {
            let Some(compaction) = self.apply_at_once(compaction) else { continue };
            self.jobs.compacting = true;
            let input_bytes = compaction.inputs().map(|file| file.shown_bytes()).sum::<u64>();
            self.borrow(input_bytes);
            let keeping = self.keeping_of_compaction(input_bytes);
            self.jobs.kept_by_compaction = keeping.clone();
            let compression = self.compression_into(compaction.target);
            let garbage = garbage_of(&self.version, &compaction, self.settings.value_garbage_percent);
            let job = CompactionJob {
                options: TableOptions { compression, ..self.table_options() },
                warm: Arc::new(self.warm_blocks(&compaction)),
                separation: self.separation(garbage),
                keeping,
                moment: aging.as_ref().map(|aging| aging.moment_of(&self.version, &compaction)),
                compaction,
                fetcher: Arc::clone(&self.fetcher),
                naming: Arc::clone(&self.naming),
                operators: Arc::clone(&self.operators),
                progress: Some(Progress::new(self.inbox.bell())),
                buffer_bytes: self.budget.read_ahead_bytes() + self.jobs.borrowed_bytes,
            };
            self.pace_by(&job);
            self.report_began(Job::Compaction);
            self.run_compaction(job);
            return;
        }
        self.jobs.settled = Some(self.jobs.resident);
    }

    /// Borrows half of what the cache has idle for what a compaction reads ahead, as far as that makes its reads larger: a store that
    /// is only written to has little use for its cache, and on one that is far away a compaction is as fast as its buffers
    /// are large (RFC 0007).
    fn borrow(&mut self, input_bytes: u64) {
        let own = self.budget.read_ahead_bytes();
        let most = MAX_READ_AHEAD_BYTES.min(usize::try_from(input_bytes).unwrap_or(usize::MAX));
        let idle = (self.cache.idle_bytes() / 2).min(self.lendable_bytes());
        self.jobs.borrow(most.saturating_sub(own).min(idle));
        self.cache.hold_back(self.jobs.held_bytes());
    }

    /// Nothing is borrowed any more.
    fn give_back(&mut self) {
        self.jobs.give_back();
        self.cache.hold_back(self.jobs.held_bytes());
    }

    pub(super) fn take_compacted(&mut self, trip: Option<Trip>, result: Result<(Compaction, Written)>) {
        self.jobs.compacting = false;
        self.pace.compaction_ended(result.is_ok());
        self.jobs.kept_by_compaction.end();
        self.give_back();
        self.end_trip(trip);
        match result {
            Ok((compaction, written)) => {
                self.jobs.compactions_failed = 0;
                self.counters.compactions += 1;
                let read_bytes = compaction.inputs().map(|file| file.shown_bytes()).sum();
                self.report_done(Job::Compaction, read_bytes, written_bytes(&written));
                let target = compaction.target;
                let removed = compaction.inputs().cloned().collect();
                let mut edit = VersionEdit { removed, ..VersionEdit::default() };
                let files = written.tables.iter().map(|table| Arc::clone(&table.file));
                if target == 0 {
                    edit.merged = files.collect();
                } else {
                    edit.added = files.map(|file| (target, file)).collect();
                }
                for (old, new) in &written.moved {
                    self.cache.rename(*old, *new);
                }
                self.edit_version(edit);
                self.forget_inputs(&compaction);
                self.keep_blocks(written);
            }
            Err(error) => self.jobs.failed(Job::Compaction, error),
        }
    }

    /// Makes room in the caches: nobody asks for the tables of which nothing is left.
    pub(super) fn forget_inputs(&mut self, compaction: &Compaction) {
        let gone: Vec<_> = compaction.inputs().filter(|file| !self.live.contains(&file.id)).collect();
        for file in &gone {
            self.fetcher.forget(file);
        }
        self.cache.forget(gone.iter().map(|file| file.id));
        debug_assert!(
            self.cache.files().all(|file| self.live.contains(&file)),
            "it knows a table that is gone"
        );
    }

    pub(super) fn edit_version(&mut self, edit: VersionEdit) {
        let next = Arc::new(edit.apply(&self.version));
        let old = std::mem::replace(&mut self.version, next);
        self.live = self.version.ids().collect();
        let values = old.values.iter().map(|live| live.file.id);
        self.cache.forget(values.filter(|id| !self.live.contains(id)));
        self.jobs.settled = None;
        self.expiring.look_again();
    }

    /// Keeps a block that was fetched, unless its table has gone meanwhile: nobody would tell the cache to forget it.
    pub(super) fn keep_fetched(&mut self, file: FileId, number: u32, block: Block, is_warm: bool) {
        if !self.live.contains(&file) {
            return;
        }
        if is_warm {
            self.cache.insert_warm(file, number, block);
        } else {
            self.cache.insert(file, number, block);
        }
    }

    pub(super) fn keep_blocks(&mut self, written: Written) {
        // They are the cache's now.
        self.cache.hold_back(self.jobs.held_bytes());
        for (file, number, record) in written.records {
            self.cache.insert(file, number, record);
        }
        for table in written.tables {
            for KeptBlock { number, block, is_warm } in table.blocks {
                if is_warm {
                    self.cache.insert_warm(table.file.id, number, block);
                } else {
                    self.cache.insert(table.file.id, number, block);
                }
            }
        }
        self.account_tails();
    }

    /// Where memory answers most reads, so little is merged at a time that inputs and outputs fit into it together; else as
    /// much as makes large requests.
    pub(super) fn level_targets(&self) -> LevelTargets {
        let resident_bytes = self.budget.resident_bytes as u64;
        let targets = LevelTargets::of(&self.version, self.budget.level_base_bytes, self.budget.slice_bytes);
        if self.jobs.resident { targets.eager(resident_bytes / 16) } else { targets }
    }

    /// Bytes that compaction should still move, by its targets.
    pub fn compaction_debt_bytes(&self) -> u64 {
        debt_bytes(&self.version, self.level_targets())
    }
}
