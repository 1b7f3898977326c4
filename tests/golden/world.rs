//! A golden store's folder, written by this build or by an older one, and subtasks on it.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alluvium::checkpoint::{
    CheckpointMetadata, CheckpointSettings, CheckpointStore, Coordinator, JobShape, Opened, SubtaskAck,
};
use alluvium::env::{Entropy, IoRuntime, ManualClock};
use alluvium::forst::{ForstBackendFactory, ForstSettings, Packer};
use alluvium::host::storage::{Storage, open_folder};
use alluvium::state_api::{
    BackendFactory as _, FileOwnership, KeyGroupRange, KeyedStateBackend, Lookup, MaxParallelism,
    OpenRequest, ReadBatch, ReadId, StateId, state_key,
};
use bytes::Bytes;
use futures_util::future::join_all;

use crate::content::{PAUSE, Step, WRITTEN_AT, key_of, operator_states, states, steps};

/// What the sources of every golden checkpoint say, and what its first subtask kept of them.
pub(crate) const SOURCE: &[u8] = b"golden source";
pub(crate) const INPUTS: &[u8] = b"\x03\0\0\0\x01\0\0\0a\0\0x";

pub(crate) fn shape(subtasks: u16) -> JobShape {
    JobShape {
        job: "golden".to_owned(),
        max_parallelism: MaxParallelism::DEFAULT,
        subtasks: usize::from(subtasks),
        sources: 1,
    }
}

/// Copies a folder; what is in subfolders comes last, as it was written.
pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    let mut entries: Vec<_> = fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort_by_key(|path| path.is_dir());
    for path in entries {
        let copied = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &copied);
        } else {
            fs::copy(&path, &copied).unwrap();
        }
    }
}

/// A folder with a store in it, `store`, and perhaps a disk tier, `cache`.
pub(crate) struct World {
    pub(crate) storage: Storage,
    pub(crate) io: IoRuntime,
    pub(crate) clock: Arc<ManualClock>,
    cache: PathBuf,
}

type Bell = Arc<(Mutex<bool>, Condvar)>;

/// A running subtask.
pub(crate) struct Subtask {
    pub(crate) backend: Box<dyn KeyedStateBackend>,
    pub(crate) key_groups: KeyGroupRange,
    bell: Bell,
}

impl World {
    pub(crate) fn open(folder: &Path, after: Duration) -> Self {
        Self {
            storage: open_folder(&folder.join("store")).unwrap(),
            io: IoRuntime::new(1).unwrap(),
            clock: Arc::new(ManualClock::at(WRITTEN_AT + after)),
            cache: folder.join("cache"),
        }
    }

    pub(crate) fn checkpoints(&self) -> Opened {
        CheckpointStore::open(Arc::clone(&self.storage.store), self.io.clone(), &Entropy::from_seed(1))
            .unwrap()
    }

    pub(crate) fn factory(&self, settings: ForstSettings, with_cache: bool) -> ForstBackendFactory {
        let settings = ForstSettings {
            memory_bytes: 4 << 20,
            block_size_bytes: 512,
            cache_dir: with_cache.then(|| self.cache.clone()),
            cache_min_free_bytes: 0,
            ..settings
        };
        ForstBackendFactory::new(settings, Arc::clone(&self.storage.store), self.io.clone()).unwrap()
    }

    /// Subtask `index` of so many, from a checkpoint or from nothing.
    pub(crate) fn subtask(
        &self,
        factory: &ForstBackendFactory,
        (index, parallelism): (u16, u16),
        from: Option<&CheckpointMetadata>,
        (incarnation, files): (u64, Arc<dyn FileOwnership>),
    ) -> Subtask {
        let key_groups = MaxParallelism::DEFAULT.range_of(index, parallelism).unwrap();
        let bell = Bell::default();
        let ring = Arc::clone(&bell);
        let mut backend = factory
            .open(OpenRequest {
                subtask: index,
                key_groups,
                incarnation,
                restored: from.map(|from| from.restore_for(key_groups).parts).unwrap_or_default(),
                files,
                notify: Arc::new(move || {
                    *ring.0.lock().unwrap() = true;
                    ring.1.notify_all();
                }),
                clock: Arc::clone(&self.clock) as _,
            })
            .unwrap();
        for (id, state) in states().iter().enumerate() {
            assert_eq!(backend.register(state).unwrap(), StateId(id as u16));
        }
        Subtask { backend, key_groups, bell }
    }

    /// Lives the golden life as two subtasks, the first of which has a disk tier.
    pub(crate) fn write(&self, settings: [ForstSettings; 2]) {
        let opened = self.checkpoints();
        let (incarnation, clock) = (opened.incarnation, Arc::clone(&self.clock));
        let settings_of_checkpoints = CheckpointSettings::default();
        let mut coordinator =
            Coordinator::new(opened.checkpoints, settings_of_checkpoints, shape(2), clock).unwrap();
        let [first, second] = settings;
        let packer = Packer::new();
        let factories = [self.factory(first, true), self.factory(second, false)];
        let factories = factories.map(|factory| factory.with_packer(Arc::clone(&packer)));
        let mut subtasks: Vec<Subtask> = (0_u16..)
            .zip(&factories)
            .map(|(index, factory)| {
                let files = Arc::clone(coordinator.files()) as Arc<dyn FileOwnership>;
                self.subtask(factory, (index, 2), None, (incarnation, files))
            })
            .collect();
        for step in steps() {
            match &step {
                Step::Pause => self.clock.advance(PAUSE),
                Step::Checkpoint => self.checkpoint(&mut coordinator, &mut subtasks),
                _ => subtasks.iter_mut().for_each(|subtask| subtask.take(&step)),
            }
        }
        drop(subtasks);
        coordinator.files().settle();
        let disk = factories[0].disk_cache().cloned();
        drop(factories);
        while disk.as_ref().is_some_and(|disk| Arc::strong_count(disk) > 1) {
            std::thread::yield_now();
        }
    }

