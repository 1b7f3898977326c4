//! A store on whatever object store a test wants, driven to the end of what it has under way.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Background, Error, IoRuntime, SystemClock};
use alluvium_forst::{
    DiskCache, ForstMetrics, ForstSettings, KeepAll, NoMerges, Restored, Store, StoreCounters, StoreOptions,
};
use object_store::ObjectStore;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::common::bell::Bell;
use crate::common::pages::entries;
use crate::common::reads::read_all;

/// What a key has, or why that is not known.
type Found = Result<Option<Vec<u8>>, Error>;

/// Keys `0..keys`; a prime, and so a permutation.
fn in_no_order(keys: u64) -> impl Iterator<Item = u64> {
    (0..keys).map(move |number| number * 7919 % keys)
}

/// What a store lives in.
pub struct World {
    pub objects: Arc<dyn ObjectStore>,
    pub io: IoRuntime,
    pub settings: ForstSettings,
    pub disk: Option<Arc<DiskCache>>,
    /// Makes keys of numbers.
    pub keys: fn(u64) -> Vec<u8>,
    bell: Bell,
}

impl World {
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        let settings = ForstSettings {
            memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
            block_size_bytes: 512,
            ..ForstSettings::default()
        };
        let (io, bell) = (IoRuntime::new(2).unwrap(), Bell::default());
        Self { objects, io, settings, disk: None, keys: key_of, bell }
    }

    pub fn open(&self, attempt: &str, restored: Option<&Restored>) -> Store {
        self.open_all(attempt, restored.map_or(&[], std::slice::from_ref))
    }

    /// A store from several checkpoints of different keys.
    pub fn open_all(&self, attempt: &str, restored: &[Restored]) -> Store {
        let opened = Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects),
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: self.disk.clone(),
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: self.bell.ringer(),
            prefix: attempt.to_owned(),
            restored: restored.to_vec(),
        });
        opened.unwrap()
    }

    pub fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    /// Writes keys `0..keys` in no order, so that every table has some of everywhere, and waits until all of them are in tables and nothing is to be compacted; returns how to open the store again.
    pub fn fill(&self, attempt: &str, keys: u64, value: impl Fn(u64) -> Vec<u8>) -> Restored {
        self.write(self.open(attempt, None), in_no_order(keys), value)
    }

    /// The same in the order of the keys: each table sinks to the bottom, and there is no other run.
    pub fn fill_in_order(&self, attempt: &str, keys: u64, value: impl Fn(u64) -> Vec<u8>) -> Restored {
        self.write(self.open(attempt, None), 0..keys, value)
    }

    /// Writes all keys again over what there is.
    pub fn overwrite(
        &self,
        attempt: &str,
        restored: &Restored,
        keys: u64,
        value: impl Fn(u64) -> Vec<u8>,
    ) -> Restored {
        self.write(self.open(attempt, Some(restored)), in_no_order(keys), value)
    }

    fn write(
        &self,
        mut store: Store,
        keys: impl Iterator<Item = u64>,
        value: impl Fn(u64) -> Vec<u8>,
    ) -> Restored {
        for key in keys {
            store.put(&(self.keys)(key), &value(key)).unwrap();
            while !store.admits() {
                self.wait();
                store.poll(&mut |_, _| ()).unwrap();
            }
        }
        drop(store.scan());
        loop {
            let mut snapshot = store.snapshot();
            self.io.block_on(snapshot.upload()).unwrap();
            if snapshot.is_flushed() && store.compaction_debt_bytes() == 0 {
                return Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() };
            }
            self.wait();
            store.poll(&mut |_, _| ()).unwrap();
        }
    }

    /// Reads keys in one batch; answers are in the order of the keys.
    pub fn read(&self, store: &mut Store, keys: &[u64]) -> Vec<Result<Option<Vec<u8>>, Error>> {
        self.try_read(store, keys).unwrap()
    }

    /// The same of a store that may have failed.
    pub fn try_read(&self, store: &mut Store, keys: &[u64]) -> Result<Vec<Found>, Error> {
        let keys: Vec<_> = keys.iter().map(|key| (self.keys)(*key)).collect();
        read_all(store, &self.bell, &keys)
    }

    /// All entries of a prefix, page by page.
    pub fn entries(&self, store: &mut Store, prefix: &[u8], limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        entries(store, &self.bell, prefix, limit)
    }

    /// Reads every key in batches, checks each answer, and returns the counters.
    pub fn check_all(
        &self,
        attempt: &str,
        restored: &Restored,
        keys: u64,
        value: impl Fn(u64) -> Vec<u8>,
    ) -> StoreCounters {
        let mut store = self.open(attempt, Some(restored));
        let all: Vec<u64> = (0..keys).collect();
        for batch in all.chunks(50) {
            for (key, answer) in batch.iter().zip(self.read(&mut store, batch)) {
                assert_eq!(answer.unwrap(), Some(value(*key)), "{attempt}, key {key}");
            }
        }
        store.counters()
    }
}

/// What a store of the least memory has for tails: half of what is left beside memtables and buffers.
pub const TAILS_SHARE_BYTES: f64 = (384 << 10) as f64 / 2.0;

/// What a store has in memory, as its metrics say.
pub struct MemoryGauge(Registry);

impl MemoryGauge {
    pub fn of(store: &mut Store) -> Self {
        let metrics = ForstMetrics::new(Arc::new(SystemClock::new()));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        store.report_to(&metrics);
        Self(registry)
    }

    /// What a reservation takes.
    pub fn read(&self, reservation: &str) -> f64 {
        let mut text = String::new();
        encode(&mut text, &self.0).unwrap();
        let wanted = format!("forst_memory_bytes{{reservation=\"{reservation}\"}}");
        let line = text.lines().find(|line| line.starts_with(&wanted)).unwrap();
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }
}

pub fn key_of(number: u64) -> Vec<u8> {
    [&number.to_be_bytes()[6..], &number.to_be_bytes()[..]].concat()
}

pub fn value_of(number: u64) -> Vec<u8> {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes().repeat(4)
}
