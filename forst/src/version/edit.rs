//! Version edits: what a flush or a compaction changes.
use std::sync::Arc;

use super::Version;
use crate::table::{FileId, TableFile};

/// References to add and to remove.
#[derive(Debug, Default)]
pub(crate) struct VersionEdit {
    /// Level and reference; those of level 0 newest last.
    pub(crate) added: Vec<(usize, Arc<TableFile>)>,
    pub(crate) removed: Vec<FileId>,
}

impl VersionEdit {
    /// The version after the edit.
    pub(crate) fn apply(self, version: &Version) -> Version {
        let mut next = version.clone();
        let stays = |file: &Arc<TableFile>| !self.removed.contains(&file.id);
        next.level0.retain(stays);
        for level in &mut next.levels {
            level.retain(stays);
        }
        for (level, file) in self.added {
            match level.checked_sub(1).and_then(|index| next.levels.get_mut(index)) {
                None => next.level0.insert(0, file),
                Some(files) => {
                    let at = files.partition_point(|other| other.lower() < file.lower());
                    files.insert(at, file);
                }
            }
        }
        debug_assert!(disjoint(&next), "references of a level overlap");
        next
    }
}

fn disjoint(version: &Version) -> bool {
    version.levels.iter().all(|level| level.is_sorted_by(|a, b| !a.overlaps(b.lower(), &b.meta.largest)))
}
