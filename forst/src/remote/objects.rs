//! Requests for jobs and their results: small objects, each asked for once; whoever waits asks again.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Error, Result};
use bytes::Bytes;
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, ObjectStore, ObjectStoreExt as _};
use tokio::time::timeout;

/// How long an answer is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A job is hundreds of bytes a table.
const MAX_BYTES: u64 = 64 << 20;

/// The store of jobs.
#[derive(Clone)]
pub(super) struct Objects {
    store: Arc<dyn ObjectStore>,
}

impl Objects {
    pub(super) fn new(store: &Arc<dyn ObjectStore>) -> Self {
        Self { store: Arc::clone(store) }
    }

    /// A whole object; `None` if there is none.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Bytes>> {
        let read = async {
            let found = self.store.get(&Path::from(name)).await?;
            if found.meta.size > MAX_BYTES {
                let source = format!("{} bytes are too many", found.meta.size).into();
                return Err(StoreError::Generic { store: "compaction", source });
            }
            found.bytes().await
        };
        there(name, timeout(PATIENCE, read).await)
    }

    /// An object's size; `None` if there is none.
    pub(super) async fn size(&self, name: &str) -> Result<Option<u64>> {
        let path = Path::from(name);
        let size = async { self.store.head(&path).await.map(|meta| meta.size) };
        there(name, timeout(PATIENCE, size).await)
    }

    pub(super) async fn exists(&self, name: &str) -> Result<bool> {
        Ok(self.size(name).await?.is_some())
    }

    /// Writes an object, over the one before.
    pub(super) async fn put(&self, name: &str, bytes: Bytes) -> Result<()> {
        let path = Path::from(name);
        let put = async { self.store.put(&path, bytes.into()).await.map(drop) };
        there(name, timeout(PATIENCE, put).await).map(drop)
    }

    /// Deletes an object; one that is gone already is deleted.
    pub(super) async fn delete(&self, name: &str) -> Result<()> {
        let path = Path::from(name);
        there(name, timeout(PATIENCE, self.store.delete(&path)).await).map(drop)
    }

    /// The names in a folder.
    pub(super) async fn list(&self, folder: &str) -> Result<Vec<String>> {
        let path = Path::from(folder);
        let names = self.store.list(Some(&path)).map_ok(|meta| meta.location.to_string()).try_collect();
        Ok(there(folder, timeout(PATIENCE, names).await)?.unwrap_or_default())
    }
}

fn there<T>(
    name: &str,
    answer: Result<Result<T, StoreError>, tokio::time::error::Elapsed>,
) -> Result<Option<T>> {
    match answer {
        Ok(Ok(answer)) => Ok(Some(answer)),
        Ok(Err(StoreError::NotFound { .. })) => Ok(None),
        Ok(Err(source)) => {
            Err(Error::unavailable(format!("object {name} could not be read or written")).with_source(source))
        }
        Err(_) => {
            let seconds = PATIENCE.as_secs();
            Err(Error::unavailable(format!("object {name}: no answer within {seconds} s")))
        }
    }
}
