//! Tasks: one thread a keyed subtask, with its controller, its backend and its mailbox.
//!
//! ```text
//!  source 0 ──lane──┐                                       ┌── backend (state of its key groups)
//!  source 1 ──lane──┼──► mailbox ──► task loop ──► controller ── operator, in-flight records
//!  orders (atomics) ┘        ▲            │
//!      from the coordinator  └── bell ◄───┴── I/O that has answered
//! ```
mod account;
mod alignment;
mod broadcasts;
mod operator;
mod orders;
mod run;
mod start;
mod time;
mod watermarks;

use alluvium_async_exec::ControllerStats;
use alluvium_state_api::{BackendStats, CheckpointId, RecordBatch, Timestamp};
use bytes::Bytes;

pub use operator::Operator;
pub(crate) use orders::{Orders, Stage};
pub(crate) use start::TaskStart;

/// What goes through a lane.
#[derive(Debug)]
pub(crate) enum Mail {
    /// Records.
    Batch(RecordBatch),
    /// Everything before it belongs to the checkpoint, nothing after it.
    Barrier(CheckpointId),
    /// The source's event time has come to here.
    Watermark(Timestamp),
    /// An encoded element of the broadcast side; every subtask gets it.
    Broadcast(Bytes),
    /// The source has nothing more for this subtask: its input has ended, or it was stopped.
    End { stopped: bool },
}

/// What a task counted until it ended.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TaskStats {
    pub(crate) backend: BackendStats,
    pub(crate) controller: ControllerStats,
}
