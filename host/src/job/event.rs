//! What reaches the coordinator: from sources, tasks, uploads and whoever controls the job.
use std::fmt;

use alluvium_checkpoint::SubtaskAck;
use alluvium_env::{Error, Result};
use alluvium_state_api::{CheckpointId, OperatorStatePart, SnapshotTask, StateScan};
use bytes::Bytes;

use super::requests::Answer;
use crate::source::Standing;

/// A snapshot whose synchronous part is done.
pub(crate) struct TakenSnapshot {
    pub(crate) task: Result<SnapshotTask>,
    pub(crate) inputs: Bytes,
    pub(crate) inputs_count: u64,
    pub(crate) operator_states: Vec<OperatorStatePart>,
    pub(crate) sync_micros: u64,
}

/// One thing that the coordinator must know.
pub(crate) enum Event {
    /// Take a last checkpoint and end.
    Stop,
    /// End now.
    Cancel,
    /// Take a checkpoint now.
    Checkpoint(Answer),
    /// A source has sent its barrier.
    SourceAtBarrier { source: usize, id: CheckpointId, standing: Standing },
    /// A source has sent all it will.
    SourceEnded { source: usize, standing: Standing },
    /// A task has done its synchronous part.
    Snapshot { subtask: u16, id: CheckpointId, taken: TakenSnapshot },
    /// A task's snapshot is uploaded, or failed.
    Uploaded { subtask: u16, id: CheckpointId, ack: Result<SubtaskAck> },
    /// A task's lanes have ended and nothing is in flight.
    Drained { subtask: u16, operator_states: Vec<OperatorStatePart> },
    /// A task's result; `None` if its operator names none.
    Scan { subtask: u16, scan: Result<Option<Box<dyn StateScan>>> },
    /// A thread has ended with an error.
    Failed(Error),
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stop => "Stop",
            Self::Cancel => "Cancel",
            Self::Checkpoint(_) => "Checkpoint",
            Self::SourceAtBarrier { .. } => "SourceAtBarrier",
            Self::SourceEnded { .. } => "SourceEnded",
            Self::Snapshot { .. } => "Snapshot",
            Self::Uploaded { .. } => "Uploaded",
            Self::Drained { .. } => "Drained",
            Self::Scan { .. } => "Scan",
            Self::Failed(_) => "Failed",
        })
    }
}
