//! Names of the objects a store writes: `state/{incarnation}/{subtask}/{number}.{kind}`, each used once (design D13).
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::table::{FileId, Held, Ownership};

/// Gives out names and file ids.
pub(crate) struct Naming {
    prefix: String,
    next: AtomicU64,
    owner: Arc<dyn Ownership>,
}

impl Naming {
    pub(crate) fn new(prefix: String, owner: Arc<dyn Ownership>) -> Self {
        Self { prefix, next: AtomicU64::new(1), owner }
    }

    /// A new name, held.
    pub(crate) fn hold(&self, kind: &str) -> Held {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        Held::new(&format!("{}/{number:012}.{kind}", self.prefix), Arc::clone(&self.owner))
    }

    /// An existing object, held.
    pub(crate) fn hold_existing(&self, name: &str) -> Held {
        Held::new(name, Arc::clone(&self.owner))
    }

    pub(crate) fn next_id(&self) -> FileId {
        FileId(self.next.fetch_add(1, Ordering::Relaxed))
    }
}
