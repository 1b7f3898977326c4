//! The largest keys and values there may be, in a store of ordinary memory: alone in their process, whose peak is measured.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
}

use std::fs;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{Background, ErrorKind, IoRuntime};
use alluvium_forst::{ForstSettings, KeepAll, NoMerges, Resident, Restored, Store, StoreOptions};
use common::bell::Bell;
use object_store::local::LocalFileSystem;

const MOST: usize = 64 << 20;
const MEMORY_BYTES: u64 = 256 << 20;
const KEYS: u8 = 6;

struct World {
    folder: tempfile::TempDir,
    io: IoRuntime,
    bell: Bell,
    /// One value is compared with another here, so that the test needs little memory of its own.
    value: Mutex<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let (folder, io) = (tempfile::tempdir().unwrap(), IoRuntime::new(2).unwrap());
        // No compressor finds a byte here that it has seen at this distance.
        let noise = (0..MOST as u32 / 4).flat_map(|n| n.wrapping_mul(0x9E37_79B9).to_le_bytes()).collect();
        Self { folder, io, bell: Bell::default(), value: Mutex::new(noise) }
    }

    /// Hands the value of a key out.
    fn value<T>(&self, key: u8, seen: impl FnOnce(&[u8]) -> T) -> T {
        let mut value = self.value.lock().unwrap();
        if let Some(first) = value.first_mut() {
            *first = key;
        }
        seen(&value)
    }

    fn open(&self, attempt: &str, restored: Vec<Restored>) -> Store {
        let opened = Store::open(StoreOptions {
            settings: ForstSettings { memory_bytes: MEMORY_BYTES, ..ForstSettings::default() },
            store: Arc::new(LocalFileSystem::new_with_prefix(self.folder.path()).unwrap()),
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::new(KeepAll),
            notify: self.bell.ringer(),
            prefix: attempt.to_owned(),
            restored,
        });
        opened.unwrap()
    }

    fn wait(&self) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
    }

    fn settle(&self, store: &mut Store) {
        while !store.admits() {
            self.wait();
            store.poll(&mut |_, _| ()).unwrap();
        }
    }

    /// Flushes all; returns how to open the store again.
    fn flush(&self, store: &mut Store) -> Restored {
        drop(store.scan());
        loop {
            let mut snapshot = store.snapshot();
            if snapshot.is_flushed() {
                self.io.block_on(snapshot.upload()).unwrap();
                return Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() };
            }
            drop(snapshot);
            self.wait();
            store.poll(&mut |_, _| ()).unwrap();
        }
    }
}

/// The most memory that this process has had.
fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[test]
fn keys_and_values_of_64_mib_work_within_the_memory_there_is_and_longer_ones_are_refused() {
    let world = World::new();
    let mut store = world.open("first", Vec::new());
    for round in 0..2 {
        for key in 0..KEYS {
            world.settle(&mut store);
            world.value(key + round, |value| store.put(&[0, key], value)).unwrap();
        }
    }
    let restored = world.flush(&mut store);
    drop(store);
    let mut store = world.open("second", vec![restored]);
    let keys: Vec<[u8; 2]> = (0..KEYS).map(|key| [0, key]).collect();
    assert!(keys.iter().all(|key| store.get_resident(key).unwrap() == Resident::Miss));
    // All at once: they come one after the other.
    store.read(keys.iter().map(|key| (u64::from(key[1]), key.as_slice())));
    let mut answers = 0;
    while answers < KEYS {
        let mut take = |token: u64, answer: alluvium_forst::Result<alluvium_forst::Answer<'_>>| {
            let is_right = world.value(token as u8 + 1, |value| answer.unwrap().value() == Some(value));
            assert!(is_right, "value {token}");
            answers += 1;
        };
        store.poll(&mut take).unwrap();
        if answers < KEYS {
            world.wait();
        }
    }
    let (peak, value) = (peak_bytes(), MOST as u64);
    let most = MEMORY_BYTES * 11 / 10 + value;
    // Beside the store there is the value that the test compares with.
    assert!(peak <= most + value, "a peak of {} MiB, {} allowed", peak >> 20, (most + value) >> 20);

    world.value(0, |long| {
        let too_long = [long, &[0]].concat();
        for refused in [store.put(b"key", &too_long), store.put(&too_long, b"value"), store.delete(&too_long)]
        {
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::Invalid);
        }
        store.put(long, b"of a long key").unwrap();
    });
    let restored = world.flush(&mut store);
    let mut store = world.open("third", vec![restored]);
    world.value(0, |long| {
        assert_eq!(store.get_resident(long).unwrap(), Resident::Miss);
        store.read([(7, long)]);
    });
    let mut found = None;
    while found.is_none() {
        world.wait();
        store.poll(&mut |_, answer| found = answer.unwrap().value().map(<[u8]>::to_vec)).unwrap();
    }
    assert_eq!(found.as_deref(), Some(&b"of a long key"[..]));
}
