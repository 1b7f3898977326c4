//! A job from outside: stop it, cancel it, watch it.
//!
//! **Threads**: a [`JobControl`] may be used from any thread, before, during and after the run. The metrics are
//! updated once a batch.
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::registry::Registry;

use super::{Event, Metrics, RequestedCheckpoint};

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

    /// Asks for a checkpoint now, whatever the interval and the pause; if as many as may be are under way, it begins
    /// when one of them has ended. The job must have begun to run.
    ///
    /// ```
    /// let control = alluvium_host::JobControl::new();
    /// assert!(control.checkpoint().wait().is_err(), "no job runs");
    /// ```
    pub fn checkpoint(&self) -> RequestedCheckpoint {
        let (answer, requested) = RequestedCheckpoint::new();
        self.tell(Event::Checkpoint(answer));
        requested
    }

    /// How far the job is.
    pub fn progress(&self) -> Progress {
        self.shared.metrics.progress()
    }

    /// Adds the run's metrics to a registry, under names that begin with `job_`.
    pub fn register(&self, registry: &mut Registry) {
        self.shared.metrics.register(registry);
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

#[cfg(test)]
mod tests {
    use super::*;

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
