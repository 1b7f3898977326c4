//! A value file as tables refer to it, and what a table's pointers take of it.
use std::fmt;
use std::sync::{Arc, OnceLock};

use object_store::path::Path;

use crate::table::{FileId, Held};

/// What is persisted of a value file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueMeta {
    /// The object's size.
    pub(crate) size_bytes: u64,
    /// Its records.
    pub(crate) data_bytes: u64,
    /// Which bytes the object has; see [`crate::table::FileMeta::content_hash`].
    pub(crate) content_hash: u64,
}

/// A value file that tables point into.
pub(crate) struct ValueFile {
    pub(crate) id: FileId,
    held: Held,
    /// Set when the last record is in it, which is before any version names it.
    meta: OnceLock<ValueMeta>,
}

impl ValueFile {
    /// A file that is being built.
    pub(crate) fn new(id: FileId, held: Held) -> Self {
        Self { id, held, meta: OnceLock::new() }
    }

    /// The object's name below the root.
    pub(crate) fn name(&self) -> &str {
        self.held.name()
    }

    /// The name, as the object store takes it.
    pub(crate) fn path(&self) -> &Path {
        self.held.path()
    }

    /// Says what the file has become.
    pub(crate) fn end(&self, meta: ValueMeta) {
        let _ = self.meta.set(meta);
    }

    /// What it has become; nothing while it is being built.
    pub(crate) fn meta(&self) -> ValueMeta {
        self.meta.get().copied().unwrap_or_default()
    }
}

impl fmt::Debug for ValueFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What the pointers of one table take of a value file.
#[derive(Clone, Debug)]
pub(crate) struct ValueShare {
    pub(crate) file: Arc<ValueFile>,
    /// Pointers.
    pub(crate) values: u64,
    /// The records they point to.
    pub(crate) bytes: u64,
}

impl ValueShare {
    /// What a part of the table takes, about, as if pointers were spread evenly over its bytes.
    pub(crate) fn part(&self, part_bytes: u64, all_bytes: u64) -> Self {
        let of = |number: u64| {
            let part = u128::from(number) * u128::from(part_bytes) / u128::from(all_bytes.max(1));
            u64::try_from(part).unwrap_or(number).min(number)
        };
        Self { file: Arc::clone(&self.file), values: of(self.values), bytes: of(self.bytes) }
    }
}
