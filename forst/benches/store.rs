//! Nanoseconds an operation of one store on one thread: adds, gets from memtable and blocks, cold gets from files.
//!
//! `cargo bench -p alluvium-forst` (a release build). Wall clock on a shared machine swings; compare within one run.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench fails by panicking and prints its figures"
)]
use std::sync::{Arc, Condvar, Mutex};

use alluvium_env::{Background, Clock as _, Entropy, IoRuntime, Result, SystemClock};
use alluvium_forst::{ForstSettings, KeepAll, MergeOperator, MergeOperators, Resident, Store, StoreOptions};
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

    fn wait(&self) {
        let mut rung = self.bell.0.lock().unwrap();
        while !*rung {
            rung = self.bell.1.wait(rung).unwrap();
        }
        *rung = false;
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

fn main() {
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
    drop(flushed.store.scan());
    while flushed.store.counters().flushes == 0 || !flushed.store.admits() {
        flushed.wait();
        flushed.settle();
    }
    flushed.cold_gets("get, blocks, warming", 1_000_000, 1000);
    flushed.time("get, blocks, resident", 1_000_000, |store, key| drop(store.get_resident(key).unwrap()));

    let folder = tempfile::tempdir().unwrap();
    let files = Arc::new(LocalFileSystem::new_with_prefix(folder.path()).unwrap());
    let mut small = Bench::new(files, 4 << 20);
    small.time("add, 0.5 MiB memtables, files", OPERATIONS, add);
    small.cold_gets("get, files, batches of 1000", 500_000, 1000);
}
