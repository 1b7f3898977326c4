//! Versions: which tables are live, and at which level. Immutable; an edit makes the next one.
//!
//! **Invariants**: level 0 is ordered newest first and may overlap; within every other level the references ascend
//! and do not overlap. A reader keeps a version by its `Arc`, and with it every object the version names.
mod edit;

pub(crate) use edit::VersionEdit;

use std::sync::Arc;

use crate::table::TableFile;

/// Levels below level 0. With a factor of ten between them, six outgrow any disk.
pub(crate) const LEVELS: usize = 6;

/// The live tables.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Newest first.
    pub(crate) level0: Vec<Arc<TableFile>>,
    /// Level 1 and below, each in key order.
    pub(crate) levels: [Vec<Arc<TableFile>>; LEVELS],
}

impl Default for Version {
    fn default() -> Self {
        Self { level0: Vec::new(), levels: std::array::from_fn(|_| Vec::new()) }
    }
}

impl Version {
    /// The tables that may hold `key`, newest first.
    pub(crate) fn candidates(&self, key: &[u8]) -> impl Iterator<Item = &Arc<TableFile>> {
        let level0 = self.level0.iter().filter(move |file| file.covers(key));
        let deeper = self.levels.iter().filter_map(move |level| {
            let after = level.partition_point(|file| file.lower() <= key);
            after.checked_sub(1).and_then(|i| level.get(i)).filter(|file| file.covers(key))
        });
        level0.chain(deeper)
    }

    /// The references of level `level` (1 and below) that can hold keys of `lower..=upper`.
    pub(crate) fn overlapping(&self, level: usize, lower: &[u8], upper: &[u8]) -> Vec<Arc<TableFile>> {
        let files = self.level(level);
        files.iter().filter(|file| file.overlaps(lower, upper)).map(Arc::clone).collect()
    }

    /// A level's references; 0 is level 0.
    pub(crate) fn level(&self, level: usize) -> &[Arc<TableFile>] {
        match level.checked_sub(1) {
            None => &self.level0,
            Some(index) => self.levels.get(index).map_or(&[], Vec::as_slice),
        }
    }

    /// Every reference with its level.
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &Arc<TableFile>)> {
        let level0 = self.level0.iter().map(|file| (0, file));
        level0
            .chain(self.levels.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |file| (i + 1, file))))
    }
}
