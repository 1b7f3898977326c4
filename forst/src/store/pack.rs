//! Packs: the logs that several stores of a process upload for one checkpoint, in one object, so that the requests of a checkpoint
//! do not grow with subtasks.
//!
//! The first store with a log waits for the others, a few milliseconds at most; then one request takes what has come. A log that is
//! large enough to be worth a request goes alone, as a delta, and so does one that finds no company.
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

use super::deltas::Place;
use super::manifest::{frame_delta, pack_directory};
use crate::fetch::Fetcher;
use crate::naming::Naming;

/// A log from this size on goes alone.
const LARGE_BYTES: u64 = 1 << 20;
/// So long the first one waits for the others: less than a request takes.
const COMPANY: Duration = Duration::from_millis(5);

/// A log, and who waits for it.
struct Item {
    delta: Vec<Bytes>,
    size_bytes: u64,
    done: oneshot::Sender<Result<Place>>,
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
pub(super) struct Membership(Arc<Packer>);

impl Drop for Membership {
    fn drop(&mut self) {
        self.0.members.fetch_sub(1, Ordering::Relaxed);
        self.0.came.notify_one();
    }
}

/// Whose names and requests an upload takes.
#[derive(Clone)]
pub(super) struct Uploader {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) naming: Arc<Naming>,
}

impl Uploader {
    /// Writes a log as an object of its own.
    pub(super) async fn alone(&self, delta: Vec<Bytes>, size_bytes: u64) -> Result<Place> {
        let held = self.naming.hold("delta");
        self.fetcher.write(held.name(), delta).await?;
        Ok(Place { object: Arc::new(held), offset: 0, object_bytes: size_bytes })
    }

    /// Writes several in one; each is told where it is.
    async fn together(&self, items: Vec<Item>) {
        let sizes: Vec<u64> = items.iter().map(|item| item.size_bytes).collect();
        let (mut parts, mut waiting) = (Vec::new(), Vec::new());
        for Item { delta, done, .. } in items {
            parts.extend(delta);
            waiting.push(done);
        }
        let directory = pack_directory(&sizes);
        let object_bytes = sizes.iter().sum::<u64>() + directory.len() as u64;
        parts.push(directory);
        let object = Arc::new(self.naming.hold("pack"));
        let written = self.fetcher.write(object.name(), parts).await;
        let mut offset = 0;
        for (done, size_bytes) in waiting.into_iter().zip(sizes) {
            let place = Place { object: Arc::clone(&object), offset, object_bytes };
            offset += size_bytes;
            // Who has given up does not listen; the object goes with its last place.
            let _ = done.send(written.as_ref().map(|()| place).map_err(Error::duplicate));
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

    pub(super) fn join(self: &Arc<Self>) -> Membership {
        self.members.fetch_add(1, Ordering::Relaxed);
        Membership(Arc::clone(self))
    }

    /// Uploads a log, with others if some come at the same time.
    ///
    /// # Errors
    /// `Unavailable` if the store did not take it.
    pub(super) async fn upload(self: &Arc<Self>, log: Vec<Bytes>, uploader: &Uploader) -> Result<Place> {
        let delta = frame_delta(log);
        let size_bytes = delta.iter().map(|part| part.len() as u64).sum();
        if self.members.load(Ordering::Relaxed) < 2 || size_bytes >= LARGE_BYTES {
            return uploader.alone(delta, size_bytes).await;
        }
        let (done, place) = oneshot::channel();
        let leads = {
            let mut waiting = self.lock();
            waiting.items.push(Item { delta, size_bytes, done });
            !std::mem::replace(&mut waiting.led, true)
        };
        self.came.notify_one();
        if leads {
            // Not within this upload, which may be given up while others wait for it.
            let (packer, uploader) = (Arc::clone(self), uploader.clone());
            let fetcher = Arc::clone(&uploader.fetcher);
            drop(fetcher.io().spawn(async move { packer.lead(&uploader).await }));
        }
        place.await.map_err(|_| Error::closed("the process ends"))?
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
            Ok([Item { delta, size_bytes, done }]) => {
                let _ = done.send(uploader.alone(delta, size_bytes).await);
            }
            Err(items) => uploader.together(items).await,
        }
    }
}
