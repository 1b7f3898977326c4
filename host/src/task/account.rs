//! What a task tells the metrics: what its controller has counted, what is in flight, and where its time goes.
//!
//! **Invariants**: whatever a task said is in flight it takes back when it ends.
use std::sync::Arc;
use std::time::Duration;

use alluvium_async_exec::{ControllerLoad, ControllerStats};
use alluvium_env::{Clock, Result};

use crate::job::{Metrics, Spent};

/// One task's account.
pub(super) struct Account {
    metrics: Arc<Metrics>,
    clock: Arc<dyn Clock>,
    stats: ControllerStats,
    load: ControllerLoad,
    first_record: bool,
    /// Until when the task's time is accounted for.
    until: Duration,
}

impl Account {
    pub(super) fn new(metrics: Arc<Metrics>, clock: Arc<dyn Clock>) -> Self {
        let until = clock.monotonic();
        Self {
            metrics,
            clock,
            stats: ControllerStats::default(),
            load: ControllerLoad::default(),
            first_record: false,
            until,
        }
    }

    /// Tells that records have been given to the operator.
    pub(super) fn began(&mut self) {
        if !self.first_record {
            self.first_record = true;
            self.metrics.first_record(self.clock.monotonic());
        }
    }

    /// Tells what has changed. To be called once a batch.
    pub(super) fn tell(&mut self, stats: ControllerStats, load: ControllerLoad) {
        if stats != self.stats {
            self.metrics.add(stats, self.stats);
            self.stats = stats;
        }
        if load != self.load {
            self.metrics.load(load, self.load);
            self.load = load;
        }
    }

    /// The time is spent waiting from here to the end of `wait`, and was spent being busy since the last wait.
    pub(super) fn wait(&mut self, spent: Spent, wait: impl FnOnce() -> Result<()>) -> Result<()> {
        self.spend(Spent::Busy);
        let woken = wait();
        self.spend(spent);
        woken
    }

    fn spend(&mut self, spent: Spent) {
        let now = self.clock.monotonic();
        self.metrics.spent(spent, now.saturating_sub(self.until));
        self.until = now;
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        self.spend(Spent::Busy);
        self.metrics.load(ControllerLoad::default(), self.load);
    }
}
