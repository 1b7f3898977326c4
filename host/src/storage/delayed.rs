//! A store at the far end of a link: every request takes a round trip, and all bytes share one bandwidth.
//!
//! For measurements: a folder or memory behind a link behaves like a remote store whose distance is known. A request
//! that takes longer by itself is not made longer. Links are full duplex: bytes read and bytes written do not wait for
//! each other. An answer is delayed as a whole, before its first byte. Which requests a [`SlowTail`] takes is drawn from a
//! fixed seed.
//!
//! **Invariants**: every method of the trait is forwarded, as in the counting store.
use std::fmt;
use std::num::NonZeroU64;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alluvium_env::Entropy;
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::timer::Timer;

/// Deletes under way at once.
const DELETES: usize = 16;

/// What lies between a client and its store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// One round trip: how long a request without content takes.
    pub latency: Duration,
    /// How many bytes pass a second in each direction, for all requests together; `None` does not limit them.
    pub bytes_per_second: Option<NonZeroU64>,
    /// Requests whose round trip is another one.
    pub slow_tail: Option<SlowTail>,
}

/// Some requests take much longer than the others, for no reason that their client can see or change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SlowTail {
    /// How many of a million requests.
    pub per_million: u32,
    /// Their round trip.
    pub latency: Duration,
}

const MILLION: u64 = 1_000_000;

/// One direction: when it will have passed on all that was given to it.
#[derive(Debug, Default)]
struct Lane(Mutex<Duration>);

impl Lane {
    /// Puts bytes that are ready at `from` behind those before them; returns when the last one is through.
    fn pass(&self, from: Duration, bytes: u64, link: Link) -> Duration {
        let Some(rate) = link.bytes_per_second else { return from };
        let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.get());
        let takes = Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        let mut free_at = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *free_at = from.max(*free_at).saturating_add(takes);
        *free_at
    }
}

struct Line {
    link: Link,
    timer: Timer,
    entropy: Entropy,
    up: Lane,
    down: Lane,
}

impl Line {
    /// How long this request's round trip is; of several at the same time the longest.
    fn round_trip_of(&self, requests: usize) -> Duration {
        let Some(tail) = self.link.slow_tail else { return self.link.latency };
        let slow =
            (0..requests).filter(|_| self.entropy.next_u64() % MILLION < tail.per_million.into()).count();
        if slow > 0 { tail.latency } else { self.link.latency }
    }

    /// A request that began at `begun` carries nothing: it ends a round trip later.
    async fn round_trip(&self, begun: Duration) {
        self.timer.until(begun.saturating_add(self.round_trip_of(1))).await;
    }

    /// Answers carry bytes: the first is there after a round trip.
    async fn download(&self, begun: Duration, requests: usize, bytes: u64) {
        let first = begun.saturating_add(self.round_trip_of(requests));
        self.timer.until(self.down.pass(first, bytes, self.link)).await;
    }

    /// The request carries bytes: it is answered a round trip after the last one was sent.
    async fn upload(&self, begun: Duration, bytes: u64) {
        let sent = self.up.pass(begun, bytes, self.link);
        self.timer.until(sent.saturating_add(self.round_trip_of(1))).await;
    }
}

/// Forwards to a store behind a [`Link`].
pub struct DelayedStore {
    inner: Arc<dyn ObjectStore>,
    line: Arc<Line>,
}

impl DelayedStore {
    /// A store that is `link` away.
    ///
    /// # Errors
    /// `Unavailable` if the thread that keeps the time cannot be started.
    pub fn new(inner: Arc<dyn ObjectStore>, link: Link) -> alluvium_env::Result<Self> {
        let timer = Timer::start()?;
        let (up, down, entropy) = (Lane::default(), Lane::default(), Entropy::from_seed(1));
        Ok(Self { inner, line: Arc::new(Line { link, timer, entropy, up, down }) })
    }

    fn now(&self) -> Duration {
        self.line.timer.now()
    }

    /// The listing, a round trip later.
    fn later<T: Send + 'static>(&self, listing: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let line = Arc::clone(&self.line);
        let begin = async move {
            line.round_trip(line.timer.now()).await;
            listing
        };
        stream::once(begin).flatten().boxed()
    }
}

impl fmt::Debug for DelayedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DelayedStore").field("inner", &self.inner).field("link", &self.line.link).finish()
    }
}

