//! The end of a store: what its jobs are writing is given up, and let go of before anybody hears that the store is gone.
//!
//! No checkpoint comes to name it, so it is garbage, and a process that ends now would leave it to the sweep of the next attempt.
//! A job begins no further object and ends with those that are on their way: an upload that is cut off may arrive after its
//! deletion.
//!
//! **Threads**: the owning thread waits, [`MOST`] at most.
//!
//! **Failure**: what is under way for longer stays an orphan until the sweep. So does what a compaction that came home from
//! elsewhere is writing.
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::Background;

use super::inbox::{Event, Inbox};
use super::jobs::Jobs;
use crate::fetch::Fetcher;

/// The longest wait for objects that are on their way: one that takes longer mostly does not arrive.
const MOST: Duration = Duration::from_secs(10);

/// What the jobs of a store report to and write through.
pub(super) struct Reach {
    pub(super) fetcher: Arc<Fetcher>,
    pub(super) inbox: Arc<Inbox>,
    /// A pool that is gone forgets what had no turn yet, and nobody would report.
    pub(super) _background: Arc<Background>,
}

impl Drop for Jobs {
    fn drop(&mut self) {
        let Reach { fetcher, inbox, .. } = &self.reach;
        fetcher.stop_outputs();
        while self.flushing || self.compacting && self.posted.is_none() {
            if !inbox.wait_at_most(MOST) {
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
