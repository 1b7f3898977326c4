//! State whose filters and indexes outgrow memory: most tables keep a slim tail, and read their index by the block.
use std::sync::Arc;

use alluvium_env::{Entropy, ErrorKind};
use alluvium_forst::inspect::TableInspector;
use alluvium_forst::{DiskCache, DiskLimits, Restored, Store};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::faulty::{Answer, FaultyStore};
use super::world::{MemoryGauge, TAILS_SHARE_BYTES, World, key_of, value_of};
use crate::common::layer::Layered;

/// Their tails take twice what memory has for blocks and tails.
const KEYS: u64 = 120_000;

fn filled() -> (World, Arc<Layered<FaultyStore>>, Restored) {
    let store = FaultyStore::new();
    let world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let restored = world.fill("first", KEYS, value_of);
    (world, store, restored)
}

fn check(world: &World, store: &mut Store, keys: &[u64]) {
    for (key, answer) in keys.iter().zip(world.read(store, keys)) {
        assert_eq!(answer.unwrap(), Some(value_of(*key)), "key {key}");
    }
}

/// A store that has read the tails of all its tables, which do not fit.
fn opened(world: &World, restored: &Restored) -> Store {
    let mut store = world.open("reader", Some(restored));
    let keys: Vec<u64> = (0..KEYS).step_by(37).collect();
    keys.chunks(50).for_each(|keys| check(world, &mut store, keys));
    store
}

#[test]
fn a_key_takes_its_index_block_and_its_block_and_neighbours_share_them() {
    let (world, _, restored) = filled();
    let mut store = opened(&world, &restored);
    let (random, before, keys) = (Entropy::from_seed(3), store.counters().misses, 200);
    for _ in 0..keys {
        check(&world, &mut store, &[random.next_u64() % KEYS]);
    }
    let counters = store.counters();
    assert!(counters.slim_lookups > keys / 4, "{} lookups in slim tables", counters.slim_lookups);
    let misses = counters.misses - before;
    assert!(misses <= keys * 205 / 100, "{misses} blocks for {keys} keys");
    // They begin with the last two bytes of their number.
    let neighbours: Vec<u64> = (0..32).flat_map(|number| [number, number + 65_536]).collect();
    let before = store.counters().misses;
    check(&world, &mut store, &neighbours);
    let misses = store.counters().misses - before;
    assert!(misses <= 20, "{misses} blocks for 64 keys side by side");
}

#[test]
fn an_index_block_that_names_a_key_is_not_taken_for_its_block() {
    let mut world = World::new(FaultyStore::new());
    // Neighbours differ in their last byte, so blocks begin with what the index says of them.
    world.keys = |number| format!("{number:08}").into_bytes();
    let restored = world.fill("first", KEYS, value_of);
    let mut store = opened(&world, &restored);
    let random = Entropy::from_seed(8);
    for _ in 0..2000 {
        check(&world, &mut store, &[random.next_u64() % KEYS]);
    }
    assert!(store.counters().slim_lookups > 100, "hardly a table is slim");
}

#[test]
fn tails_never_take_more_than_their_share() {
    let world = World::new(FaultyStore::new());
    let mut store = world.open("first", None);
    let tails = MemoryGauge::of(&mut store);
    let tails = || tails.read("tails");
    let mut most = 0.0_f64;
    for key in 0..KEYS {
        // A prime, and so a permutation.
        let key = key * 7919 % KEYS;
        store.put(&key_of(key), &value_of(key)).unwrap();
        while !store.admits() {
            world.wait();
            store.poll(&mut |_, _| ()).unwrap();
            most = most.max(tails());
        }
    }
    for keys in (0..KEYS).step_by(37).collect::<Vec<_>>().chunks(50) {
        check(&world, &mut store, keys);
        most = most.max(tails());
    }
    assert!(most <= TAILS_SHARE_BYTES, "{most} bytes of tails, {TAILS_SHARE_BYTES} are their share");
    assert!(most > TAILS_SHARE_BYTES / 2.0, "{most} bytes of tails: there is room for all of them");
}

#[test]
fn pages_of_slim_tables_are_what_they_hold() {
    let (world, _, restored) = filled();
    let mut store = opened(&world, &restored);
    let mut expected: Vec<_> = (0..KEYS).map(|key| (key_of(key), value_of(key))).collect();
    expected.sort_unstable();
    let before = store.counters().misses;
    let found = world.entries(&mut store, b"", 1000);
    assert!(found == expected, "{} entries, or others, instead of {KEYS}", found.len());
    let misses = store.counters().misses - before;
    // A dozen entries a block, and a page begins anew in its first one.
    assert!(misses < KEYS / 12 * 3 / 2, "{misses} blocks");
    for start in [0_u8, 3, 77, 255] {
        let of_prefix = |key: &[u8]| key.starts_with(&[start]);
        let expected: Vec<_> = expected.iter().filter(|(key, _)| of_prefix(key)).cloned().collect();
        assert!(world.entries(&mut store, &[start], 7) == expected, "keys that begin with {start}");
    }
    let mut scan = store.scan();
    for (key, value) in &expected {
        assert_eq!(scan.next_entry().unwrap(), Some((key.as_slice(), value.as_slice())));
    }
    assert_eq!(scan.next_entry().unwrap(), None);
}

