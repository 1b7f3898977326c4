//! What the coordinator tells a task past its lanes: barriers once no source is left to send them, and the end.
//!
//! Atomics and the mailbox's bell rather than a lane: an order is never stuck behind records, and a newer one
//! replaces an older one.
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use alluvium_state_api::CheckpointId;

/// How far the coordinator has taken the job; only goes up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Stage {
    /// Records run.
    Run = 0,
    /// The input has ended and is checkpointed: hand out the scan of the result.
    Scan = 1,
    /// Leave.
    End = 2,
}

/// One task's orders.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    barrier: AtomicU64,
    stage: AtomicU8,
}

impl Orders {
    /// Asks for a snapshot as soon as all lanes have ended; the caller rings the bell.
    pub(crate) fn order_barrier(&self, id: CheckpointId) {
        self.barrier.store(id.0, Ordering::Release);
    }

    /// Moves the task on; the caller rings the bell.
    pub(crate) fn order_stage(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Release);
    }

    /// The last barrier ordered, zero if there was none.
    pub(crate) fn barrier(&self) -> CheckpointId {
        CheckpointId(self.barrier.load(Ordering::Acquire))
    }

    pub(crate) fn stage(&self) -> Stage {
        match self.stage.load(Ordering::Acquire) {
            0 => Stage::Run,
            1 => Stage::Scan,
            _ => Stage::End,
        }
    }
}
