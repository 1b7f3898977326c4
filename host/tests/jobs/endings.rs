//! A job that ends leaves no object behind that no checkpoint names, whatever its stores were writing.
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
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
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::operators::TwoSteps;
use crate::words::{Words, job, settings, world};

/// How long a table is on its way: longer than all that a job does at its end.
const ON_ITS_WAY: Duration = Duration::from_millis(700);
/// How long the last checkpoint and the tables wait for each other, at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// A store at which the last checkpoint completes while a table is on its way, which arrives late.
#[derive(Debug, Default)]
struct LateTables {
    memory: InMemory,
    stopped: AtomicBool,
    last: watch::Sender<bool>,
    begun: watch::Sender<u64>,
    ended: AtomicU64,
}

impl LateTables {
    /// A job that waits for its flush is not stopped yet.
    async fn delay_table(&self) {
        self.begun.send_modify(|begun| *begun += 1);
        sleep(ON_ITS_WAY).await;
        if self.stopped.load(Ordering::SeqCst) {
            let mut last = self.last.subscribe();
            drop(timeout(PATIENCE, last.wait_for(|is_complete| *is_complete)).await);
            sleep(ON_ITS_WAY).await;
        }
    }

    async fn delay_checkpoint(&self) {
        let mut begun = self.begun.subscribe();
        let under_way = begun.wait_for(|begun| *begun > self.ended.load(Ordering::SeqCst));
        drop(timeout(PATIENCE, under_way).await);
    }
}

impl fmt::Display for LateTables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LateTables")
    }
}

#[async_trait]
impl ObjectStore for LateTables {
    async fn put_opts(&self, to: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let is_table = to.extension() == Some("sst");
        let is_last = to.as_ref().starts_with("ledger/") && self.stopped.load(Ordering::SeqCst);
        if is_table {
            self.delay_table().await;
        } else if is_last {
            self.delay_checkpoint().await;
        }
        let put = self.memory.put_opts(to, payload, options).await;
        if is_table {
            self.ended.fetch_add(1, Ordering::SeqCst);
        } else if is_last {
            let is_met = *self.begun.borrow() > self.ended.load(Ordering::SeqCst);
            self.last.send_replace(is_met);
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
        if *watched.begun.borrow() == 0 {
            return Ok(ReadOutcome::More);
        }
        watched.stopped.store(true, Ordering::SeqCst);
        hooked.stop();
        Ok(ReadOutcome::Idle)
    });
    let settings = settings(1, 1, Some(Duration::from_mins(1)));
    let world = world(&store, factory);
    let shared = world.clone();
    let job = job(&words, settings, world);
    let report = job.run(TwoSteps::open, &control, |_| Ok(())).unwrap();
    assert!(report.outcome == Outcome::Stopped && report.checkpoints.completed > 0, "{report:?}");
    assert!(*late.last.borrow(), "no table was on its way behind the last checkpoint: {report:?}");
    // A process may end now, so all of it is decided by now; though somebody may still hold what the stores shared.
    assert_eq!(*late.begun.borrow(), late.ended.load(Ordering::SeqCst), "a table is on its way");
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
