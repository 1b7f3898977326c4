//! Version edits: what a flush or a compaction changes.
use std::sync::Arc;

use super::{Run, Version};
use crate::table::{FileId, TableFile};

/// References to add and to remove.
#[derive(Debug, Default)]
pub(crate) struct VersionEdit {
    /// Level (1 and below) and reference.
    pub(crate) added: Vec<(usize, Arc<TableFile>)>,
    /// The newest run of level 0.
    pub(crate) flushed: Run,
    pub(crate) removed: Vec<FileId>,
}

impl VersionEdit {
    /// The version after the edit.
    pub(crate) fn apply(self, version: &Version) -> Version {
        let mut next = version.clone();
        let stays = |file: &Arc<TableFile>| !self.removed.contains(&file.id);
        if !self.removed.is_empty() {
            let gone = version.files().filter(|(_, file)| !stays(file));
            gone.for_each(|(_, file)| next.values.remove(file));
            for run in next.level0.iter_mut().chain(&mut next.levels) {
                run.retain(stays);
            }
            next.level0.retain(|run| !run.is_empty());
        }
        for (level, file) in self.added {
            let Some(run) = level.checked_sub(1).and_then(|index| next.levels.get_mut(index)) else {
                continue;
            };
            next.values.add(&file);
            let at = run.partition_point(|other| other.keys().start < file.keys().start);
            run.insert(at, file);
        }
        self.flushed.iter().for_each(|file| next.values.add(file));
        if !self.flushed.is_empty() {
            next.level0.insert(0, self.flushed);
        }
        debug_assert!(next.runs().all(disjoint), "tables of a run overlap");
        next
    }
}

fn disjoint(run: &Run) -> bool {
    run.is_sorted_by(|a, b| !a.keys().overlaps(b.keys()))
}
