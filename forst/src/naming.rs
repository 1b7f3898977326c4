//! Names of the objects a store writes: `state/{incarnation}/{subtask}/{number}.{kind}`, each used once (design D13), and
//! beside them those of its compactions that are done elsewhere: `compaction/{incarnation}/{subtask}/{number}.{kind}`.
//!
//! Whoever compacts for another store writes under names which that store has reserved, and under no others.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use alluvium_env::{Error, Result};

use crate::table::{FileId, Held, Ownership};

/// What names of a store begin with, and what those of its compactions begin with instead.
const STATE: &str = "state/";
pub(crate) const COMPACTION: &str = "compaction";

/// A kind of object that a compaction writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Table,
    Values,
}

impl Output {
    pub(crate) fn kind(self) -> &'static str {
        match self {
            Self::Table => "sst",
            Self::Values => "val",
        }
    }
}

/// Gives out names and file ids.
pub(crate) struct Naming {
    prefix: String,
    next: AtomicU64,
    owner: Arc<dyn Ownership>,
    /// Names that were reserved, where no others may be used; the next one is the last.
    reserved: Option<Mutex<Reserved>>,
}

/// Names of tables and of value files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reserved {
    pub(crate) tables: Vec<String>,
    pub(crate) values: Vec<String>,
}

impl Naming {
    pub(crate) fn new(prefix: String, owner: Arc<dyn Ownership>) -> Self {
        Self { prefix, next: AtomicU64::new(1), owner, reserved: None }
    }

    /// Gives out these names and no others.
    pub(crate) fn reserved(reserved: Reserved, owner: Arc<dyn Ownership>) -> Self {
        Self { reserved: Some(Mutex::new(reserved)), ..Self::new(String::new(), owner) }
    }

    fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// A new name, held.
    pub(crate) fn hold(&self, kind: &str) -> Held {
        self.hold_existing(&format!("{}/{:012}.{kind}", self.prefix, self.number()))
    }

    /// A name for what a flush or a compaction writes, held.
    ///
    /// # Errors
    /// `Invalid` if all names that were reserved are used.
    pub(crate) fn hold_output(&self, output: Output) -> Result<Held> {
        let Some(reserved) = &self.reserved else { return Ok(self.hold(output.kind())) };
        let mut reserved = reserved.lock().unwrap_or_else(PoisonError::into_inner);
        let names = match output {
            Output::Table => &mut reserved.tables,
            Output::Values => &mut reserved.values,
        };
        let name = names.pop().ok_or_else(|| {
            Error::invalid(format!(
                "a compaction writes more {} files than were reserved for it",
                output.kind()
            ))
        })?;
        Ok(self.hold_existing(&name))
    }

    /// Names of one compaction that is done elsewhere, of these kinds, held.
    pub(crate) fn hold_compaction<const KINDS: usize>(&self, kinds: [&str; KINDS]) -> [Held; KINDS] {
        let (folder, number) = (self.prefix.strip_prefix(STATE).unwrap_or(&self.prefix), self.number());
        kinds.map(|kind| self.hold_existing(&format!("{COMPACTION}/{folder}/{number:012}.{kind}")))
    }

    /// An existing object, held.
    pub(crate) fn hold_existing(&self, name: &str) -> Held {
        Held::new(name, Arc::clone(&self.owner))
    }

    pub(crate) fn next_id(&self) -> FileId {
        FileId(self.number())
    }
}
