//! A small store whose owner keeps a record of who holds what.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime, Result};
use alluvium_forst::{
    Answer, FetchSettings, ForstSettings, MergeOperator, MergeOperators, Ownership, Resident, Restored,
    Store, StoreOptions,
};
use futures_util::TryStreamExt as _;
use object_store::ObjectStore;

use crate::store::{Failing, Plan};

/// Sums of keys that begin with `s`.
struct Sums;

impl MergeOperator for Sums {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
        *acc = (number(acc) + number(operand)).to_le_bytes().to_vec();
        Ok(())
    }
}

impl MergeOperators for Sums {
    fn operator(&self, key: &[u8]) -> Option<&dyn MergeOperator> {
        key.starts_with(b"s").then_some(self as _)
    }
}

/// Who holds what, and what was ever held.
#[derive(Default)]
struct Owner {
    names: Mutex<(BTreeMap<String, u32>, BTreeSet<String>)>,
    released: Condvar,
}

impl Ownership for Owner {
    fn hold(&self, name: &str) {
        let (holders, ever) = &mut *self.names.lock().unwrap();
        *holders.entry(name.to_owned()).or_default() += 1;
        ever.insert(name.to_owned());
    }

    fn release(&self, name: &str) {
        let (holders, _) = &mut *self.names.lock().unwrap();
        let count = holders.get_mut(name).expect("a release without a hold");
        *count -= 1;
        if *count == 0 {
            holders.remove(name);
        }
        self.released.notify_all();
    }
}

pub(crate) struct World {
    pub(crate) objects: Arc<Failing>,
    settings: ForstSettings,
    io: IoRuntime,
    background: Arc<Background>,
    owner: Arc<Owner>,
    bell: Arc<(Mutex<bool>, Condvar)>,
    attempts: AtomicU64,
}

impl World {
    /// A patient world rides faults out, the other gives up soon.
    pub(crate) fn new(plan: Plan, is_patient: bool) -> Self {
        let deadline = Duration::from_millis(if is_patient { 20_000 } else { 30 });
        let settings = ForstSettings {
            memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
            block_size_bytes: 1024,
            value_threshold_bytes: 1000,
            fetch: FetchSettings { deadline, attempt_timeout: deadline, ..FetchSettings::default() },
            ..ForstSettings::default()
        };
        Self {
            objects: Arc::new(Failing::new(plan)),
            settings,
            io: IoRuntime::new(1).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            owner: Arc::default(),
            bell: Arc::default(),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn open(&self, restored: Vec<Restored>) -> Result<Store> {
        let bell = Arc::clone(&self.bell);
        Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(Sums),
            ownership: Arc::clone(&self.owner) as _,
            notify: Arc::new(move || {
                *bell.0.lock().unwrap() = true;
                bell.1.notify_all();
            }),
            prefix: format!("state/{}", self.attempts.fetch_add(1, SeqCst)),
            restored,
        })
    }

    fn wait(&self) {
        let rung = self.bell.0.lock().unwrap();
        let (mut rung, late) = self.bell.1.wait_timeout_while(rung, Duration::from_mins(1), |r| !*r).unwrap();
        assert!(!late.timed_out(), "nobody rang for a minute");
        *rung = false;
    }

    /// Has what was written become tables; a scan does.
    pub(crate) fn flush(&self, store: &mut Store) -> Result<()> {
        let before = store.counters().flushes;
        drop(store.scan());
        while store.counters().flushes == before {
            store.poll(&mut |_, _| ())?;
            if store.counters().flushes == before {
                self.wait();
            }
        }
        Ok(())
    }

    pub(crate) fn snapshot(&self, store: &mut Store) -> Result<Restored> {
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload())?;
        Ok(Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() })
    }

    pub(crate) fn get_all(
        &self,
        store: &mut Store,
        keys: &[Vec<u8>],
    ) -> Result<Vec<Result<Option<Vec<u8>>>>> {
        let mut found: Vec<_> = keys.iter().map(|_| Ok(None)).collect();
        let mut misses = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            match store.get_resident(key)? {
                Resident::Value(value) => found[index] = Ok(Some(value.into_owned())),
                Resident::Absent => {}
                Resident::Miss => misses.push((index as u64, key.as_slice())),
            }
        }
        let mut open = misses.len();
        store.read(misses);
        while open > 0 {
            let mut take = |token: u64, answer: Result<Answer<'_>>| {
                found[token as usize] = answer.map(|answer| answer.value().map(<[u8]>::to_vec));
                open -= 1;
            };
            store.poll(&mut take)?;
            if open > 0 {
                self.wait();
            }
        }
        Ok(found)
    }

    pub(crate) fn scan(store: &mut Store) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        let (mut scan, mut entries) = (store.scan(), BTreeMap::new());
        while let Some((key, value)) = scan.next_entry()? {
            entries.insert(key.to_vec(), value.to_vec());
        }
        Ok(entries)
    }

    pub(crate) fn wait_until_nothing_is_held(&self, place: &str) {
        let names = self.owner.names.lock().unwrap();
        let held = |names: &mut (BTreeMap<String, u32>, _)| !names.0.is_empty();
        let (names, late) =
            self.owner.released.wait_timeout_while(names, Duration::from_mins(1), held).unwrap();
        assert!(!late.timed_out(), "{place}: still held: {:?}", names.0);
    }

    /// Objects that were never held: nobody would ever delete them.
    pub(crate) fn objects_nobody_held(&self) -> Vec<String> {
        let listing: Vec<_> = self.io.block_on(self.objects.list(None).try_collect()).unwrap();
        let names = self.owner.names.lock().unwrap();
        let names = listing
            .into_iter()
            .map(|object| object.location.to_string())
            .filter(|name| !names.1.contains(name));
        names.collect()
    }
}
