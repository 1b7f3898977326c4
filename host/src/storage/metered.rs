//! A store that counts: requests and bytes, per kind, for the report and for tests that promise a number of requests.
//!
//! **Invariants**: every method of the trait is forwarded, none is left to the trait's default: a default `get_ranges`
//! or `rename` would undo the inner store's coalescing and atomicity.
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

/// The counters of a [`MeteredStore`].
#[derive(Debug, Default)]
pub struct StoreMetrics {
    gets: AtomicU64,
    puts: AtomicU64,
    deletes: AtomicU64,
    lists: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
}

/// What a [`StoreMetrics`] stood at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreRequests {
    /// Reads: one for each object, or range of one, that was asked for; metadata alone counts too.
    pub gets: u64,
    /// Writes: objects, parts of objects, copies.
    pub puts: u64,
    /// Objects deleted.
    pub deletes: u64,
    /// Listings begun.
    pub lists: u64,
    /// Bytes that answers held, read to the end or not.
    pub bytes_read: u64,
    /// Bytes sent.
    pub bytes_written: u64,
}

impl StoreMetrics {
    /// The counters now.
    pub fn snapshot(&self) -> StoreRequests {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        StoreRequests {
            gets: now(&self.gets),
            puts: now(&self.puts),
            deletes: now(&self.deletes),
            lists: now(&self.lists),
            bytes_read: now(&self.bytes_read),
            bytes_written: now(&self.bytes_written),
        }
    }

    fn put(&self, payload: &PutPayload) {
        add(&self.puts, 1);
        add(&self.bytes_written, payload.content_length() as u64);
    }
}

fn add(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Forwards to a store and counts.
#[derive(Debug)]
pub struct MeteredStore {
    inner: Arc<dyn ObjectStore>,
    name: String,
    metrics: Arc<StoreMetrics>,
}

impl MeteredStore {
    /// A store that forwards to `inner` and is called `name` in messages, and its counters.
    pub fn new(inner: Arc<dyn ObjectStore>, name: impl Into<String>) -> (Self, Arc<StoreMetrics>) {
        let metrics = Arc::new(StoreMetrics::default());
        (Self { inner, name: name.into(), metrics: Arc::clone(&metrics) }, metrics)
    }
}

impl fmt::Display for MeteredStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for MeteredStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.metrics.put(&payload);
        self.inner.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let inner = self.inner.put_multipart_opts(location, options).await?;
        Ok(Box::new(MeteredUpload { inner, metrics: Arc::clone(&self.metrics) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        add(&self.metrics.gets, 1);
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        if !head {
            add(&self.metrics.bytes_read, result.range.end.saturating_sub(result.range.start));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        add(&self.metrics.gets, ranges.len() as u64);
        let parts = self.inner.get_ranges(location, ranges).await?;
        add(&self.metrics.bytes_read, parts.iter().map(|part| part.len() as u64).sum());
        Ok(parts)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let metrics = Arc::clone(&self.metrics);
        let counted = locations.inspect(move |location| add(&metrics.deletes, u64::from(location.is_ok())));
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.metrics.lists, 1);
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        add(&self.metrics.lists, 1);
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        add(&self.metrics.lists, 1);
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        add(&self.metrics.puts, 1);
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        add(&self.metrics.puts, 1);
        self.inner.rename_opts(from, to, options).await
    }
}

/// A multipart upload whose parts are counted.
#[derive(Debug)]
struct MeteredUpload {
    inner: Box<dyn MultipartUpload>,
    metrics: Arc<StoreMetrics>,
}

#[async_trait]
impl MultipartUpload for MeteredUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.metrics.put(&data);
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.inner.complete().await
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::IoRuntime;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn every_request_and_its_bytes_are_counted() {
        let io = IoRuntime::new(1).unwrap();
        let (store, metrics) = MeteredStore::new(Arc::new(InMemory::new()), "memory");
        io.block_on(async {
            let (a, b) = (Path::from("a"), Path::from("b"));
            store.put(&a, PutPayload::from_static(b"0123456789")).await.unwrap();
            let mut upload = store.put_multipart(&b).await.unwrap();
            upload.put_part(PutPayload::from_static(b"xyz")).await.unwrap();
            upload.complete().await.unwrap();
            assert_eq!(store.get(&a).await.unwrap().bytes().await.unwrap().len(), 10);
            assert_eq!(store.get_ranges(&a, &[0..2, 5..6]).await.unwrap().len(), 2);
            store.head(&b).await.unwrap();
            assert_eq!(store.list(None).count().await, 2);
            store.delete(&a).await.unwrap();
            assert!(store.get(&a).await.is_err());
        });
        let expected =
            StoreRequests { gets: 5, puts: 2, deletes: 1, lists: 1, bytes_read: 13, bytes_written: 13 };
        assert_eq!(metrics.snapshot(), expected);
    }
}
