//! Nanoseconds an operation of one store on one thread: adds, gets from memtable and blocks, cold gets from files.
//!
//! `cargo bench -p alluvium-forst` (a release build); with `-- large` only what lies beyond the processor's caches, with `-- clears`
//! only pages of maps among others that were cleared. Wall clock on a shared machine swings; compare within one run.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a bench fails by panicking and prints its figures"
)]
use std::sync::{Arc, Condvar, Mutex};

use alluvium_env::{Background, Clock as _, Entropy, IoRuntime, Result, SystemClock};
use alluvium_forst::{
    ForstSettings, KeepAll, MergeOperator, MergeOperators, PageQuery, Resident, Store, StoreOptions,
};
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;

const KEYS: u64 = 1_000_000;
const OPERATIONS: u64 = 4_000_000;

struct Sum;

impl MergeOperator for Sum {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let mut sum = [0; 8];
        sum.copy_from_slice(acc);
        self.merge_in_place(&mut sum, operand);
        acc.copy_from_slice(&sum);
        Ok(())
    }

    fn merge_in_place(&self, acc: &mut [u8], operand: &[u8]) -> bool {
        let number = |b: &[u8]| u64::from_le_bytes(b.try_into().unwrap());
        let sum = number(acc).wrapping_add(number(operand));
        acc.copy_from_slice(&sum.to_le_bytes());
        true
    }
}

impl MergeOperators for Sum {
    fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
        Some(self)
    }
}

type Bell = Arc<(Mutex<bool>, Condvar)>;

struct Bench {
    store: Store,
    bell: Bell,
    clock: SystemClock,
    random: Entropy,
}

fn key_of(buffer: &mut [u8; 16], number: u64) {
    buffer[..4].copy_from_slice(&((number % 128) as u32).to_be_bytes());
    buffer[4..12].copy_from_slice(&number.to_be_bytes());
}

impl Bench {
    fn new(objects: Arc<dyn ObjectStore>, memory_bytes: u64) -> Self {
        let bell: Bell = Arc::default();
        let ring = Arc::clone(&bell);
        let store = Store::open(StoreOptions {
            settings: ForstSettings { memory_bytes, vectored_reads: true, ..ForstSettings::default() },
            store: objects,
            io: IoRuntime::new(1).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators: Arc::new(Sum),
            ownership: Arc::new(KeepAll),
            notify: Arc::new(move || {
                *ring.0.lock().unwrap() = true;
                ring.1.notify_all();
            }),
            prefix: "bench".to_owned(),
            restored: Vec::new(),
        });
        Self { store: store.unwrap(), bell, clock: SystemClock::new(), random: Entropy::from_seed(1) }
    }

    fn settle(&mut self) {
        self.store.poll(&mut |_, _| ()).unwrap();
        while !self.store.admits() {
            self.wait();
            self.store.poll(&mut |_, _| ()).unwrap();
        }
    }

    /// Waits until background work has been still for a while.
    fn quiet(&mut self) {
        loop {
            let before = self.store.counters();
            let rung = self.bell.0.lock().unwrap();
            drop(self.bell.1.wait_timeout(rung, std::time::Duration::from_secs(8)).unwrap());
            self.settle();
            if self.store.counters() == before {
                return;
            }
        }
    }

    /// Makes a run of what the memtable holds.
    fn flush(&mut self) {
        drop(self.store.scan());
        while self.store.counters().flushes == 0 || !self.store.admits() {
            self.wait();
            self.settle();
        }
    }

    fn wait(&self) {
        let mut rung = self.bell.0.lock().unwrap();
        while !*rung {
            rung = self.bell.1.wait(rung).unwrap();
        }
        *rung = false;
    }

    /// Puts values of 100 bytes to so many keys, in an order.
    fn put_all(&mut self, keys: u64, order: impl Fn(u64) -> u64) {
        let mut key = [0; 16];
        for number in 0..keys {
            key_of(&mut key, order(number));
            self.store.put(&key, &[7; 100]).unwrap();
            if number % 1024 == 0 {
                self.settle();
            }
        }
    }

    /// Times `each` over random keys; prints nanoseconds an operation.
    fn time(&mut self, name: &str, operations: u64, mut each: impl FnMut(&mut Store, &[u8])) {
        let mut key = [0; 16];
        let start = self.clock.monotonic();
        for operation in 0..operations {
            key_of(&mut key, self.random.next_u64() % KEYS);
            each(&mut self.store, &key);
            if operation % 1024 == 0 {
                self.settle();
            }
        }
        let nanos = self.clock.monotonic().saturating_sub(start).as_nanos() as u64 / operations;
        let c = self.store.counters();
        println!(
            "{name:<32}{nanos:>6} ns  flushes {} compactions {} misses {}",
            c.flushes, c.compactions, c.misses
        );
    }

    fn cold_gets(&mut self, name: &str, operations: u64, batch: u64) {
        let start = self.clock.monotonic();
        let mut asked = 0;
        while asked < operations {
            let mut keys = vec![[0; 16]; batch as usize];
            for key in &mut keys {
                key_of(key, self.random.next_u64() % KEYS);
            }
            let misses = keys.iter().enumerate().filter(|(_, key)| {
                matches!(self.store.get_resident(key.as_slice()).unwrap(), Resident::Miss)
            });
            let misses: Vec<_> = misses.map(|(i, key)| (i as u64, key.as_slice())).collect();
            let mut open = misses.len();
            self.store.read(misses);
            while open > 0 {
                self.store
                    .poll(&mut |_, answer| {
                        answer.unwrap();
                        open -= 1;
                    })
                    .unwrap();
                if open > 0 {
                    self.wait();
                }
            }
            asked += batch;
        }
        let nanos = self.clock.monotonic().saturating_sub(start).as_nanos() as u64 / operations;
        let c = self.store.counters();
        println!(
            "{name:<32}{nanos:>6} ns  flushes {} compactions {} misses {}",
            c.flushes, c.compactions, c.misses
        );
    }
}

