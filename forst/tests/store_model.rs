//! The engine against a map: random writes with memory for a fraction of them, snapshots, reopens, and an owner that
//! deletes whatever is released and not named by the last snapshot.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
    pub(crate) mod changes;
    pub(crate) mod holders;
    pub(crate) mod pages;
    pub(crate) mod reads;
    pub(crate) mod reaper;
    pub(crate) mod scan;
    pub(crate) mod sum;
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Background, Entropy, IoRuntime};
use alluvium_forst::{
    ForstSettings, Ownership, Restored, SnapshotReader, Store, StoreCounters, StoreOptions,
};
use common::bell::Bell;
use common::changes::{Change, Model};
use common::pages::entries;
use common::reads::read_all;
use common::reaper::Reaper;
use common::scan::scan_all;
use common::sum::Sum;
use futures_util::TryStreamExt as _;
use object_store::ObjectStore;
use object_store::memory::InMemory;

struct World {
    store: Arc<InMemory>,
    io: IoRuntime,
    background: Arc<Background>,
    reaper: Arc<Reaper>,
    bell: Bell,
    value_threshold_bytes: usize,
}

impl World {
    fn new(value_threshold_bytes: usize) -> Self {
        let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(2).unwrap());
        let background = Arc::new(Background::new(1).unwrap());
        let reaper = Reaper::new(&store, &io);
        Self { store, io, background, reaper, bell: Bell::default(), value_threshold_bytes }
    }

    fn open(&self, attempt: u64, restored: Vec<Restored>) -> Store {
        Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
                block_size_bytes: 1024,
                value_threshold_bytes: self.value_threshold_bytes,
                paged_tables: 4,
                ..ForstSettings::default()
            },
            store: Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(Sum),
            ownership: Arc::clone(&self.reaper) as Arc<dyn Ownership>,
            notify: self.bell.ringer(),
            prefix: format!("state/{attempt}"),
            restored,
        })
        .unwrap()
    }

    fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    fn settle(&self, store: &mut Store) {
        store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        while !store.admits() {
            self.wait();
            store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        }
    }

    fn get_all(&self, store: &mut Store, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        read_all(store, &self.bell, keys).unwrap().into_iter().map(Result::unwrap).collect()
    }

    fn has_any(&self, kind: &str) -> bool {
        let listing: Vec<_> = self.io.block_on(self.store.list(None).try_collect()).unwrap();
        listing.iter().any(|object| object.location.extension() == Some(kind))
    }
}

/// Reads a snapshot from outside, whole and in ranges.
fn assert_reads(world: &World, restored: Restored, model: &Model) {
    let store = Arc::clone(&world.store) as Arc<dyn ObjectStore>;
    let reader = SnapshotReader::open(store, world.io.clone(), Arc::new(Sum), vec![restored]).unwrap();
    let range = |start: &str, end: &str| (start.as_bytes().to_vec(), end.as_bytes().to_vec());
    let some = vec![range("s02", "s03"), range("s05-key-1", "s05-key-3"), range("v06", "")];
    for ranges in [vec![range("", "")], some, vec![range("x", "y"), range("z", "a")], vec![]] {
        let mut scan = reader.scan(ranges.clone()).unwrap();
        let mut found = Vec::new();
        while let Some((key, value)) = scan.next_entry().unwrap() {
            found.push((key.to_vec(), value.to_vec()));
        }
        let within = |key: &Vec<u8>| ranges.iter().any(|(s, e)| s <= key && (e.is_empty() || key < e));
        let expected = model.iter().filter(|(key, _)| within(key)).map(|(k, v)| (k.clone(), v.clone()));
        assert!(found == expected.collect::<Vec<_>>(), "ranges {ranges:?} differ");
    }
    let mut entries = 0;
    reader.shares(&mut |share| entries += share.entries).unwrap();
    assert!(entries >= model.len() as u64, "{entries} entries of {} keys", model.len());
}

fn key_of(number: u64) -> Vec<u8> {
    let state = if number.is_multiple_of(2) { 's' } else { 'v' };
    format!("{state}{:02}-key-{number}", number % 7).into_bytes()
}

fn sum(a: StoreCounters, b: StoreCounters) -> StoreCounters {
    StoreCounters {
        memory_hits: a.memory_hits + b.memory_hits,
        disk_hits: a.disk_hits + b.disk_hits,
        misses: a.misses + b.misses,
        warmed: a.warmed + b.warmed,
        slim_lookups: a.slim_lookups + b.slim_lookups,
        flushes: a.flushes + b.flushes,
        compactions: a.compactions + b.compactions,
    }
}

#[test]
fn random_operations_and_reopens_match_a_map_while_released_files_vanish() {
    // Every other world keeps most of its values apart from their keys.
    for (seed, value_threshold_bytes) in [(0, 4096), (1, 32), (2, 4096), (3, 32)] {
        let (world, random) = (World::new(value_threshold_bytes), Entropy::from_seed(seed));
        let mut store = world.open(0, Vec::new());
        let mut counted = StoreCounters::default();
        let mut model = Model::new();
        for step in 1..=120_000_u64 {
            let number = random.next_u64() % 30_000;
            if step % 64 == 0 {
                world.settle(&mut store);
            }
            let value = || vec![step as u8; (random.next_u64() % 120) as usize];
            Change { key: key_of(number), number, step }.apply(&mut store, &mut model, &random, value);
            if step % 5_000 == 0 {
                let keys: Vec<_> = (0..200).map(|_| key_of(random.next_u64() % 31_000)).collect();
                for (key, found) in keys.iter().zip(world.get_all(&mut store, &keys)) {
                    assert_eq!(found.as_ref(), model.get(key), "seed {seed}, step {step}, {key:?}");
                }
            }
            if step % 3_000 == 0 {
                let key = key_of(number);
                let prefix = &key[..key.len() - 2];
                let found = entries(&mut store, &world.bell, prefix, random.next_u64() as u32 % 40 + 1);
                let expected: Vec<_> = model
                    .range(prefix.to_vec()..)
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                assert_eq!(found, expected, "seed {seed}, step {step}, entries of {prefix:?}");
            }
            if step % 17_000 == 0 {
                let restored = world.reaper.snapshot(&mut store).0;
                assert_reads(&world, restored.clone(), &model);
                if step % 34_000 == 0 {
                    counted = sum(counted, store.counters());
                    store = world.open(step, vec![restored]);
                }
            }
        }
        let counters = sum(counted, store.counters());
        assert!(counters.flushes > 3 && counters.compactions > 0 && counters.misses > 0, "{counters:?}");
        assert!(scan_all(&mut store).unwrap().into_iter().eq(model.clone()), "seed {seed}: the scan differs");
        assert_eq!(world.has_any("val"), value_threshold_bytes < 120, "seed {seed}");
        let paged: BTreeMap<_, _> = entries(&mut store, &world.bell, b"", 500).into_iter().collect();
        assert!(paged == model, "seed {seed}: the pages differ");
    }
}
