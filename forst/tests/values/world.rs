//! A store with values apart, and an owner that deletes what is released and not named by a snapshot that is kept.
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use alluvium_env::{Background, Entropy, IoRuntime, Result};
use alluvium_forst::{
    FetchSettings, ForstSettings, MergeOperators, NoMerges, Ownership, Resident, Restored, Store,
    StoreOptions,
};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// Holders of each name, and the names of the snapshots that are kept.
#[derive(Default)]
struct Names {
    holders: BTreeMap<String, u32>,
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
        *self.0.lock().unwrap().holders.entry(name.to_owned()).or_default() += 1;
    }

    fn release(&self, name: &str) {
        let holders = &mut self.0.lock().unwrap().holders;
        let count = holders.get_mut(name).expect("a release without a hold");
        *count -= 1;
        if *count == 0 {
            holders.remove(name);
        }
    }
}

type Bell = Arc<(Mutex<bool>, Condvar)>;

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
        let bell = Arc::clone(&self.bell);
        let opened = Store::open(StoreOptions {
            settings: self.settings.clone(),
            store: Arc::clone(&self.objects),
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators,
            ownership: Arc::clone(&self.owner) as Arc<dyn Ownership>,
            notify: Arc::new(move || {
                *bell.0.lock().unwrap() = true;
                bell.1.notify_all();
            }),
            prefix: attempt.to_owned(),
            restored,
        });
        opened.unwrap()
    }

    /// Waits for the bell and takes over what has ended.
    pub(crate) fn turn(&self, store: &mut Store) {
        let rung = self.bell.0.lock().unwrap();
        let (mut rung, late) = self.bell.1.wait_timeout_while(rung, Duration::from_mins(1), |r| !*r).unwrap();
        assert!(!late.timed_out(), "nobody rang for a minute");
        *rung = false;
        drop(rung);
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
        match store.get_resident(key)? {
            Resident::Value(value) => return Ok(Some(value.into_owned())),
            Resident::Absent => return Ok(None),
            Resident::Miss => store.read([(0, key)]),
        }
        loop {
            let mut found = None;
            let mut take = |_, answer: Result<alluvium_forst::Answer<'_>>| {
                found = Some(answer.map(|answer| answer.value().map(<[u8]>::to_vec)));
            };
            store.poll(&mut take)?;
            if let Some(found) = found {
                return found;
            }
            let rung = self.bell.0.lock().unwrap();
            let (mut rung, late) =
                self.bell.1.wait_timeout_while(rung, Duration::from_mins(1), |r| !*r).unwrap();
            assert!(!late.timed_out(), "nobody rang for a minute");
            *rung = false;
        }
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