impl fmt::Display for DelayedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl ObjectStore for DelayedStore {
    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let (begun, bytes) = (self.now(), payload.content_length() as u64);
        let result = self.inner.put_opts(location, payload, options).await;
        self.line.upload(begun, bytes).await;
        result
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        let begun = self.now();
        let inner = self.inner.put_multipart_opts(location, options).await;
        self.line.round_trip(begun).await;
        Ok(Box::new(DelayedUpload { inner: inner?, line: Arc::clone(&self.line) }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let (begun, head) = (self.now(), options.head);
        let result = self.inner.get_opts(location, options).await;
        let content = result.as_ref().map_or(0, |result| result.range.end.saturating_sub(result.range.start));
        self.line.download(begun, 1, if head { 0 } else { content }).await;
        result
    }

    /// The ranges are requests at the same time.
    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let begun = self.now();
        let result = self.inner.get_ranges(location, ranges).await;
        let bytes = result.as_ref().map_or(0, |parts| parts.iter().map(|part| part.len() as u64).sum());
        self.line.download(begun, ranges.len(), bytes).await;
        result
    }

    /// A request a name.
    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let line = Arc::clone(&self.line);
        let delayed = locations.map(move |location| {
            let line = Arc::clone(&line);
            async move {
                line.round_trip(line.timer.now()).await;
                location
            }
        });
        self.inner.delete_stream(delayed.buffered(DELETES).boxed())
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.later(self.inner.list(prefix))
    }

    fn list_with_offset(
        &self,
        prefix: Option<&Path>,
        offset: &Path,
    ) -> BoxStream<'static, Result<ObjectMeta>> {
        self.later(self.inner.list_with_offset(prefix, offset))
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        let begun = self.now();
        let result = self.inner.list_with_delimiter(prefix).await;
        self.line.round_trip(begun).await;
        result
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        let begun = self.now();
        let result = self.inner.copy_opts(from, to, options).await;
        self.line.round_trip(begun).await;
        result
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        let begun = self.now();
        let result = self.inner.rename_opts(from, to, options).await;
        self.line.round_trip(begun).await;
        result
    }
}

/// A multipart upload through the link.
struct DelayedUpload {
    inner: Box<dyn MultipartUpload>,
    line: Arc<Line>,
}

impl fmt::Debug for DelayedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl MultipartUpload for DelayedUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        let (line, bytes) = (Arc::clone(&self.line), data.content_length() as u64);
        let part = self.inner.put_part(data);
        Box::pin(async move {
            let begun = line.timer.now();
            let result = part.await;
            line.upload(begun, bytes).await;
            result
        })
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let begun = self.line.timer.now();
        let result = self.inner.complete().await;
        self.line.round_trip(begun).await;
        result
    }

    async fn abort(&mut self) -> Result<()> {
        let begun = self.line.timer.now();
        let result = self.inner.abort().await;
        self.line.round_trip(begun).await;
        result
    }
}

#[cfg(test)]
mod tests {
    use alluvium_env::{Clock as _, IoRuntime, SystemClock};
    use futures_util::future::join_all;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    const MILLI: Duration = Duration::from_millis(1);

    fn delayed(link: Link) -> DelayedStore {
        DelayedStore::new(Arc::new(InMemory::new()), link).unwrap()
    }

    fn with_latency(latency: Duration) -> DelayedStore {
        delayed(Link { latency, ..Link::default() })
    }

    /// How long the quickest of several tries took: whatever else runs here only ever adds.
    fn quickest(tries: u32, io: &IoRuntime, each: impl AsyncFn()) -> Duration {
        let clock = SystemClock::new();
        let time = |_| {
            let begun = clock.monotonic();
            io.block_on(each());
            clock.monotonic().saturating_sub(begun)
        };
        (0..tries).map(time).min().unwrap()
    }

    #[test]
    fn a_request_takes_one_round_trip_to_a_fraction_of_a_millisecond() {
        let (io, object) = (IoRuntime::new(1).unwrap(), Path::from("a"));
        for latency in [Duration::from_micros(70), MILLI, 5 * MILLI] {
            let store = with_latency(latency);
            io.block_on(store.put(&object, PutPayload::from_static(b"0123456789"))).unwrap();
            let took = quickest(50, &io, async || drop(store.get_range(&object, 2..5).await.unwrap()));
            assert!(took >= latency, "{took:?} for {latency:?}");
            assert!(took < latency + Duration::from_micros(500), "{took:?} for {latency:?}");
        }
    }

