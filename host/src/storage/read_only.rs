//! A store that can be looked into and not changed: what tools open, beside a job that owns the state.
//!
//! **Invariants**: nothing that writes, copies, renames or deletes reaches the store behind it, whatever the code above
//! tries. A try is a bug there, and says so.
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result,
};

/// Forwards reads and listings.
#[derive(Debug)]
pub(super) struct ReadOnlyStore {
    inner: Arc<dyn ObjectStore>,
}

impl ReadOnlyStore {
    pub(super) fn new(inner: Arc<dyn ObjectStore>) -> Self {
        Self { inner }
    }
}

fn refused(what: &str, location: &Path) -> Error {
    Error::NotSupported {
        source: format!("cannot {what} {location}: the state is open for reading only").into(),
    }
}

impl fmt::Display for ReadOnlyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for ReadOnlyStore {
    async fn put_opts(&self, location: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(refused("write", location))
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        _: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Err(refused("write", location))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.inner.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        locations.map(|location| Err(refused("delete", &location?))).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, _: &Path, to: &Path, _: CopyOptions) -> Result<()> {
        Err(refused("write", to))
    }

    async fn rename_opts(&self, from: &Path, _: &Path, _: RenameOptions) -> Result<()> {
        Err(refused("rename", from))
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use futures_util::stream;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn it_reads_and_lists_and_changes_nothing() {
        let io = IoRuntime::new(1).unwrap();
        let inner = Arc::new(InMemory::new());
        let (a, b) = (Path::from("a"), Path::from("b"));
        let store = ReadOnlyStore::new(Arc::clone(&inner) as Arc<dyn ObjectStore>);
        io.block_on(async {
            inner.put(&a, PutPayload::from_static(b"kept")).await.unwrap();
            let error = store.put(&b, PutPayload::from_static(b"x")).await.unwrap_err();
            assert!(error.to_string().contains("for reading only"), "{error}");
            assert!(store.put_multipart(&b).await.is_err());
            assert!(store.copy(&a, &b).await.is_err() && store.rename(&a, &b).await.is_err());
            assert!(store.delete(&a).await.is_err());
            let bulk = stream::iter([Ok(a.clone())]).boxed();
            assert!(store.delete_stream(bulk).all(|answer| async move { answer.is_err() }).await);
            assert_eq!(store.get(&a).await.unwrap().bytes().await.unwrap(), "kept");
            assert_eq!(store.get_ranges(&a, &[1..3, 0..1]).await.unwrap(), ["ep", "k"]);
            assert_eq!((store.list(None).count().await, inner.list(None).count().await), (1, 1));
        });
    }
}
