//! Garbage in value files: which compaction pays, and which files' values it writes anew. Like the picker, pure functions of
//! the version.
//!
//! Pointers leave with compactions, and what they pointed to becomes garbage. Of a file of which a part is garbage
//! ([`crate::ForstSettings::value_garbage_percent`]) every compaction that meets the living values writes them anew, so that
//! the file is left behind. Where no compaction comes by, a table is rewritten for its pointers' sake once that is worth it
//! by the same rule, its own bytes included: of all bytes that are touched, that part is garbage which goes. Without the
//! table's own bytes in the rule, a large table would be rewritten for each small file.
use std::sync::Arc;

use alluvium_env::HashSet;

use super::level0;
use super::picker::{Compaction, LevelTargets, in_place};
use crate::table::{FileId, TableFile};
use crate::version::Version;

/// The value files whose values a compaction writes anew.
pub(crate) fn garbage_of(version: &Version, compaction: &Compaction, percent: u64) -> HashSet<FileId> {
    let files = compaction.inputs().flat_map(|table| table.values()).map(|values| values.file.id);
    files.filter(|id| version.values.get(*id).is_some_and(|live| live.is_garbage_by(percent))).collect()
}

/// The table that is most worth a rewrite for the garbage that its pointers keep.
pub(crate) fn collect_garbage(version: &Version, targets: LevelTargets, percent: u64) -> Option<Compaction> {
    if !version.values.iter().any(|live| live.is_garbage_by(percent)) {
        return None;
    }
    let gains = version.files().map(|(level, table)| (gain_percent(version, table, percent), level, table));
    let (gained, level, table) = gains.max_by_key(|(gained, ..)| *gained)?;
    if gained < percent {
        return None;
    }
    Some(match level {
        0 => level0::around(version, table.keys(), targets),
        _ => in_place(version, vec![Arc::clone(table)], level),
    })
}

/// Of the bytes that a table's rewrite touches, the part that is garbage which goes.
fn gain_percent(version: &Version, table: &TableFile, percent: u64) -> u64 {
    let (mut garbage, mut moved) = (0, 0);
    for values in table.values() {
        let Some(live) = version.values.get(values.file.id).filter(|live| live.is_garbage_by(percent)) else {
            continue;
        };
        // The file's garbage goes when the last table has left it: each has its part in that.
        garbage += live.garbage_bytes() * values.bytes / live.live_bytes.max(1);
        moved += values.bytes;
    }
    garbage * 100 / (garbage + moved + table.shown_bytes()).max(1)
}
