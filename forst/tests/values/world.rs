//! A store with values apart, and an owner that deletes what is released and not named by a snapshot that is kept.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{Background, Entropy, IoRuntime, Result};
use alluvium_forst::{
    FetchSettings, ForstSettings, MergeOperators, NoMerges, Ownership, Restored, Store, StoreOptions,
};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use crate::common::bell::Bell;
use crate::common::holders::{Holders, hold, release};
use crate::common::reads::read_all;

/// Holders of each name, and the names of the snapshots that are kept.
#[derive(Default)]
struct Names {
    holders: Holders,
    kept: BTreeMap<&'static str, BTreeSet<String>>,
}

impl Names {
    fn lives(&self, name: &str) -> bool {
        self.holders.contains_key(name) || self.kept.values().any(|names| names.contains(name))
    }
}

#[derive(Default)]
struct Owner(Mutex<Names>);

impl Ownership for Owner {
    fn hold(&self, name: &str) {
        hold(&mut self.0.lock().unwrap().holders, name);
    }

    fn release(&self, name: &str) {
        release(&mut self.0.lock().unwrap().holders, name);
    }
}

pub(crate) struct World {
    pub(crate) objects: Arc<dyn ObjectStore>,
    pub(crate) settings: ForstSettings,
    pub(crate) io: IoRuntime,
    owner: Arc<Owner>,
    bell: Bell,
}

impl World {
    pub(crate) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        let settings = ForstSettings {
            memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
            block_size_bytes: 1024,
            value_threshold_bytes: 1000,
            paged_tables: 2,
            fetch: FetchSettings {
                deadline: Duration::from_secs(2),
                attempt_timeout: Duration::from_secs(1),
                ..FetchSettings::default()
            },
            ..ForstSettings::default()
        };
        Self {
            objects,
            settings,
            io: IoRuntime::new(2).unwrap(),
            owner: Arc::default(),
            bell: Bell::default(),
        }
    }

    pub(crate) fn open(&self, attempt: &str, restored: Vec<Restored>) -> Store {
        self.open_with(attempt, restored, Arc::new(NoMerges))
    }

    pub(crate) fn open_with(
        &self,
        attempt: &str,
        restored: Vec<Restored>,
        operators: Arc<dyn MergeOperators>,
    ) -> Store {
        let opened = Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects),
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators,
            ownership: Arc::clone(&self.owner) as Arc<dyn Ownership>,
            notify: self.bell.ringer(),
            prefix: attempt.to_owned(),
            restored,
        });
        opened.unwrap()
    }

    /// Waits for the bell and takes over what has ended.
    pub(crate) fn turn(&self, store: &mut Store) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
        store.poll(&mut |_, _| panic!("an answer to no read")).unwrap();
    }

    pub(crate) fn put(&self, store: &mut Store, key: u64, value: &[u8]) {
        while !store.admits() {
            self.turn(store);
        }
        store.put(&key_of(key), value).unwrap();
    }

    /// Uploads a snapshot and keeps it under a name in place of the one before; deletes what nobody holds or keeps.
    pub(crate) fn keep(&self, name: &'static str, store: &mut Store) -> Restored {
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload()).unwrap();
        let files = snapshot.files().into_iter().map(|file| file.name).collect();
        self.owner.0.lock().unwrap().kept.insert(name, files);
        let restored = Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() };
        drop(snapshot);
        self.delete_the_dead();
        restored
    }

    /// The value files that a snapshot names.
    pub(crate) fn values_of(&self, snapshot: &str) -> Vec<String> {
        let names = &*self.owner.0.lock().unwrap();
        let files = names.kept.get(snapshot).into_iter().flatten();
        files.filter(|name| Path::from(name.as_str()).extension() == Some("val")).cloned().collect()
    }

    /// Gives a snapshot up.
    pub(crate) fn give_up(&self, name: &str) {
        self.owner.0.lock().unwrap().kept.remove(name);
        self.delete_the_dead();
    }

    pub(crate) fn delete_the_dead(&self) {
        for (name, _) in self.list("") {
            if !self.owner.0.lock().unwrap().lives(&name) {
                self.io.block_on(self.objects.delete(&Path::from(name))).unwrap();
            }
        }
    }

    /// Names and sizes of the objects of a kind.
    pub(crate) fn list(&self, kind: &str) -> Vec<(String, u64)> {
        let listing = self.objects.list(None).map_ok(|object| (object.location.to_string(), object.size));
        let mut objects: Vec<_> = self.io.block_on(listing.try_collect()).unwrap();
        objects.retain(|(name, _)| name.ends_with(kind));
        objects
    }

    pub(crate) fn bytes(&self, kind: &str) -> u64 {
        self.list(kind).into_iter().map(|(_, size)| size).sum()
    }

    /// Has all that was written so far flushed.
    pub(crate) fn flush(&self, store: &mut Store) {
        drop(store.scan());
        while self.keep("flushed", store).manifest.is_empty() || !self.list("delta").is_empty() {
            self.turn(store);
        }
    }

    pub(crate) fn get(&self, store: &mut Store, key: &[u8]) -> Result<Option<Vec<u8>>> {
        read_all(store, &self.bell, &[key.to_vec()])?.remove(0)
    }
}

pub(crate) fn key_of(number: u64) -> Vec<u8> {
    [&number.to_be_bytes()[6..], &number.to_be_bytes()[..]].concat()
}

/// Noise that no compressor shrinks: the `round`-th value of a key.
pub(crate) fn noise(key: u64, round: u64, length: usize) -> Vec<u8> {
    let random = Entropy::from_seed(key << 20 | round);
    let words = std::iter::repeat_with(|| random.next_u64().to_le_bytes());
    words.take(length.div_ceil(8)).flatten().take(length).collect()
}
