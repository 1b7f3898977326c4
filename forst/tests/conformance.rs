//! `ForSt` passes the suite every backend passes, with memory so small that state lives in tables.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
use std::sync::Arc;

use alluvium_env::IoRuntime;
use alluvium_forst::{ForstBackendFactory, ForstSettings};
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
    let settings = ForstSettings { value_threshold_bytes: 32, ..small() };
    conforms(Arc::new(InMemory::new()), settings, 30_000, 3);
}

#[test]
fn forst_conforms_on_files_with_a_disk_tier() {
    let (root, cache) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = ForstSettings {
        cache_dir: Some(cache.path().to_owned()),
        cache_size_bytes: 4 << 20,
        vectored_reads: true,
        ..small()
    };
    let store = LocalFileSystem::new_with_prefix(root.path()).unwrap();
    conforms(Arc::new(store), settings, 15_000, 2);
}
