//! The options of `alluvium bench checkpoint` that no other case has.
use std::time::Duration;

use clap::Args;

use crate::units::Interval;

/// The share of all keys that is changed in a second, if nothing is said.
const DEFAULT_CHANGE_PERCENT: f64 = 1.0;
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);

/// Options of a whole job.
#[derive(Args, Clone, Debug)]
pub(super) struct JobArgs {
    /// How many of a hundred keys are read and changed in a second, drawn uniformly [default: 1]
    #[arg(long, value_name = "PERCENT", value_parser = percent, help_heading = "Job")]
    change: Option<f64>,

    /// How often to take a checkpoint [default: 1s]
    #[arg(long, value_name = "DUR", value_parser = interval, help_heading = "Job")]
    interval: Option<Duration>,

    /// Parallelisms at which the job is restored afterwards, one after the other
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = clap::value_parser!(u16).range(1..=128), help_heading = "Job")]
    restore_at: Vec<u16>,

    /// How many value states the keys are spread over [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Job")]
    states: Option<u16>,

    /// A restored job reads every key once and compares it, instead of changing some
    #[arg(long, requires = "restore_at", help_heading = "Job")]
    read_back: bool,
}

fn percent(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not between 0.000001 and 10000; write it like 1 or 0.5");
    text.parse().ok().filter(|percent| (1e-6..=1e4).contains(percent)).ok_or_else(wrong)
}

fn interval(text: &str) -> Result<Duration, String> {
    let wrong = || "a job without checkpoints cannot be restored; give a duration".to_owned();
    text.parse::<Interval>()?.0.ok_or_else(wrong)
}

impl JobArgs {
    /// Checkpoints are taken so often.
    pub(super) fn interval(&self) -> Duration {
        self.interval.unwrap_or(DEFAULT_INTERVAL)
    }

    /// Updates a second, at least one.
    #[expect(
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "the percentage was checked, and keys are at most 1e12"
    )]
    pub(super) fn updates_per_second(&self, keys: u64) -> u64 {
        let share = self.change.unwrap_or(DEFAULT_CHANGE_PERCENT) / 100.0;
        ((keys as f64 * share).round() as u64).max(1)
    }

    /// Parallelisms of the restores.
    pub(super) fn restore_at(&self) -> &[u16] {
        &self.restore_at
    }

    /// How many states the job has.
    pub(super) fn states(&self) -> u16 {
        self.states.unwrap_or(1)
    }

    /// Whether a restored job reads everything back.
    pub(super) fn reads_back(&self) -> bool {
        self.read_back
    }

    /// One of them, as it was given.
    pub(super) fn given(&self) -> Option<String> {
        let change = self.change.map(|percent| format!("--change {percent}"));
        let interval = self.interval.map(|interval| format!("--interval {interval:?}"));
        let restores = self.restore_at.first().map(|parallelism| format!("--restore-at {parallelism}"));
        let states = self.states.map(|states| format!("--states {states}"));
        change.or(interval).or(restores).or(states)
    }
}
