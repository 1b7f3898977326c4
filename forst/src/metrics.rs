//! What stores tell Prometheus: one set of metrics for all stores of a process (`docs/metrics.md`).
//!
//! **Invariants**: nothing here is touched for a key. A store counts in plain cells and hands over what was added when
//! it is polled; a store that is closed takes its share of the gauges with it.
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use alluvium_env::Clock;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::remote::Trip;

/// A name and a value.
pub(crate) type Label = [(&'static str, &'static str); 1];

/// Seconds of which a counter keeps fractions.
pub(crate) type Seconds = Counter<f64, AtomicU64>;

/// Where a block came from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tier {
    Memory,
    Disk,
    Store,
}

/// What moves data in the background.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    Flush,
    Compaction,
}

impl Tier {
    fn label(self) -> Label {
        let tier = match self {
            Self::Memory => "memory",
            Self::Disk => "disk",
            Self::Store => "store",
        };
        [("tier", tier)]
    }
}

impl Trip {
    fn label(self) -> Label {
        let outcome = match self {
            Self::Done => "done",
            Self::TakenBack => "taken back",
            Self::Unclaimed => "unclaimed",
        };
        [("outcome", outcome)]
    }
}

impl Job {
    fn label(self) -> Label {
        let kind = match self {
            Self::Flush => "flush",
            Self::Compaction => "compaction",
        };
        [("kind", kind)]
    }
}

/// The levels' names, level 0 first.
const LEVELS: [&str; crate::version::LEVELS + 1] = ["0", "1", "2", "3", "4", "5", "6"];

/// Metrics of the stores of one process. Registered once, shared by all stores.
pub struct ForstMetrics {
    pub(crate) clock: Arc<dyn Clock>,
    blocks: Family<Label, Counter>,
    pub(crate) missed_reads: Counter,
    pub(crate) warmed_blocks: Counter,
    jobs: Family<Label, Counter>,
    job_seconds: Family<Label, Histogram, fn() -> Histogram>,
    job_read_bytes: Family<Label, Counter>,
    job_written_bytes: Family<Label, Counter>,
    trips: Family<Label, Counter>,
    pub(crate) frozen_bytes: Counter,
    pub(crate) stalls: Counter,
    pub(crate) stalled_seconds: Seconds,
    pub(crate) gauges: Gauges,
}

/// What stores hold now, each its share.
pub(crate) struct Gauges {
    pub(crate) stalled: Gauge,
    pub(crate) debt_bytes: Gauge,
    table_bytes: Family<Label, Gauge>,
    tables: Family<Label, Gauge>,
    memory_bytes: Family<Label, Gauge>,
    memory_limit_bytes: Family<Label, Gauge>,
}

/// A millisecond to two minutes.
fn job_seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.001, 2.0, 18))
}

