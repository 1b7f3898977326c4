//! Versions: which tables are live, and at which level. Immutable; an edit makes the next one.
//!
//! **Invariants**: a *run* is tables in key order that do not overlap. A memtable becomes one run of level 0, whose runs
//! are ordered newest first and may overlap each other; every other level is one run. A reader keeps a version by its
//! `Arc`, and with it every object the version names.
mod edit;
mod live;

pub(crate) use edit::VersionEdit;
pub(crate) use live::LiveFiles;

use std::sync::Arc;

use alluvium_env::HashMap;

use crate::key_range::KeyRange;
use crate::table::{FileId, TableFile, Tail};

/// Levels below level 0. With a factor of ten between them, six outgrow any disk.
pub(crate) const LEVELS: usize = 6;

/// Tables in key order that do not overlap.
pub(crate) type Run = Vec<Arc<TableFile>>;

/// The one table of a run that may hold `key`.
#[inline]
pub(crate) fn table_of<'a>(run: &'a [Arc<TableFile>], key: &[u8]) -> Option<&'a Arc<TableFile>> {
    let after = run.partition_point(|file| file.keys().start.as_slice() <= key);
    after.checked_sub(1).and_then(|i| run.get(i)).filter(|file| file.keys().ends_behind(key))
}

/// The live tables.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    /// Newest first.
    pub(crate) level0: Vec<Run>,
    /// Level 1 and below.
    pub(crate) levels: [Run; LEVELS],
    /// What of the value files the tables point to.
    pub(crate) values: LiveFiles,
}

impl Default for Version {
    fn default() -> Self {
        Self { level0: Vec::new(), levels: std::array::from_fn(|_| Vec::new()), values: LiveFiles::default() }
    }
}

impl Version {
    /// Whether no table is live.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.runs().next().is_none()
    }

    /// All runs that have tables, newest first.
    #[inline]
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.level0.iter().chain(self.levels.iter()).filter(|run| !run.is_empty())
    }

    /// The run below all others.
    #[inline]
    pub(crate) fn bottom(&self) -> Option<&Run> {
        self.levels.iter().rev().find(|run| !run.is_empty()).or(self.level0.last())
    }

    /// All runs that have tables, newest first, and of each whether it is the bottom one.
    pub(crate) fn runs_from_top(&self) -> impl Iterator<Item = (&Run, bool)> {
        let bottom = self.bottom();
        self.runs().map(move |run| (run, bottom.is_some_and(|bottom| std::ptr::eq(bottom, run))))
    }

    /// All runs that have tables with their levels, newest first.
    pub(crate) fn leveled_runs(&self) -> impl Iterator<Item = (usize, &Run)> {
        let level0 = self.level0.iter().map(|run| (0, run));
        let deeper = self.levels.iter().enumerate().map(|(index, run)| (index + 1, run));
        level0.chain(deeper).filter(|(_, run)| !run.is_empty())
    }

    /// The references of level `level` (1 and below) that can hold keys of a range.
    pub(crate) fn overlapping(&self, level: usize, keys: &KeyRange) -> Run {
        overlapping(self.run(level), keys).map(Arc::clone).collect()
    }

    /// The references of a level below level 0.
    pub(crate) fn run(&self, level: usize) -> &Run {
        static NONE: Run = Run::new();
        level.checked_sub(1).and_then(|index| self.levels.get(index)).unwrap_or(&NONE)
    }

    /// Every reference with its level.
    pub(crate) fn files(&self) -> impl Iterator<Item = (usize, &Arc<TableFile>)> {
        let level0 = self.level0.iter().flatten().map(|file| (0, file));
        level0
            .chain(self.levels.iter().enumerate().flat_map(|(i, l)| l.iter().map(move |file| (i + 1, file))))
    }

    /// Of all tables and value files; a table in several parts has one for each.
    pub(crate) fn ids(&self) -> impl Iterator<Item = FileId> {
        self.files().map(|(_, file)| file.id).chain(self.values.iter().map(|live| live.file.id))
    }

    /// The same tables with these tails.
    pub(crate) fn with_tails(&self, tails: &HashMap<FileId, Tail>) -> Self {
        let mut next = self.clone();
        for file in next.level0.iter_mut().chain(&mut next.levels).flatten() {
            if let Some(tail) = tails.get(&file.id) {
                *file = Arc::new(file.with_tail(tail.clone()));
            }
        }
        next
    }

    /// Bytes of data blocks of a level below level 0.
    pub(crate) fn level_bytes(&self, level: usize) -> u64 {
        self.run(level).iter().map(|file| file.shown_bytes()).sum()
    }
}

/// The tables of a run that can hold keys of a range.
pub(crate) fn overlapping<'a>(
    run: &'a [Arc<TableFile>],
    keys: &'a KeyRange,
) -> impl Iterator<Item = &'a Arc<TableFile>> {
    let first = run.partition_point(|file| !file.keys().ends_behind(&keys.start));
    let rest = run.get(first..).unwrap_or_default().iter();
    rest.take_while(|file| keys.ends_behind(&file.keys().start))
}
