//! Heap backends with a fault: one that admits nothing, and some whose snapshots cannot be uploaded.
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use alluvium_env::{Error, Result};
use alluvium_state_api::{
    Answered, BackendFactory, BackendStats, CheckpointId, HeapBackendFactory, KeyedStateBackend, Lookup,
    OpenRequest, PageRequest, ReadBatch, SnapshotTask, StateDescriptor, StateId, StateScan, StateTable,
    SubtaskSnapshot,
};

/// Opens heap backends with a fault.
#[derive(Clone)]
pub(crate) enum FaultyFactory {
    /// They admit nothing, ever.
    Shut,
    /// So many uploads of snapshots fail, over all subtasks.
    Uploads(Arc<AtomicU64>),
    /// Uploads panic.
    Panics,
    /// Uploads of this checkpoint never end; it is told when they begin.
    Stuck(CheckpointId, Sender<()>),
    /// Every other checkpoint takes so long that later ones overtake it.
    Uneven,
}

impl BackendFactory for FaultyFactory {
    fn open(&self, request: OpenRequest) -> Result<Box<dyn KeyedStateBackend>> {
        Ok(Box::new(Faulty(HeapBackendFactory.open(request)?, self.clone())))
    }
}

struct Faulty(Box<dyn KeyedStateBackend>, FaultyFactory);

impl KeyedStateBackend for Faulty {
    fn register(&mut self, descriptor: &StateDescriptor) -> Result<StateId> {
        self.0.register(descriptor)
    }
    fn states(&mut self) -> Option<&mut StateTable> {
        self.0.states()
    }
    fn try_get(&self, key: &[u8]) -> Result<Lookup<'_>> {
        self.0.try_get(key)
    }
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.0.put(key, value)
    }
    fn merge(&mut self, key: &[u8], operand: &[u8]) -> Result<()> {
        self.0.merge(key, operand)
    }
    fn delete(&mut self, key: &[u8]) -> Result<()> {
        self.0.delete(key)
    }
    fn delete_prefix(&mut self, prefix: &[u8]) -> Result<()> {
        self.0.delete_prefix(prefix)
    }
    fn try_page(&self, request: PageRequest<'_>) -> Result<Lookup<'_>> {
        self.0.try_page(request)
    }
    fn submit(&mut self, batch: ReadBatch) {
        self.0.submit(batch);
    }
    fn poll(&mut self, answered: &mut Answered<'_>) -> Result<()> {
        self.0.poll(answered)
    }
    fn admits(&self) -> bool {
        !matches!(self.1, FaultyFactory::Shut)
    }
    fn snapshot(&mut self, id: CheckpointId) -> Result<SnapshotTask> {
        let (upload, fault) = (self.0.snapshot(id)?, self.1.clone());
        Ok(Box::pin(async move {
            let less_one = |left: u64| left.checked_sub(1);
            match fault {
                FaultyFactory::Panics => broken(),
                FaultyFactory::Stuck(stuck, begun) if stuck == id => {
                    let _ = begun.send(());
                    std::future::pending().await
                }
                FaultyFactory::Uneven if id.0.is_multiple_of(2) => {
                    for _ in 0..2_000 {
                        tokio::task::yield_now().await;
                    }
                    upload.await
                }
                FaultyFactory::Uploads(left)
                    if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, less_one).is_ok() =>
                {
                    Err(Error::unavailable("the store does not answer"))
                }
                _ => upload.await,
            }
        }))
    }
    fn scan(&mut self, state: StateId) -> Result<Box<dyn StateScan>> {
        self.0.scan(state)
    }
    fn stats(&self) -> BackendStats {
        self.0.stats()
    }
}

#[expect(clippy::panic, reason = "the fault itself")]
fn broken() -> Result<SubtaskSnapshot> {
    panic!("the upload broke")
}
