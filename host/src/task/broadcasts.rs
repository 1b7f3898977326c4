//! The broadcast side of a task: elements that are events between its records (design D15).
//!
//! **Invariants**: a snapshot is taken when every element before its barrier has been processed, so all subtasks' broadcast
//! states are of the same elements. That is the one thing in a drain-free barrier that waits for records: those before an
//! element that is pending, of which there are none unless epochs are parallel.
use alluvium_async_exec::StartRecord;
use alluvium_env::{Error, Result};
use alluvium_state_api::KeyedProcess;
use bytes::Bytes;

use super::operator::Broadcast;
use super::run::TaskLoop;
use super::time::TaskEvent;

/// What processes elements, and how many have come and are not processed.
pub(super) struct Broadcasts<P: KeyedProcess> {
    process: Option<Broadcast<P>>,
    pending: usize,
}

impl<P: KeyedProcess> Broadcasts<P> {
    pub(super) fn new(process: Option<Broadcast<P>>) -> Self {
        Self { process, pending: 0 }
    }
}

impl<P: KeyedProcess, S: StartRecord<P>> TaskLoop<P, S> {
    /// An element has come: it closes the epoch of the records before it.
    pub(super) fn take_broadcast(&mut self, element: Bytes) {
        self.broadcasts.pending += 1;
        self.controller.close_epoch(TaskEvent::Broadcast(element));
    }

    /// The records before an element have ended.
    ///
    /// # Errors
    /// The operator's; `Invalid` if it has no broadcast side.
    pub(super) fn process_broadcast(&mut self, element: &[u8]) -> Result<()> {
        let process = self.broadcasts.process.ok_or_else(|| {
            Error::invalid(
                "the source broadcasts and the operator has no broadcast side: give it one by `Operator::with_broadcast`",
            )
        })?;
        process(&self.process, element, self.controller.task())
            .map_err(|e| e.context("broadcast element"))?;
        self.broadcasts.pending -= 1;
        Ok(())
    }

    /// Runs until every element that has come is processed.
    ///
    /// # Errors
    /// As the task's loop.
    pub(super) fn finish_broadcasts(&mut self) -> Result<()> {
        while self.broadcasts.pending > 0 {
            self.wait_for_answers()?;
            self.poll()?;
        }
        Ok(())
    }
}
