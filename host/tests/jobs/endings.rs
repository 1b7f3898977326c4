//! A job that ends leaves no object behind that no checkpoint names, whatever its stores were writing.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use alluvium_checkpoint::Garbage;
use alluvium_env::IoRuntime;
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::{JobControl, Outcome, ReadOutcome};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::operators::TwoSteps;
use crate::words::{Words, job, settings, world};

/// How long a table is on its way: longer than all that a job does at its end.
const ON_ITS_WAY: Duration = Duration::from_millis(700);

/// A store at which tables arrive late.
#[derive(Debug, Default)]
struct LateTables {
    memory: InMemory,
    begun: AtomicU64,
    ended: AtomicU64,
}

impl fmt::Display for LateTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateTables")
    }
}

#[async_trait]
impl ObjectStore for LateTables {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if to.extension() == Some("sst") {
            self.begun.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(ON_ITS_WAY).await;
        }
        let put = self.memory.put_opts(to, payload, options).await;
        if to.extension() == Some("sst") {
            self.ended.fetch_add(1, Ordering::SeqCst);
        }
        put
    }

    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.memory.put_multipart_opts(to, options).await
    }

    async fn get_opts(&self, from: &Path, options: GetOptions) -> Result<GetResult> {
        self.memory.get_opts(from, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.memory.delete_stream(paths)
    }

    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.memory.list(folder)
    }

    async fn list_with_delimiter(&self, folder: Option<&Path>) -> Result<ListResult> {
        self.memory.list_with_delimiter(folder).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.memory.copy_opts(from, to, options).await
    }
}

#[test]
fn a_job_that_is_stopped_during_a_flush_leaves_nothing_that_no_checkpoint_names() {
    let late = Arc::new(LateTables::default());
    let store: Arc<dyn ObjectStore> = Arc::clone(&late) as _;
    let io = IoRuntime::new(2).unwrap();
    let forst = ForstSettings { memory_bytes: 2 << 20, ..ForstSettings::default() };
    let factory = ForstBackendFactory::new(forst, Arc::clone(&store), io.clone()).unwrap();
    let control = JobControl::new();
    let hooked = control.clone();
    let watched = Arc::clone(&late);
    let words = Words::new(1, 50_000_000, 60_000).hooked(move |_, _| {
        if watched.begun.load(Ordering::SeqCst) == 0 {
            return Ok(ReadOutcome::More);
        }
        hooked.stop();
        Ok(ReadOutcome::Idle)
    });
    let settings = settings(1, 1, Some(Duration::from_mins(1)));
    let world = world(&store, factory);
    let shared = world.clone();
    let job = job(&words, settings, world);
    let report = job.run(TwoSteps::open, &control, |_| Ok(())).unwrap();
    assert!(report.outcome == Outcome::Stopped && report.checkpoints.completed > 0, "{report:?}");
    assert!(report.backend.flushes < late.begun.load(Ordering::SeqCst), "a flush was under way: {report:?}");
    // A process may end now, so all of it is decided by now; though somebody may still hold what the stores shared.
    assert_eq!(late.begun.load(Ordering::SeqCst), late.ended.load(Ordering::SeqCst), "a table is on its way");
    let mut orphans = Vec::new();
    let report = io.block_on(async {
        let mut each = |orphan: &alluvium_checkpoint::Orphan| {
            orphans.push(orphan.clone());
            Ok(())
        };
        Garbage::look(store).await?.collect(&mut each).await
    });
    assert!(report.unwrap().named > 0);
    let orphans: Vec<_> = orphans.iter().filter(|orphan| orphan.name.starts_with("state/")).collect();
    assert!(orphans.is_empty(), "{orphans:?}");
    drop(shared);
}
