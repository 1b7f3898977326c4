//! Compactions make nothing cold: what was in memory before one is in memory after it.
use std::sync::Arc;

use alluvium_env::HashSet;
use alluvium_forst::Store;
use object_store::memory::InMemory;

use super::world::{World, key_of, value_of};

const KEYS: u64 = 3000;
/// Some blocks of one or two tables in the middle.
const HOT: std::ops::Range<u64> = 1500..1600;

/// 1920 bytes that do not compress.
fn long(number: u64) -> Vec<u8> {
    (0..240).flat_map(|part| value_of(number * 1009 + part)[..8].to_vec()).collect()
}

/// The objects that a snapshot of the store names.
fn files(world: &World, store: &mut Store) -> HashSet<String> {
    let mut snapshot = store.snapshot();
    world.io.block_on(snapshot.upload()).unwrap();
    snapshot.files().iter().map(|file| file.name.clone()).collect()
}

#[test]
fn what_was_in_memory_before_a_compaction_is_in_memory_after_it() {
    let mut world = World::new(Arc::new(InMemory::new()));
    world.settings.memory_bytes = 4 << 20;
    world.settings.block_size_bytes = 4096;
    let restored = world.fill("first", KEYS, long);
    let mut store = world.open("second", Some(&restored));
    let before = files(&world, &mut store);
    let hot: Vec<u64> = HOT.collect();
    for _ in 0..2 {
        world.read(&mut store, &hot);
    }
    let misses = store.counters().misses;
    assert!(misses > 20, "{misses} blocks are hot");
    // Writes around them, until nothing is left of the tables they were in.
    let mut round = 0;
    while files(&world, &mut store).iter().any(|name| before.contains(name)) {
        for number in 0..KEYS {
            let key = number * 7919 % KEYS;
            if !HOT.contains(&key) {
                store.put(&key_of(key), &long(key + round)).unwrap();
            }
            // A store that falls behind has too many filters and indexes for its memory.
            while !store.admits() || store.compaction_debt_bytes() > 0 {
                world.wait();
                store.poll(&mut |_, _| ()).unwrap();
            }
            if number % 100 == 0 {
                for (key, answer) in hot.iter().zip(world.read(&mut store, &hot)) {
                    assert_eq!(answer.unwrap(), Some(long(*key)));
                }
            }
        }
        round += 1;
        assert!(round < 20, "a table of the first attempt is still there");
    }
    let cold = store.counters().misses - misses;
    assert!(cold <= misses / 4, "{misses} blocks are hot, and {cold} were read again");
}
