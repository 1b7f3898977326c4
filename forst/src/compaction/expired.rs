//! Tables that time has emptied: which of them vanish without being read, which have to be rewritten, and when to look
//! again. Like the picker, pure functions of the version and a moment.
//!
//! A table has expired if every entry is a tombstone or has expired, by the ages its reference carries. It is dropped by
//! reference
//!
//! - if nothing older lies under its keys: then its tombstones and deleted ranges hide nothing; or
//! - if it has no tombstones or deleted ranges, and none of its entries would leave one: what it hides has expired as well,
//!   since stamps of a key only grow, and no reader shows it (`expiry.rs`).
//!
//! Oldest first, so that whole stacks of expired tables go at once. An expired table that still hides something is merged
//! into the next level, where its tombstones do their work. A table of which only a part has expired, having entries of
//! other states, is rewritten where it is once that part is large.
//!
//! Entries that newer operands may prolong are judged by the *horizon*: the first operand of any newer table or memtable.
use std::sync::Arc;

use alluvium_env::HashSet;

use super::level0;
use super::picker::{Action, Compaction, LevelTargets, hull, in_place, into};
use crate::expiry::{Expiry, Moment, Verdict};
use crate::key_range::KeyRange;
use crate::scan::Depth;
use crate::table::{FileId, TableFile};
use crate::version::{LEVELS, Run, Version, overlapping};

/// The store's expiry at one moment.
pub(crate) struct Aging<'a> {
    pub(crate) expiry: &'a dyn Expiry,
    pub(crate) now_millis: u64,
    /// No operand in any memtable is older.
    pub(crate) memtables_since_millis: u64,
}

impl Aging<'_> {
    /// When entries of `keys` are judged, to which `newer` runs may hold operands.
    fn moment<'v>(
        &self,
        newer: impl IntoIterator<Item = &'v Run>,
        keys: &KeyRange,
        besides: impl Fn(&TableFile) -> bool,
    ) -> Moment {
        let files = newer.into_iter().flat_map(|run| overlapping(run, keys)).filter(|file| !besides(file));
        let operands = files.filter_map(|file| file.meta.ages.operands_since_millis);
        let horizon_millis = operands.fold(self.memtables_since_millis, u64::min);
        Moment { now_millis: self.now_millis, horizon_millis }
    }

    /// When a compaction's entries are judged.
    pub(crate) fn moment_of(&self, version: &Version, compaction: &Compaction) -> Moment {
        let inputs: HashSet<FileId> = compaction.inputs().map(|file| file.id).collect();
        let newer =
            version.level0.iter().chain(version.levels.iter().take(compaction.target.saturating_sub(1)));
        let keys = hull(compaction.inputs()).unwrap_or_default();
        // What is merged of a table may be a part of what is referenced of it, and that one of several parts.
        let merged = |file: &TableFile| {
            let seen = file.keys().intersect(&keys);
            inputs.contains(&file.id)
                && compaction.inputs().any(|input| input.id == file.id && input.keys().covers(&seen))
        };
        self.moment(newer, &keys, merged)
    }

    /// The references that can be dropped.
    pub(crate) fn drop_expired(&self, version: &Version) -> Option<Compaction> {
        let runs: Vec<&Run> = version.runs().collect();
        let mut dropped: HashSet<(FileId, &[u8])> = HashSet::default();
        let mut files = Run::new();
        for (at, run) in runs.iter().enumerate().rev() {
            let (newer, older) = (runs.get(..at).unwrap_or_default(), runs.get(at + 1..).unwrap_or_default());
            for file in run.iter().filter(|file| may_expire(file)) {
                let verdict = self.judge(file, newer.iter().copied());
                if !verdict.all_expired {
                    continue;
                }
                let hides = verdict.hides_older || file.meta.deletes > 0 || file.meta.deleted_ranges > 0;
                let mut below = older.iter().flat_map(|run| overlapping(run, file.keys()));
                if !hides || below.all(|file| dropped.contains(&part(file))) {
                    dropped.insert(part(file));
                    files.push(Arc::clone(file));
                }
            }
        }
        (!files.is_empty()).then(|| Compaction {
            upper: vec![files],
            lower: Run::new(),
            target: LEVELS,
            depth: Depth::Bottom,
            action: Action::Drop,
        })
    }

    /// A table that has expired but hides something older, with what it hides in the next level; or one of which much has
    /// expired, alone. To be asked once nothing can be dropped.
    pub(crate) fn rewrite_expired(&self, version: &Version, targets: LevelTargets) -> Option<Compaction> {
        let runs: Vec<(usize, &Run)> = version.leveled_runs().collect();
        for (at, (level, run)) in runs.iter().enumerate() {
            let newer = runs.get(..at).unwrap_or_default();
            for file in run.iter().filter(|file| file.meta.ages.expiring > 0) {
                let verdict = self.judge(file, newer.iter().map(|(_, run)| *run));
                let alone = || vec![Arc::clone(file)];
                if !verdict.is_worth_rewriting {
                    continue;
                }
                return Some(if *level == 0 {
                    level0::around(version, file.keys(), targets)
                } else if verdict.all_expired && may_expire(file) {
                    into(version, alone(), *level, targets)
                } else {
                    in_place(version, alone(), *level)
                });
            }
        }
        None
    }

    /// When the next table will have expired, or will be worth a rewrite, among those that are not by now.
    pub(crate) fn next_millis(&self, version: &Version) -> Option<u64> {
        let at = version.files().flat_map(|(_, file)| {
            let ages = &file.meta.ages;
            let all = if may_expire(file) { ages.expire_at_millis(self.expiry) } else { None };
            [all, ages.worth_rewriting_at_millis(self.expiry)]
        });
        at.flatten().filter(|at| *at > self.now_millis).min()
    }

    fn judge<'v>(&self, file: &TableFile, newer: impl Iterator<Item = &'v Run>) -> Verdict {
        file.meta.ages.judge(self.expiry, self.moment(newer, file.keys(), |_| false))
    }
}

/// A reference: parts of a file are apart, so their starts differ.
fn part(file: &TableFile) -> (FileId, &[u8]) {
    (file.id, &file.keys().start)
}

/// Whether every entry expires or is a tombstone.
fn may_expire(file: &TableFile) -> bool {
    file.meta.ages.expiring + file.meta.deletes >= file.meta.entries
}
