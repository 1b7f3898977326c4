//! What a run counts: for its progress, its report and Prometheus (`docs/metrics.md`).
//!
//! **Threads**: shared by all of a run; a task adds to it once a batch.
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_async_exec::{ControllerLoad, ControllerStats};
use alluvium_checkpoint::CompletedCheckpoint;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::Progress;

/// A name and a value.
type Label = [(&'static str, &'static str); 1];

/// Where the time of a task thread goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Spent {
    /// It runs.
    Busy,
    /// There is nothing to do.
    Idle,
    /// Records in flight, or an event behind them, wait for state, and no more may start or there are none.
    State,
    /// The store takes no more writes for now.
    Backpressure,
}

impl Spent {
    fn label(self) -> Label {
        let spent = match self {
            Self::Busy => "busy",
            Self::Idle => "idle",
            Self::State => "state",
            Self::Backpressure => "backpressure",
        };
        [("spent", spent)]
    }
}

/// The classes of [`ControllerStats::batch_sizes`].
const BATCH_SIZES: [&str; 5] = ["1", "2-9", "10-99", "100-999", "1000+"];

/// What is in flight in all tasks.
#[derive(Debug, Default)]
struct InFlight {
    active: Gauge,
    blocked: Gauge,
    blocked_keys: Gauge,
    preludes: Gauge,
    bytes: Gauge,
    pending_events: Gauge,
}

/// The metrics of a run.
#[derive(Debug)]
pub(crate) struct Metrics {
    records: Counter,
    timers: Counter,
    suspended: Counter,
    queued: Counter,
    batches: Family<Label, Counter>,
    reads: Counter,
    in_flight: InFlight,
    task_seconds: Family<Label, Counter<f64, AtomicU64>>,
    checkpoints: Counter,
    failed_checkpoints: Counter,
    /// Zero stands for none: checkpoints are numbered from 1.
    last_checkpoint: Gauge,
    restored: Gauge,
    checkpoint_seconds: Histogram,
    checkpoint_stop_seconds: Histogram,
    checkpoint_bytes: Counter,
    /// Microseconds on the job's clock, plus one.
    first_record: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            records: Counter::default(),
            timers: Counter::default(),
            suspended: Counter::default(),
            queued: Counter::default(),
            batches: Family::default(),
            reads: Counter::default(),
            in_flight: InFlight::default(),
            task_seconds: Family::default(),
            checkpoints: Counter::default(),
            failed_checkpoints: Counter::default(),
            last_checkpoint: Gauge::default(),
            restored: Gauge::default(),
            // A millisecond to two minutes.
            checkpoint_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 18)),
            // A microsecond to a second.
            checkpoint_stop_seconds: Histogram::new(exponential_buckets(1e-6, 4.0, 11)),
            checkpoint_bytes: Counter::default(),
            first_record: AtomicU64::new(0),
        }
    }
}

