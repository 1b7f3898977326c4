//! Deletes in the background: one worker at a time, in bulk.
//!
//! **Threads**: callers queue and return; the worker is a task of the I/O runtime that lives while there is work.
//!
//! **Failure**: a name that could not be deleted waits for the next call.
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use alluvium_env::IoRuntime;

use super::RegistryStats;
use crate::objects::Objects;

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
    names: Vec<String>,
    /// What the running worker has taken out.
    in_work: Vec<String>,
    /// What a worker could not delete.
    failed: Vec<String>,
    worker: bool,
    /// Other background tasks that feed the queue: the sweep.
    feeders: usize,
    deleted: u64,
    failed_deletes: u64,
    swept: bool,
}

impl Queue {
    fn waiting(&self) -> impl Iterator<Item = &String> {
        self.names.iter().chain(&self.in_work).chain(&self.failed)
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
        let names = std::mem::take(&mut queue.names);
        queue.in_work.clone_from(&names);
        Some(names)
    }

    async fn work(&self) {
        while let Some(names) = self.take() {
            let total = names.len();
            let failed = self.objects.delete_all(names).await;
            let mut queue = self.lock();
            queue.in_work.clear();
            queue.deleted += (total - failed.len()) as u64;
            queue.failed_deletes += failed.len() as u64;
            queue.failed.extend(failed);
        }
    }
}

/// Says that a task is over when it did not say so itself (a panic in a store, a runtime that stops), so that
/// nobody waits for it for ever.
struct Over {
    shared: Arc<Shared>,
    mark: Option<fn(&mut Queue)>,
}

impl Over {
    fn disarm(mut self) {
        self.mark = None;
    }
}

impl Drop for Over {
    fn drop(&mut self) {
        if let Some(mark) = self.mark.take() {
            mark(&mut self.shared.lock());
            self.shared.idle.notify_all();
        }
    }
}

impl Deleter {
    pub(super) fn new(objects: Objects, io: IoRuntime) -> Self {
        let shared = Shared { objects, queue: Mutex::default(), idle: Condvar::new() };
        Self { shared: Arc::new(shared), io }
    }

    /// Deletes objects in any order.
    pub(super) fn delete(&self, names: Vec<String>) {
        if !names.is_empty() {
            self.shared.lock().names.extend(names);
            self.kick();
        }
    }

    /// Whether a name is still to be deleted.
    pub(super) fn is_waiting(&self, name: &str) -> bool {
        self.shared.lock().waiting().any(|waiting| waiting == name)
    }

    /// Starts the worker, and what failed before with it, unless it is running.
    pub(super) fn kick(&self) {
        let mut queue = self.shared.lock();
        if queue.worker {
            return;
        }
        let failed = std::mem::take(&mut queue.failed);
        queue.names.extend(failed);
        if queue.names.is_empty() {
            return;
        }
        queue.worker = true;
        drop(queue);
        let shared = Arc::clone(&self.shared);
        let over = Over { shared: Arc::clone(&shared), mark: Some(|queue| queue.worker = false) };
        self.io.spawn(async move {
            shared.work().await;
            // `take` said so, in the same breath as it found nothing to do; another worker may run by now.
            over.disarm();
        });
    }

    /// Runs the sweep, which ends with whether it saw everything.
    pub(crate) fn feed(&self, sweep: impl Future<Output = bool> + Send + 'static) {
        self.shared.lock().feeders += 1;
        let shared = Arc::clone(&self.shared);
        let over = Over { shared: Arc::clone(&shared), mark: Some(|queue| queue.feeders -= 1) };
        self.io.spawn(async move {
            let swept = sweep.await;
            shared.lock().swept |= swept;
            drop(over);
        });
    }

    /// Waits for feeders and worker, tries again what failed, and waits for that.
    pub(super) fn settle(&self) {
        self.wait();
        self.kick();
        self.wait();
    }

    fn wait(&self) {
        let queue = self.shared.lock();
        let busy = |queue: &mut Queue| queue.worker || queue.feeders > 0;
        drop(self.shared.idle.wait_while(queue, busy).unwrap_or_else(PoisonError::into_inner));
    }

    /// How it stands; the registry adds its files.
    pub(super) fn stats(&self) -> RegistryStats {
        let queue = self.shared.lock();
        let waiting = queue.waiting().count();
        RegistryStats {
            files: 0,
            deleted: queue.deleted,
            failed_deletes: queue.failed_deletes,
            waiting: waiting as u64,
            swept: queue.swept,
        }
    }
}
