//! Pages among deleted ranges: what they hold, and that they cost what their range meets and not what there is.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
    pub(crate) mod pages;
    pub(crate) mod sum;
}

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use allocation_counter::measure;
use alluvium_env::{Background, Entropy, IoRuntime};
use alluvium_forst::{ForstSettings, KeepAll, PageQuery, Restored, Store, StoreOptions};
use common::bell::Bell;
use common::pages::entries;
use common::sum::Sum;
use object_store::ObjectStore;
use object_store::memory::InMemory;

struct World {
    objects: Arc<InMemory>,
    io: IoRuntime,
    bell: Bell,
    /// How often the bell has rung.
    rung: Arc<AtomicU64>,
    memory_bytes: u64,
}

impl World {
    fn new(memory_bytes: u64) -> Self {
        let (objects, io) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
        Self { objects, io, bell: Bell::default(), rung: Arc::default(), memory_bytes }
    }

    fn open(&self, attempt: &str, restored: Vec<Restored>) -> Store {
        let (ringer, times) = (self.bell.ringer(), Arc::clone(&self.rung));
        Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: self.memory_bytes,
                block_size_bytes: 512,
                warm_up: false,
                ..ForstSettings::default()
            },
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators: Arc::new(Sum),
            ownership: Arc::new(KeepAll),
            notify: Arc::new(move || {
                times.fetch_add(1, Ordering::Relaxed);
                ringer();
            }),
            prefix: attempt.to_owned(),
            restored,
        })
        .unwrap()
    }

    fn poll_until(&self, store: &mut Store, is_done: impl Fn(&Store) -> bool) {
        store.poll(&mut |_, _| ()).unwrap();
        while !is_done(store) {
            self.bell.wait(Duration::from_mins(1)).unwrap();
            store.poll(&mut |_, _| ()).unwrap();
        }
    }

    /// Makes a run of what the memtable holds.
    fn flush(&self, store: &mut Store) {
        let flushes = store.counters().flushes;
        drop(store.scan());
        self.poll_until(store, |store| store.counters().flushes > flushes);
    }

    fn snapshot(&self, store: &mut Store) -> Restored {
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload()).unwrap();
        Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }
    }
}

/// What the keys of a map begin with.
fn map_of(number: u32) -> Vec<u8> {
    format!("v{number:06}-").into_bytes()
}

fn put_map(store: &mut Store, number: u32, value: &[u8]) {
    for user_key in 0..3_u8 {
        store.put(&[map_of(number), vec![user_key]].concat(), value).unwrap();
    }
}

/// What a page of a map holds that memory answers, and its allocations.
fn page(store: &Store, number: u32) -> (usize, u64) {
    let (prefix, mut entries) = (map_of(number), 0);
    // Of this thread only: a store's flushes have threads of their own.
    let counted = measure(|| {
        let page = store.page_resident(PageQuery { prefix: &prefix, after: None, limit: 10 }).unwrap();
        entries = page.expect("all of it is in memory").len();
    });
    (entries, counted.count_total)
}

/// A page's allocations among so many other maps that were cleared, and behind a write.
fn page_among_clears(clears: u32, entries_are_flushed: bool, clears_are_flushed: bool) -> u64 {
    let world = World::new(64 << 20);
    let mut store = world.open("first", Vec::new());
    (0..clears).for_each(|number| put_map(&mut store, number, b"value"));
    put_map(&mut store, clears / 2, b"newer");
    if entries_are_flushed {
        world.flush(&mut store);
    }
    for number in (0..clears).filter(|number| *number != clears / 2) {
        store.delete_prefix(&map_of(number)).unwrap();
    }
    if clears_are_flushed {
        world.flush(&mut store);
    }
    let cleared = clears / 2 + 1;
    assert_eq!((page(&store, cleared).0, page(&store, clears / 2).0), (0, 3));
    put_map(&mut store, clears, b"value");
    let (behind_a_write, again) = (page(&store, clears / 2), page(&store, cleared));
    assert_eq!((behind_a_write.0, again.0), (3, 0));
    behind_a_write.1 + again.1
}

#[test]
fn a_page_costs_what_its_range_meets_however_much_is_deleted_elsewhere() {
    for (entries_are_flushed, clears_are_flushed) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let among = |clears| page_among_clears(clears, entries_are_flushed, clears_are_flushed);
        let (few, many) = (among(8), among(800));
        assert!(
            few > 0 && many <= few + 8,
            "{many} allocations among 800 clears, {few} among 8; flushed {entries_are_flushed}, {clears_are_flushed}"
        );
    }
}

