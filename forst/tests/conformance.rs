//! `ForSt` passes the suite every backend passes, with memory so small that state lives in tables.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use alluvium_env::{Entropy, IoRuntime, SystemClock, spawn_thread};
use alluvium_forst::{
    Compactor, CompactorOptions, CompactorSettings, ForstBackendFactory, ForstSettings,
    RemoteCompactionSettings, StateOperators, Turn,
};
use alluvium_state_api::OperatorRegistry;
use alluvium_state_api::conformance::Suite;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

fn conforms(store: Arc<dyn ObjectStore>, settings: ForstSettings, operations: usize, seeds: u64) {
    let io = IoRuntime::new(2).unwrap();
    let factory = ForstBackendFactory::new(settings, store, io.clone()).unwrap();
    Suite { factory: &factory, run_snapshot: &|task| io.block_on(task), operations, seeds }.run();
}

fn small() -> ForstSettings {
    ForstSettings {
        memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
        block_size_bytes: 512,
        ..ForstSettings::default()
    }
}

#[test]
fn forst_conforms_with_everything_resident() {
    conforms(Arc::new(InMemory::new()), ForstSettings::default(), 3000, 8);
}

#[test]
fn forst_conforms_with_state_in_tables() {
    conforms(Arc::new(InMemory::new()), small(), 30_000, 4);
}

#[test]
fn forst_conforms_with_values_apart() {
    let settings = ForstSettings { value_threshold_bytes: 32, paged_tables: 4, ..small() };
    conforms(Arc::new(InMemory::new()), settings, 30_000, 3);
}

#[test]
fn forst_conforms_while_others_compact() {
    let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let compactor = Compactor::new(CompactorOptions {
        store: Arc::clone(&store),
        io: IoRuntime::new(1).unwrap(),
        settings: CompactorSettings { beat: Duration::from_millis(100), ..CompactorSettings::default() },
        operators: Arc::new(StateOperators::new(OperatorRegistry::default())),
        clock: Arc::new(SystemClock::new()),
        entropy: Entropy::from_seed(1),
    });
    let (compactor, ended) = (compactor.unwrap(), Arc::new(AtomicBool::new(false)));
    let over = Arc::clone(&ended);
    let working = spawn_thread("compactor", move || {
        let mut done = 0;
        while !over.load(SeqCst) {
            match compactor.turn().unwrap() {
                Turn::Done { .. } => done += 1,
                Turn::Idle | Turn::Withdrawn { .. } => std::thread::yield_now(),
                other => panic!("{other:?}"),
            }
        }
        done
    });
    let remote = RemoteCompactionSettings { min_input_bytes: 0, ..RemoteCompactionSettings::default() };
    conforms(store, ForstSettings { remote_compaction: Some(remote), ..small() }, 30_000, 3);
    ended.store(true, SeqCst);
    let done = working.unwrap().join().unwrap();
    assert!(done > 0, "nobody compacted elsewhere");
}

#[test]
fn forst_conforms_on_files_with_a_disk_tier() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = ForstSettings {
        cache_dir: Some(cache.path().to_owned()),
        cache_size_bytes: 4 << 20,
        vectored_reads: true,
        paged_tables: 1,
        ..small()
    };
    let store = LocalFileSystem::new_with_prefix(root.path()).unwrap();
    conforms(Arc::new(store), settings, 15_000, 2);
}