impl Metrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let job = registry.sub_registry_with_prefix("job");
        job.register("records", "Records processed to their end", self.records.clone());
        job.register("timers", "Timers that fired and have ended", self.timers.clone());
        job.register("suspended_records", "Records that waited for state", self.suspended.clone());
        job.register(
            "queued_records",
            "Records that waited behind an earlier one of their key",
            self.queued.clone(),
        );
        for size in BATCH_SIZES {
            drop(self.batches.get_or_create(&[("reads", size)]));
        }
        job.register(
            "read_batches",
            "Batches of so many reads that were handed to the stores",
            self.batches.clone(),
        );
        job.register("reads", "Reads in those batches", self.reads.clone());
        self.register_load(job);
        job.register("checkpoints", "Checkpoints completed", self.checkpoints.clone());
        job.register("failed_checkpoints", "Checkpoints that were given up", self.failed_checkpoints.clone());
        job.register(
            "last_checkpoint",
            "The number of the last one, 0 for none",
            self.last_checkpoint.clone(),
        );
        let (whole, stop) = (self.checkpoint_seconds.clone(), self.checkpoint_stop_seconds.clone());
        job.register_with_unit(
            "checkpoint_duration",
            "From a checkpoint's trigger until it was in the ledger",
            Unit::Seconds,
            whole,
        );
        job.register_with_unit(
            "checkpoint_stop",
            "The longest time that a task stood still for a checkpoint",
            Unit::Seconds,
            stop,
        );
        job.register_with_unit(
            "checkpoint_uploaded",
            "What was uploaded for checkpoints",
            Unit::Bytes,
            self.checkpoint_bytes.clone(),
        );
    }

    fn register_load(&self, job: &mut Registry) {
        let InFlight { active, blocked, blocked_keys, preludes, bytes, pending_events } = &self.in_flight;
        job.register("active_records", "Records that have started and not ended", active.clone());
        job.register("blocked_records", "Records behind an earlier one of their key", blocked.clone());
        job.register("blocked_keys", "Keys behind which records wait", blocked_keys.clone());
        job.register("preludes", "Records that wait there and whose preludes have begun", preludes.clone());
        job.register_with_unit("in_flight", "What all of these take", Unit::Bytes, bytes.clone());
        job.register("pending_events", "Events between records that are not done", pending_events.clone());
        for spent in [Spent::Busy, Spent::Idle, Spent::State, Spent::Backpressure] {
            drop(self.task_seconds.get_or_create(&spent.label()));
        }
        job.register_with_unit(
            "task",
            "Where the time of task threads goes",
            Unit::Seconds,
            self.task_seconds.clone(),
        );
    }

    /// Adds what a task's controller has counted since it was told.
    pub(crate) fn add(&self, now: ControllerStats, told: ControllerStats) {
        self.records.inc_by(now.records - told.records);
        self.timers.inc_by(now.timers - told.timers);
        self.suspended.inc_by(now.suspended - told.suspended);
        self.queued.inc_by(now.queued - told.queued);
        for (size, (now, told)) in BATCH_SIZES.iter().zip(now.batch_sizes.iter().zip(told.batch_sizes)) {
            self.batches.get_or_create(&[("reads", size)]).inc_by(now - told);
        }
        self.reads.inc_by(now.reads - told.reads);
    }

    /// A task has this in flight, and not what it told before.
    pub(crate) fn load(&self, now: ControllerLoad, told: ControllerLoad) {
        let InFlight { active, blocked, blocked_keys, preludes, bytes, pending_events } = &self.in_flight;
        for (gauge, now, told) in [
            (active, now.active, told.active),
            (blocked, now.blocked, told.blocked),
            (blocked_keys, now.blocked_keys, told.blocked_keys),
            (preludes, now.preludes, told.preludes),
            (bytes, now.bytes, told.bytes),
            (pending_events, now.pending_events, told.pending_events),
        ] {
            gauge.inc_by(now.cast_signed() as i64 - told.cast_signed() as i64);
        }
    }

    /// A task has spent time.
    pub(crate) fn spent(&self, spent: Spent, time: Duration) {
        self.task_seconds.get_or_create(&spent.label()).inc_by(time.as_secs_f64());
    }

    /// A task has run its first record; the earliest call counts.
    pub(crate) fn first_record(&self, at: Duration) {
        let micros = u64::try_from(at.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let earlier = |stored| (stored == 0 || micros < stored).then_some(micros);
        let _ = self.first_record.fetch_update(Ordering::Relaxed, Ordering::Relaxed, earlier);
    }

    pub(super) fn first_record_at(&self) -> Option<Duration> {
        self.first_record.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    pub(super) fn restored(&self, checkpoint: u64) {
        self.restored.set(checkpoint.cast_signed());
    }

    pub(super) fn completed(&self, checkpoint: &CompletedCheckpoint) {
        self.last_checkpoint.set(checkpoint.id.0.cast_signed());
        self.checkpoints.inc();
        self.checkpoint_seconds.observe(Duration::from_millis(checkpoint.async_millis).as_secs_f64());
        self.checkpoint_stop_seconds.observe(Duration::from_micros(checkpoint.sync_micros).as_secs_f64());
        self.checkpoint_bytes.inc_by(checkpoint.uploaded_bytes);
    }

    /// So many checkpoints were given up so far.
    pub(super) fn failed(&self, checkpoints: u64) {
        self.failed_checkpoints.inc_by(checkpoints.saturating_sub(self.failed_checkpoints.get()));
    }

    pub(super) fn progress(&self) -> Progress {
        let some = |number: &Gauge| Some(number.get().cast_unsigned()).filter(|id| *id > 0);
        Progress {
            records: self.records.get(),
            checkpoints_completed: self.checkpoints.get(),
            last_checkpoint: some(&self.last_checkpoint),
            restored: some(&self.restored),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_first_record_counts_even_at_time_zero() {
        let metrics = Metrics::default();
        assert_eq!(metrics.first_record_at(), None);
        for millis in [7, 0, 9] {
            metrics.first_record(Duration::from_millis(millis));
        }
        assert_eq!(metrics.first_record_at(), Some(Duration::ZERO));
    }
}