#[test]
fn a_page_asks_for_no_blocks_of_what_is_deleted_behind_its_range() {
    let world = World::new(64 << 20);
    let mut first = world.open("first", Vec::new());
    (0..2000).for_each(|number| put_map(&mut first, number, &[7; 100]));
    world.flush(&mut first);
    // Below this one nothing is left, neither by ranges nor by single deletes.
    for number in 1..1000 {
        first.delete_prefix(&map_of(number)).unwrap();
    }
    for number in 1000..2000 {
        (0..3_u8).for_each(|user_key| first.delete(&[map_of(number), vec![user_key]].concat()).unwrap());
    }
    let restored = world.snapshot(&mut first);
    let mut store = world.open("second", vec![restored]);
    for (number, expected) in [(0, 3), (500, 0), (1500, 0)] {
        let before = store.counters().misses;
        assert_eq!(entries(&mut store, &world.bell, &map_of(number), 10).len(), expected);
        // A tail, and the one or two blocks that have keys of the range.
        let misses = store.counters().misses - before;
        assert!(misses <= 3, "{misses} parts fetched for map {number}");
    }
}

#[test]
fn a_page_whose_range_ends_with_a_block_asks_for_no_other() {
    let world = World::new(64 << 20);
    let mut first = world.open("first", Vec::new());
    // Each map has one entry, and each entry a block of its own.
    for number in 0..500 {
        first.put(&[map_of(number), vec![0]].concat(), &[7; 600]).unwrap();
    }
    world.flush(&mut first);
    let restored = world.snapshot(&mut first);
    let mut store = world.open("second", vec![restored]);
    let mut read = |number| assert_eq!(entries(&mut store, &world.bell, &map_of(number), 10).len(), 1);
    // The tail comes with the first.
    read(3);
    (10..500).step_by(10).for_each(read);
    assert_eq!(store.counters().misses, 1 + 1 + 49);
}

#[test]
fn what_is_hidden_is_passed_once_and_in_ever_larger_steps() {
    const KEYS: u32 = 20_000;
    let key = |number: u32| [b"map-".as_slice(), &number.to_be_bytes()].concat();
    for seen_first in [0, 5] {
        let world = World::new(8 << 20);
        let mut first = world.open("first", Vec::new());
        (0..KEYS).for_each(|number| first.put(&key(number), &[7; 100]).unwrap());
        world.flush(&mut first);
        (seen_first..KEYS - 10).for_each(|number| first.delete(&key(number)).unwrap());
        let restored = world.snapshot(&mut first);
        let mut store = world.open("second", vec![restored]);
        let rung = world.rung.load(Ordering::Relaxed);
        let seen = keys_of(entries(&mut store, &world.bell, b"map-", 10));
        let expected: Vec<_> = (0..seen_first).chain(KEYS - 10..KEYS).map(key).collect();
        assert_eq!(seen, expected);
        // Four entries a block.
        let (rung, misses) = (world.rung.load(Ordering::Relaxed) - rung, store.counters().misses);
        assert!(rung < 300, "{rung} times something came, over {KEYS} keys");
        assert!(misses < u64::from(KEYS) / 4 + 100, "{misses} parts are fetched");
    }
}

/// The key of a number in a key group.
fn key_of(group: u16, number: u16) -> Vec<u8> {
    [group.to_be_bytes(), number.to_be_bytes()].concat()
}

