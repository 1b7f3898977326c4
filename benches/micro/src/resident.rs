//! Stores in a known state: everything in memory, or nothing but filters and indexes.
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use alluvium_env::{Background, Error, IoRuntime, Result};
use alluvium_forst::benching::{key_of, plan, value_of};
use alluvium_forst::{ForstSettings, KeepAll, NoMerges, Resident, Restored, Store, StoreOptions};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use crate::{BATCH, KEYS, MANY, spread};

/// A store and what rings for it.
pub struct StorePart {
    store: Store,
    bell: Receiver<()>,
    keys: Vec<[u8; 16]>,
}

fn open(objects: &Arc<dyn ObjectStore>, prefix: &str, restored: Vec<Restored>) -> Result<StorePart> {
    let (ring, bell) = channel();
    let store = Store::open(StoreOptions {
        // Room for everything in one memtable, so that nothing is flushed before the bench says so.
        settings: ForstSettings { memory_bytes: 32 << 20, ..ForstSettings::default() },
        store: Arc::clone(objects),
        io: IoRuntime::new(1)?,
        background: Arc::new(Background::new(1)?),
        disk: None,
        operators: Arc::new(NoMerges),
        ownership: Arc::new(KeepAll),
        // Nobody waits any more where sending fails.
        notify: Arc::new(move || ring.send(()).unwrap_or(())),
        prefix: prefix.to_owned(),
        restored,
    })?;
    Ok(StorePart { store, bell, keys: Vec::new() })
}

impl StorePart {
    fn wait(&mut self, mut is_done: impl FnMut(&Store, usize) -> bool) -> Result<()> {
        let mut answers = 0;
        loop {
            self.store.poll(&mut |_, answer| answers += usize::from(answer.is_ok()))?;
            if is_done(&self.store, answers) {
                return Ok(());
            }
            self.bell.recv().map_err(|_| Error::closed("the store is gone"))?;
        }
    }

    fn load(&mut self) -> Result<()> {
        for number in 0..KEYS {
            self.store.put(&key_of(number), &value_of(number))?;
        }
        Ok(())
    }

    /// Writes what is in memory as tables; their blocks stay in the cache.
    fn flush(&mut self) -> Result<()> {
        drop(self.store.scan());
        self.wait(|store, _| store.counters().flushes > 0 && store.admits())
    }

    /// Gets keys that are in memory.
    ///
    /// # Errors
    /// `Internal` if one is not.
    pub fn get_resident(&self) -> Result<usize> {
        let mut bytes = 0;
        for key in &self.keys {
            match self.store.get_resident(key)? {
                Resident::Value(value) => bytes += value.len(),
                Resident::Absent | Resident::Miss => return Err(Error::internal("a key is not in memory")),
            }
        }
        Ok(bytes)
    }

    /// Plans the reads of keys that are not.
    pub fn plan(&mut self) -> usize {
        plan(&mut self.store, self.keys.iter().map(<[u8; 16]>::as_slice))
    }
}

/// A store that holds everything, in its memtable or in cached blocks that are hot.
///
/// # Errors
/// What a store can meet.
pub fn resident_store(flushed: bool) -> Result<StorePart> {
    let mut part = open(&(Arc::new(InMemory::new()) as _), "bench", Vec::new())?;
    part.load()?;
    part.keys = spread(MANY).map(key_of).collect();
    if flushed {
        part.flush()?;
        for _ in 0..3 {
            part.get_resident()?;
        }
    }
    Ok(part)
}

/// A store that was opened again: of its tables it has filters and indexes, and no blocks of the keys to be planned.
///
/// # Errors
/// What a store can meet.
pub fn planned_store() -> Result<StorePart> {
    let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let mut first = open(&objects, "first", Vec::new())?;
    first.load()?;
    first.flush()?;
    let manifest = first.store.snapshot().manifest();
    drop(first);
    let restored = Restored { manifest, start: Vec::new(), end: Vec::new() };
    let mut part = open(&objects, "second", vec![restored])?;
    // Keys of every table fetch the tails.
    let tails: Vec<_> = (KEYS - BATCH..KEYS).map(key_of).collect();
    part.store.read((0..).zip(tails.iter().map(<[u8; 16]>::as_slice)));
    part.wait(|_, answers| answers == tails.len())?;
    part.keys = spread(BATCH).map(key_of).collect();
    Ok(part)
}
