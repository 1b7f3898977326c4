//! The engine against a map: random writes with memory for a fraction of them, snapshots, reopens, and an owner that
//! deletes whatever is released and not named by the last snapshot.
#![expect(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alluvium_env::{Background, Entropy, IoRuntime, Result};
use alluvium_forst::{
    Answer, ForstSettings, MergeOperator, MergeOperators, Ownership, Page, PageQuery, Resident, Restored,
    SnapshotReader, Store, StoreCounters, StoreOptions,
};
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

struct Sum;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let number = |b: &[u8]| u64::from_le_bytes(b.try_into().expect("a sum has eight bytes"));
        *acc = number(acc).wrapping_add(number(operand)).to_le_bytes().to_vec();
        Ok(())
    }
}

/// Keys that begin with `s` are sums.
impl MergeOperators for Sum {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        key.starts_with(b"s").then_some(self as &dyn MergeOperator)
    }
}

/// Deletes what nobody holds and the last snapshot does not name, at once and without mercy.
struct Reaper {
    store: Arc<InMemory>,
    io: IoRuntime,
    state: Mutex<(BTreeMap<String, u32>, BTreeSet<String>)>,
}

impl Ownership for Reaper {
    fn hold(&self, name: &str) {
        *self.state.lock().unwrap().0.entry(name.to_owned()).or_default() += 1;
    }

    fn release(&self, name: &str) {
        let gone = {
            let (holders, named) = &mut *self.state.lock().unwrap();
            let count = holders.get_mut(name).expect("a release without a hold");
            *count -= 1;
            let unheld = *count == 0;
            if unheld {
                holders.remove(name);
            }
            unheld && !named.contains(name)
        };
        if gone {
            let (store, path) = (Arc::clone(&self.store), Path::from(name));
            drop(self.io.spawn(async move { store.delete(&path).await }));
        }
    }
}

struct World {
    store: Arc<InMemory>,
    io: IoRuntime,
    background: Arc<Background>,
    reaper: Arc<Reaper>,
    bell: Arc<(Mutex<bool>, Condvar)>,
    value_threshold_bytes: usize,
}

impl World {
    fn new(value_threshold_bytes: usize) -> Self {
        let (store, io) = (Arc::new(InMemory::new()), IoRuntime::new(2).unwrap());
        let reaper = Reaper { store: Arc::clone(&store), io: io.clone(), state: Mutex::default() };
        let background = Arc::new(Background::new(1).unwrap());
        Self { store, io, background, reaper: Arc::new(reaper), bell: Arc::default(), value_threshold_bytes }
    }

    fn open(&self, attempt: u64, restored: Vec<Restored>) -> Store {
        let bell = Arc::clone(&self.bell);
        Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
                block_size_bytes: 1024,
                value_threshold_bytes: self.value_threshold_bytes,
                ..ForstSettings::default()
            },
            store: Arc::clone(&self.store) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(Sum),
            ownership: Arc::clone(&self.reaper) as Arc<dyn Ownership>,
            notify: Arc::new(move || {
                *bell.0.lock().unwrap() = true;
                bell.1.notify_all();
            }),
            prefix: format!("state/{attempt}"),
            restored,
        })
        .unwrap()
    }

    fn wait(&self) {
        let rung = self.bell.0.lock().unwrap();
        let (mut rung, late) = self.bell.1.wait_timeout_while(rung, Duration::from_mins(1), |r| !*r).unwrap();
        assert!(!late.timed_out(), "nobody rang for a minute");
        *rung = false;
    }

    fn settle(&self, store: &mut Store) {
        store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        while !store.admits() {
            self.wait();
            store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        }
    }

    fn get_all(&self, store: &mut Store, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let mut found: Vec<Option<Option<Vec<u8>>>> = vec![None; keys.len()];
        let mut misses = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match store.get_resident(key).unwrap() {
                Resident::Value(value) => found[index] = Some(Some(value.into_owned())),
                Resident::Absent => found[index] = Some(None),
                Resident::Miss => misses.push((index as u64, key.as_slice())),
            }
        }
        let mut open = misses.len();
        store.read(misses);
        while open > 0 {
            store
                .poll(&mut |token, answer| {
                    let slot = &mut found[token as usize];
                    assert!(slot.is_none(), "read {token} was answered twice");
                    *slot = Some(answer.unwrap().value().map(<[u8]>::to_vec));
                    open -= 1;
                })
                .unwrap();
            if open > 0 {
                self.wait();
            }
        }
        found.into_iter().map(Option::unwrap).collect()
    }

    fn page(&self, store: &mut Store, query: PageQuery<'_>) -> Page {
        if let Some(page) = store.page_resident(query).unwrap() {
            return page;
        }
        store.read_pages([(7, query)]);
        let mut found = None;
        while found.is_none() {
            let mut take = |token, answer: Result<Answer<'_>>| match answer.unwrap() {
                Answer::Page(page) => found = Some((token, page.clone())),
                other => panic!("{other:?} is no page"),
            };
            store.poll(&mut take).unwrap();
            if found.is_none() {
                self.wait();
            }
        }
        let (token, page) = found.unwrap();
        assert_eq!(token, 7);
        page
    }

    /// All entries of a prefix, page by page.
    fn entries(&self, store: &mut Store, prefix: &[u8], limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        loop {
            let after = entries.last().map(|(key, _)| key.clone());
            let page = self.page(store, PageQuery { prefix, after: after.as_deref(), limit });
            assert!(page.len() <= limit as usize && (!page.more() || !page.is_empty()));
            entries.extend(page.iter().map(|(key, value)| (key.to_vec(), value.to_vec())));
            if !page.more() {
                return entries;
            }
        }
    }

    fn has_values_apart(&self) -> bool {
        let listing: Vec<_> = self.io.block_on(self.store.list(None).try_collect()).unwrap();
        listing.iter().any(|object| object.location.extension() == Some("val"))
    }

    /// Uploads a snapshot and makes it the one the reaper spares.
    fn snapshot(&self, store: &mut Store) -> Restored {
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload()).unwrap();
        let named: BTreeSet<String> = snapshot.files().into_iter().map(|file| file.name).collect();
        let dropped: Vec<String> = {
            let (holders, old) = &mut *self.reaper.state.lock().unwrap();
            let dropped =
                old.difference(&named).filter(|name| !holders.contains_key(*name)).cloned().collect();
            *old = named;
            dropped
        };
        for name in dropped {
            self.io.block_on(self.store.delete(&Path::from(name))).unwrap();
        }
        Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }
    }
}