/// Values of 100 bytes far beyond the processor's caches, all resident: reads and overwrites, one key after the other and prefetched
/// by 32; first all in the memtable, then none.
fn large_and_resident() {
    const LARGE: u64 = 8_000_000;
    let mut memtable = Bench::new(Arc::new(InMemory::new()), 1 << 30);
    memtable.put_all(KEYS, |number| number * 7919 % KEYS);
    prefetched(&mut memtable, "rmw, 1 M in the memtable", KEYS, |store, key| {
        let found = found_bytes(store, key);
        store.put(key, &[found as u8; 100]).unwrap();
        found
    });
    drop(memtable);

    let mut blocks = Bench::new(Arc::new(InMemory::new()), 4 << 30);
    blocks.put_all(LARGE, |number| number);
    drop(blocks.store.scan());
    blocks.quiet();
    prefetched(&mut blocks, "get, 8 M in blocks", LARGE, |store, key| found_bytes(store, key));
}

fn found_bytes(store: &Store, key: &[u8]) -> usize {
    match store.get_resident(key).unwrap() {
        Resident::Value(value) => value.len(),
        Resident::Absent => panic!("a key that was put"),
        Resident::Miss => 0,
    }
}

fn prefetched(bench: &mut Bench, name: &str, keys: u64, mut each: impl FnMut(&mut Store, &[u8]) -> usize) {
    const MANY: u64 = 1_000_000;
    for round in 0..6 {
        for prefetch in [false, true] {
            let start = bench.clock.monotonic();
            let mut misses = 0;
            for _ in 0..MANY / 32 {
                let mut group = [[0; 16]; 32];
                for key in &mut group {
                    key_of(key, bench.random.next_u64() % keys);
                }
                if prefetch {
                    bench.store.prefetch_reads(group.iter().map(<[u8; 16]>::as_slice));
                }
                for key in &group {
                    misses += u64::from(each(&mut bench.store, key) == 0);
                }
            }
            let nanos = bench.clock.monotonic().saturating_sub(start).as_nanos() as u64 / MANY;
            println!("{name}, prefetched: {prefetch:<5} round {round} {nanos:>6} ns  misses {misses}");
        }
    }
}

/// Pages of maps of one entry, each cleared once it was read: with ten times the clears they are not to take ten times as long.
fn among_clears() {
    let page = |store: &Store, prefix: &[u8]| {
        let page = store.page_resident(PageQuery { prefix, after: None, limit: 64 }).unwrap();
        page.expect("all of it is in memory").len()
    };
    for clears in [20_000, 200_000] {
        let mut bench = Bench::new(Arc::new(InMemory::new()), 1 << 30);
        bench.time(&format!("put, page, clear; {clears} times"), clears, |store, key| {
            store.put(&[key, &[0]].concat(), &7_u64.to_le_bytes()).unwrap();
            assert_eq!(page(store, key), 1);
            store.delete_prefix(key).unwrap();
        });
        bench.flush();
        bench.time(&format!("page, {clears} clears in a run"), 20_000, |store, key| {
            assert_eq!(page(store, key), 0);
        });
    }
}

fn main() {
    if std::env::args().any(|argument| argument == "large") {
        return large_and_resident();
    }
    if std::env::args().any(|argument| argument == "clears") {
        return among_clears();
    }
    let add = |store: &mut Store, key: &[u8]| store.merge(key, &1_u64.to_le_bytes()).unwrap();
    let get = |store: &mut Store, key: &[u8]| {
        let found = store.get_resident(key).unwrap();
        assert!(found != Resident::Miss);
    };
    let mut resident = Bench::new(Arc::new(InMemory::new()), 1 << 30);
    resident.time("add, memtable, first touch", OPERATIONS, add);
    resident.time("add, memtable, in place", OPERATIONS, add);
    resident.time("get, memtable", OPERATIONS, get);
    resident.time("put, memtable", OPERATIONS, |store, key| store.put(key, &7_u64.to_le_bytes()).unwrap());
    resident.time("rmw, memtable", OPERATIONS, |store, key| {
        let found = matches!(store.get_resident(key).unwrap(), Resident::Value(_));
        store.put(key, &u64::from(found).to_le_bytes()).unwrap();
    });

    let mut flushed = Bench::new(Arc::new(InMemory::new()), 192 << 20);
    flushed.time("add, 24 MiB memtables", OPERATIONS, add);
    flushed.flush();
    flushed.cold_gets("get, blocks, prefetched", 1_000_000, 1000);
    flushed.time("get, blocks, resident", 1_000_000, |store, key| drop(store.get_resident(key).unwrap()));

    among_clears();

    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let mut small = Bench::new(files, 4 << 20);
    small.time("add, 0.5 MiB memtables, files", OPERATIONS, add);
    small.cold_gets("get, files, batches of 1000", 500_000, 1000);
}
