//! What a job says when it has ended well.
use alluvium_async_exec::ControllerStats;
use alluvium_checkpoint::CompletedCheckpoint;
use alluvium_state_api::BackendStats;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The input was read to its end.
    Finished,
    /// It was stopped, and its last checkpoint is where to continue.
    Stopped,
}

/// The figures of a job that ended well.
#[derive(Clone, Debug)]
pub struct JobReport {
    /// How it ended.
    pub outcome: Outcome,
    /// Records processed to their end in this run.
    pub records: u64,
    /// From the call of `run` until the job had ended.
    pub seconds: f64,
    /// Keyed subtasks.
    pub parallelism: u16,
    /// The checkpoints of this run.
    pub checkpoints: CheckpointReport,
    /// Where it began.
    pub restore: RestoreReport,
    /// The backends' counters, added up.
    pub backend: BackendStats,
    /// The controllers' counters, added up.
    pub controller: ControllerStats,
    /// Sentences worth showing.
    pub notes: Vec<String>,
}

/// The checkpoints of a run.
#[derive(Clone, Debug, Default)]
pub struct CheckpointReport {
    /// How many completed.
    pub completed: u64,
    /// How many were given up.
    pub failed: u64,
    /// How many were given up because a newer one completed first.
    pub subsumed: u64,
    /// The last one that completed.
    pub last: Option<CompletedCheckpoint>,
    /// The newest that completed, oldest first; at most [`CheckpointReport::HISTORY`].
    pub history: Vec<CompletedCheckpoint>,
}

impl CheckpointReport {
    /// How many checkpoints a run remembers.
    pub const HISTORY: usize = 1000;
}

/// Where a run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RestoreReport {
    /// The checkpoint it was restored from.
    pub checkpoint: Option<u64>,
    /// From the call of `run` until the first record had been given to the operator.
    pub millis_to_first_record: Option<u64>,
}
