//! A store's reports to the metrics: what was added since the last one, and its share of what there is now.
//!
//! **Threads**: the store's own. A report is a few dozen additions to shared counters, made after background work was
//! taken over and otherwise once in so many polls; whether the store admits is looked at on each.
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::{Frozen, Store};
use crate::metrics::{ForstMetrics, Job, Tier};
use crate::remote::Trip;
use crate::version::{LEVELS, Version};

/// Polls without news after which the counters are reported nevertheless.
const POLLS: u32 = 64;

/// A store's place in the metrics.
pub(super) struct Report {
    metrics: Arc<ForstMetrics>,
    polls: u32,
    memory_hits: Increase,
    disk_hits: Increase,
    misses: Increase,
    missed_reads: Increase,
    warmed: Increase,
    stalled_since: Option<Duration>,
    flush_began: Duration,
    compaction_began: Duration,
    version: Option<Arc<Version>>,
    shares: Shares,
}

/// A counter, and what it was told already.
struct Increase {
    counter: Counter,
    told: u64,
}

impl Increase {
    fn new(counter: Counter) -> Self {
        Self { counter, told: 0 }
    }

    fn tell(&mut self, now: u64) {
        self.counter.inc_by(now.saturating_sub(self.told));
        self.told = now;
    }
}

/// A gauge that many stores share, and this one's share of it.
struct Share {
    gauge: Gauge,
    mine: i64,
}

impl Share {
    fn new(gauge: Gauge) -> Self {
        Self { gauge, mine: 0 }
    }

    fn set(&mut self, now: u64) {
        let now = i64::try_from(now).unwrap_or(i64::MAX);
        self.gauge.inc_by(now - self.mine);
        self.mine = now;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.gauge.dec_by(self.mine);
    }
}

struct Shares {
    stalled: Share,
    debt: Share,
    /// Bytes and tables of each level.
    levels: Vec<(Share, Share)>,
    memtables: Share,
    blocks: Share,
    tails: Share,
    borrowed: Share,
    /// They never change, and go with the store.
    _limits: [Share; 3],
}

impl Shares {
    fn new(metrics: &ForstMetrics, store: &Store) -> Self {
        let (gauges, budget) = (&metrics.gauges, &store.budget);
        let limit = |reservation, bytes: usize| {
            let mut share = Share::new(gauges.memory_limit_bytes(reservation));
            share.set(bytes as u64);
            share
        };
        let used = |reservation| Share::new(gauges.memory_bytes(reservation));
        let level = |level| (Share::new(gauges.table_bytes(level)), Share::new(gauges.tables(level)));
        Self {
            stalled: Share::new(gauges.stalled.clone()),
            debt: Share::new(gauges.debt_bytes.clone()),
            levels: (0..=LEVELS).map(level).collect(),
            memtables: used("memtables"),
            blocks: used("blocks"),
            tails: used("tails"),
            borrowed: used("borrowed"),
            _limits: [
                limit("memtables", budget.memtables_bytes()),
                limit("blocks and tails", budget.resident_bytes),
                limit("background", budget.background_bytes),
            ],
        }
    }
}

impl Store {
    /// Reports to these metrics from now on.
    pub fn report_to(&mut self, metrics: &Arc<ForstMetrics>) {
        let shares = Shares::new(metrics, self);
        self.report = Some(Box::new(Report {
            polls: 0,
            memory_hits: Increase::new(metrics.blocks(Tier::Memory)),
            disk_hits: Increase::new(metrics.blocks(Tier::Disk)),
            misses: Increase::new(metrics.blocks(Tier::Store)),
            missed_reads: Increase::new(metrics.missed_reads.clone()),
            warmed: Increase::new(metrics.warmed_blocks.clone()),
            stalled_since: None,
            flush_began: Duration::ZERO,
            compaction_began: Duration::ZERO,
            version: None,
            shares,
            metrics: Arc::clone(metrics),
        }));
    }

    /// Reports if there is news, or if it is time.
    #[inline]
    pub(super) fn report(&mut self, news: bool) {
        let Some(mut report) = self.report.take() else { return };
        report.admits(self.admits());
        report.polls += 1;
        if news || report.polls >= POLLS {
            report.polls = 0;
            report.tell(self);
        }
        self.report = Some(report);
    }

    /// A job begins.
    pub(super) fn report_began(&mut self, job: Job) {
        if let Some(report) = &mut self.report {
            let now = report.metrics.clock.monotonic();
            match job {
                Job::Flush => report.flush_began = now,
                Job::Compaction => report.compaction_began = now,
            }
        }
    }

    /// A job was done.
    pub(super) fn report_done(&mut self, job: Job, read_bytes: u64, written_bytes: u64) {
        if let Some(report) = &self.report {
            let began = match job {
                Job::Flush => report.flush_began,
                Job::Compaction => report.compaction_began,
            };
            let took = report.metrics.clock.monotonic().saturating_sub(began);
            report.metrics.done(job, took.as_secs_f64(), read_bytes, written_bytes);
        }
    }

    /// A compaction that was to be done elsewhere has ended.
    pub(super) fn report_trip(&mut self, trip: Trip) {
        if let Some(report) = &self.report {
            report.metrics.trip(trip);
        }
    }

    /// A memtable was frozen.
    pub(super) fn report_frozen(&mut self) {
        if let (Some(report), Some(frozen)) = (&self.report, self.frozen.last()) {
            let bytes: usize = frozen.table.sealed_from(0).iter().map(bytes::Bytes::len).sum();
            report.metrics.frozen_bytes.inc_by(bytes as u64);
        }
    }
}

impl Report {
    #[inline]
    fn admits(&mut self, admits: bool) {
        if admits == self.stalled_since.is_none() {
            return;
        }
        let (metrics, now) = (&self.metrics, self.metrics.clock.monotonic());
        self.shares.stalled.set(u64::from(!admits));
        if let Some(since) = self.stalled_since.take() {
            metrics.stalled_seconds.inc_by(now.saturating_sub(since).as_secs_f64());
        } else {
            metrics.stalls.inc();
            self.stalled_since = Some(now);
        }
    }

    fn tell(&mut self, store: &Store) {
        let counters = store.counters();
        self.memory_hits.tell(counters.memory_hits);
        self.disk_hits.tell(counters.disk_hits);
        self.misses.tell(counters.misses);
        self.missed_reads.tell(store.counters.missed_reads);
        self.warmed.tell(counters.warmed);
        let frozen: usize = store.frozen.iter().map(Frozen::size_bytes).sum();
        self.shares.memtables.set((store.active_bytes() + frozen) as u64);
        self.shares.blocks.set(store.cache.bytes() as u64);
        let tails = store.cache.tail_bytes();
        self.shares.tails.set(tails as u64);
        self.shares.borrowed.set(store.jobs.borrowed_bytes as u64);
        if self.version.as_ref().is_none_or(|version| !Arc::ptr_eq(version, &store.version)) {
            self.tell_levels(&store.version);
            self.shares.debt.set(store.compaction_debt_bytes());
            self.version = Some(Arc::clone(&store.version));
        }
    }

    fn tell_levels(&mut self, version: &Version) {
        let mut held = [(0, 0); LEVELS + 1];
        for (level, file) in version.files() {
            if let Some((bytes, tables)) = held.get_mut(level) {
                *bytes += file.data_bytes();
                *tables += 1;
            }
        }
        for ((bytes, tables), (held_bytes, held_tables)) in self.shares.levels.iter_mut().zip(held) {
            bytes.set(held_bytes);
            tables.set(held_tables);
        }
    }
}
