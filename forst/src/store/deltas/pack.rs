//! Packs: the logs that several stores of a process upload for one checkpoint, in one object, so that the requests of a checkpoint
//! do not grow with subtasks.
//!
//! The first store with a log waits for the others, a few milliseconds at most; then one request takes what has come. A log that is
//! large enough to be worth a request goes alone, as a delta, and so does one that finds no company. A hotness hint goes with a
//! log of its store, or finds company like one.
//!
//! **Threads**: shared by the stores of a process; used on the I/O runtime.
//!
//! **Failure**: a pack that cannot be written fails the snapshot of every store that has a log in it; their next ones upload again.
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alluvium_env::{Error, Result};
use bytes::Bytes;
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

use crate::fetch::Fetcher;
use crate::naming::Naming;
use crate::store::deltas::Place;
use crate::store::manifest::{frame_delta, pack_directory};

/// A log from this size on goes alone.
pub(in crate::store) const LARGE_BYTES: u64 = 1 << 20;
/// So long the first one waits for the others: less than a request takes.
const COMPANY: Duration = Duration::from_millis(5);

/// A log or a hint, framed.
pub(in crate::store) struct Piece {
    kind: &'static str,
    parts: Vec<Bytes>,
    pub(in crate::store) size_bytes: u64,
}

impl Piece {
    pub(in crate::store) fn delta(log: Vec<Bytes>) -> Self {
        Self::new("delta", frame_delta(log))
    }

    pub(in crate::store) fn hint(bytes: Vec<u8>) -> Self {
        Self::new("hint", vec![bytes.into()])
    }

    fn new(kind: &'static str, parts: Vec<Bytes>) -> Self {
        let size_bytes = parts.iter().map(|part| part.len() as u64).sum();
        Self { kind, parts, size_bytes }
    }
}

/// What one store brings, and who waits for it.
struct Item {
    pieces: Vec<Piece>,
    done: oneshot::Sender<Result<Vec<Place>>>,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    /// Whether somebody is about to take them.
    led: bool,
}

/// Brings the logs of several stores together.
#[derive(Default)]
pub struct Packer {
    waiting: Mutex<Waiting>,
    members: AtomicUsize,
    came: Notify,
}

/// A store's part in a packer; it leaves when this is dropped.
pub(in crate::store) struct Membership(Arc<Packer>);

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
        self.0.came.notify_one();
    }
}

/// Whose names and requests an upload takes.
#[derive(Clone)]
pub(in crate::store) struct Uploader {
    pub(in crate::store) fetcher: Arc<Fetcher>,
    pub(in crate::store) naming: Arc<Naming>,
}

impl Uploader {
    /// Writes what one store brings, in one object.
    async fn alone(&self, pieces: Vec<Piece>) -> Result<Vec<Place>> {
        let Piece { kind, parts, size_bytes } = match <[Piece; 1]>::try_from(pieces) {
            Ok([piece]) => piece,
            Err(pieces) => return self.pack(pieces).await,
        };
        let held = self.naming.hold(kind);
        self.fetcher.write(held.name(), parts).await?;
        Ok(vec![Place { object: Arc::new(held), offset: 0, object_bytes: size_bytes }])
    }

    /// Writes several in one; returns where each is.
    async fn pack(&self, pieces: Vec<Piece>) -> Result<Vec<Place>> {
        let sizes: Vec<u64> = pieces.iter().map(|piece| piece.size_bytes).collect();
        let directory = pack_directory(&sizes);
        let object_bytes = sizes.iter().sum::<u64>() + directory.len() as u64;
        let object = Arc::new(self.naming.hold("pack"));
        let parts = pieces.into_iter().flat_map(|piece| piece.parts).chain([directory]).collect();
        self.fetcher.write(object.name(), parts).await?;
        let mut offset = 0;
        let place = |size_bytes| {
            let place = Place { object: Arc::clone(&object), offset, object_bytes };
            offset += size_bytes;
            place
        };
        Ok(sizes.into_iter().map(place).collect())
    }

    /// Writes what several stores bring in one object; each is told where its own is.
    async fn together(&self, items: Vec<Item>) {
        let (mut pieces, mut waiting) = (Vec::new(), Vec::new());
        for Item { pieces: brought, done } in items {
            waiting.push((done, brought.len()));
            pieces.extend(brought);
        }
        let mut packed = self.pack(pieces).await.map(Vec::into_iter);
        for (done, count) in waiting {
            let places = packed.as_mut().map(|places| places.by_ref().take(count).collect());
            // Who has given up does not listen; the object goes with its last place.
            let _ = done.send(places.map_err(|error| error.duplicate()));
        }
    }
}

impl Packer {
    /// One that stores may share.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::store) fn join(self: &Arc<Self>) -> Membership {
        self.members.fetch_add(1, Ordering::Relaxed);
        Membership(Arc::clone(self))
    }

    /// Uploads what one store brings, with others if some come at the same time; returns where each piece is.
    ///
    /// # Errors
    /// `Unavailable` if the store did not take it.
    pub(in crate::store) async fn upload(
        self: &Arc<Self>,
        pieces: Vec<Piece>,
        uploader: &Uploader,
    ) -> Result<Vec<Place>> {
        let size_bytes: u64 = pieces.iter().map(|piece| piece.size_bytes).sum();
        if self.members.load(Ordering::Relaxed) < 2 || size_bytes >= LARGE_BYTES {
            return uploader.alone(pieces).await;
        }
        let (done, places) = oneshot::channel();
        let leads = {
            let mut waiting = self.lock();
            waiting.items.push(Item { pieces, done });
            !std::mem::replace(&mut waiting.led, true)
        };
        self.came.notify_one();
        if leads {
            // Not within this upload, which may be given up while others wait for it.
            let (packer, uploader) = (Arc::clone(self), uploader.clone());
            let fetcher = Arc::clone(&uploader.fetcher);
            drop(fetcher.io().spawn(async move { packer.lead(&uploader).await }));
        }
        places.await.map_err(|_| Error::closed("the process ends"))?
    }

    /// Waits for company and uploads all that has come.
    async fn lead(&self, uploader: &Uploader) {
        let company = async {
            while self.lock().items.len() < self.members.load(Ordering::Relaxed) {
                self.came.notified().await;
            }
        };
        // Whoever has nothing to upload does not come.
        let _ = timeout(COMPANY, company).await;
        let items = {
            let mut waiting = self.lock();
            waiting.led = false;
            std::mem::take(&mut waiting.items)
        };
        match <[Item; 1]>::try_from(items) {
            Ok([Item { pieces, done }]) => {
                let _ = done.send(uploader.alone(pieces).await);
            }
            Err(items) => uploader.together(items).await,
        }
    }
}
