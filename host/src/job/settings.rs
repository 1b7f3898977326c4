//! What a job is told before it runs.
use std::sync::Arc;

use alluvium_async_exec::ControllerSettings;
use alluvium_checkpoint::{CheckpointSettings, JobShape, Origin};
use alluvium_env::{Error, Result};
use alluvium_state_api::{MaxParallelism, OperatorStates};

use crate::source::{BATCH_BYTES, BATCH_RECORDS};

/// Batches in a lane before its source waits: enough to cover a task's wake-up, few enough for a quick barrier.
pub(crate) const LANE_BATCHES: usize = 8;

/// What a record of a batch takes besides its bytes, rounded up.
const RECORD_OVERHEAD_BYTES: usize = 32;

/// Where a job begins.
#[derive(Clone, Debug, Default)]
pub enum Restore {
    /// At the beginning of the input, with empty state.
    #[default]
    None,
    /// At the last complete checkpoint; at the beginning, with a note, if there is none.
    Latest,
    /// At this checkpoint.
    Id(u64),
    /// At a checkpoint or savepoint in another root, in an empty one of its own. The job's backends read through
    /// [`crate::storage::over`].
    From(Arc<Origin>),
}

/// Settings of a job.
#[derive(Clone, Debug)]
pub struct JobSettings {
    /// The job's name: errors name it, and a checkpoint of a job with another name is refused.
    pub job: String,
    /// Keyed subtasks, each a thread with its own state; at most [`JobSettings::max_parallelism`].
    pub parallelism: u16,
    /// Source threads.
    pub sources: usize,
    /// Key groups; fixed for the life of the state.
    pub max_parallelism: MaxParallelism,
    /// Per subtask: records in flight and read batches.
    pub controller: ControllerSettings,
    /// When checkpoints are taken, and how many are kept. With no interval there is none but the one of a stop.
    pub checkpoints: CheckpointSettings,
    /// Where to begin.
    pub restore: Restore,
    /// Bytes that the operator states of a subtask may take, [`OperatorStates::MAX_BYTES`] at most and by default. They are
    /// [reserved](Self::operator_state_memory_bytes) of the memory budget, so a job without any should say 0.
    pub operator_state_bytes: usize,
}

impl Default for JobSettings {
    /// One source, one subtask, everything else as its own default says.
    fn default() -> Self {
        Self {
            job: "job".to_owned(),
            parallelism: 1,
            sources: 1,
            max_parallelism: MaxParallelism::DEFAULT,
            controller: ControllerSettings::default(),
            checkpoints: CheckpointSettings::default(),
            restore: Restore::default(),
            operator_state_bytes: OperatorStates::MAX_BYTES,
        }
    }
}

impl JobSettings {
    /// Refuses what cannot work.
    ///
    /// # Errors
    /// `Invalid`, naming the setting.
    pub fn validate(&self) -> Result<()> {
        self.max_parallelism.range_of(0, self.parallelism)?;
        if self.sources == 0 {
            return Err(Error::invalid("a job needs at least one source thread, not 0"));
        }
        if self.operator_state_bytes > OperatorStates::MAX_BYTES {
            return Err(Error::invalid(format!(
                "operator_state_bytes is {}; it may be {} at most, since every checkpoint writes all of it",
                self.operator_state_bytes,
                OperatorStates::MAX_BYTES
            )));
        }
        self.controller.validate()?;
        self.checkpoints.validate()
    }

    /// The job as its checkpoints see it.
    pub(super) fn shape(&self) -> JobShape {
        JobShape {
            job: self.job.clone(),
            max_parallelism: self.max_parallelism,
            subtasks: usize::from(self.parallelism),
            sources: self.sources,
        }
    }

    /// The most that records take between source and state: batches being filled and in lanes, and records in flight
    /// with their batches. A reservation on the memory budget (design D14).
    pub fn memory_bytes(&self) -> usize {
        let batch = BATCH_BYTES + BATCH_RECORDS * RECORD_OVERHEAD_BYTES;
        // Filled and on its way, besides those in the lane.
        let lanes = self.sources * (LANE_BATCHES + 2);
        usize::from(self.parallelism) * (lanes * batch + self.controller.max_in_flight_bytes)
    }

    /// The most that operator states take, in all subtasks together. A reservation on the memory budget (design D14).
    pub fn operator_state_memory_bytes(&self) -> usize {
        usize::from(self.parallelism) * OperatorStates::COPIES * self.operator_state_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operator_states_may_be_given_less_and_reserve_what_their_copies_take() {
        let given =
            |bytes| JobSettings { operator_state_bytes: bytes, parallelism: 3, ..JobSettings::default() };
        assert_eq!(given(1000).operator_state_memory_bytes(), 6000);
        assert!(given(0).validate().is_ok() && JobSettings::default().validate().is_ok());
        let error = given(OperatorStates::MAX_BYTES + 1).validate().unwrap_err().to_string();
        assert!(error.contains("operator_state_bytes is 8388609"), "{error}");
    }
}
