//! A toy job of one subtask: its state is the list of its live files, a step writes one and compacts one away. A paged one
//! has pages for all but the newest, and keeps a page as long as one of its files is live: its own, or that of the checkpoint it
//! starts from.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use alluvium_checkpoint::{
    CheckpointMetadata, CheckpointSettings, CheckpointStore, CompletedCheckpoint, Coordinator, JobShape,
    Opened, Origin, PageReader, SharedFileRegistry, SubtaskAck,
};
use alluvium_env::{Entropy, Error, IoRuntime, ManualClock, Result};
use alluvium_state_api::{
    CheckpointId, FileOwnership, FileRef, KeyGroupRange, ManifestPage, MaxParallelism, SubtaskSnapshot,
};
use bytes::Bytes;
use futures_util::TryStreamExt;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::page::Page;

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
    paged: bool,
    page: Option<Arc<Page>>,
    /// What it starts from.
    restored: Option<CheckpointMetadata>,
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
        let restored = opened.origin.as_ref().or(opened.latest()).cloned();
        let live: VecDeque<String> = restored.iter().flat_map(|c| lines(&c.subtasks[0].payload)).collect();
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
            paged: false,
            page: None,
            restored,
            origin,
        })
    }

    /// Whether its checkpoints have pages; then it takes over that of the one it starts from, if that can be read.
    pub(crate) fn paged(mut self, paged: bool) -> Self {
        self.paged = paged;
        if let Some(restored) = self.restored.take().filter(|_| paged) {
            let from = self.origin.as_ref().map_or(&self.store, |origin| origin.store());
            let all = self.io.block_on(PageReader::new(Arc::clone(from)).objects_of(&restored));
            if let (Some(page), Ok(mut named)) = (restored.pages().next(), all) {
                named.retain(|file| *file != page.object && restored.files().all(|own| own != file));
                self.page = Some(Arc::new(Page::adopt(&self.files, page.object.clone(), named)));
            }
        }
        self
    }

    fn next_name(&mut self) -> String {
        self.written += 1;
        format!("state/{:08}/0/{}", self.incarnation, self.written - 1)
    }

    /// Writes a file and, once there are enough, gives up the oldest.
    pub(crate) fn step(&mut self) -> Result<()> {
        let name = self.next_name();
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
        let pins = Pins { files: Arc::clone(&self.files), names: names.clone() };
        if let Err(error) = self.turn_page(&names) {
            self.coordinator.acknowledge_subtask(id, 0, Err(error));
            return Some((id, payload));
        }
        let page = self.page.clone();
        let is_inline = |name: &&String| !page.as_ref().is_some_and(|page| page.names(name));
        let snapshot = SubtaskSnapshot {
            key_groups: KeyGroupRange { start: 0, end: 128 },
            backend: "toy",
            payload: payload.clone(),
            files: names.iter().filter(is_inline).map(file).collect(),
            pages: page.iter().map(|page| Arc::clone(page) as Arc<dyn ManifestPage>).collect(),
            uploaded_bytes: 0,
            // The page pins its files, and itself.
            pins: Box::new((pins, page)),
        };
        let (files, pages) = (snapshot.files.clone(), snapshot.pages.clone());
        let ack = SubtaskAck {
            snapshot,
            inputs: Bytes::new(),
            inputs_count: 0,
            operator_states: Vec::new(),
            sync_micros: 1,
        };
        let brought =
            self.origin.as_ref().map_or(Ok(0), |origin| self.io.block_on(origin.bring(&files, &pages)));
        self.coordinator.acknowledge_subtask(id, 0, brought.map(|_| ack));
        Some((id, payload))
    }

    /// Goes on to another page, if it has any and nothing of the last one is live.
    fn turn_page(&mut self, live: &[String]) -> Result<()> {
        if !self.paged || self.page.as_ref().is_some_and(|page| live.iter().any(|name| page.names(name))) {
            return Ok(());
        }
        self.page = None;
        if let Some((_, older @ [_, ..])) = live.split_last() {
            let name = format!("{}.page", self.next_name());
            let files = older.iter().map(file).collect();
            let page = self.io.block_on(Page::write(&self.files, &self.store, name, files))?;
            self.page = Some(Arc::new(page));
        }
        Ok(())
    }

    /// Ends as a host would: the backends let go, then the deletes are waited for.
    pub(crate) fn end(mut self) {
        for name in self.live.drain(..) {
            self.files.release(&name);
        }
        self.page = None;
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

/// The objects that checkpoints need.
pub(crate) fn named(
    store: &Arc<dyn ObjectStore>,
    io: &IoRuntime,
    checkpoints: &[CheckpointMetadata],
) -> BTreeSet<String> {
    let mut pages = PageReader::new(Arc::clone(store));
    let mut objects = |checkpoint| io.block_on(pages.objects_of(checkpoint)).unwrap();
    checkpoints.iter().flat_map(&mut objects).map(|file| file.name).collect()
}

fn file(name: impl AsRef<str>) -> FileRef {
    let name = name.as_ref();
    FileRef { name: name.to_owned(), size_bytes: name.len() as u64 }
}

/// What a payload names.
fn lines(payload: &[u8]) -> Vec<String> {
    String::from_utf8_lossy(payload).lines().map(str::to_owned).collect()
}
