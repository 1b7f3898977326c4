//! Compactions make nothing cold: what was in memory before one is in memory after it.
use std::sync::Arc;

use alluvium_env::HashSet;
use alluvium_forst::Store;
use object_store::memory::InMemory;

use super::world::{World, key_of, value_of};

const KEYS: u64 = 10_000;
/// Some blocks of one or two tables in the middle.
const HOT: std::ops::Range<u64> = 5000..5300;

/// Of 608 bytes.
fn long(number: u64) -> Vec<u8> {
    value_of(number).repeat(19)
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
        for key in (0..KEYS).map(|number| number * 7919 % KEYS).filter(|key| !HOT.contains(key)) {
            store.put(&key_of(key), &long(key + round)).unwrap();
            while !store.admits() {
                world.wait();
                store.poll(&mut |_, _| ()).unwrap();
            }
        }
        round += 1;
        assert!(round < 20, "a table of the first attempt is still there");
    }
    let misses = store.counters().misses;
    for (key, answer) in hot.iter().zip(world.read(&mut store, &hot)) {
        assert_eq!(answer.unwrap(), Some(long(*key)));
    }
    // At both ends blocks have neighbours that were not read.
    let cold = store.counters().misses - misses;
    assert!(cold <= 4, "{cold} blocks were hot and had to be read again");
}