/// Reads a snapshot from outside, whole and in ranges.
fn assert_reads(world: &World, restored: Restored, model: &BTreeMap<Vec<u8>, Vec<u8>>) {
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

fn scan_all(store: &mut Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let (mut scan, mut scanned) = (store.scan(), BTreeMap::new());
    while let Some((key, value)) = scan.next_entry().unwrap() {
        scanned.insert(key.to_vec(), value.to_vec());
    }
    scanned
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
        let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
        for step in 1..=120_000_u64 {
            let number = random.next_u64() % 30_000;
            let key = key_of(number);
            if step % 64 == 0 {
                world.settle(&mut store);
            }
            match random.next_u64() % 10 {
                0 if step % 100 == 0 => {
                    // Anything from one key to a tenth of them.
                    let prefix = &key[..key.len() - random.next_u64() as usize % 4];
                    store.delete_prefix(prefix).unwrap();
                    model.retain(|key, _| !key.starts_with(prefix));
                }
                0 => {
                    store.delete(&key).unwrap();
                    model.remove(&key);
                }
                _ if number % 2 == 0 => {
                    store.merge(&key, &number.to_le_bytes()).unwrap();
                    let old = model.get(&key).map_or(0, |v| u64::from_le_bytes(v[..].try_into().unwrap()));
                    model.insert(key, old.wrapping_add(number).to_le_bytes().to_vec());
                }
                _ => {
                    let value = vec![step as u8; (random.next_u64() % 120) as usize];
                    store.put(&key, &value).unwrap();
                    model.insert(key, value);
                }
            }
            if step % 5_000 == 0 {
                let keys: Vec<_> = (0..200).map(|_| key_of(random.next_u64() % 31_000)).collect();
                for (key, found) in keys.iter().zip(world.get_all(&mut store, &keys)) {
                    assert_eq!(found.as_ref(), model.get(key), "seed {seed}, step {step}, {key:?}");
                }
            }
            if step % 3_000 == 0 {
                let key = key_of(number);
                let prefix = &key[..key.len() - 2];
                let found = world.entries(&mut store, prefix, random.next_u64() as u32 % 40 + 1);
                let expected: Vec<_> = model
                    .range(prefix.to_vec()..)
                    .take_while(|(key, _)| key.starts_with(prefix))
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                assert_eq!(found, expected, "seed {seed}, step {step}, entries of {prefix:?}");
            }
            if step % 17_000 == 0 {
                let restored = world.snapshot(&mut store);
                assert_reads(&world, restored.clone(), &model);
                if step % 34_000 == 0 {
                    counted = sum(counted, store.counters());
                    store = world.open(step, vec![restored]);
                }
            }
        }
        let counters = sum(counted, store.counters());
        assert!(counters.flushes > 3 && counters.compactions > 0 && counters.misses > 0, "{counters:?}");
        assert!(scan_all(&mut store) == model, "seed {seed}: the scan differs");
        assert_eq!(world.has_values_apart(), value_threshold_bytes < 120, "seed {seed}");
        let paged: BTreeMap<_, _> = world.entries(&mut store, b"", 500).into_iter().collect();
        assert!(paged == model, "seed {seed}: the pages differ");
    }
}
