//! Near stores and disk tiers: the task thread answers its own reads when the runtime does not get round to them.
use std::sync::{Arc, mpsc};

use alluvium_env::IoRuntime;
use alluvium_forst::{DiskCache, DiskLimits, Store};
use object_store::memory::InMemory;

use super::world::{World, value_of};

const KEYS: u64 = 20_000;

/// Reads batches of keys while the runtime's only thread waits for something else.
fn check_without_the_runtime(world: &World, store: &mut Store, batches: &[&[u64]]) {
    let (release, released) = mpsc::channel::<()>();
    let busy = world.io.spawn(async move { released.recv().ok() });
    for batch in batches {
        for (key, answer) in batch.iter().zip(world.read(store, batch)) {
            assert_eq!(answer.unwrap(), Some(value_of(*key)));
        }
    }
    assert!(!busy.is_finished(), "the runtime had time");
    release.send(()).unwrap();
}

#[test]
fn a_near_store_is_read_though_the_runtime_has_no_time() {
    let mut world = World::new(Arc::new(InMemory::new()));
    world.settings.vectored_reads = true;
    world.io = IoRuntime::new(1).unwrap();
    let restored = world.fill("first", KEYS, value_of);
    let mut store = world.open("second", Some(&restored));
    let keys: Vec<u64> = (0..KEYS).step_by(97).collect();
    // The first batch finds no tails, the others no blocks; one asks for a single one.
    let batches: Vec<_> = keys.chunks(50).chain([&[1][..]]).collect();
    check_without_the_runtime(&world, &mut store, &batches);
}

#[test]
fn what_the_disk_tier_has_is_read_though_the_runtime_has_no_time() {
    let mut world = World::new(Arc::new(InMemory::new()));
    world.io = IoRuntime::new(1).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let limits = DiskLimits { size_bytes: 64 << 20, min_free_bytes: 0 };
    world.disk = Some(DiskCache::open(folder.path(), limits).unwrap());
    let restored = world.fill("first", KEYS, value_of);
    let mut store = world.open("second", Some(&restored));
    let keys: Vec<u64> = (0..KEYS).step_by(7).collect();
    let batches: Vec<_> = keys.chunks(50).chain([&[1][..]]).collect();
    // Tails are what the runtime alone reads.
    for batch in &batches {
        world.read(&mut store, batch);
    }
    let before = store.counters();
    check_without_the_runtime(&world, &mut store, &batches);
    let after = store.counters();
    assert!(after.disk_hits > before.disk_hits, "all of it was in memory");
    assert_eq!(after.misses, before.misses, "the store was asked");
}
