//! Near stores: the task thread answers its own reads when the runtime does not get round to them.
use std::sync::{Arc, mpsc};

use alluvium_env::IoRuntime;
use object_store::memory::InMemory;

use super::world::{World, value_of};

const KEYS: u64 = 20_000;

#[test]
fn a_near_store_is_read_though_the_runtime_has_no_time() {
    let mut world = World::new(Arc::new(InMemory::new()));
    world.settings.vectored_reads = true;
    world.io = IoRuntime::new(1).unwrap();
    let restored = world.fill("first", KEYS, value_of);
    let mut store = world.open("second", Some(&restored));
    let (release, released) = mpsc::channel::<()>();
    let busy = world.io.spawn(async move { released.recv().ok() });
    let keys: Vec<u64> = (0..KEYS).step_by(97).collect();
    // The first batch finds no tails, the others no blocks; one asks for a single one.
    for batch in keys.chunks(50).chain([&[1][..]]) {
        for (key, answer) in batch.iter().zip(world.read(&mut store, batch)) {
            assert_eq!(answer.unwrap(), Some(value_of(*key)));
        }
    }
    assert!(!busy.is_finished(), "the runtime had time");
    release.send(()).unwrap();
}
