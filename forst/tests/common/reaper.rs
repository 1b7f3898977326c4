//! An owner that deletes what nobody holds and the last snapshot does not name, at once and without mercy.
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use alluvium_env::IoRuntime;
use alluvium_forst::{Ownership, Restored, Store};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;

use super::holders::{Holders, hold, release};

/// See the module.
pub(crate) struct Reaper {
    store: Arc<InMemory>,
    io: IoRuntime,
    /// Holders, and the names of the last snapshot.
    pub(crate) names: Mutex<(Holders, BTreeSet<String>)>,
}

impl Reaper {
    pub(crate) fn new(store: &Arc<InMemory>, io: &IoRuntime) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(store), io: io.clone(), names: Mutex::default() })
    }

    /// Uploads a snapshot and spares what it names from now on, in place of the one before.
    pub(crate) fn snapshot(&self, store: &mut Store) -> (Restored, BTreeSet<String>) {
        let mut snapshot = store.snapshot();
        self.io.block_on(snapshot.upload()).unwrap();
        let named: BTreeSet<String> = snapshot.files().into_iter().map(|file| file.name).collect();
        let dropped: Vec<String> = {
            let (holders, old) = &mut *self.names.lock().unwrap();
            let dropped =
                old.difference(&named).filter(|name| !holders.contains_key(*name)).cloned().collect();
            old.clone_from(&named);
            dropped
        };
        for name in dropped {
            self.io.block_on(self.store.delete(&Path::from(name))).unwrap();
        }
        (Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }, named)
    }
}

impl Ownership for Reaper {
    fn hold(&self, name: &str) {
        hold(&mut self.names.lock().unwrap().0, name);
    }

    fn release(&self, name: &str) {
        let gone = {
            let (holders, named) = &mut *self.names.lock().unwrap();
            release(holders, name) && !named.contains(name)
        };
        if gone {
            let (store, path) = (Arc::clone(&self.store), Path::from(name));
            drop(self.io.spawn(async move { store.delete(&path).await }));
        }
    }
}
