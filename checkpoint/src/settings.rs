//! What a job decides about its checkpoints, and what it tells the protocol about itself.
use std::time::Duration;

use alluvium_env::{Error, Result};
use alluvium_state_api::MaxParallelism;

/// When to take checkpoints, how many to keep, and how much failure to bear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointSettings {
    /// From one trigger to the next; `None` takes them only on request. Shorter repeats less work after a crash
    /// and costs more requests; while as many as [`CheckpointSettings::concurrent`] are pending, the next one waits.
    pub interval: Option<Duration>,
    /// From the end of one, completed or given up, to the next trigger by interval: a job whose checkpoints take long
    /// does something else in between. It contradicts more than one at a time. One on request does not wait for it.
    pub min_pause: Duration,
    /// Checkpoints that may be pending at a time, at least 1. More keep the interval where uploads take longer than it,
    /// and pin more files.
    pub concurrent: usize,
    /// From trigger to the last acknowledgement; an older checkpoint is given up and counts as failed.
    pub timeout: Duration,
    /// Completed checkpoints to keep, at least 1. More can be restored from, and keep more files alive.
    pub retained: usize,
    /// Failures in a row that the job survives. A fenced job stops at once, whatever this says.
    pub tolerated_failures: u32,
}

impl CheckpointSettings {
    /// The default of [`CheckpointSettings::interval`].
    pub const INTERVAL: Duration = Duration::from_secs(1);
    /// The default of [`CheckpointSettings::min_pause`].
    pub const MIN_PAUSE: Duration = Duration::ZERO;
    /// The default of [`CheckpointSettings::concurrent`].
    pub const CONCURRENT: usize = 1;
    /// The default of [`CheckpointSettings::timeout`].
    pub const TIMEOUT: Duration = Duration::from_mins(10);
    /// The default of [`CheckpointSettings::retained`].
    pub const RETAINED: usize = 3;
    /// The default of [`CheckpointSettings::tolerated_failures`].
    pub const TOLERATED_FAILURES: u32 = 10;

    /// Whether the settings make sense.
    ///
    /// # Errors
    /// `Invalid` names the setting that does not, or both that contradict each other.
    pub fn validate(&self) -> Result<()> {
        if self.interval.is_some_and(|interval| interval.is_zero()) {
            return Err(Error::invalid(
                "the checkpoint interval is zero: give a duration, or turn checkpoints off",
            ));
        }
        if self.timeout.is_zero() {
            return Err(Error::invalid("the checkpoint timeout is zero: no checkpoint could ever complete"));
        }
        if self.concurrent == 0 {
            return Err(Error::invalid("at least 1 checkpoint must be allowed at a time, or there is none"));
        }
        if self.concurrent > 1 && !self.min_pause.is_zero() {
            let (concurrent, pause) = (self.concurrent, self.min_pause);
            return Err(Error::invalid(format!(
                "{concurrent} checkpoints at a time contradict a pause of {pause:?} between them: \
                 allow 1 at a time, or set no pause"
            )));
        }
        if self.retained == 0 {
            return Err(Error::invalid(
                "at least 1 checkpoint must be retained, or there is nothing to restore",
            ));
        }
        Ok(())
    }
}

impl Default for CheckpointSettings {
    fn default() -> Self {
        Self {
            interval: Some(Self::INTERVAL),
            min_pause: Self::MIN_PAUSE,
            concurrent: Self::CONCURRENT,
            timeout: Self::TIMEOUT,
            retained: Self::RETAINED,
            tolerated_failures: Self::TOLERATED_FAILURES,
        }
    }
}

/// A job as its checkpoints see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobShape {
    /// Its name; a restore refuses another job's checkpoint.
    pub job: String,
    /// Its key groups; a restore refuses another number.
    pub max_parallelism: MaxParallelism,
    /// Its keyed subtasks, each of which acknowledges every checkpoint.
    pub subtasks: usize,
    /// Its sources, each of which acknowledges every checkpoint.
    pub sources: usize,
}

impl JobShape {
    /// Whether such a job can take checkpoints.
    ///
    /// # Errors
    /// `Invalid` if it has no subtask, more subtasks than key groups, or no source.
    pub fn validate(&self) -> Result<()> {
        let max = usize::from(self.max_parallelism.get());
        if self.subtasks == 0 || self.subtasks > max {
            let subtasks = self.subtasks;
            return Err(Error::invalid(format!(
                "a job has between 1 and {max} keyed subtasks, not {subtasks}"
            )));
        }
        if self.sources == 0 {
            return Err(Error::invalid("a job has at least 1 source"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid_and_each_nonsense_is_named() {
        let good = CheckpointSettings::default();
        good.validate().unwrap();
        CheckpointSettings { interval: None, ..good.clone() }.validate().unwrap();
        let interval = CheckpointSettings { interval: Some(Duration::ZERO), ..good.clone() };
        let timeout = CheckpointSettings { timeout: Duration::ZERO, ..good.clone() };
        let retained = CheckpointSettings { retained: 0, ..good.clone() };
        let none = CheckpointSettings { concurrent: 0, ..good.clone() };
        let pause = Duration::from_secs(5);
        CheckpointSettings { min_pause: pause, ..good.clone() }.validate().unwrap();
        CheckpointSettings { concurrent: 2, ..good.clone() }.validate().unwrap();
        let both = CheckpointSettings { min_pause: pause, concurrent: 2, ..good };
        for (settings, word) in [
            (interval, "interval"),
            (timeout, "timeout"),
            (retained, "retained"),
            (none, "at a time"),
            (both, "2 checkpoints at a time contradict a pause of 5s"),
        ] {
            let error = settings.validate().unwrap_err();
            assert!(error.message().contains(word), "{error}");
        }
    }

    #[test]
    fn a_job_needs_subtasks_within_its_key_groups_and_a_source() {
        let shape = |subtasks, sources| JobShape {
            job: "j".into(),
            max_parallelism: MaxParallelism::DEFAULT,
            subtasks,
            sources,
        };
        shape(128, 1).validate().unwrap();
        for bad in [shape(0, 1), shape(129, 1), shape(1, 0)] {
            bad.validate().unwrap_err();
        }
    }
}
