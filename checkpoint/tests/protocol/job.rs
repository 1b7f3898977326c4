//! A toy job of one subtask: its state is the list of its live files, a step writes one and compacts one away.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alluvium_checkpoint::{
    CheckpointMetadata, CheckpointSettings, CheckpointStore, CompletedCheckpoint, Coordinator, JobShape,
    Opened, Origin, SharedFileRegistry, SubtaskAck,
};
use alluvium_env::{Entropy, Error, IoRuntime, ManualClock, Result};
use alluvium_state_api::{
    CheckpointId, FileOwnership, FileRef, KeyGroupRange, MaxParallelism, SubtaskSnapshot,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

/// How many checkpoints a job keeps.
pub(crate) const RETAINED: usize = 2;
/// How many files are live.
const LIVE: usize = 3;

/// What every checkpoint of a test was told to hold, by number. A number that was given up is told again.
pub(crate) type Oracle = BTreeMap<u64, BTreeSet<Bytes>>;

pub(crate) struct Job {
    pub(crate) coordinator: Coordinator,
    pub(crate) files: Arc<SharedFileRegistry>,
    pub(crate) retained: Vec<CheckpointMetadata>,
    pub(crate) incarnation: u64,
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    live: VecDeque<String>,
    written: usize,
    origin: Option<Arc<Origin>>,
}

/// Releases what a snapshot pins.
struct Pins {
    files: Arc<SharedFileRegistry>,
    names: Vec<String>,
}

impl Drop for Pins {
    fn drop(&mut self) {
        for name in &self.names {
            self.files.release(name);
        }
    }
}

pub(crate) fn shape() -> JobShape {
    JobShape { job: "toy".into(), max_parallelism: MaxParallelism::DEFAULT, subtasks: 1, sources: 1 }
}

impl Job {
    /// Starts from the latest checkpoint.
    pub(crate) fn start(store: Arc<dyn ObjectStore>, io: &IoRuntime, seed: u64) -> Result<Self> {
        let opened = CheckpointStore::open(Arc::clone(&store), io.clone(), &Entropy::from_seed(seed))?;
        Self::with(opened, store, io, None)
    }

    /// Starts from a checkpoint of another root.
    pub(crate) fn start_from(
        store: Arc<dyn ObjectStore>,
        io: &IoRuntime,
        seed: u64,
        origin: &Arc<Origin>,
    ) -> Result<Self> {
        let entropy = Entropy::from_seed(seed);
        let opened = CheckpointStore::open_from(Arc::clone(&store), io.clone(), &entropy, origin)?;
        Self::with(opened, store, io, Some(Arc::clone(origin)))
    }

    fn with(
        opened: Opened,
        store: Arc<dyn ObjectStore>,
        io: &IoRuntime,
        origin: Option<Arc<Origin>>,
    ) -> Result<Self> {
        let restored = opened.origin.as_ref().or(opened.latest());
        let live: VecDeque<String> =
            restored.into_iter().flat_map(|c| c.files().map(|file| file.name.clone())).collect();
        for name in &live {
            opened.files.hold(name);
        }
        let settings = CheckpointSettings {
            interval: None,
            retained: RETAINED,
            tolerated_failures: 1000,
            ..Default::default()
        };
        let (files, retained, incarnation) = (opened.files, opened.retained, opened.incarnation);
        let clock = Arc::new(ManualClock::default());
        let coordinator = Coordinator::new(opened.checkpoints, settings, shape(), clock)?;
        Ok(Self {
            coordinator,
            files,
            retained,
            incarnation,
            store,
            io: io.clone(),
            live,
            written: 0,
            origin,
        })
    }

    /// Writes a file and, once there are enough, gives up the oldest.
    pub(crate) fn step(&mut self) -> Result<()> {
        let name = format!("state/{:08}/0/{}", self.incarnation, self.written);
        self.written += 1;
        self.files.hold(&name);
        let put = self.io.block_on(self.store.put(&Path::from(name.as_str()), name.clone().into()));
        if let Err(error) = put {
            self.files.release(&name);
            return Err(Error::unavailable("a file was not written").with_source(error));
        }
        self.live.push_back(name);
        if self.live.len() > LIVE {
            let oldest = self.live.pop_front().unwrap();
            self.files.release(&oldest);
        }
        Ok(())
    }

    /// Takes a checkpoint, and tells the oracle what it holds.
    pub(crate) fn checkpoint(&mut self, oracle: &mut Oracle) -> Result<Option<CompletedCheckpoint>> {
        let Some((id, payload)) = self.begin_checkpoint() else { return Ok(None) };
        oracle.entry(id.0).or_default().insert(payload);
        self.coordinator.acknowledge_source(id, 0, Bytes::new());
        self.coordinator.try_complete(&|sources| sources.concat().into(), false)
    }

    /// Starts a checkpoint that the subtask acknowledges and the source does not yet.
    pub(crate) fn begin_checkpoint(&mut self) -> Option<(CheckpointId, Bytes)> {
        let id = self.coordinator.trigger()?;
        let names: Vec<String> = self.live.iter().cloned().collect();
        for name in &names {
            self.files.hold(name);
        }
        let payload = Bytes::from(names.join("\n"));
        let snapshot = SubtaskSnapshot {
            key_groups: KeyGroupRange { start: 0, end: 128 },
            backend: "toy",
            payload: payload.clone(),
            files: names
                .iter()
                .map(|name| FileRef { name: name.clone(), size_bytes: name.len() as u64 })
                .collect(),
            uploaded_bytes: 0,
            pins: Box::new(Pins { files: Arc::clone(&self.files), names }),
        };
        let files = snapshot.files.clone();
        let ack = SubtaskAck {
            snapshot,
            inputs: Bytes::new(),
            inputs_count: 0,
            operator_states: Vec::new(),
            sync_micros: 1,
        };
        let brought = self.origin.as_ref().map_or(Ok(0), |origin| self.io.block_on(origin.bring(&files)));
        self.coordinator.acknowledge_subtask(id, 0, brought.map(|_| ack));
        Some((id, payload))
    }

    /// Ends as a host would: the backends let go, then the deletes are waited for.
    pub(crate) fn end(mut self) {
        for name in self.live.drain(..) {
            self.files.release(&name);
        }
        self.files.settle();
    }
}

/// The names in a folder.
pub(crate) fn names_in(store: &Arc<dyn ObjectStore>, io: &IoRuntime, folder: &str) -> BTreeSet<String> {
    let names = store.list(Some(&Path::from(folder))).map_ok(|meta| meta.location.to_string());
    io.block_on(names.try_collect()).unwrap()
}

/// Every object with its bytes.
pub(crate) fn contents(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> BTreeMap<String, Bytes> {
    let mut contents = BTreeMap::new();
    for folder in ["ledger", "state"] {
        for name in names_in(store, io, folder) {
            let bytes = io.block_on(async { store.get(&Path::from(name.as_str())).await?.bytes().await });
            contents.insert(name, bytes.unwrap());
        }
    }
    contents
}

/// The files that checkpoints name.
pub(crate) fn named(checkpoints: &[CheckpointMetadata]) -> BTreeSet<String> {
    checkpoints.iter().flat_map(CheckpointMetadata::files).map(|file| file.name.clone()).collect()
}
