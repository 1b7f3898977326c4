//! A store under an option set, on memory, whose owner deletes what it has released and no snapshot names.
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime, Result};
use alluvium_forst::{
    DiskCache, DiskLimits, Expiry, Fate, ForstSettings, MergeOperator, MergeOperators, Moment, Restored,
    Stamp, Store, StoreOptions,
};
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::common::bell::Bell;
use crate::common::owner::Owner;
use crate::common::pages::entries;
use crate::common::reads::read_all;
use crate::common::scan::scan_all;
use crate::common::sum::Sum;
use crate::operations::{Key, Operation, TTL_MILLIS, neighbours, value_of};
use crate::options::Options;

/// Sums of keys that begin with `s`, and a life for those that begin with `t`.
#[derive(Default)]
struct Operators {
    now: AtomicU64,
}

impl MergeOperator for Operators {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        Sum.merge(acc, operand)
    }
}

impl MergeOperators for Operators {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        Sum.operator(key).map(|_| self as _)
    }

    fn expiry(&self) -> Option<&dyn Expiry> {
        Some(self)
    }
}

impl Expiry for Operators {
    fn now_millis(&self) -> u64 {
        self.now.load(Relaxed)
    }

    fn longest_millis(&self) -> u64 {
        TTL_MILLIS
    }

    fn judge(&self, key: &[u8], value: &mut Vec<u8>, moment: Moment) -> Result<Fate> {
        let updated = value.first_chunk::<8>().filter(|_| key.starts_with(b"t"));
        Ok(updated.map_or(Fate::Lasts, |updated| self.judge_class(0, u64::from_le_bytes(*updated), moment)))
    }

    fn judge_class(&self, class: u16, updated_millis: u64, moment: Moment) -> Fate {
        if updated_millis + TTL_MILLIS <= moment.now_millis {
            return Fate::Expired { hides_older: false };
        }
        Fate::Lives(Stamp { class, since_millis: updated_millis, updated_millis })
    }

    fn expires_at_millis(&self, _: u16, updated_millis: u64) -> Option<u64> {
        Some(updated_millis + TTL_MILLIS)
    }
}

/// What keys share that are read together.
const PREFIX_BYTES: usize = 2;

/// A key with so many bytes behind its prefix, which change no order.
fn longer(key: &[u8], padding: usize) -> Vec<u8> {
    let (prefix, rest) = key.split_at(PREFIX_BYTES);
    [prefix, &vec![b'x'; padding], rest].concat()
}

static IO: LazyLock<IoRuntime> = LazyLock::new(|| IoRuntime::new(2).unwrap());
static BACKGROUND: LazyLock<Arc<Background>> = LazyLock::new(|| Arc::new(Background::new(1).unwrap()));

pub(crate) struct World {
    store: Option<Store>,
    objects: Arc<InMemory>,
    settings: ForstSettings,
    disk: Option<Arc<DiskCache>>,
    operators: Arc<Operators>,
    owner: Arc<Owner>,
    bell: Bell,
    attempts: u64,
    padding: usize,
    _cache: tempfile::TempDir,
}

impl World {
    pub(crate) fn new(options: &Options) -> Self {
        let cache = tempfile::tempdir().unwrap();
        let limits = DiskLimits { size_bytes: 1 << 20, min_free_bytes: 0 };
        let disk = options.disk_tier.then(|| DiskCache::open(cache.path(), limits).unwrap());
        let mut world = Self {
            store: None,
            objects: Arc::default(),
            settings: options.settings.clone(),
            disk,
            operators: Arc::default(),
            owner: Arc::default(),
            bell: Bell::default(),
            attempts: 0,
            padding: options.padding,
            _cache: cache,
        };
        world.open(Vec::new());
        world
    }

    fn open(&mut self, restored: Vec<Restored>) {
        self.attempts += 1;
        let opened = Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: IO.clone(),
            background: Arc::clone(&BACKGROUND),
            disk: self.disk.clone(),
            operators: Arc::clone(&self.operators) as _,
            ownership: Arc::clone(&self.owner) as _,
            notify: self.bell.ringer(),
            prefix: format!("state/{}", self.attempts),
            restored,
        });
        self.store = Some(opened.unwrap());
    }

    fn store(&mut self) -> &mut Store {
        self.store.as_mut().unwrap()
    }

    fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    pub(crate) fn write(&mut self, operation: &Operation, now: u64) {
        let long = |key: Key| longer(&key.bytes(), self.padding);
        let store = self.store.as_mut().unwrap();
        match operation {
            Operation::Put(key, length, fill) => {
                store.put(&long(*key), &value_of(*key, *length, *fill, now)).unwrap();
            }
            Operation::Fill(key, count, length) => {
                for key in neighbours(*key, *count) {
                    store.put(&long(key), &value_of(key, *length, key.2 as u8, now)).unwrap();
                }
            }
            Operation::Add(key, n) => store.merge(&long(*key), &n.to_le_bytes()).unwrap(),
            Operation::Delete(key) => store.delete(&long(*key)).unwrap(),
            Operation::DeletePrefix(key) => store.delete_prefix(&key.prefix()).unwrap(),
            Operation::DeleteRange(start, end) => store.delete_range(&long(*start), &long(*end)).unwrap(),
            other => panic!("{other:?} writes nothing"),
        }
        self.store().poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        while !self.store().admits() {
            self.wait();
            self.store().poll(&mut |_, _| panic!("an answer to no read")).unwrap();
        }
    }

    pub(crate) fn pass(&mut self, millis: u64) {
        self.operators.now.fetch_add(millis, Relaxed);
        self.store().poll(&mut |_, _| panic!("an answer to no read")).unwrap();
    }

    pub(crate) fn get_all(&mut self, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        let store = self.store.as_mut().unwrap();
        let keys: Vec<_> = keys.iter().map(|key| longer(key, self.padding)).collect();
        read_all(store, &self.bell, &keys).unwrap().into_iter().map(Result::unwrap).collect()
    }

    /// All entries of a prefix, page by page.
    pub(crate) fn entries(&mut self, prefix: &[u8], limit: u32) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = entries(self.store.as_mut().unwrap(), &self.bell, prefix, limit);
        self.shorter(found)
    }

    pub(crate) fn scan(&mut self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let found = scan_all(self.store()).unwrap();
        self.shorter(found)
    }

    fn shorter(&self, mut entries: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(Vec<u8>, Vec<u8>)> {
        for (key, _) in &mut entries {
            key.drain(PREFIX_BYTES..PREFIX_BYTES + self.padding);
        }
        entries
    }

    /// Goes on from a snapshot as another attempt, and deletes what neither holds.
    pub(crate) fn reopen(&mut self) {
        let mut snapshot = self.store().snapshot();
        IO.block_on(snapshot.upload()).unwrap();
        let named: BTreeSet<String> = snapshot.files().into_iter().map(|file| file.name).collect();
        let restored = Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() };
        self.store = None;
        self.open(vec![restored]);
        drop(snapshot);
        let listing: Vec<_> = IO.block_on(self.objects.list(None).try_collect()).unwrap();
        for object in listing {
            let name = object.location.as_ref();
            if !named.contains(name) && !self.owner.0.lock().unwrap().contains_key(name) {
                IO.block_on(self.objects.delete(&object.location)).unwrap();
            }
        }
    }
}
