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

    fn snapshot(&self, backend: &mut dyn KeyedStateBackend) -> RestoredPart {
        let snapshot = self.io.block_on(backend.snapshot(CheckpointId(1)).unwrap()).unwrap();
        let (key_groups, backend) = (snapshot.key_groups, snapshot.backend.to_owned());
        RestoredPart { key_groups, backend, payload: snapshot.payload }
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

/// A list state of which several runs have operands of one key, the first in the last level and the others above it, and its key.
fn written(world: &World) -> (RestoredPart, Vec<u8>) {
    let mut backend = world.open(1, Vec::new());
    let list = StateDescriptor::new("notes".to_owned(), StateKind::List);
    let list = backend.register(&list).unwrap();
    let mut key = Vec::new();
    state_key::build(&mut key, KeyGroup(0), list, b"key");
    for run in 1..=RUNS {
        backend.merge(&key, b"note").unwrap();
        // A scan makes a run of the memtable.
        drop(backend.scan(list).unwrap());
        world.poll_until(backend.as_mut(), |backend| backend.stats().flushes == run);
    }
    assert!(backend.stats().compactions <= 1, "what the checkpoint has is still to be merged");
    (world.snapshot(backend.as_mut()), key)
}

#[test]
fn operands_of_a_dropped_state_are_compacted_although_nobody_can_fold_them() {
    let world = World::new();
    let (part, key) = written(&world);
    let whole = &key[..key.len() - b"key".len()];
    for restored_again in [false, true] {
        // As the runtime drops a state: it is not opened, and a tombstone lies over it.
        let mut backend = world.open(2, vec![part.clone()]);
        backend.states().unwrap().drop_state("notes").unwrap();
        backend.delete_prefix(whole).unwrap();
        if restored_again {
            // The tombstone is in the log, and nobody says again that the state is dropped.
            let part = world.snapshot(backend.as_mut());
            backend = world.open(3, vec![part]);
        }
        world.poll_until(backend.as_mut(), |backend| backend.stats().compactions > 0);
        assert!(matches!(backend.try_get(&key).unwrap(), Lookup::Absent));
    }
}

#[test]
fn operands_of_a_state_that_is_neither_opened_nor_dropped_are_folded_by_nobody() {
    let world = World::new();
    let (part, _) = written(&world);
    let mut backend = world.open(2, vec![part]);
    let error = loop {
        match backend.poll(&mut |_, _| ()) {
            Ok(()) => world.bell.wait(Duration::from_mins(1)).unwrap(),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("no operator is registered for them"), "{error}");
}
