//! How far a flush or a compaction is: told by the thread that does it, looked at by the task thread.
//!
//! **Threads**: shared; told once in [`STEP`] entries, and whoever waits for it is woken then.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Entries from one telling to the next: about a millisecond of work.
const STEP: u64 = 1024;

/// A job's progress.
pub(crate) struct Progress {
    written: AtomicU64,
    /// Somebody has nothing to do before the job is further.
    awaited: AtomicBool,
    bell: Arc<dyn Fn() + Send + Sync>,
}

impl Progress {
    /// Of a job that has not begun.
    pub(crate) fn new(bell: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { written: AtomicU64::new(0), awaited: AtomicBool::new(false), bell })
    }

    /// Entries that have been written.
    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Has the bell rung once the job is further.
    pub(crate) fn wait(&self) {
        self.awaited.store(true, Ordering::Release);
    }

    /// As if a job had told.
    #[cfg(test)]
    pub(crate) fn advance(&self, entries: u64) {
        self.tell(entries);
    }

    fn tell(&self, entries: u64) {
        self.written.fetch_add(entries, Ordering::Relaxed);
        if self.awaited.swap(false, Ordering::AcqRel) {
            (self.bell)();
        }
    }
}

/// Counts what one thread writes, and tells now and then.
pub(super) struct Teller {
    progress: Option<Arc<Progress>>,
    untold: u64,
}

impl Teller {
    /// Tells nobody if there is nobody.
    pub(super) fn new(progress: Option<Arc<Progress>>) -> Self {
        Self { progress, untold: 0 }
    }

    /// One entry more; says whether it is time to look up.
    #[inline]
    pub(super) fn count(&mut self) -> bool {
        self.untold += 1;
        let is_time = self.untold == STEP;
        if is_time {
            self.untold = 0;
            if let Some(progress) = &self.progress {
                progress.tell(STEP);
            }
        }
        is_time
    }
}
