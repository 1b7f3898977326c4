//! What the server holds, near and at the far end of a link, and how much was asked of it.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::Result;
use alluvium_host::storage::{DelayedStore, Link, MeteredStore, StoreMetrics, StoreRequests};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore as _, PartId};
use object_store::path::Path;
use object_store::{MultipartId, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutResult};

use super::client::Told;

/// One way to the objects.
struct Way {
    /// Without its counters.
    bare: Arc<dyn ObjectStore>,
    counted: Arc<dyn ObjectStore>,
    requests: Arc<StoreMetrics>,
}

impl Way {
    fn new(bare: Arc<dyn ObjectStore>) -> Self {
        let (counted, requests) = MeteredStore::new(Arc::clone(&bare), "s3");
        Self { bare, counted: Arc::new(counted), requests }
    }
}

/// See the module.
pub(super) struct Objects {
    memory: Arc<InMemory>,
    near: Way,
    far: Way,
    is_far: AtomicBool,
    latency: Duration,
    /// Parts of objects, which no way counts.
    parts: AtomicU64,
    part_bytes: AtomicU64,
}

impl Objects {
    /// None yet; far away.
    pub(super) fn new(latency: Duration) -> Result<Self> {
        let memory = Arc::new(InMemory::new());
        let near = Way::new(Arc::clone(&memory) as _);
        let link = Link { latency, ..Link::default() };
        let far = Way::new(Arc::new(DelayedStore::new(Arc::clone(&memory) as _, link)?));
        let (parts, part_bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { memory, near, far, is_far: AtomicBool::new(true), latency, parts, part_bytes })
    }

    /// The way that requests take from now on.
    pub(super) fn set_far(&self, is_far: bool) {
        self.is_far.store(is_far, Ordering::Relaxed);
    }

    fn way(&self) -> &Way {
        if self.is_far.load(Ordering::Relaxed) { &self.far } else { &self.near }
    }

    /// The objects, as far away as they are now.
    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.way().counted
    }

    /// A request that carries nothing: asks for what is not there.
    async fn round_trip(&self) {
        let _ = self.way().bare.head(&Path::from("nothing")).await;
    }

    /// An upload in parts begins.
    pub(super) async fn begin(&self, path: &Path) -> object_store::Result<MultipartId> {
        self.round_trip().await;
        self.memory.create_multipart(path).await
    }

    /// Takes a part.
    pub(super) async fn part(
        &self,
        path: &Path,
        id: &MultipartId,
        at: usize,
        bytes: Bytes,
    ) -> object_store::Result<PartId> {
        self.parts.fetch_add(1, Ordering::Relaxed);
        self.part_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        self.round_trip().await;
        self.memory.put_part(path, id, at, bytes.into()).await
    }

    /// The parts are all there.
    pub(super) async fn complete(&self, path: &Path, id: &MultipartId) -> object_store::Result<PutResult> {
        self.round_trip().await;
        // The memory knows its parts; it does not look at this list.
        self.memory.complete_multipart(path, id, Vec::new()).await
    }

    /// The upload was given up.
    pub(super) async fn abort(&self, path: &Path, id: &MultipartId) -> object_store::Result<()> {
        self.round_trip().await;
        self.memory.abort_multipart(path, id).await
    }

    /// All counters.
    pub(super) async fn told(&self) -> object_store::Result<Told> {
        let all: Vec<ObjectMeta> = self.memory.list(None).try_collect().await?;
        let [near, far]: [StoreRequests; 2] = [&self.near, &self.far].map(|way| way.requests.snapshot());
        Ok(Told {
            gets: near.gets + far.gets,
            puts: near.puts + far.puts + self.parts.load(Ordering::Relaxed),
            deletes: near.deletes + far.deletes,
            lists: near.lists + far.lists,
            bytes_read: near.bytes_read + far.bytes_read,
            bytes_written: near.bytes_written + far.bytes_written + self.part_bytes.load(Ordering::Relaxed),
            stored_bytes: all.iter().map(|object| object.size).sum(),
            latency_micros: u64::try_from(self.latency.as_micros()).unwrap_or(u64::MAX),
        })
    }
}