    fn checkpoint(&self, coordinator: &mut Coordinator, subtasks: &mut [Subtask]) {
        let id = coordinator.trigger().unwrap();
        coordinator.acknowledge_source(id, 0, Bytes::from_static(SOURCE));
        let snapshots = subtasks.iter_mut().map(|subtask| subtask.backend.snapshot(id).unwrap());
        // At the same time, as those of a job: what they upload is in one object.
        for (index, snapshot) in self.io.block_on(join_all(snapshots)).into_iter().enumerate() {
            let snapshot = snapshot.unwrap();
            let inputs = if index == 0 { INPUTS } else { &[] };
            let (inputs, inputs_count) = (Bytes::from_static(inputs), u64::from(index == 0));
            let operator_states = operator_states(index);
            coordinator.acknowledge_subtask(
                id,
                index,
                Ok(SubtaskAck { snapshot, inputs, inputs_count, operator_states, sync_micros: 0 }),
            );
        }
        let completed = coordinator.try_complete(&|sources| sources.concat().into(), false).unwrap();
        assert_eq!(completed.map(|completed| completed.id), Some(id));
    }
}

impl Subtask {
    fn owns(&self, key: &[u8]) -> bool {
        self.key_groups.contains(state_key::split(key).unwrap().0)
    }

    fn wait(&self) {
        let rang = self.bell.0.lock().unwrap();
        let (mut rang, late) = self.bell.1.wait_timeout_while(rang, Duration::from_mins(1), |r| !*r).unwrap();
        assert!(!late.timed_out(), "nobody rang for a minute");
        *rang = false;
    }

    /// One step of those that concern its keys.
    fn take(&mut self, step: &Step) {
        let (Step::Put(key, _) | Step::Merge(key, _) | Step::Delete(key) | Step::Clear(key)) = step else {
            return self.flush();
        };
        if !self.owns(key) {
            return;
        }
        match step {
            Step::Put(key, value) => self.backend.put(key, value).unwrap(),
            Step::Merge(key, operand) => self.backend.merge(key, operand).unwrap(),
            Step::Delete(key) => self.backend.delete(key).unwrap(),
            Step::Clear(prefix) => self.backend.delete_prefix(prefix).unwrap(),
            Step::Flush | Step::Pause | Step::Checkpoint => {}
        }
    }

    /// A scan has the memtable flushed.
    pub(crate) fn flush(&mut self) {
        let before = self.backend.stats().flushes;
        drop(self.backend.scan(StateId(0)).unwrap());
        while self.backend.stats().flushes == before {
            self.backend.poll(&mut |_, _| ()).unwrap();
            if self.backend.stats().flushes == before {
                self.wait();
            }
        }
    }

    /// Everything it holds, by scans.
    pub(crate) fn scan(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let mut entries = BTreeMap::new();
        for state in 0..states().len() {
            let mut scan = self.backend.scan(StateId(state as u16)).unwrap();
            while let Some((key, value)) = scan.next_entry().unwrap() {
                entries.insert(key.to_vec(), value.to_vec());
            }
        }
        entries
    }

    /// Point reads of all keys that there could be of its key groups.
    pub(crate) fn get_all(&mut self) -> BTreeMap<Vec<u8>, Vec<u8>> {
        let of = |state: u16, record| {
            let entries = if state == 3 { (0..10).map(Some).collect() } else { vec![None] };
            entries.into_iter().map(move |entry| key_of(state, record, entry))
        };
        let keys = (0..32).flat_map(|record| (0..7).flat_map(move |state| of(state, record)));
        let keys: Vec<_> = keys.filter(|key| self.owns(key)).collect();
        let (mut found, mut batch) = (BTreeMap::new(), ReadBatch::default());
        for (index, key) in keys.iter().enumerate() {
            match self.backend.try_get(key).unwrap() {
                Lookup::Hit(value) => drop(found.insert(key.clone(), value.into_owned())),
                Lookup::Absent => {}
                Lookup::Miss => batch.push(ReadId(index as u32), key),
            }
        }
        let mut open = batch.len();
        self.backend.submit(batch);
        while open > 0 {
            let mut take = |id: ReadId, answer: alluvium::env::Result<Option<&[u8]>>| {
                open -= 1;
                if let Some(value) = answer.unwrap() {
                    found.insert(keys[id.0 as usize].clone(), value.to_vec());
                }
            };
            self.backend.poll(&mut take).unwrap();
            if open > 0 {
                self.wait();
            }
        }
        found
    }
}

/// What of all there is belongs to some key groups.
pub(crate) fn within(
    all: &BTreeMap<Vec<u8>, Vec<u8>>,
    key_groups: KeyGroupRange,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let owned = all.iter().filter(|(key, _)| key_groups.contains(state_key::split(key).unwrap().0));
    owned.map(|(key, value)| (key.clone(), value.clone())).collect()
}
