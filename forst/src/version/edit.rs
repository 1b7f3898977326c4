//! Version edits: what a flush or a compaction changes.
use std::sync::Arc;

use alluvium_env::HashMap;

use super::{Run, Version};
use crate::table::{FileId, TableFile};

/// References to add and to remove.
#[derive(Debug, Default)]
pub(crate) struct VersionEdit {
    /// Level (1 and below) and reference.
    pub(crate) added: Vec<(usize, Arc<TableFile>)>,
    /// The newest run of level 0.
    pub(crate) flushed: Run,
    /// A run of level 0 in the place of the newest that is removed.
    pub(crate) merged: Run,
    /// References as they are or parts of them; the rest of those stays.
    pub(crate) removed: Vec<Arc<TableFile>>,
}

impl VersionEdit {
    /// The version after the edit.
    pub(crate) fn apply(mut self, version: &Version) -> Version {
        let mut next = version.clone();
        if !self.removed.is_empty() {
            self.remove(&mut next);
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

    fn remove(&mut self, version: &mut Version) {
        let mut removed: HashMap<FileId, Vec<&Arc<TableFile>>> = HashMap::default();
        self.removed.iter().for_each(|file| removed.entry(file.id).or_default().push(file));
        let rest = |run: &Run| -> Run { run.iter().flat_map(|file| without(file, &removed)).collect() };
        let affected = |run: &Run| run.iter().any(|file| removed.contains_key(&file.id));
        let newest = version.level0.iter().position(affected).unwrap_or(0);
        let values = &mut version.values;
        for run in version.level0.iter_mut().chain(&mut version.levels) {
            if affected(run) {
                for file in run.iter() {
                    values.remove(file);
                }
                *run = rest(run);
                for file in run.iter() {
                    values.add(file);
                }
            }
        }
        if !self.merged.is_empty() {
            self.merged.iter().for_each(|file| version.values.add(file));
            version.level0.insert(newest, std::mem::take(&mut self.merged));
        }
        version.level0.retain(|run| !run.is_empty());
    }
}

/// What is left of a reference.
fn without(file: &Arc<TableFile>, removed: &HashMap<FileId, Vec<&Arc<TableFile>>>) -> Run {
    let mut left = vec![Arc::clone(file)];
    for gone in removed.get(&file.id).into_iter().flatten() {
        left = left.iter().flat_map(|part| part.without(gone.keys())).collect();
    }
    left
}

fn disjoint(run: &Run) -> bool {
    run.is_sorted_by(|a, b| !a.keys().overlaps(b.keys()))
}