    #[test]
    fn requests_at_the_same_time_wait_at_the_same_time() {
        let (io, store, object) = (IoRuntime::new(2).unwrap(), with_latency(20 * MILLI), Path::from("a"));
        io.block_on(store.put(&object, PutPayload::from_static(b"0123456789"))).unwrap();
        let took = quickest(5, &io, async || {
            join_all((0..100).map(|_| store.get_range(&object, 0..4))).await;
            assert_eq!(store.get_ranges(&object, &[0..1, 5..6, 9..10]).await.unwrap().len(), 3);
        });
        assert!((40 * MILLI..80 * MILLI).contains(&took), "{took:?} for two round trips");
    }

    #[test]
    fn all_requests_share_the_bandwidth_of_their_direction() {
        let io = IoRuntime::new(2).unwrap();
        let store =
            delayed(Link { latency: MILLI, bytes_per_second: NonZeroU64::new(1_000_000), slow_tail: None });
        let name = |n: u32| Path::from(format!("{n}"));
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        // 10 × 5000 bytes at 1 byte/µs are 50 ms, at once or not.
        io.block_on(join_all(
            (0..10).map(async |n| store.put(&name(n), vec![0; 5000].into()).await.unwrap()),
        ));
        let took = clock.monotonic().saturating_sub(begun);
        assert!(took >= 51 * MILLI, "{took:?}");
        let begun = clock.monotonic();
        io.block_on(join_all((0..10).map(async |n| store.get(&name(n)).await.unwrap())));
        let took = clock.monotonic().saturating_sub(begun);
        assert!((51 * MILLI..150 * MILLI).contains(&took), "{took:?}");
        let took = quickest(5, &io, async || drop(store.head(&name(0)).await.unwrap()));
        assert!(took < 5 * MILLI, "a question without content took {took:?}");
    }

    #[test]
    fn so_many_requests_of_a_hundred_are_slow_and_the_others_are_not() {
        let (io, object) = (IoRuntime::new(2).unwrap(), Path::from("a"));
        let tail = SlowTail { per_million: 100_000, latency: 100 * MILLI };
        let store = delayed(Link { latency: MILLI, slow_tail: Some(tail), ..Link::default() });
        io.block_on(store.put(&object, PutPayload::from_static(b"0123456789"))).unwrap();
        let clock = SystemClock::new();
        let took = io.block_on(join_all((0..1000).map(async |_| {
            let begun = clock.monotonic();
            store.get_range(&object, 0..4).await.unwrap();
            clock.monotonic().saturating_sub(begun)
        })));
        let slow = took.iter().filter(|took| **took >= 100 * MILLI).count();
        assert!((70..130).contains(&slow), "{slow} of 1000 for one in ten");
        let ranges: Vec<_> = (0..100).map(|_| 0..1).collect();
        let took = quickest(5, &io, async || drop(store.get_ranges(&object, &ranges).await.unwrap()));
        assert!(took >= 100 * MILLI, "of a hundred ranges none was slow: {took:?}");
    }

    #[test]
    fn every_kind_of_request_is_forwarded_and_takes_its_time() {
        let (io, store) = (IoRuntime::new(1).unwrap(), with_latency(2 * MILLI));
        let (a, b) = (Path::from("a"), Path::from("b"));
        let clock = SystemClock::new();
        let begun = clock.monotonic();
        io.block_on(async {
            let mut upload = store.put_multipart(&a).await.unwrap();
            upload.put_part(PutPayload::from_static(b"xyz")).await.unwrap();
            upload.complete().await.unwrap();
            store.copy(&a, &b).await.unwrap();
            assert_eq!(store.list(None).count().await, 2);
            store.delete(&a).await.unwrap();
            assert!(store.get(&a).await.is_err());
            store.rename(&b, &a).await.unwrap();
            assert_eq!(store.list_with_delimiter(None).await.unwrap().objects.len(), 1);
        });
        assert!(clock.monotonic().saturating_sub(begun) >= 18 * MILLI, "nine requests");
    }
}