impl ForstMetrics {
    /// Metrics that are not registered yet. `clock` times jobs and stalls.
    pub fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        let metrics = Self {
            clock,
            blocks: Family::default(),
            missed_reads: Counter::default(),
            warmed_blocks: Counter::default(),
            jobs: Family::default(),
            job_seconds: Family::new_with_constructor(job_seconds),
            job_read_bytes: Family::default(),
            job_written_bytes: Family::default(),
            trips: Family::default(),
            frozen_bytes: Counter::default(),
            stalls: Counter::default(),
            stalled_seconds: Seconds::default(),
            gauges: Gauges {
                stalled: Gauge::default(),
                debt_bytes: Gauge::default(),
                table_bytes: Family::default(),
                tables: Family::default(),
                memory_bytes: Family::default(),
                memory_limit_bytes: Family::default(),
            },
        };
        // What has not happened yet is shown as zero, and not left out.
        for tier in [Tier::Memory, Tier::Disk, Tier::Store] {
            drop(metrics.blocks(tier));
        }
        for label in [Job::Flush.label(), Job::Compaction.label()] {
            drop(metrics.jobs.get_or_create(&label));
            drop(metrics.job_seconds.get_or_create(&label));
            drop(metrics.job_written_bytes.get_or_create(&label));
        }
        for trip in [Trip::Done, Trip::TakenBack, Trip::Unclaimed] {
            drop(metrics.trips.get_or_create(&trip.label()));
        }
        drop(metrics.job_read_bytes.get_or_create(&Job::Compaction.label()));
        Arc::new(metrics)
    }

    /// Adds all of them to a registry, under names that begin with `forst_`.
    pub fn register(&self, registry: &mut Registry) {
        let forst = registry.sub_registry_with_prefix("forst");
        forst.register("block_reads", "Blocks that lookups used, by where they were", self.blocks.clone());
        forst.register("missed_reads", "Reads that memory could not answer", self.missed_reads.clone());
        let warmed = self.warmed_blocks.clone();
        forst.register("warmed_blocks", "Blocks that restored stores brought into memory unasked", warmed);
        forst.register("jobs", "Flushes and compactions that were done", self.jobs.clone());
        forst.register_with_unit(
            "job_duration",
            "From the start of a flush or compaction until the store has taken its tables over",
            Unit::Seconds,
            self.job_seconds.clone(),
        );
        let (read, written) = (self.job_read_bytes.clone(), self.job_written_bytes.clone());
        forst.register_with_unit(
            "job_read",
            "Data of the tables that compactions took in",
            Unit::Bytes,
            read,
        );
        forst.register_with_unit(
            "job_written",
            "Tables that flushes and compactions wrote",
            Unit::Bytes,
            written,
        );
        forst.register(
            "remote_compactions",
            "Compactions that were offered to compactors, by what came of it",
            self.trips.clone(),
        );
        forst.register_with_unit(
            "frozen",
            "Logs of memtables that were full: what was written, but for values overwritten in memory",
            Unit::Bytes,
            self.frozen_bytes.clone(),
        );
        forst.register("stalls", "Times that a store stopped admitting records", self.stalls.clone());
        let stalled = self.stalled_seconds.clone();
        forst.register_with_unit("stalled", "How long stores did not admit records", Unit::Seconds, stalled);
        self.gauges.register(forst);
    }

    pub(crate) fn blocks(&self, tier: Tier) -> Counter {
        self.blocks.get_or_create_owned(&tier.label())
    }

    /// A compaction that was to be done elsewhere has ended.
    pub(crate) fn trip(&self, trip: Trip) {
        self.trips.get_or_create(&trip.label()).inc();
    }

    /// A job was done.
    pub(crate) fn done(&self, job: Job, seconds: f64, read_bytes: u64, written_bytes: u64) {
        let label = job.label();
        self.jobs.get_or_create(&label).inc();
        self.job_seconds.get_or_create(&label).observe(seconds);
        self.job_written_bytes.get_or_create(&label).inc_by(written_bytes);
        // A flush reads memory.
        if job == Job::Compaction {
            self.job_read_bytes.get_or_create(&label).inc_by(read_bytes);
        }
    }
}

impl Gauges {
    fn register(&self, forst: &mut Registry) {
        forst.register("stalled_stores", "Stores that do not admit records now", self.stalled.clone());
        let debt = self.debt_bytes.clone();
        forst.register_with_unit("compaction_debt", "What compaction should still move", Unit::Bytes, debt);
        forst.register("tables", "Tables by level", self.tables.clone());
        forst.register_with_unit("table", "Tables' data by level", Unit::Bytes, self.table_bytes.clone());
        let (memory, limit) = (self.memory_bytes.clone(), self.memory_limit_bytes.clone());
        forst.register_with_unit("memory", "Memory in use, by reservation", Unit::Bytes, memory);
        forst.register_with_unit(
            "memory_limit",
            "Memory that may be used, by reservation",
            Unit::Bytes,
            limit,
        );
    }

    pub(crate) fn table_bytes(&self, level: usize) -> Gauge {
        self.table_bytes.get_or_create_owned(&level_label(level))
    }

    pub(crate) fn tables(&self, level: usize) -> Gauge {
        self.tables.get_or_create_owned(&level_label(level))
    }

    pub(crate) fn memory_bytes(&self, reservation: &'static str) -> Gauge {
        self.memory_bytes.get_or_create_owned(&[("reservation", reservation)])
    }

    pub(crate) fn memory_limit_bytes(&self, reservation: &'static str) -> Gauge {
        self.memory_limit_bytes.get_or_create_owned(&[("reservation", reservation)])
    }
}

fn level_label(level: usize) -> Label {
    [("level", LEVELS.get(level).copied().unwrap_or("?"))]
}
