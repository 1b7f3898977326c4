//! A store that counts: requests and bytes, per kind, for the report and for tests that promise a number of requests.
//!
//! **Invariants**: every method of the trait is forwarded, none is left to the trait's default: a default `get_ranges`
//! or `rename` would undo the inner store's coalescing and atomicity.
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use alluvium_env::{Clock as _, SystemClock};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// A name and a value.
type Label = [(&'static str, &'static str); 1];

const fn kind(kind: &'static str) -> Label {
    [("kind", kind)]
}

/// The counters of a [`MeteredStore`].
#[derive(Debug)]
pub struct StoreMetrics {
    requests: Family<Label, Counter>,
    bytes: Family<Label, Counter>,
    gets: Counter,
    puts: Counter,
    deletes: Counter,
    lists: Counter,
    bytes_read: Counter,
    bytes_written: Counter,
    /// Set once somebody wants to know: reading the clock costs as much as a few blocks of the page cache.
    timed: OnceLock<Timed>,
}

/// How long requests take.
#[derive(Debug)]
struct Timed {
    clock: SystemClock,
    gets: Histogram,
    puts: Histogram,
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

impl Default for StoreMetrics {
    fn default() -> Self {
        let (requests, bytes) = (Family::<Label, Counter>::default(), Family::<Label, Counter>::default());
        let (request, moved) =
            (|name| requests.get_or_create_owned(&kind(name)), |name| bytes.get_or_create_owned(&kind(name)));
        Self {
            gets: request("get"),
            puts: request("put"),
            deletes: request("delete"),
            lists: request("list"),
            bytes_read: moved("read"),
            bytes_written: moved("written"),
            timed: OnceLock::new(),
            requests,
            bytes,
        }
    }
}

/// 4 µs, a read from the page cache, to half a minute.
fn request_seconds() -> Histogram {
    Histogram::new(exponential_buckets(4e-6, 2.0, 24))
}

impl StoreMetrics {
    /// The counters now.
    pub fn snapshot(&self) -> StoreRequests {
        StoreRequests {
            gets: self.gets.get(),
            puts: self.puts.get(),
            deletes: self.deletes.get(),
            lists: self.lists.get(),
            bytes_read: self.bytes_read.get(),
            bytes_written: self.bytes_written.get(),
        }
    }

    /// Adds them to a registry, under names that begin with `store_`; requests are timed from now on.
    pub fn register(&self, registry: &mut Registry) {
        let store = registry.sub_registry_with_prefix("store");
        store.register("requests", "Requests to the object store, by kind", self.requests.clone());
        let bytes = self.bytes.clone();
        store.register_with_unit("moved", "Bytes from and to the object store", Unit::Bytes, bytes);
        let seconds = Family::<Label, Histogram, fn() -> Histogram>::new_with_constructor(request_seconds);
        let (gets, puts) =
            (seconds.get_or_create_owned(&kind("get")), seconds.get_or_create_owned(&kind("put")));
        let help = "How long requests take: a put or ranges to the end, a whole object to its first byte";
        store.register_with_unit("request_duration", help, Unit::Seconds, seconds);
        // A second registry would see the same counters, and no times.
        let _ = self.timed.set(Timed { clock: SystemClock::new(), gets, puts });
    }

    fn put(&self, payload: &PutPayload) {
        self.puts.inc();
        self.bytes_written.inc_by(payload.content_length() as u64);
    }

    fn begin(&self) -> Option<(&Timed, Duration)> {
        self.timed.get().map(|timed| (timed, timed.clock.monotonic()))
    }
}

impl Timed {
    fn seconds_since(&self, start: Duration) -> f64 {
        self.clock.monotonic().saturating_sub(start).as_secs_f64()
    }
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
        let begun = self.metrics.begin();
        let result = self.inner.put_opts(location, payload, options).await;
        if let Some((timed, start)) = begun {
            timed.puts.observe(timed.seconds_since(start));
        }
        result
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
        self.metrics.gets.inc();
        let (head, begun) = (options.head, self.metrics.begin());
        let result = self.inner.get_opts(location, options).await;
        if let Some((timed, start)) = begun {
            timed.gets.observe(timed.seconds_since(start));
        }
        let result = result?;
        if !head {
            self.metrics.bytes_read.inc_by(result.range.end.saturating_sub(result.range.start));
        }
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.metrics.gets.inc_by(ranges.len() as u64);
        let begun = self.metrics.begin();
        let parts = self.inner.get_ranges(location, ranges).await;
        if let Some((timed, start)) = begun {
            timed.gets.observe(timed.seconds_since(start));
        }
        let parts = parts?;
        self.metrics.bytes_read.inc_by(parts.iter().map(|part| part.len() as u64).sum());
        Ok(parts)
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let metrics = Arc::clone(&self.metrics);
        let counted = locations.inspect(move |location| {
            metrics.deletes.inc_by(u64::from(location.is_ok()));
        });
        self.inner.delete_stream(counted.boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.metrics.lists.inc();
        self.inner.list(prefix)
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.metrics.lists.inc();
        self.inner.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.metrics.lists.inc();
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.metrics.puts.inc();
        self.inner.copy_opts(from, to, options).await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.metrics.puts.inc();
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

    #[test]
    fn a_registry_shows_what_was_counted_and_times_what_comes() {
        let io = IoRuntime::new(1).unwrap();
        let (store, metrics) = MeteredStore::new(Arc::new(InMemory::new()), "memory");
        let a = Path::from("a");
        io.block_on(store.put(&a, PutPayload::from_static(b"0123456789"))).unwrap();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        io.block_on(store.get_ranges(&a, &[0..2, 5..6])).unwrap();
        let text = crate::exposition(&registry).unwrap();
        for line in [
            "store_requests_total{kind=\"put\"} 1",
            "store_requests_total{kind=\"get\"} 2",
            "store_moved_bytes_total{kind=\"written\"} 10",
            "store_request_duration_seconds_count{kind=\"get\"} 1",
            "store_request_duration_seconds_count{kind=\"put\"} 0",
        ] {
            assert!(text.lines().any(|shown| shown == line), "no {line} in\n{text}");
        }
    }
}
