//! When checkpoints are taken and what becomes of those that do not complete: on request, several at a time, given up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use alluvium_env::{ErrorKind, Result, spawn_thread};
use alluvium_host::{JobControl, JobReport, Outcome, ReadOutcome, World};
use alluvium_state_api::{BackendFactory, CheckpointId, HeapBackendFactory};
use async_trait::async_trait;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};

use crate::faulty_backend::FaultyFactory;
use crate::operators::Add;
use crate::words::{Counts, Words, collect, job, memory, settings, world};

/// A store that takes nothing while it is full.
#[derive(Debug)]
struct Bounded {
    inner: Arc<dyn ObjectStore>,
    full: Arc<AtomicBool>,
}

impl fmt::Display for Bounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bounded")
    }
}

#[async_trait]
impl ObjectStore for Bounded {
    async fn put_opts(
        &self,
        to: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        if self.full.load(Ordering::SeqCst) {
            let source = std::io::Error::from_raw_os_error(28).into();
            return Err(object_store::Error::Generic { store: "Bounded", source });
        }
        self.inner.put_opts(to, payload, options).await
    }
    async fn put_multipart_opts(
        &self,
        to: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(to, options).await
    }
    async fn get_opts(&self, from: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(from, options).await
    }
    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }
    fn list(&self, folder: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(folder)
    }
    async fn list_with_delimiter(&self, folder: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(folder).await
    }
    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A job that reads the half of its input, and the other half once it is told to; it has no interval.
struct Paused {
    control: JobControl,
    go_on: Arc<AtomicBool>,
    thread: JoinHandle<Result<JobReport>>,
}

const RECORDS: u64 = 4_000;

fn words() -> Words {
    Words::new(2, RECORDS, 500)
}

impl Paused {
    fn start(concurrent: usize, world: World) -> Self {
        let (control, go_on, half) = (JobControl::new(), Arc::new(AtomicBool::new(false)), RECORDS / 2);
        let (on, (arrived, arrival)) = (Arc::clone(&go_on), std::sync::mpsc::channel());
        let arrived = Mutex::new(arrived);
        let source = words().hooked(move |_, position| {
            if position == half && !on.load(Ordering::SeqCst) {
                let _ = arrived.lock().unwrap().send(());
                return Ok(ReadOutcome::Idle);
            }
            Ok(ReadOutcome::More)
        });
        let mut settings = settings(2, 2, None);
        settings.checkpoints.concurrent = concurrent;
        let running = control.clone();
        let thread = spawn_thread("job", move || {
            let mut counts = Counts::new();
            let report = job(&source, settings, world)
                .run(Add::open, &running, |scans| collect(scans, &mut counts))?;
            assert!(report.outcome == Outcome::Stopped || counts == words().counts());
            Ok(report)
        })
        .unwrap();
        for _ in 0..2 {
            arrival.recv().unwrap();
        }
        Self { control, go_on, thread }
    }

    /// Reads the rest: a barrier ends the sleep of the idle readers.
    fn finish(self) -> Result<JobReport> {
        self.go_on.store(true, Ordering::SeqCst);
        drop(self.control.checkpoint());
        self.thread.join().unwrap()
    }
}

#[test]
fn a_checkpoint_on_request_is_taken_at_once_and_its_figures_are_the_answer() {
    let store = memory();
    let paused = Paused::start(1, world(&store, HeapBackendFactory));
    let first = paused.control.checkpoint().wait().unwrap();
    let (second, third) = (paused.control.checkpoint(), paused.control.checkpoint());
    let second = second.wait().unwrap();
    assert_eq!((first.id, second.id), (CheckpointId(1), CheckpointId(2)));
    assert!(third.wait().unwrap().id >= second.id, "one that comes while another runs waits for its turn");
    let control = paused.control.clone();
    let report = paused.finish().unwrap();
    assert!(report.checkpoints.completed >= 2);
    assert_eq!(control.checkpoint().wait().unwrap_err().kind(), ErrorKind::Closed, "the job has ended");
}

#[test]
fn a_job_goes_on_while_its_store_is_full_and_each_checkpoint_says_why_it_failed() {
    let (inner, full) = (memory(), Arc::new(AtomicBool::new(false)));
    let store: Arc<dyn ObjectStore> =
        Arc::new(Bounded { inner: Arc::clone(&inner), full: Arc::clone(&full) });
    let paused = Paused::start(1, world(&store, HeapBackendFactory));
    full.store(true, Ordering::SeqCst);
    for id in 1..=3 {
        let error = paused.control.checkpoint().wait().unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with(&format!("checkpoint {id}: cannot create ledger/")), "{text}");
        assert!(text.contains("No space left on device"), "{text}");
    }
    full.store(false, Ordering::SeqCst);
    assert_eq!(paused.control.checkpoint().wait().unwrap().id, CheckpointId(4));
    let report = paused.finish().unwrap();
    assert_eq!((report.outcome, report.checkpoints.failed), (Outcome::Finished, 3));
}

#[test]
fn a_checkpoint_whose_upload_stands_still_holds_up_no_later_one_where_two_are_allowed() {
    let store = memory();
    let (begins, begun) = std::sync::mpsc::channel();
    let paused = Paused::start(2, world(&store, FaultyFactory::Stuck(CheckpointId(1), begins)));
    let stuck = paused.control.checkpoint();
    begun.recv().unwrap();
    let next = paused.control.checkpoint();
    assert_eq!(next.wait().unwrap().id, CheckpointId(2));
    assert_eq!(stuck.wait().unwrap().id, CheckpointId(2), "the newer one holds all that it would have held");
    paused.control.stop();
    let report = paused.thread.join().unwrap().unwrap();
    let figures = (report.outcome, report.checkpoints.subsumed, report.checkpoints.failed);
    assert_eq!(figures, (Outcome::Stopped, 1, 0));
    counts_on_from(&store);
}

/// A job restored from what is there counts exactly.
fn counts_on_from(store: &Arc<dyn ObjectStore>) {
    let mut counts = Counts::new();
    let backend: Arc<dyn BackendFactory> = Arc::new(HeapBackendFactory);
    let world = World { backend, ..world(store, HeapBackendFactory) };
    let report = job(&words(), settings(3, 1, None), world)
        .run(Add::open, &JobControl::new(), |scans| collect(scans, &mut counts))
        .unwrap();
    assert!(report.restore.checkpoint.is_some());
    assert_eq!(counts, words().counts());
}
