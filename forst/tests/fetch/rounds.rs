//! Round trips: how often a batch of cold reads has to wait for the object store, one wait after the other.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use alluvium_env::{Clock as _, Entropy, SystemClock};
use alluvium_forst::Restored;
use object_store::ObjectStore;

use super::faulty::{Answer, FaultyStore};
use super::world::{World, value_of};

/// Long beside everything else that a batch does, even on a busy machine.
const ROUND_TRIP: Duration = Duration::from_secs(1);
/// Enough for tables in level 0 and two levels below.
const KEYS: u64 = 60_000;

/// Reads batches of 64 random keys, each with a store that has just been opened; returns the median one's round trips,
/// since a machine that is busy elsewhere stretches single ones, and the requests of all.
fn cold_batches(
    world: &World,
    store: &FaultyStore,
    restored: &Restored,
    value: impl Fn(u64) -> Vec<u8>,
) -> (f64, u64) {
    let (random, clock) = (Entropy::from_seed(5), SystemClock::new());
    store.plan(|_, _| Answer::After(ROUND_TRIP));
    let mut batches = Vec::new();
    for _ in 0..3 {
        let mut reader = world.open("reader", Some(restored));
        let keys: Vec<u64> = (0..64).map(|_| random.next_u64() % KEYS).collect();
        let start = clock.monotonic();
        for (key, answer) in keys.iter().zip(world.read(&mut reader, &keys)) {
            assert_eq!(answer.unwrap(), Some(value(*key)));
        }
        batches.push(clock.monotonic().saturating_sub(start));
    }
    batches.sort_unstable();
    (batches[1].div_duration_f64(ROUND_TRIP), store.requests.load(Ordering::SeqCst))
}

#[test]
fn sixty_four_cold_keys_wait_for_their_tails_and_for_their_blocks_and_that_is_all() {
    let store = FaultyStore::new();
    let world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let restored = world.fill("first", KEYS, value_of);
    let (round_trips, requests) = cold_batches(&world, &store, &restored, value_of);
    assert!(round_trips < 2.5, "{round_trips:.2} round trips, {requests} requests");
}

#[test]
fn cold_values_that_lie_apart_wait_once_more() {
    let store = FaultyStore::new();
    let mut world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    world.settings.value_threshold_bytes = 32;
    let restored = world.fill("first", KEYS, value_of);
    let (longest, requests) = cold_batches(&world, &store, &restored, value_of);
    assert!(longest < 3.5, "{longest:.2} round trips, {requests} requests");
}

#[test]
fn a_key_that_was_overwritten_is_fetched_where_it_is_newest() {
    let store = FaultyStore::new();
    let mut world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let old = world.fill("old", KEYS, value_of);
    let other = |key| value_of(key + 1_000_000);
    let new = world.overwrite("new", &old, KEYS, other);
    // Each block is a request of its own.
    world.settings.coalesce_gap_bytes = 0;
    store.plan(|_, _| Answer::Right);
    let mut reader = world.open("reader", Some(&new));
    let random = Entropy::from_seed(9);
    let mut read = |batches: u64| {
        let before = reader.counters().misses;
        for _ in 0..batches {
            let keys: Vec<u64> = (0..64).map(|_| random.next_u64() % KEYS).collect();
            for (key, answer) in keys.iter().zip(world.read(&mut reader, &keys)) {
                assert_eq!(answer.unwrap(), Some(other(*key)));
            }
        }
        reader.counters().misses - before
    };
    read(2);
    let (batches, misses) = (50, read(50));
    // Memory is so small that a few are index blocks.
    assert!(misses * 100 <= batches * 64 * 110, "{misses} blocks for {} keys", batches * 64);
}

#[test]
fn a_pass_over_everything_reads_its_runs_at_the_same_time() {
    const ROUND_TRIP: Duration = Duration::from_millis(100);
    let store = FaultyStore::new();
    let world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let restored = world.fill("first", KEYS, value_of);
    let (mut reader, clock) = (world.open("reader", Some(&restored)), SystemClock::new());
    store.plan(|_, _| Answer::After(ROUND_TRIP));
    let (mut scan, start, mut entries) = (reader.scan(), clock.monotonic(), 0);
    while scan.next_entry().unwrap().is_some() {
        entries += 1;
    }
    let round_trips = clock.monotonic().saturating_sub(start).div_duration_f64(ROUND_TRIP);
    let requests = store.requests.load(Ordering::SeqCst);
    assert_eq!(entries, KEYS);
    // One read of one run after the other, with equal parts of the buffers, took 90.
    assert!(round_trips < 65.0, "{round_trips:.1} round trips for {requests} requests");
}
