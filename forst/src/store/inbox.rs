//! Where background work reports to the task thread.
use std::sync::{Arc, Mutex, PoisonError};

use alluvium_env::Result;

use crate::compaction::{Compaction, WrittenTable};
use crate::fetch::Fetched;

/// Something to take over.
pub(super) enum Event {
    Fetched(Fetched),
    Flushed(Result<Vec<WrittenTable>>),
    Compacted(Result<CompactionDone>),
}

/// A compaction and what it wrote.
pub(super) struct CompactionDone {
    pub(super) compaction: Compaction,
    pub(super) tables: Vec<WrittenTable>,
}

/// Events and a bell.
pub(super) struct Inbox {
    events: Mutex<Vec<Event>>,
    bell: Arc<dyn Fn() + Send + Sync>,
}

impl Inbox {
    pub(super) fn new(bell: Arc<dyn Fn() + Send + Sync>) -> Arc<Self> {
        Arc::new(Self { events: Mutex::default(), bell })
    }

    pub(super) fn push(&self, event: Event) {
        self.events.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        self.ring();
    }

    pub(super) fn ring(&self) {
        (self.bell)();
    }

    pub(super) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut *self.events.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
