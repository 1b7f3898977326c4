//! The end of a store: what its jobs are writing is given up, and let go of before anybody hears that the store is gone.
//!
//! No checkpoint comes to name it, so it is garbage, and a process that ends now would leave it to the sweep of the next attempt.
//! A job waits for no read, begins no further object and ends with those that are on their way: an upload that is cut off may
//! arrive after its deletion. One that is done elsewhere is taken back.
//!
//! **Threads**: the owning thread waits, [`MOST`] at most, and not at all if it panics.
//!
//! **Failure**: what is under way for longer stays an orphan until the sweep.
use std::sync::Arc;
use std::thread::panicking;
use std::time::Duration;

use alluvium_env::{Background, Clock as _, SystemClock};

use crate::fetch::Fetcher;
use crate::store::inbox::{Event, Inbox};
use crate::store::jobs::Jobs;

/// The longest wait for objects that are on their way: one that takes longer mostly does not arrive.
const MOST: Duration = Duration::from_secs(10);

/// What the jobs of a store report to and write through.
pub(in crate::store) struct Reach {
    pub(in crate::store) fetcher: Arc<Fetcher>,
    pub(in crate::store) inbox: Arc<Inbox>,
    /// A pool that is gone forgets what had no turn yet, and nobody would report.
    pub(in crate::store) _background: Arc<Background>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let Reach { fetcher, inbox, .. } = &self.reach;
        fetcher.stop_outputs();
        self.posted = None;
        if panicking() {
            return;
        }
        let clock = SystemClock::new();
        let end = clock.monotonic() + MOST;
        while self.flushing || self.compacting {
            if !inbox.wait_at_most(end.saturating_sub(clock.monotonic())) {
                return;
            }
            for event in inbox.take() {
                match event {
                    Event::Flushed(_) => self.flushing = false,
                    Event::Compacted(..) => self.compacting = false,
                    Event::Fetched(_) | Event::Planned(_) | Event::Warmed(_) | Event::Filters(_) => {}
                }
            }
        }
    }
}
