//! A job from outside: stop it, cancel it, watch it.
//!
//! **Threads**: a [`JobControl`] may be used from any thread, before, during and after the run. The metrics are
//! updated once a batch.
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Event;

/// A handle on one run of a job.
#[derive(Clone, Debug, Default)]
pub struct JobControl {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    cancel: AtomicBool,
    /// The coordinator of the running job.
    events: Mutex<Option<Sender<Event>>>,
    metrics: Arc<Metrics>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Records processed to their end in this run.
    pub records: u64,
    /// Checkpoints completed in this run.
    pub checkpoints_completed: u64,
    /// The last one that completed.
    pub last_checkpoint: Option<u64>,
    /// The checkpoint that the run was restored from.
    pub restored: Option<u64>,
}

impl JobControl {
    /// A control for one run.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks for a last checkpoint and the end: [`Outcome::Stopped`](super::Outcome). A job whose input has ended
    /// already finishes instead.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.tell(Event::Stop);
    }

    /// Asks for the end at once: the run ends with `Cancelled`, and continues from its last complete checkpoint.
    pub fn cancel(&self) {
        self.shared.cancel.store(true, Ordering::SeqCst);
        self.tell(Event::Cancel);
    }

    /// How far the job is.
    pub fn progress(&self) -> Progress {
        self.shared.metrics.progress()
    }

    /// Connects the control with a run; what was asked before is asked again.
    pub(super) fn attach(&self, events: Sender<Event>) {
        *self.shared.events.lock().unwrap_or_else(PoisonError::into_inner) = Some(events);
        if self.shared.stop.load(Ordering::SeqCst) {
            self.tell(Event::Stop);
        }
        if self.cancelled() {
            self.tell(Event::Cancel);
        }
    }

    pub(super) fn cancelled(&self) -> bool {
        self.shared.cancel.load(Ordering::SeqCst)
    }

    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.shared.metrics)
    }

    fn tell(&self, event: Event) {
        let events = self.shared.events.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(events) = &*events {
            // A job that has ended has nothing left to stop.
            let _ = events.send(event);
        }
    }
}

/// The counters of a run. Zero stands for "none": checkpoints are numbered from 1.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    records: AtomicU64,
    checkpoints: AtomicU64,
    last_checkpoint: AtomicU64,
    restored: AtomicU64,
    /// Microseconds on the job's clock, plus one.
    first_record: AtomicU64,
}

impl Metrics {
    pub(crate) fn add_records(&self, records: u64) {
        self.records.fetch_add(records, Ordering::Relaxed);
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
        self.restored.store(checkpoint, Ordering::Relaxed);
    }

    pub(super) fn completed(&self, checkpoint: u64) {
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.last_checkpoint.store(checkpoint, Ordering::Relaxed);
    }

    fn progress(&self) -> Progress {
        let some = |counter: &AtomicU64| Some(counter.load(Ordering::Relaxed)).filter(|id| *id > 0);
        Progress {
            records: self.records.load(Ordering::Relaxed),
            checkpoints_completed: self.checkpoints.load(Ordering::Relaxed),
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

    #[test]
    fn what_was_asked_before_the_run_is_asked_again_at_its_start() {
        let control = JobControl::new();
        control.stop();
        let (sender, events) = std::sync::mpsc::channel();
        control.attach(sender);
        assert!(matches!(events.try_recv(), Ok(Event::Stop)));
        assert!(events.try_recv().is_err());
    }
}