#[test]
fn a_clipped_reference_to_a_slim_table_shows_its_part() {
    let (world, _, restored) = filled();
    let clipped = Restored { start: vec![0x40], end: vec![0xA0, 7], ..restored };
    let mut store = world.open("clipped", Some(&clipped));
    let is_in = |key: &u64| (&[0x40][..]..&[0xA0, 7][..]).contains(&key_of(*key).as_slice());
    let keys: Vec<u64> = (0..KEYS).step_by(17).collect();
    for _ in 0..2 {
        for keys in keys.chunks(50) {
            for (key, answer) in keys.iter().zip(world.read(&mut store, keys)) {
                assert_eq!(answer.unwrap(), is_in(key).then(|| value_of(*key)), "key {key}");
            }
        }
        // The first one may have been compacted on the way.
        let mut expected: Vec<_> = (0..KEYS).filter(is_in).map(|key| (key_of(key), value_of(key))).collect();
        expected.sort_unstable();
        assert!(world.entries(&mut store, b"", 500) == expected, "pages");
        let (mut scan, mut found) = (store.scan(), Vec::new());
        while let Some((key, value)) = scan.next_entry().unwrap() {
            found.push((key.to_vec(), value.to_vec()));
        }
        assert!(found == expected, "a scan");
    }
}

#[test]
fn what_breaks_on_the_way_is_read_again() {
    let (world, faulty, restored) = filled();
    let mut store = opened(&world, &restored);
    faulty.plan(|_, _| Answer::GarbledOnce);
    for key in 0..500 {
        check(&world, &mut store, &[key * 101 % KEYS]);
    }
    assert!(store.counters().slim_lookups > 0, "no table is slim");
    assert!(faulty.broken() > 200, "{} reads were broken", faulty.broken());
}

#[test]
fn an_index_block_that_is_broken_is_said_to_be_with_object_and_offset() {
    let (world, faulty, restored) = filled();
    let mut store = opened(&world, &restored);
    let objects: Vec<_> = world.io.block_on(faulty.list(None).try_collect()).unwrap();
    let mut indexes = Vec::new();
    for object in objects.iter().filter(|object| object.location.extension() == Some("sst")) {
        let read = async { faulty.get(&object.location).await.unwrap().bytes().await.unwrap() };
        let bytes = world.io.block_on(read);
        let summary = TableInspector::open(bytes.clone()).unwrap().summary();
        let start = (summary.data_bytes + summary.filter_bytes) as usize;
        let index = start..start + summary.index_bytes as usize;
        let mut broken = bytes.to_vec();
        broken[index.clone()].iter_mut().step_by(16).for_each(|byte| *byte ^= 0x40);
        world.io.block_on(faulty.put(&object.location, Bytes::from(broken).into())).unwrap();
        indexes.push((object.location.to_string(), index));
    }
    let mut failed = 0;
    for key in (0..KEYS).step_by(53) {
        // A compaction that meets one says the same, and ends the store.
        let mut answers = match world.try_read(&mut store, &[key]) {
            Ok(answers) => answers,
            Err(error) => return assert_eq!(error.kind(), ErrorKind::Corruption, "{error}"),
        };
        match answers.remove(0) {
            Ok(value) => assert_eq!(value, Some(value_of(key))),
            Err(error) => {
                failed += 1;
                assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                let said = error.to_string();
                let (_, index) = indexes.iter().find(|(name, _)| said.contains(name.as_str())).unwrap();
                let offset = said.split("at offset ").nth(1).unwrap();
                let digits: String = offset.chars().take_while(char::is_ascii_digit).collect();
                assert!(index.contains(&digits.parse().unwrap()), "{said}: the index lies at {index:?}");
            }
        }
    }
    assert!(failed > 5, "{failed} reads failed");
}

#[test]
fn with_a_disk_tier_slim_tables_ask_the_store_for_next_to_nothing() {
    let cache = tempfile::tempdir().unwrap();
    let store = FaultyStore::new();
    let mut world = World::new(Arc::clone(&store) as Arc<dyn ObjectStore>);
    let limits = DiskLimits { size_bytes: 64 << 20, min_free_bytes: 0 };
    world.disk = Some(DiskCache::open(cache.path(), limits).unwrap());
    let restored = world.fill("first", KEYS, value_of);
    let counters = world.check_all("reader", &restored, KEYS, value_of);
    assert!(counters.misses * 500 <= counters.disk_hits, "{counters:?}");
}
