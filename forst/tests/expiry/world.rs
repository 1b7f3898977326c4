//! A backend on an in-memory store, whose owner deletes what is released and not named by the last snapshot.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{Clock, IoRuntime};
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_state_api::{
    BackendFactory as _, CheckpointId, FileOwnership, KeyCodec as _, KeyGroupRange, KeyedStateBackend,
    Lookup, MaxParallelism, MergeOperator, OpenRequest, ReadBatch, ReadId, RestoredPart, Result, StateId,
    StateKind, key_hash, state_key,
};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::common::bell::Bell;
use crate::common::holders::{Holders, hold, release};
use crate::common::layer::Layered;
use crate::common::sum::Sum;
use crate::counted::Counted;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        alluvium_forst::MergeOperator::merge(self, acc, operand)
    }
}

pub(crate) fn sums() -> StateKind {
    StateKind::Reducing(Arc::new(Sum))
}

pub(crate) fn key_of(state: StateId, record: u64) -> Vec<u8> {
    let mut encoded = Vec::new();
    record.encode_key(&mut encoded);
    let mut key = Vec::new();
    state_key::build(&mut key, MaxParallelism::DEFAULT.key_group(key_hash(&encoded)), state, &encoded);
    key
}

/// Holders of each name, and the names of the last snapshot.
#[derive(Default)]
struct Owner {
    files: Mutex<(Holders, BTreeSet<String>)>,
    /// Whether the last holder of a name has let it go since the last snapshot.
    released: AtomicBool,
}

impl FileOwnership for Owner {
    fn hold(&self, name: &str) {
        hold(&mut self.files.lock().unwrap().0, name);
    }

    fn release(&self, name: &str) {
        if release(&mut self.files.lock().unwrap().0, name) {
            self.released.store(true, Relaxed);
        }
    }
}

pub(crate) struct World {
    store: Arc<Layered<Counted>>,
    io: IoRuntime,
    factory: ForstBackendFactory,
    owner: Arc<Owner>,
    clock: Arc<dyn Clock>,
    attempts: AtomicU64,
}

pub(crate) struct Opened {
    pub(crate) backend: Box<dyn KeyedStateBackend>,
    bell: Bell,
}

impl World {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self::with_values_from(ForstSettings::default().value_threshold_bytes, clock)
    }

    /// One in which values from a size on lie apart from their keys.
    pub(crate) fn with_values_from(value_threshold_bytes: usize, clock: Arc<dyn Clock>) -> Self {
        let (store, io) = (Arc::<Layered<Counted>>::default(), IoRuntime::new(2).unwrap());
        let settings = ForstSettings {
            memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
            block_size_bytes: 1024,
            value_threshold_bytes,
            ..ForstSettings::default()
        };
        let objects = Arc::clone(&store) as Arc<dyn ObjectStore>;
        let factory = ForstBackendFactory::new(settings, objects, io.clone()).unwrap();
        Self { store, io, factory, owner: Arc::default(), clock, attempts: AtomicU64::new(1) }
    }

    pub(crate) fn open(&self, restored: Vec<RestoredPart>) -> Opened {
        let bell = Bell::default();
        let backend = self.factory.open(OpenRequest {
            subtask: 0,
            key_groups: KeyGroupRange::ALL,
            incarnation: self.attempts.fetch_add(1, Relaxed),
            restored,
            files: Arc::clone(&self.owner) as Arc<dyn FileOwnership>,
            notify: bell.ringer(),
            clock: Arc::clone(&self.clock),
        });
        Opened { backend: backend.unwrap(), bell }
    }

    /// Takes a snapshot, and deletes what neither it nor a holder names.
    pub(crate) fn snapshot(&self, opened: &mut Opened) -> RestoredPart {
        let task = opened.backend.snapshot(CheckpointId(1)).unwrap();
        let snapshot = self.io.block_on(task).unwrap();
        let named = snapshot.files.iter().map(|file| file.name.clone()).collect();
        self.owner.files.lock().unwrap().1 = named;
        drop(snapshot.pins);
        self.owner.released.store(false, Relaxed);
        for object in self.objects() {
            let unnamed = {
                let (holders, named) = &*self.owner.files.lock().unwrap();
                !holders.contains_key(object.0.as_ref()) && !named.contains(object.0.as_ref())
            };
            if unnamed {
                self.io.block_on(self.store.delete(&object.0)).unwrap();
            }
        }
        RestoredPart {
            key_groups: snapshot.key_groups,
            backend: snapshot.backend.to_owned(),
            payload: snapshot.payload,
        }
    }

    /// Waits until the store rings or lets go of an object: a read that was given up may hold a table a moment longer than the store
    /// has anything to ring for.
    pub(crate) fn wait_for_turn(&self, opened: &Opened) {
        let rings = || opened.bell.wait(Duration::from_millis(100)).is_ok();
        let turns = (0..600).any(|_| rings() || self.owner.released.swap(false, Relaxed));
        assert!(turns, "nobody rang in time");
    }

    fn objects(&self) -> Vec<(Path, u64)> {
        let listing = self.store.list(None).map_ok(|object| (object.location, object.size));
        self.io.block_on(listing.try_collect()).unwrap()
    }

    /// Bytes of all objects.
    pub(crate) fn bytes(&self) -> u64 {
        self.objects().iter().map(|(_, size)| size).sum()
    }

    /// Bytes of all objects once a snapshot has been taken.
    pub(crate) fn snapshot_bytes(&self, opened: &mut Opened) -> u64 {
        drop(self.snapshot(opened));
        self.bytes()
    }

    pub(crate) fn requests(&self) -> usize {
        self.store.requests()
    }
}

impl Opened {
    /// Waits for the bell.
    pub(crate) fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    pub(crate) fn poll(&mut self) {
        self.backend.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
    }

    /// Waits until the backend admits records.
    pub(crate) fn settle(&mut self) {
        while !self.backend.admits() {
            self.poll();
            if !self.backend.admits() {
                self.wait();
            }
        }
    }

    pub(crate) fn get(&mut self, key: &[u8]) -> Option<Vec<u8>> {
        match self.backend.try_get(key).unwrap() {
            Lookup::Hit(value) => return Some(value.into_owned()),
            Lookup::Absent => return None,
            Lookup::Miss => {}
        }
        let mut batch = ReadBatch::default();
        batch.push(ReadId(0), key);
        self.backend.submit(batch);
        loop {
            let mut found = None;
            let mut take =
                |_, answer: Result<Option<&[u8]>>| found = Some(answer.unwrap().map(<[u8]>::to_vec));
            self.backend.poll(&mut take).unwrap();
            match found {
                Some(found) => return found,
                None => self.wait(),
            }
        }
    }
}
