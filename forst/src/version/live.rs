//! What of each value file is still pointed to, by the references of a version.
use std::sync::Arc;

use alluvium_env::HashMap;

use crate::table::{FileId, TableFile};
use crate::values::ValueFile;

/// One value file.
#[derive(Clone, Debug)]
pub(crate) struct LiveValues {
    pub(crate) file: Arc<ValueFile>,
    /// Records that tables point to.
    pub(crate) live_bytes: u64,
    /// References that point into it.
    tables: u32,
}

impl LiveValues {
    /// Records that nobody points to. Two clips of one table count a record twice, so this is what is certain.
    pub(crate) fn garbage_bytes(&self) -> u64 {
        self.file.meta().data_bytes.saturating_sub(self.live_bytes)
    }

    /// Whether at least this part of the records is garbage.
    pub(crate) fn is_garbage_by(&self, percent: u64) -> bool {
        self.garbage_bytes() * 100 >= percent * self.file.meta().data_bytes
    }
}

/// The value files of a version.
#[derive(Clone, Debug, Default)]
pub(crate) struct LiveFiles {
    files: HashMap<FileId, LiveValues>,
}

impl LiveFiles {
    /// Counts a reference's pointers in.
    pub(crate) fn add(&mut self, table: &TableFile) {
        for share in table.values() {
            let empty = || LiveValues { file: Arc::clone(&share.file), live_bytes: 0, tables: 0 };
            let live = self.files.entry(share.file.id).or_insert_with(empty);
            live.live_bytes += share.bytes;
            live.tables += 1;
        }
    }

    /// Counts a reference's pointers out; a file leaves with the last of them.
    pub(crate) fn remove(&mut self, table: &TableFile) {
        for share in table.values() {
            let Some(live) = self.files.get_mut(&share.file.id) else { continue };
            live.live_bytes = live.live_bytes.saturating_sub(share.bytes);
            live.tables -= 1;
            if live.tables == 0 {
                self.files.remove(&share.file.id);
            }
        }
    }

    /// A file, if anything points into it.
    pub(crate) fn get(&self, id: FileId) -> Option<&LiveValues> {
        self.files.get(&id)
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &LiveValues> {
        self.files.values()
    }
}
