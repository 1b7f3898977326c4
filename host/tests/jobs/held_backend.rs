//! A heap backend whose memory knows nothing: every read suspends its record, and is answered when a test's rule says so.
use alluvium_env::Result;
use alluvium_state_api::{
    Answered, BackendStats, CheckpointId, KeyedStateBackend, Lookup, PageRequest, ReadBatch, SnapshotTask,
    StateDescriptor, StateId, StateScan, StateTable,
};

/// When reads are answered.
pub(crate) trait Hold {
    /// Takes a batch that was submitted.
    fn hold(&mut self, batch: ReadBatch);

    /// Called at each poll: gives back the batches that are due.
    fn due(&mut self) -> Vec<ReadBatch>;
}

/// A heap behind a rule.
pub(crate) struct HeldBackend<H> {
    pub(crate) heap: Box<dyn KeyedStateBackend>,
    pub(crate) rule: H,
}

impl<H: Hold> KeyedStateBackend for HeldBackend<H> {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.heap.register(descriptor)
    }
    fn states(&mut self) -> Option<&mut StateTable> {
        self.heap.states()
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
        self.rule.hold(batch);
    }
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        self.rule.due().into_iter().for_each(|batch| self.heap.submit(batch));
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
