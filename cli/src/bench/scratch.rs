//! Where a benchmark writes: below `bench/` of the state URL, so that nothing else there is touched.
//!
//! **Invariants**: what a backend releases is deleted, as the checkpoint protocol does when no checkpoint names it;
//! what a run that was killed has left is deleted by the next one.
use std::sync::{Arc, Mutex, PoisonError};

use alluvium_env::{Error, HashMap, IoRuntime, Result};
use alluvium_state_api::FileOwnership;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{ObjectStore, ObjectStoreExt as _};

const FOLDER: &str = "bench";
/// What backends write begins so.
const FILES: &str = "state";
/// What they have others do begins so.
const JOBS: &str = "compaction";
/// And what makes checkpoints of it.
const LEDGER: &str = "ledger";

/// The scratch part of a state URL.
pub(super) struct Scratch {
    /// Where backends write.
    pub(super) store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    holders: Mutex<HashMap<String, u32>>,
}

impl Scratch {
    /// Takes over the folder and empties it.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be listed or written.
    pub(super) fn open(store: &Arc<dyn ObjectStore>, io: &IoRuntime) -> Result<Arc<Self>> {
        let store: Arc<dyn ObjectStore> = Arc::new(PrefixStore::new(Arc::clone(store), FOLDER));
        let scratch = Self { store, io: io.clone(), holders: Mutex::default() };
        scratch.clear()?;
        Ok(Arc::new(scratch))
    }

    /// Deletes everything.
    ///
    /// # Errors
    /// `Unavailable` if the store refuses.
    pub(super) fn clear(&self) -> Result<()> {
        let store = Arc::clone(&self.store);
        let cleared = self.io.block_on(async move {
            let listing = [LEDGER, JOBS, FILES].map(|folder| store.list(Some(&Path::from(folder))));
            let listing = futures_util::stream::iter(listing).flatten();
            let names = listing.map_ok(|object| object.location).boxed();
            // A name may have gone meanwhile: a delete that was under way.
            let deleted = store.delete_stream(names).filter(|one| {
                let gone = matches!(one, Err(object_store::Error::NotFound { .. }));
                std::future::ready(!gone)
            });
            deleted.try_collect::<Vec<_>>().await
        });
        cleared.map_err(|e| Error::unavailable("cannot empty the benchmark's folder").with_source(e))?;
        Ok(())
    }

    /// Bytes of all objects that are there.
    ///
    /// # Errors
    /// `Unavailable` if the store cannot be listed.
    pub(super) fn stored_bytes(&self) -> Result<u64> {
        let listing = self.store.list(Some(&Path::from(FILES)));
        let sum = self.io.block_on(listing.try_fold(0, async |sum, object| Ok(sum + object.size)));
        sum.map_err(|e| Error::unavailable("cannot list the benchmark's folder").with_source(e))
    }
}

impl FileOwnership for Scratch {
    fn hold(&self, name: &str) {
        *self.holders.lock().unwrap_or_else(PoisonError::into_inner).entry(name.to_owned()).or_default() += 1;
    }

    fn release(&self, name: &str) {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(count) = holders.get_mut(name) else { return };
        *count -= 1;
        if *count == 0 {
            holders.remove(name);
            let (store, path) = (Arc::clone(&self.store), Path::from(name));
            // What cannot be deleted now goes with the folder.
            self.io.spawn(async move { store.delete(&path).await });
        }
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn only_the_scratch_folder_is_emptied() {
        let io = IoRuntime::new(1).unwrap();
        let root: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let put = |name: &str| io.block_on(root.put(&Path::from(name), "x".into())).map(drop).unwrap();
        for name in ["state/00000001/0000/1.sst", "bench/state/1/0/1.sst", "ledger/1"] {
            put(name);
        }
        let scratch = Scratch::open(&root, &io).unwrap();
        assert_eq!(scratch.stored_bytes().unwrap(), 0);
        put("bench/state/2/0/1.sst");
        assert_eq!(scratch.stored_bytes().unwrap(), 1);
        let left: Vec<_> =
            io.block_on(root.list(None).map_ok(|o| o.location.to_string()).try_collect()).unwrap();
        assert_eq!(left.len(), 3, "{left:?}");
    }
}
