//! A backend that answers every read some polls later, so that records are in flight whenever a barrier comes.
//! Deterministic: it counts polls, not time.
use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_env::Result;
use alluvium_state_api::{
    BackendFactory, HeapBackendFactory, KeyedStateBackend, Notify, OpenRequest, ReadBatch,
};

use crate::held_backend::{HeldBackend, Hold};

/// Submits a batch after this many polls, and a few more for every other batch.
#[derive(Clone, Copy)]
pub(crate) struct SlowFactory<F = HeapBackendFactory> {
    pub(crate) inner: F,
    pub(crate) polls: u32,
}

impl SlowFactory {
    /// On the heap, which answers at once.
    pub(crate) fn heap(polls: u32) -> Self {
        Self { inner: HeapBackendFactory, polls }
    }
}

impl<F: BackendFactory> BackendFactory for SlowFactory<F> {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        let notify = Arc::clone(&request.notify);
        let heap = self.inner.open(request)?;
        let rule = ByPolls { notify, polls: self.polls, batches: 0, held: VecDeque::new() };
        Ok(Box::new(HeldBackend { heap, rule }))
    }
}

struct ByPolls {
    notify: Notify,
    polls: u32,
    batches: u32,
    held: VecDeque<(u32, ReadBatch)>,
}

impl Hold for ByPolls {
    fn hold(&mut self, batch: ReadBatch) {
        self.batches += 1;
        self.held.push_back((self.polls + self.batches % 2 * 3, batch));
        (self.notify)();
    }

    fn due(&mut self) -> Vec<ReadBatch> {
        let mut due = Vec::new();
        for (polls, batch) in std::mem::take(&mut self.held) {
            match polls.checked_sub(1) {
                None => due.push(batch),
                Some(left) => self.held.push_back((left, batch)),
            }
        }
        if !self.held.is_empty() {
            (self.notify)();
        }
        due
    }
}