fn keys_of(entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<Vec<u8>> {
    entries.into_iter().map(|(key, _)| key).collect()
}

#[test]
fn what_a_table_of_a_run_deletes_is_hidden_from_a_page_that_goes_on_from_another() {
    // With or without a range behind the last entry of the first table, at which the run is at the first of the second.
    for deleting_groups in [1..2, 0..2] {
        // Tables of 64 KiB, or 32 at the end of a key group.
        let world = World::new(ForstSettings::MIN_MEMORY_BYTES);
        let mut store = world.open("first", Vec::new());
        let random = Entropy::from_seed(1);
        let put = |store: &mut Store, numbers: u16| {
            for (group, number) in (0..2).flat_map(|group| (0..numbers).map(move |number| (group, number))) {
                let value: Vec<u8> = (0..125).flat_map(|_| random.next_u64().to_le_bytes()).collect();
                store.put(&key_of(group, number), &value).unwrap();
            }
        };
        put(&mut store, 60);
        world.flush(&mut store);
        put(&mut store, 40);
        for group in deleting_groups.clone() {
            store.delete_range(&key_of(group, 50), &key_of(group, 60)).unwrap();
        }
        world.flush(&mut store);
        let numbers = |group| if deleting_groups.contains(&group) { 50 } else { 60 };
        let expected = (0..2).flat_map(|group| (0..numbers(group)).map(move |number| key_of(group, number)));
        let expected: Vec<_> = expected.collect();
        for limit in [1, 7, 1000] {
            let found = keys_of(entries(&mut store, &world.bell, &[], limit));
            assert_eq!(found, expected, "pages of {limit}, deleted in {deleting_groups:?}");
        }
    }
}

#[test]
fn a_range_deletes_nothing_beyond_what_a_reference_sees_of_its_table() {
    let world = World::new(64 << 20);
    let mut deleted = world.open("deleted", Vec::new());
    (0..10).for_each(|number| deleted.put(&key_of(0, number), b"value").unwrap());
    world.flush(&mut deleted);
    deleted.delete_range(&key_of(0, 2), &[]).unwrap();
    world.flush(&mut deleted);
    let mut other = world.open("other", Vec::new());
    (0..10).for_each(|number| other.put(&key_of(0, number), b"value").unwrap());
    world.flush(&mut other);
    let below = Restored { end: key_of(0, 5), ..world.snapshot(&mut deleted) };
    let above = Restored { start: key_of(0, 5), ..world.snapshot(&mut other) };
    let expected: Vec<_> = (0..2).chain(5..10).map(|number| key_of(0, number)).collect();
    for restored in [[below.clone(), above.clone()], [above, below]] {
        let mut store = world.open("both", restored.to_vec());
        for limit in [1, 100] {
            assert_eq!(keys_of(entries(&mut store, &world.bell, &[], limit)), expected);
        }
    }
}

/// One to three letters behind the kind of its value.
fn any_key(random: &Entropy) -> Vec<u8> {
    let mut key = vec![if random.next_u64().is_multiple_of(2) { b's' } else { b'v' }];
    key.extend((0..=random.next_u64() % 3).map(|_| b'a' + (random.next_u64() % 5) as u8));
    key
}

/// What a range deletes: a map, from one key to another, to the end, or within another range that was deleted.
fn delete_any(store: &mut Store, model: &mut BTreeMap<Vec<u8>, Vec<u8>>, random: &Entropy) {
    let (a, b) = (any_key(random), any_key(random));
    match random.next_u64() % 8 {
        0 => {
            store.delete_range(&a, &[]).unwrap();
            model.retain(|key, _| *key < a);
        }
        1..4 => {
            let (start, mut end) = (a.clone().min(b.clone()), a.max(b));
            end.push(0);
            store.delete_range(&start, &end).unwrap();
            model.retain(|key, _| *key < start || *key >= end);
        }
        _ => {
            store.delete_prefix(&a).unwrap();
            model.retain(|key, _| !key.starts_with(&a));
        }
    }
}

#[test]
fn pages_among_ranges_that_overlap_reach_in_or_go_on_hold_what_a_map_does() {
    for seed in 0..40 {
        let (world, random) = (World::new(ForstSettings::MIN_MEMORY_BYTES), Entropy::from_seed(seed));
        let mut store = world.open("first", Vec::new());
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        // Large ones make runs of several tables.
        let value_bytes = if seed % 2 == 0 { 8 } else { 900 };
        for step in 0..1500_u64 {
            let key = any_key(&random);
            match random.next_u64() % 40 {
                0..3 => delete_any(&mut store, &mut model, &random),
                3..7 => {
                    store.delete(&key).unwrap();
                    model.remove(&key);
                }
                7 if step % 4 == 0 => drop(store.scan()),
                8 if step % 4 == 0 => {
                    delete_any(&mut store, &mut model, &random);
                    world.flush(&mut store);
                }
                9..13 => {
                    let prefix = &key[..random.next_u64() as usize % (key.len() + 1)];
                    let limit = random.next_u64() as u32 % 12 + 1;
                    let expected = model.iter().filter(|(key, _)| key.starts_with(prefix));
                    let expected: Vec<_> = expected.map(|(k, v)| (k.clone(), v.clone())).collect();
                    let found = entries(&mut store, &world.bell, prefix, limit);
                    assert_eq!(found, expected, "seed {seed}, step {step}, pages of {limit} of {prefix:?}");
                }
                _ if key.starts_with(b"s") => {
                    store.merge(&key, &step.to_le_bytes()).unwrap();
                    let sum = model.entry(key).or_insert_with(|| vec![0; 8]);
                    let old = u64::from_le_bytes(sum.as_slice().try_into().unwrap());
                    *sum = (old + step).to_le_bytes().to_vec();
                }
                _ => {
                    let value = vec![step as u8; value_bytes];
                    store.put(&key, &value).unwrap();
                    model.insert(key, value);
                }
            }
            world.poll_until(&mut store, Store::admits);
        }
        assert!(store.counters().flushes > 1, "seed {seed}");
    }
}
