//! A job that is started again where its cache disk survived reads from that, and asks the store for next to nothing.
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use alluvium_async_exec::ControllerSettings;
use alluvium_env::IoRuntime;
use alluvium_forst::{ForstBackendFactory, ForstSettings};
use alluvium_host::storage::{MeteredStore, StoreRequests};
use alluvium_host::{JobControl, JobReport, JobSettings, Outcome, ReadOutcome};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::operators::TwoSteps;
use crate::words::{Words, job, settings, world};

/// Few records in flight make small batches, whose blocks are seldom neighbours that one request brings.
const IN_FLIGHT: usize = 16;

/// Runs for so many reads of the input; what that asked of the store.
fn run(store: &Arc<InMemory>, cache: &Path, (words, reads): (&Words, u64)) -> (JobReport, StoreRequests) {
    let (metered, requests) = MeteredStore::new(Arc::clone(store) as Arc<dyn ObjectStore>, "memory:///");
    let metered: Arc<dyn ObjectStore> = Arc::new(metered);
    let settings_of_store = ForstSettings {
        memory_bytes: 2 << 20,
        cache_dir: Some(cache.to_owned()),
        cache_size_bytes: 64 << 20,
        cache_min_free_bytes: 0,
        ..ForstSettings::default()
    };
    let io = IoRuntime::new(2).expect("threads");
    let factory = ForstBackendFactory::new(settings_of_store, Arc::clone(&metered), io).expect("it opens");
    let disk = factory.disk_cache().map(Arc::clone).expect("there is a disk tier");
    let (control, made) = (JobControl::new(), AtomicU64::new(0));
    let hooked = control.clone();
    let source = words.clone().hooked(move |_, _| {
        if made.fetch_add(1, Ordering::SeqCst) < reads {
            return Ok(ReadOutcome::More);
        }
        hooked.stop();
        Ok(ReadOutcome::Idle)
    });
    let controller = ControllerSettings { max_in_flight: IN_FLIGHT, ..ControllerSettings::default() };
    let settings = JobSettings { controller, ..settings(1, 1, None) };
    let ran = job(&source, settings, world(&metered, factory)).run(TwoSteps::open, &control, |_| Ok(()));
    // What is on its way to the disk gets there before anybody else opens it.
    while Arc::strong_count(&disk) > 1 {
        std::thread::yield_now();
    }
    (ran.expect("it runs"), requests.snapshot())
}

#[test]
fn where_the_cache_disk_survived_a_restart_asks_the_store_for_next_to_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [survivor, lost] = ["survivor", "lost"].map(|name| folder.path().join(name));
    let words = Words::new(1, 60_000, 30_000);
    let store = Arc::new(InMemory::new());
    let (before, _) = run(&store, &survivor, (&words, 800));
    assert_eq!(before.outcome, Outcome::Stopped);
    assert!(before.backend.flushes > 2, "{:?}", before.backend);
    // The same checkpoint twice, so that both restarts read the same.
    let copy = Arc::new(store.fork());
    let (warm, warm_requests) = run(&store, &survivor, (&words, 60));
    let (cold, cold_requests) = run(&copy, &lost, (&words, 60));
    assert!(warm.restore.checkpoint.is_some() && warm.restore.checkpoint == cold.restore.checkpoint);
    // But for records that a stop keeps in the checkpoint instead.
    assert!(
        warm.records.abs_diff(cold.records) <= IN_FLIGHT as u64 && warm.records > 2_000,
        "the same reads"
    );
    let figures = format!(
        "{warm_requests:?} and {:?} with the disk, {cold_requests:?} and {:?} without",
        warm.backend, cold.backend
    );
    assert!(warm.backend.misses * 20 < cold.backend.misses, "{figures}");
    assert!(warm.backend.disk_hits * 2 > cold.backend.misses && cold.backend.misses > 100, "{figures}");
    assert!(warm_requests.gets * 5 < cold_requests.gets, "{figures}");
}
