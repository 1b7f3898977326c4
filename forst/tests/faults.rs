//! A store, a disk or bytes that fail: a right answer or an error that names the object, and nothing lost.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
    pub(crate) mod reads;
}

use std::fs;
use std::path::Path as FsPath;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Background, Error, ErrorKind, IoRuntime};
use alluvium_forst::{
    DiskCache, DiskLimits, FetchSettings, ForstSettings, KeepAll, NoMerges, Resident, Restored, Store,
    StoreOptions,
};
use common::bell::Bell;
use common::reads::read_all;
use object_store::ObjectStore;
use object_store::local::LocalFileSystem;

struct World {
    folder: tempfile::TempDir,
    io: IoRuntime,
    bell: Bell,
}

impl World {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), io: IoRuntime::new(2).unwrap(), bell: Bell::default() }
    }

    fn open(
        &self,
        attempt: &str,
        restored: Vec<Restored>,
        disk: Option<Arc<DiskCache>>,
    ) -> Result<Store, Error> {
        Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
                block_size_bytes: 512,
                fetch: FetchSettings {
                    deadline: Duration::from_millis(300),
                    attempt_timeout: Duration::from_millis(200),
                    ..FetchSettings::default()
                },
                ..ForstSettings::default()
            },
            store: Arc::new(LocalFileSystem::new_with_prefix(self.folder.path()).unwrap())
                as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk,
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: self.bell.ringer(),
            prefix: attempt.to_owned(),
            restored,
        })
    }

    fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    /// A store with `keys` keys, all of them flushed, and how to open it again.
    fn filled(&self, keys: u64) -> (Store, Restored) {
        let mut store = self.open("first", Vec::new(), None).unwrap();
        for key in 0..keys {
            store.put(&key_of(key), &key.to_le_bytes()).unwrap();
        }
        drop(store.scan());
        while store.counters().flushes == 0 || !store.admits() || !self.io.block_on(self.named(&mut store)).1
        {
            self.wait();
            store.poll(&mut |_, _| ()).unwrap();
        }
        let (restored, _) = self.io.block_on(self.named(&mut store));
        (store, restored)
    }

    /// A manifest, and whether all state is in tables.
    async fn named(&self, store: &mut Store) -> (Restored, bool) {
        let mut snapshot = store.snapshot();
        snapshot.upload().await.unwrap();
        let flushed = snapshot.files().iter().all(|file| file.name.ends_with("sst"));
        (Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }, flushed)
    }

    fn get(&self, store: &mut Store, key: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        read_all(store, &self.bell, &[key.to_vec()])?.remove(0)
    }

    fn tables(&self) -> Vec<std::path::PathBuf> {
        let files =
            fs::read_dir(self.folder.path().join("first")).unwrap().map(|entry| entry.unwrap().path());
        files.filter(|path| path.extension().is_some_and(|e| e == "sst")).collect()
    }
}

fn limits(size_bytes: u64) -> DiskLimits {
    DiskLimits { size_bytes, min_free_bytes: 0 }
}

fn key_of(number: u64) -> Vec<u8> {
    [&number.to_be_bytes()[6..], &number.to_be_bytes()[..]].concat()
}

fn flip(path: &FsPath, offset: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[offset] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_flipped_byte_of_a_table_is_an_error_that_names_object_and_offset() {
    let world = World::new();
    let (_store, restored) = world.filled(2000);
    for path in world.tables() {
        flip(&path, 100);
    }
    let mut store = world.open("second", vec![restored], None).unwrap();
    let errors: Vec<Error> = (0..2000).filter_map(|key| world.get(&mut store, &key_of(key)).err()).collect();
    assert!(!errors.is_empty(), "somebody must have read the broken block");
    for error in errors {
        assert_eq!(error.kind(), ErrorKind::Corruption);
        let sentence = error.to_string();
        assert!(sentence.contains(".sst at offset 0") && sentence.contains("checksum"), "{sentence}");
    }
}

#[test]
fn a_missing_table_is_named_and_a_truncated_one_is_no_answer() {
    let world = World::new();
    let (_store, restored) = world.filled(2000);
    let tables = world.tables();
    for path in &tables {
        let bytes = fs::read(path).unwrap();
        fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let mut store = world.open("second", vec![restored.clone()], None).unwrap();
    let error = world.get(&mut store, &key_of(7)).unwrap_err();
    assert!(error.to_string().contains(".sst"), "{error}");
    for path in &tables {
        fs::remove_file(path).unwrap();
    }
    let mut store = world.open("third", vec![restored], None).unwrap();
    let error = world.get(&mut store, &key_of(7)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corruption);
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn a_flush_that_fails_for_good_is_reported_and_its_memtable_still_answers() {
    let world = World::new();
    let mut store = world.open("first", Vec::new(), None).unwrap();
    // A file where the folder should be: no write can succeed.
    fs::write(world.folder.path().join("first"), b"in the way").unwrap();
    for key in 0..2000 {
        store.put(&key_of(key), b"kept").unwrap();
    }
    drop(store.scan());
    let error = loop {
        match store.poll(&mut |_, _| ()) {
            Ok(()) => world.wait(),
            Err(error) => break error,
        }
    };
    assert!(error.to_string().contains("flush") && error.to_string().contains(".sst"), "{error}");
    assert!(store.poll(&mut |_, _| ()).is_err(), "the error stays");
    assert_eq!(store.get_resident(&key_of(1999)).unwrap(), Resident::Value(b"kept".into()));
}

#[test]
fn a_cache_disk_that_returns_garbage_or_vanishes_costs_speed_only() {
    let (world, cache) = (World::new(), tempfile::tempdir().unwrap());
    let (_store, restored) = world.filled(3000);
    let disk = DiskCache::open(cache.path(), limits(64 << 20)).unwrap();
    let read_all = |attempt: &str| {
        let mut store = world.open(attempt, vec![restored.clone()], Some(Arc::clone(&disk))).unwrap();
        for key in 0..3000 {
            let found = world.get(&mut store, &key_of(key)).unwrap();
            assert_eq!(found.as_deref(), Some(key.to_le_bytes().as_slice()), "{attempt}, key {key}");
        }
        store.counters()
    };
    let cold = read_all("cold");
    assert_eq!((cold.disk_hits, cold.misses > 10), (0, true));
    let warm = read_all("warm");
    assert!(warm.disk_hits > 0, "{warm:?}");
    for mirror in fs::read_dir(cache.path().join("alluvium-blocks-v2")).unwrap() {
        let path = mirror.unwrap().path();
        let length = fs::metadata(&path).unwrap().len() as usize;
        fs::write(&path, vec![0x5A; length]).unwrap();
    }
    assert!(read_all("garbage").misses > 10);
    fs::remove_dir_all(cache.path().join("alluvium-blocks-v2")).unwrap();
    read_all("gone");
}

#[test]
fn a_cache_folder_that_is_used_or_too_small_is_refused_with_the_reason() {
    let cache = tempfile::tempdir().unwrap();
    let open = |bytes| {
        DiskCache::open(cache.path(), limits(bytes)).err().map(|error| error.to_string()).unwrap_or_default()
    };
    let held = DiskCache::open(cache.path(), limits(1 << 20)).unwrap();
    assert!(open(1 << 20).contains("used by another process"));
    drop(held);
    assert!(open(u64::MAX).contains("less than the cache size"));
}
