//! Requests to the object store: limited in number, tried again within a deadline, slow reads asked a second time.
//!
//! **Failure**: `Unavailable` once the deadline has passed, with the attempts and the last reason; `Corruption` for an
//! object that stays missing or answers with another length than it should have; `Invalid` for what the store refuses.
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alluvium_env::{Entropy, Error, ErrorKind, Result};
use bytes::Bytes;
use futures_util::future::{Either, select};
use object_store::path::Path;
use object_store::{
    Error as StoreError, GetOptions, GetRange, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions,
    PutPayload,
};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::error::{Failure, store_failure, wrong_length};
use super::hedge::Hedge;
use super::patience::Patience;
use crate::settings::FetchSettings;

/// Longer reads are neither timed nor asked twice: they take long for their length.
const MAX_HEDGED_BYTES: u64 = 256 << 10;

/// How often whoever closes looks whether requests are still under way.
const CLOSING_PAUSE: Duration = Duration::from_millis(10);

/// What a conditional create has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Creation {
    /// The object is new.
    Created,
    /// It was there with the very bytes.
    Found,
    /// Another one has its name.
    Taken,
}

/// The way to one object store.
pub(super) struct Requests {
    store: Arc<dyn ObjectStore>,
    settings: FetchSettings,
    permits: Semaphore,
    hedge: Hedge,
    entropy: Entropy,
    /// What was created, where nothing may be overwritten.
    created: Option<Mutex<Vec<Path>>>,
}

impl Requests {
    pub(super) fn new(store: Arc<dyn ObjectStore>, settings: FetchSettings, entropy: Entropy) -> Self {
        let permits = Semaphore::new(settings.max_requests);
        Self { store, settings, permits, hedge: Hedge::default(), entropy, created: None }
    }

    /// Creates what it writes, and overwrites nothing.
    pub(super) fn creating(self) -> Self {
        Self { created: Some(Mutex::default()), ..self }
    }

    /// Takes the names of what was created by this and nobody else; nothing where it does not only create.
    pub(super) fn take_created(&self) -> Vec<Path> {
        let created =
            self.created.as_ref().map(|created| created.lock().unwrap_or_else(PoisonError::into_inner));
        created.map(|mut created| std::mem::take(&mut *created)).unwrap_or_default()
    }

    /// Lets no further request begin; resolves when those under way have ended.
    pub(super) async fn close(&self) {
        self.permits.close();
        while self.permits.available_permits() < self.settings.max_requests {
            sleep(CLOSING_PAUSE).await;
        }
    }

    /// Whether half of what may be under way is.
    pub(super) fn is_busy(&self) -> bool {
        self.permits.available_permits() < self.settings.max_requests / 2
    }

    pub(super) fn store(&self) -> &Arc<dyn ObjectStore> {
        &self.store
    }

    /// Reads one range of an object.
    pub(super) async fn read(&self, path: &Path, range: Range<u64>) -> Result<Bytes> {
        let length = range.end - range.start;
        let attempt = || async {
            // By `get_ranges`, which a local folder answers without a change of threads.
            let read = || async {
                let pieces = self.store.get_ranges(path, std::slice::from_ref(&range)).await?;
                Ok(pieces.into_iter().next().unwrap_or_default())
            };
            let bytes = self.hedged(length, read).await.map_err(|e| store_failure(path.as_ref(), e))?;
            check_length(path.as_ref(), length, &bytes)?;
            Ok(bytes)
        };
        let read = self.persist(path.as_ref(), length, attempt).await;
        self.or_truncated(path, range.end, read).await
    }

    /// Reads several ranges of an object in one call.
    pub(super) async fn read_all(&self, path: &Path, spans: &[Range<u64>]) -> Result<Vec<Bytes>> {
        let attempt = || async {
            let pieces =
                self.store.get_ranges(path, spans).await.map_err(|e| store_failure(path.as_ref(), e))?;
            for (span, piece) in spans.iter().zip(&pieces) {
                check_length(path.as_ref(), span.end - span.start, piece)?;
            }
            Ok(pieces)
        };
        let bytes = spans.iter().map(|span| span.end - span.start).sum();
        let read = self.persist(path.as_ref(), bytes, attempt).await;
        let end = spans.iter().map(|span| span.end).max().unwrap_or(0);
        self.or_truncated(path, end, read).await
    }

