//! Where background work reports to the task thread.
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use alluvium_env::Result;

use super::warm_up::Warmed;
use crate::compaction::{Compaction, Written};
use crate::fetch::Fetched;
use crate::hint::Portion;
use crate::remote::Trip;
use crate::table::{FileId, Filter};

/// Something to take over.
pub(super) enum Event {
    Fetched(Fetched),
    /// What a warm-up has to do, hottest first.
    Planned(Vec<Portion>),
    Warmed(Warmed),
    /// Filters that had been given up and were read again, as far as they could be.
    Filters(Vec<(FileId, Filter)>),
    Flushed(Result<Written>),
    /// A compaction and what it wrote; and how its trip was, if it went elsewhere.
    Compacted(Option<Trip>, Result<(Compaction, Written)>),
}

/// Events and a bell.
pub(super) struct Inbox {
    events: Mutex<Vec<Event>>,
    arrived: Condvar,
    bell: Arc<dyn Fn() + Send + Sync>,
}

impl Inbox {
    pub(super) fn new(bell: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), arrived: Condvar::new(), bell })
    }

    /// Adds an event. The bell rings for the first one only: whoever takes it takes those behind it too.
    pub(super) fn push(&self, event: Event) {
        let first = {
            let mut events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
            events.push(event);
            events.len() == 1
        };
        if first {
            self.arrived.notify_all();
            self.ring();
        }
    }

    /// What rings the bell.
    pub(super) fn bell(&self) -> Arc<dyn Fn() + Send + Sync> {
        Arc::clone(&self.bell)
    }

    pub(super) fn ring(&self) {
        (self.bell)();
    }

    /// Waits for an event: where nobody listens to the bell.
    pub(super) fn wait(&self) {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.arrived.wait_while(events, |events| events.is_empty()));
    }

    /// The same for so long at most; `false` if none came.
    pub(super) fn wait_at_most(&self, most: Duration) -> bool {
        let events = self.events.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.arrived.wait_timeout_while(events, most, |events| events.is_empty());
        !waited.unwrap_or_else(PoisonError::into_inner).0.is_empty()
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
