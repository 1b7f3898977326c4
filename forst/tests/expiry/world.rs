//! A backend on an in-memory store, whose owner deletes what is released and not named by the last snapshot.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex};
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

use crate::counted::Counted;

/// Addition of `u64le`.
struct Sum;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().expect("a sum has eight bytes"));
        *acc = number(acc).wrapping_add(number(operand)).to_le_bytes().to_vec();
        Ok(())
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
    files: Mutex<(BTreeMap<String, u32>, BTreeSet<String>)>,
}

impl FileOwnership for Owner {
    fn hold(&self, name: &str) {
        *self.files.lock().unwrap().0.entry(name.to_owned()).or_default() += 1;
    }

    fn release(&self, name: &str) {
        let (holders, _) = &mut *self.files.lock().unwrap();
        let count = holders.get_mut(name).expect("a release without a hold");
        *count -= 1;
        if *count == 0 {
            holders.remove(name);
        }
    }
}

pub(crate) struct World {
    store: Arc<Counted>,
    io: IoRuntime,
    factory: ForstBackendFactory,
    owner: Arc<Owner>,
    clock: Arc<dyn Clock>,
    attempts: AtomicU64,
}

type Bell = Arc<(Mutex<bool>, Condvar)>;

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
        let (store, io) = (Arc::new(Counted::default()), IoRuntime::new(2).unwrap());
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
        let ring = Arc::clone(&bell);
        let backend = self.factory.open(OpenRequest {
            subtask: 0,
            key_groups: KeyGroupRange::ALL,
            incarnation: self.attempts.fetch_add(1, Relaxed),
            restored,
            files: Arc::clone(&self.owner) as Arc<dyn FileOwnership>,
            notify: Arc::new(move || {
                *ring.0.lock().unwrap() = true;
                ring.1.notify_all();
            }),
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
        let rung = self.bell.0.lock().unwrap();
        let (mut rung, late) = self.bell.1.wait_timeout_while(rung, Duration::from_mins(1), |r| !*r).unwrap();
        assert!(!late.timed_out(), "nobody rang for a minute");
        *rung = false;
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
