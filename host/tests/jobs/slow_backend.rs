//! A backend whose memory knows nothing: every read suspends its record and is answered some polls later, so that
//! records are in flight whenever a barrier comes. Deterministic: it counts polls, not time.
use std::collections::VecDeque;
use std::sync::Arc;

use alluvium_env::Result;
use alluvium_state_api::{
    Answered, BackendFactory, BackendStats, CheckpointId, HeapBackendFactory, KeyedStateBackend, Lookup,
    Notify, OpenRequest, PageRequest, ReadBatch, SnapshotTask, StateDescriptor, StateId, StateScan,
};

/// Answers a batch after this many polls, and a few more for every other batch.
#[derive(Clone, Copy)]
pub(crate) struct SlowFactory {
    pub(crate) polls: u32,
}

impl BackendFactory for SlowFactory {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        let notify = Arc::clone(&request.notify);
        let heap = HeapBackendFactory.open(request)?;
        Ok(Box::new(SlowBackend { heap, notify, polls: self.polls, batches: 0, held: VecDeque::new() }))
    }
}

struct SlowBackend {
    heap: Box<dyn KeyedStateBackend>,
    notify: Notify,
    polls: u32,
    batches: u32,
    held: VecDeque<(u32, ReadBatch)>,
}

impl KeyedStateBackend for SlowBackend {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.heap.register(descriptor)
    }
    fn try_get(&self, _: &[u8]) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.heap.put(key, value)
    }
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.heap.merge(key, operand)
    }
    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.heap.delete(key)
    }
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        self.heap.delete_prefix(prefix)
    }
    fn try_page(&self, _: PageRequest<'_>) -> Result<Lookup<'_>> {
        Ok(Lookup::Miss)
    }
    fn submit(&mut self, batch: ReadBatch) {
        self.batches += 1;
        self.held.push_back((self.polls + self.batches % 2 * 3, batch));
        (self.notify)();
    }
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        for _ in 0..self.held.len() {
            match self.held.pop_front() {
                Some((0, batch)) => self.heap.submit(batch),
                Some((polls, batch)) => self.held.push_back((polls - 1, batch)),
                None => break,
            }
        }
        if !self.held.is_empty() {
            (self.notify)();
        }
        self.heap.poll(answered)
    }
    fn admits(&self) -> bool {
        self.heap.admits()
    }
    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask> {
        self.heap.snapshot(id)
    }
    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        self.heap.scan(state)
    }
    fn stats(&self) -> BackendStats {
        self.heap.stats()
    }
}