    /// Reads a part of an object, or all of it, and checks how long the object is.
    pub(super) async fn read_part(&self, path: &Path, range: Range<u64>, size_bytes: u64) -> Result<Bytes> {
        let length = range.end - range.start;
        let attempt = || async {
            let failure = |e| store_failure(path.as_ref(), e);
            let range = (length < size_bytes).then(|| GetRange::Bounded(range.clone()));
            let options = GetOptions { range, ..GetOptions::default() };
            let found = self.store.get_opts(path, options).await.map_err(failure)?;
            if found.meta.size != size_bytes {
                // Before memory is taken for it.
                return Err(Failure::Wrong(wrong_length(path.as_ref(), size_bytes, found.meta.size)));
            }
            let bytes = found.bytes().await.map_err(failure)?;
            check_length(path.as_ref(), length, &bytes)?;
            Ok(bytes)
        };
        let read = self.persist(path.as_ref(), length, attempt).await;
        self.or_truncated(path, size_bytes, read).await
    }

    /// What a read up to `end` has come to. Stores call a range that begins behind an object's end a failure like any other, so
    /// before one is said not to answer it is asked how long the object is.
    async fn or_truncated<T>(&self, path: &Path, end: u64, read: Result<T>) -> Result<T> {
        match read {
            Err(error) if error.kind() == ErrorKind::Unavailable => {
                match timeout(self.settings.attempt_timeout, self.store.head(path)).await {
                    Ok(Ok(found)) if found.size < end => {
                        Err(wrong_length(path.as_ref(), end, found.size).with_source(error))
                    }
                    _ => Err(error),
                }
            }
            read => read,
        }
    }

    /// Creates an object unless its name is taken.
    pub(super) async fn create(&self, path: &Path, payload: PutPayload) -> Result<Creation> {
        let create = || async {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            match self.store.put_opts(path, payload.clone(), options).await {
                Ok(_) => Ok(Creation::Created),
                // Stores answer either; both say that the condition did not hold. It may be the work of an attempt that
                // was not answered.
                Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => {
                    let there = async { self.store.get(path).await?.bytes().await };
                    let there = there.await.map_err(|e| store_failure(path.as_ref(), e))?;
                    let same = there.iter().eq(payload.iter().flatten());
                    Ok(if same { Creation::Found } else { Creation::Taken })
                }
                Err(error) => Err(store_failure(path.as_ref(), error)),
            }
        };
        self.persist(path.as_ref(), payload.content_length() as u64, create).await
    }

    /// Creates an object that must not be there, and remembers that it did.
    async fn create_new(&self, path: &Path, payload: PutPayload, created: &Mutex<Vec<Path>>) -> Result<()> {
        match self.create(path, payload).await? {
            Creation::Created => created.lock().unwrap_or_else(PoisonError::into_inner).push(path.clone()),
            Creation::Found => {}
            Creation::Taken => {
                return Err(Error::invalid(format!("object {path} has been written by somebody else")));
            }
        }
        Ok(())
    }

    /// Writes an object whole.
    pub(super) async fn write(&self, path: &Path, payload: Vec<Bytes>) -> Result<()> {
        let payload: PutPayload = payload.into_iter().collect();
        if let Some(created) = &self.created {
            return self.create_new(path, payload, created).await;
        }
        let put = || async {
            let put = self.store.put(path, payload.clone()).await;
            put.map(drop).map_err(|e| store_failure(path.as_ref(), e))
        };
        self.persist(path.as_ref(), payload.content_length() as u64, put).await
    }

