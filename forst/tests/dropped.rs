//! States that were dropped: compactions go over what is left of them, though nobody knows any more how it folds.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
}

use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{IoRuntime, SystemClock};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_state_api::{
    BackendFactory as _, CheckpointId, FileOwnership, KeyGroup, KeyGroupRange, KeyedStateBackend, Lookup,
    OpenRequest, RestoredPart, StateDescriptor, StateKind, state_key,
};
use common::bell::Bell;
use object_store::memory::InMemory;

/// The first sinks as it is, the others wait in level 0 and are due once the last has come.
const RUNS: u64 = 5;

struct Nobody;

impl FileOwnership for Nobody {
    fn hold(&self, _: &str) {}
    fn release(&self, _: &str) {}
}

struct World {
    io: IoRuntime,
    factory: ForstBackendFactory,
    bell: Bell,
}

impl World {
    fn new() -> Self {
        let io = IoRuntime::new(1).unwrap();
        let settings = ForstSettings { memory_bytes: 8 << 20, ..ForstSettings::default() };
        let factory = ForstBackendFactory::new(settings, Arc::new(InMemory::new()), io.clone()).unwrap();
        Self { io, factory, bell: Bell::default() }
    }

    fn open(&self, incarnation: u64, restored: Vec<RestoredPart>) -> Box<dyn KeyedStateBackend> {
        let request = OpenRequest {
            subtask: 0,
            key_groups: KeyGroupRange::ALL,
            incarnation,
            restored,
            files: Arc::new(Nobody),
            notify: self.bell.ringer(),
            clock: Arc::new(SystemClock::new()),
        };
        self.factory.open(request).unwrap()
    }

    fn poll_until(
        &self,
        backend: &mut dyn KeyedStateBackend,
        is_done: impl Fn(&dyn KeyedStateBackend) -> bool,
    ) {
        backend.poll(&mut |_, _| ()).unwrap();
        while !is_done(backend) {
            self.bell.wait(Duration::from_mins(1)).unwrap();
            backend.poll(&mut |_, _| ()).unwrap();
        }
    }
}

#[test]
fn operands_of_a_dropped_state_are_compacted_although_nobody_can_fold_them() {
    let world = World::new();
    let mut backend = world.open(1, Vec::new());
    let list = StateDescriptor::new("notes".to_owned(), StateKind::List);
    let list = backend.register(&list).unwrap();
    let (mut key, mut whole) = (Vec::new(), Vec::new());
    state_key::build(&mut whole, KeyGroup(0), list, &[]);
    state_key::build(&mut key, KeyGroup(0), list, b"key");
    for run in 1..=RUNS {
        backend.merge(&key, b"note").unwrap();
        // A scan makes a run of the memtable.
        drop(backend.scan(list).unwrap());
        world.poll_until(backend.as_mut(), |backend| backend.stats().flushes == run);
    }
    assert!(backend.stats().compactions <= 1, "what the checkpoint has is still to be merged");
    let snapshot = world.io.block_on(backend.snapshot(CheckpointId(1)).unwrap()).unwrap();
    let part = RestoredPart {
        key_groups: snapshot.key_groups,
        backend: snapshot.backend.to_owned(),
        payload: snapshot.payload.clone(),
    };

    // As the runtime drops a state: it is not opened, and a tombstone lies over it.
    let mut backend = world.open(2, vec![part]);
    backend.delete_prefix(&whole).unwrap();
    world.poll_until(backend.as_mut(), |backend| backend.stats().compactions > 0);
    assert!(matches!(backend.try_get(&key).unwrap(), Lookup::Absent));
}
