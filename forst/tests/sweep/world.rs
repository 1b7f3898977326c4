//! A small store whose owner keeps a record of who holds what.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alluvium_env::{Background, IoRuntime, Result};
use alluvium_forst::{FetchSettings, ForstSettings, Ownership, Restored, Store, StoreOptions};
use futures_util::TryStreamExt as _;
use object_store::ObjectStore;

use crate::common::bell::Bell;
use crate::common::holders::{Holders, hold, release};
use crate::common::layer::Layered;
use crate::common::reads::read_all;
use crate::common::scan::scan_all;
use crate::common::sum::Sum;
use crate::store::{Failing, Plan};

/// Who holds what, and what was ever held.
#[derive(Default)]
struct Owner {
    names: Mutex<(Holders, BTreeSet<String>)>,
    released: Condvar,
}

impl Ownership for Owner {
    fn hold(&self, name: &str) {
        let (holders, ever) = &mut *self.names.lock().unwrap();
        hold(holders, name);
        ever.insert(name.to_owned());
    }

    fn release(&self, name: &str) {
        release(&mut self.names.lock().unwrap().0, name);
        self.released.notify_all();
    }
}

pub(crate) struct World {
    pub(crate) objects: Arc<Layered<Failing>>,
    settings: ForstSettings,
    io: IoRuntime,
    background: Arc<Background>,
    owner: Arc<Owner>,
    bell: Bell,
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
            paged_tables: 2,
            fetch: FetchSettings { deadline, attempt_timeout: deadline, ..FetchSettings::default() },
            ..ForstSettings::default()
        };
        Self {
            objects: Arc::new(Layered(Failing::new(plan))),
            settings,
            io: IoRuntime::new(1).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            owner: Arc::default(),
            bell: Bell::default(),
            attempts: AtomicU64::new(0),
        }
    }

    pub(crate) fn open(&self, restored: Vec<Restored>) -> Result<Store> {
        Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(Sum),
            ownership: Arc::clone(&self.owner) as _,
            notify: self.bell.ringer(),
            prefix: format!("state/{}", self.attempts.fetch_add(1, SeqCst)),
            restored,
        })
    }

    fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
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
        read_all(store, &self.bell, keys)
    }

    pub(crate) fn scan(store: &mut Store) -> Result<BTreeMap<Vec<u8>, Vec<u8>>> {
        Ok(scan_all(store)?.into_iter().collect())
    }

    pub(crate) fn wait_until_nothing_is_held(&self, place: &str) {
        let names = self.owner.names.lock().unwrap();
        let held = |names: &mut (Holders, _)| !names.0.is_empty();
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
