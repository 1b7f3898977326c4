//! Memory that memtables do not use holds blocks, until it is written to.
use std::sync::Arc;

use alluvium_env::{Entropy, SystemClock};
use alluvium_forst::{ForstMetrics, Store};
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::faulty::FaultyStore;
use super::world::{World, key_of, value_of};

/// Twice as much as memory holds.
const KEYS: u64 = 60_000;
/// A store of the least memory: but for the buffers of flush and compaction.
const ALL_BYTES: f64 = (896 << 10) as f64;
/// Of that, what nobody but blocks and tails may use.
const OWN_BYTES: f64 = (384 << 10) as f64;
/// After so many polls there has been a report.
const POLLS: usize = 64;

/// What there is in memory.
#[derive(Debug)]
struct Used {
    memtables: f64,
    blocks: f64,
    tails: f64,
}

impl Used {
    fn all(&self) -> f64 {
        self.memtables + self.blocks + self.tails
    }
}

struct Told {
    registry: Registry,
    metrics: Arc<ForstMetrics>,
}

impl Told {
    fn new() -> Self {
        let metrics = ForstMetrics::new(Arc::new(SystemClock::new()));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        Self { registry, metrics }
    }

    fn used(&self, store: &mut Store) -> Used {
        for _ in 0..POLLS {
            store.poll(&mut |_, _| ()).unwrap();
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).unwrap();
        let of = |reservation: &str| {
            let wanted = format!("forst_memory_bytes{{reservation=\"{reservation}\"}}");
            let line = text.lines().find(|line| line.starts_with(&wanted)).unwrap();
            line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
        };
        Used { memtables: of("memtables"), blocks: of("blocks"), tails: of("tails") }
    }
}

fn read(world: &World, store: &mut Store, keys: u64) {
    for keys in (0..keys).collect::<Vec<_>>().chunks(50) {
        for (key, answer) in keys.iter().zip(world.read(store, keys)) {
            assert_eq!(answer.unwrap(), Some(value_of(*key)), "key {key}");
        }
    }
}

#[test]
fn blocks_have_what_memtables_leave_and_give_it_back_when_it_is_written_to() {
    let world = World::new(FaultyStore::new());
    let restored = world.fill("first", KEYS, value_of);
    let (mut store, told) = (world.open("second", Some(&restored)), Told::new());
    store.report_to(&told.metrics);
    // A compaction may hold blocks that are to be kept.
    let mut passes = 0;
    let idle = loop {
        read(&world, &mut store, KEYS);
        let used = told.used(&mut store);
        passes += 1;
        if passes == 20 || used.all() > ALL_BYTES * 0.9 {
            break used;
        }
    };
    assert!(idle.all() > ALL_BYTES * 0.9 && idle.all() <= ALL_BYTES, "{idle:?}");

    let (random, mut least) = (Entropy::from_seed(1), idle.blocks);
    for _ in 0..400 {
        for _ in 0..100 {
            let key = random.next_u64() % KEYS;
            store.put(&key_of(key), &value_of(key)).unwrap();
        }
        while !store.admits() {
            world.wait();
            store.poll(&mut |_, _| ()).unwrap();
        }
        let used = told.used(&mut store);
        assert!(used.all() <= ALL_BYTES, "{used:?}");
        least = least.min(used.blocks);
    }
    assert!(least < OWN_BYTES, "{least} bytes of blocks are the fewest: hardly anything was given back");
    read(&world, &mut store, KEYS);
}

#[test]
fn a_memtable_that_a_scan_reads_is_in_use_though_it_was_flushed() {
    let world = World::new(FaultyStore::new());
    let restored = world.fill("first", KEYS, value_of);
    let (mut store, told) = (world.open("second", Some(&restored)), Told::new());
    store.report_to(&told.metrics);
    for key in 0..2500 {
        store.put(&key_of(key), &value_of(key)).unwrap();
    }
    let scan = store.scan();
    while store.counters().flushes == 0 {
        world.wait();
        store.poll(&mut |_, _| ()).unwrap();
    }
    read(&world, &mut store, KEYS);
    let read_by_scan = told.used(&mut store);
    drop(scan);
    read(&world, &mut store, KEYS);
    let free = told.used(&mut store);
    assert!(free.blocks > read_by_scan.blocks + 100_000.0, "{read_by_scan:?}, {free:?}");
}
