//! How background work wakes a task thread: a flag that is cheap to look at, and a place to sleep.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Thread, current, park, park_timeout};
use std::time::Duration;

use alluvium_state_api::Notify;

/// The bell of the thread that made it.
pub(super) struct Bell {
    rung: Arc<AtomicBool>,
    thread: Thread,
}

impl Bell {
    /// A bell for this thread.
    pub(super) fn new() -> Self {
        Self { rung: Arc::default(), thread: current() }
    }

    /// What rings it, from any thread.
    pub(super) fn notify(&self) -> Notify {
        let (rung, thread) = (Arc::clone(&self.rung), self.thread.clone());
        Arc::new(move || {
            if !rung.swap(true, Ordering::AcqRel) {
                thread.unpark();
            }
        })
    }

    /// Whether it was rung since this last said so.
    #[inline]
    pub(super) fn take(&self) -> bool {
        self.rung.load(Ordering::Relaxed) && self.rung.swap(false, Ordering::AcqRel)
    }

    /// Sleeps until it is rung.
    pub(super) fn wait(&self) {
        while !self.take() {
            park();
        }
    }

    /// Sleeps until it is rung, or about so long.
    pub(super) fn wait_at_most(&self, limit: Duration) {
        if !self.take() {
            park_timeout(limit);
            self.take();
        }
    }
}
