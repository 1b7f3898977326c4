//! Deletes in the background: one worker at a time, in bulk.
//!
//! **Threads**: callers queue and return; the worker is a task of the I/O runtime that lives while there is work.
//!
//! **Failure**: a name that could not be deleted waits for [`Deleter::retry`], and not for the next name: where a store refuses
//! deletes, every one would come with all before it.
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use alluvium_env::{Clock, HashSet, IoRuntime, SystemClock};

use super::RegistryStats;
use crate::objects::{Objects, Undeleted};

/// See the module.
pub(crate) struct Deleter {
    shared: Arc<Shared>,
    io: IoRuntime,
}

struct Shared {
    objects: Objects,
    queue: Mutex<Queue>,
    idle: Condvar,
}

#[derive(Default)]
struct Queue {
    names: HashSet<String>,
    /// What the running worker has taken out.
    in_work: HashSet<String>,
    /// What a worker could not delete.
    failed: HashSet<String>,
    worker: bool,
    /// Other background tasks that feed the queue: the sweep, and who reads pages.
    feeders: usize,
    deleted: u64,
    failed_deletes: u64,
    /// What the store said of the last that failed.
    why: Option<String>,
    swept: bool,
}

impl Queue {
    fn sets(&self) -> [&HashSet<String>; 3] {
        [&self.names, &self.in_work, &self.failed]
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What to delete next; `None` ends the worker.
    fn take(&self) -> Option<Vec<String>> {
        let mut queue = self.lock();
        if queue.names.is_empty() {
            queue.worker = false;
            drop(queue);
            self.idle.notify_all();
            return None;
        }
        queue.in_work = std::mem::take(&mut queue.names);
        Some(queue.in_work.iter().cloned().collect())
    }

    async fn work(&self) {
        while let Some(names) = self.take() {
            let total = names.len();
            let Undeleted { names: failed, why } = self.objects.delete_all(names).await;
            let mut queue = self.lock();
            if let Some(why) = why {
                queue.why = Some(why.to_string());
            }
            queue.in_work.clear();
            queue.deleted += (total - failed.len()) as u64;
            queue.failed_deletes += failed.len() as u64;
            queue.failed.extend(failed);
        }
    }
}

/// Says that a task is over when it did not say so itself (a panic in a store, a runtime that stops), so that
/// nobody waits for it for ever.
struct Over<M: FnOnce(&mut Queue)> {
    shared: Arc<Shared>,
    mark: Option<M>,
}

impl<M: FnOnce(&mut Queue)> Over<M> {
    fn disarm(mut self) {
        self.mark = None;
    }
}

impl<M: FnOnce(&mut Queue)> Drop for Over<M> {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            mark(&mut self.shared.lock());
            self.shared.idle.notify_all();
        }
    }
}

/// Until when somebody waits, and by which clock; `None` is for as long as it takes.
pub(super) type Patience<'a> = Option<(&'a SystemClock, Duration)>;

impl Deleter {
    pub(super) fn new(objects: Objects, io: IoRuntime) -> Self {
        let shared = Shared { objects, queue: Mutex::default(), idle: Condvar::new() };
        Self { shared: Arc::new(shared), io }
    }

    /// Deletes objects in any order.
    pub(super) fn delete(&self, names: Vec<String>) {
        if !names.is_empty() {
            self.shared.lock().names.extend(names);
            self.start();
        }
    }

    /// Whether a name is still to be deleted.
    pub(super) fn is_waiting(&self, name: &str) -> bool {
        self.shared.lock().sets().into_iter().any(|names| names.contains(name))
    }

    /// Tries again to delete what could not be deleted.
    pub(super) fn retry(&self) {
        let mut queue = self.shared.lock();
        let failed = std::mem::take(&mut queue.failed);
        queue.names.extend(failed);
        drop(queue);
        self.start();
    }

    /// Starts the worker unless it is running.
    fn start(&self) {
        let mut queue = self.shared.lock();
        if queue.worker || queue.names.is_empty() {
            return;
        }
        queue.worker = true;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let over = Over { shared: Arc::clone(&shared), mark: Some(|queue: &mut Queue| queue.worker = false) };
        self.io.spawn(async move {
            shared.work().await;
            // `take` said so, in the same breath as it found nothing to do; another worker may run by now.
            over.disarm();
        });
    }

    /// Runs the sweep, which ends with whether it saw everything.
    pub(crate) fn sweep(&self, sweep: impl Future<Output = bool> + Send + 'static) {
        self.feed(sweep);
    }

    /// Runs who reads pages.
    pub(super) fn read(&self, reader: impl Future<Output = ()> + Send + 'static) {
        let reader = async move {
            reader.await;
            false
        };
        self.feed(reader);
    }

    fn feed(&self, feeder: impl Future<Output = bool> + Send + 'static) {
        self.shared.lock().feeders += 1;
        let shared = Arc::clone(&self.shared);
        let over = Over { shared: Arc::clone(&shared), mark: Some(|queue: &mut Queue| queue.feeders -= 1) };
        self.io.spawn(async move {
            let swept = feeder.await;
            shared.lock().swept |= swept;
            drop(over);
        });
    }

    /// Waits for feeders and worker, tries again what failed, and waits for that.
    pub(super) fn settle(&self, patience: Patience) {
        self.wait(patience);
        self.retry();
        self.wait(patience);
    }

    fn wait(&self, until: Patience) {
        let mut queue = self.shared.lock();
        while queue.worker || queue.feeders > 0 {
            let idle = &self.shared.idle;
            queue = match &until {
                None => idle.wait(queue).unwrap_or_else(PoisonError::into_inner),
                Some((clock, until)) => {
                    let left = until.saturating_sub(clock.monotonic());
                    if left.is_zero() {
                        return;
                    }
                    idle.wait_timeout(queue, left).unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
    }

    /// What the store said when something could not be deleted, the last time.
    pub(super) fn last_refusal(&self) -> Option<String> {
        self.shared.lock().why.clone()
    }

    /// How it stands; the registry adds its files.
    pub(super) fn stats(&self) -> RegistryStats {
        let queue = self.shared.lock();
        let waiting: usize = queue.sets().into_iter().map(HashSet::len).sum();
        RegistryStats {
            files: 0,
            deleted: queue.deleted,
            failed_deletes: queue.failed_deletes,
            waiting: waiting as u64,
            swept: queue.swept,
        }
    }
}
