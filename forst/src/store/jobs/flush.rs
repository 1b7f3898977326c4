//! Flushes: a frozen memtable becomes a run of level 0.
//!
//! Writing a large one takes longer than filling the next one, so it is written by two threads, each half of its keys.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use alluvium_env::{Error, HashSet, JobQueue, Result, Urgency};
use tracing::field::Empty;
use tracing::info_span;

use crate::compaction::{Progress, TableWriter, Written};
use crate::expiry::Moment;
use crate::memtable::SortedMemtable;
use crate::merge::MergeOperators;
use crate::metrics::Job;
use crate::scan::{Depth, MergeScan, Source};
use crate::store::Store;
use crate::store::inbox::Event;
use crate::store::jobs::{guarded, written_bytes};
use crate::version::VersionEdit;

/// A memtable of fewer tables than this is written by one thread.
const MIN_TABLES: usize = 4;

/// What writes a memtable, or one half of it.
struct Writer {
    tables: TableWriter,
    operators: Arc<dyn MergeOperators>,
    moment: Option<Moment>,
}

impl Writer {
    fn write(self, memtable: SortedMemtable) -> Result<Written> {
        let sources = vec![Source::memtable(memtable)];
        let scan = MergeScan::new(sources, self.operators, Depth::Middle).judged_at(self.moment);
        self.tables.write_all(scan)
    }
}

type Half = Box<dyn FnOnce() -> Result<Written> + Send>;

/// Writes both halves, the second one on another thread of the pool if one is free before this one is.
fn write_halves(memtable: SortedMemtable, writers: (Writer, Writer), pool: &JobQueue) -> Result<Written> {
    let (first, second) = memtable.halves();
    let half: Half = Box::new(move || writers.1.write(second));
    let half = Arc::new(Mutex::new(Some(half)));
    let take = |half: &Mutex<Option<Half>>| half.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (sender, receiver) = mpsc::channel();
    let offered = Arc::clone(&half);
    pool.run(move || {
        if let Some(half) = take(&offered) {
            let written = catch_unwind(AssertUnwindSafe(half));
            let _ = sender.send(written.unwrap_or_else(|_| Err(Error::internal("a flush panicked"))));
        }
    });
    let first = writers.0.write(first);
    let second = match take(&half) {
        Some(_) if first.is_err() => return first,
        Some(half) => half(),
        // Somebody is writing it.
        None => receiver.recv().unwrap_or_else(|_| Err(Error::closed("the background pool is gone"))),
    };
    let (mut written, second) = (first?, second?);
    written.append(second);
    Ok(written)
}

impl Store {
    pub(in crate::store) fn start_flush(&mut self) {
        let Some(oldest) = self.frozen.first() else { return };
        self.jobs.flushing = true;
        let table = Arc::clone(&oldest.table);
        let options = self.table_options();
        let keeping = self.keeping_of_flush();
        self.jobs.kept_by_flush = keeping.clone();
        let progress = Progress::new(self.inbox.bell());
        self.pace.flush_began(Arc::clone(&progress), table.len() as u64);
        let writer = || {
            let separation = self.separation(HashSet::default());
            let (fetcher, naming) = (Arc::clone(&self.fetcher), Arc::clone(&self.naming));
            Writer {
                tables: TableWriter::new(fetcher, naming, options, separation)
                    .keeping(keeping.clone())
                    .telling(Some(Arc::clone(&progress))),
                operators: Arc::clone(&self.operators),
                moment: self.flush_moment(),
            }
        };
        let (writer, other) = (writer(), writer());
        let is_large = table.size_bytes() >= MIN_TABLES * options.table_size_bytes;
        let (inbox, pool) = (Arc::clone(&self.inbox), self.background.queue(Urgency::High));
        let fetcher = Arc::clone(&self.fetcher);
        self.report_began(Job::Flush);
        let span = info_span!("flush", memtable_bytes = table.size_bytes(), tables = Empty, bytes = Empty);
        self.background.run(Urgency::High, move || {
            let write = || {
                fetcher.check_outputs_wanted()?;
                let sorted = SortedMemtable::new(table);
                if is_large { write_halves(sorted, (writer, other), &pool) } else { writer.write(sorted) }
            };
            inbox.push(Event::Flushed(guarded(&span, write, |written| written)));
        });
    }

    /// The tables of the oldest frozen memtable replace it; with it go its deltas.
    pub(in crate::store) fn take_flushed(&mut self, result: Result<Written>) {
        self.jobs.flushing = false;
        self.pace.flush_ended();
        self.jobs.kept_by_flush.end();
        match result {
            Ok(written) => {
                self.jobs.flushes_failed = 0;
                self.counters.flushes += 1;
                self.report_done(Job::Flush, 0, written_bytes(&written));
                let memtable_bytes = self.frozen.first().map_or(0, |frozen| frozen.table.size_bytes());
                self.pace.flushed(memtable_bytes, written_bytes(&written));
                let flushed = written.tables.iter().map(|table| Arc::clone(&table.file)).collect();
                self.edit_version(VersionEdit { flushed, ..VersionEdit::default() });
                if !self.frozen.is_empty() {
                    let flushed = self.frozen.remove(0);
                    self.take_back(flushed);
                }
                self.keep_blocks(written);
            }
            Err(error) => self.jobs.failed(Job::Flush, error),
        }
    }
}