    /// Tries an operation until it works, is hopeless, or its time is over.
    async fn persist<T, F>(&self, name: &str, body_bytes: u64, attempt: impl Fn() -> F) -> Result<T>
    where
        F: Future<Output = Result<T, Failure>>,
    {
        let closed = |()| Error::closed("the store is closed");
        let _permit = self.permits.acquire().await.map_err(|_| closed(()))?;
        let mut patience = Patience::new(&self.settings, name, body_bytes);
        let start = Instant::now();
        loop {
            let limit = patience.attempt(start.elapsed());
            let failure = match timeout(limit, attempt()).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(failure)) => failure,
                Err(_) => Failure::Again(Error::unavailable(format!(
                    "no answer within {:.1} s",
                    limit.as_secs_f64()
                ))),
            };
            let pause = patience.after(failure, start.elapsed(), &self.entropy)?;
            if self.permits.is_closed() {
                return Err(closed(()));
            }
            sleep(pause).await;
        }
    }

    /// Asks; asks again if that takes unusually long; takes what comes first.
    async fn hedged<F>(&self, bytes: u64, ask: impl Fn() -> F) -> object_store::Result<Bytes>
    where
        F: Future<Output = object_store::Result<Bytes>>,
    {
        let Some(factor) = self.settings.hedge_factor.filter(|_| bytes <= MAX_HEDGED_BYTES) else {
            return ask().await;
        };
        let start = Instant::now();
        let answer = match self.hedge.delay(factor) {
            Some(delay) => self.ask_twice(delay, ask).await,
            None => ask().await,
        };
        if answer.is_ok() {
            self.hedge.saw(start.elapsed());
        }
        answer
    }

    async fn ask_twice<F>(&self, delay: Duration, ask: impl Fn() -> F) -> object_store::Result<Bytes>
    where
        F: Future<Output = object_store::Result<Bytes>>,
    {
        let first = std::pin::pin!(ask());
        let late = std::pin::pin!(sleep(delay));
        let first = match select(first, late).await {
            Either::Left((answer, _)) => return answer,
            Either::Right(((), first)) => first,
        };
        // At the limit of requests slowness is our own doing.
        let Some(_permit) = self.permits.try_acquire().ok().filter(|_| self.hedge.pay()) else {
            return first.await;
        };
        let second = std::pin::pin!(ask());
        match select(first, second).await {
            Either::Left((Err(_), other)) | Either::Right((Err(_), other)) => other.await,
            Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
        }
    }
}

fn check_length(name: &str, expected: u64, bytes: &Bytes) -> Result<(), Failure> {
    let got = bytes.len() as u64;
    if got == expected { Ok(()) } else { Err(Failure::Wrong(wrong_length(name, expected, got))) }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    #[test]
    fn a_range_behind_the_end_of_an_object_says_that_it_is_truncated() {
        let settings = FetchSettings { deadline: Duration::from_millis(20), ..FetchSettings::default() };
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let requests = Requests::new(Arc::clone(&store), settings, Entropy::from_seed(1));
        alluvium_env::IoRuntime::new(1).unwrap().block_on(async {
            let path = Path::from("a.sst");
            store.put(&path, "four".into()).await.unwrap();
            let ranges = [4..8, 10..12];
            let errors = [
                requests.read(&path, 10..12).await.unwrap_err(),
                requests.read_all(&path, &ranges).await.unwrap_err(),
                requests.read_part(&path, 10..12, 12).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
                assert!(error.to_string().contains("truncated: expected 12 bytes, got 4"), "{error}");
            }
        });
    }

    #[test]
    fn what_is_created_overwrites_nothing_and_knows_itself_again() {
        alluvium_env::IoRuntime::new(1).unwrap().block_on(creating());
    }

    async fn creating() {
        let store: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let requests =
            || Requests::new(Arc::clone(&store), FetchSettings::default(), Entropy::from_seed(1)).creating();
        let (one, other) = (requests(), requests());
        let (path, payload) =
            (Path::from("a"), |text: &'static str| vec![Bytes::from_static(text.as_bytes())]);
        one.write(&path, payload("mine")).await.unwrap();
        // As if the first attempt had not been answered; in other pieces.
        let again = vec![Bytes::from_static(b"mi"), Bytes::from_static(b"ne")];
        one.write(&path, again).await.unwrap();
        let refused = other.write(&path, payload("yours")).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Invalid);
        assert_eq!(one.read_part(&path, 0..4, 4).await.unwrap(), "mine");
        assert_eq!((one.take_created(), other.take_created()), (vec![path.clone()], Vec::new()));
        one.close().await;
        assert_eq!(one.write(&path, payload("late")).await.unwrap_err().kind(), ErrorKind::Closed);
    }
}
