//! Requests to the object store: limited in number, tried again within a deadline, slow reads asked a second time.
//!
//! **Failure**: `Unavailable` once the deadline has passed, with the attempts and the last reason; `Corruption` for an
//! object that stays missing or answers with another length than it should have; `Invalid` for what the store refuses.
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Entropy, Error, Result};
use bytes::Bytes;
use futures_util::future::{Either, select};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout};

use super::error::{Failure, store_failure, wrong_length};
use super::hedge::Hedge;
use super::patience::Patience;
use crate::settings::FetchSettings;

/// Longer reads are neither timed nor asked twice: they take long for their length.
const MAX_HEDGED_BYTES: u64 = 256 << 10;

/// The way to one object store.
pub(super) struct Requests {
    store: Arc<dyn ObjectStore>,
    settings: FetchSettings,
    permits: Semaphore,
    hedge: Hedge,
    entropy: Entropy,
}

impl Requests {
    pub(super) fn new(store: Arc<dyn ObjectStore>, settings: FetchSettings, entropy: Entropy) -> Self {
        let permits = Semaphore::new(settings.max_requests);
        Self { store, settings, permits, hedge: Hedge::default(), entropy }
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
        self.persist(path.as_ref(), length, attempt).await
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
        self.persist(path.as_ref(), bytes, attempt).await
    }

    /// Reads a whole object.
    pub(super) async fn read_object(&self, path: &Path, size_bytes: u64) -> Result<Bytes> {
        let attempt = || async {
            let failure = |e| store_failure(path.as_ref(), e);
            let found = self.store.get(path).await.map_err(failure)?;
            if found.meta.size != size_bytes {
                // Before memory is taken for it.
                return Err(wrong_length(path.as_ref(), size_bytes, found.meta.size));
            }
            let bytes = found.bytes().await.map_err(failure)?;
            check_length(path.as_ref(), size_bytes, &bytes)?;
            Ok(bytes)
        };
        self.persist(path.as_ref(), size_bytes, attempt).await
    }

    /// Writes an object whole.
    pub(super) async fn write(&self, path: &Path, payload: Vec<Bytes>) -> Result<()> {
        let payload: PutPayload = payload.into_iter().collect();
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
        let closed = |_| Error::closed("the store is closed");
        let _permit = self.permits.acquire().await.map_err(closed)?;
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
            sleep(patience.after(failure, start.elapsed(), &self.entropy)?).await;
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
    if got == expected { Ok(()) } else { Err(wrong_length(name, expected, got)) }
}
