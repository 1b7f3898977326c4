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
//! into the next level, where its tombstones do their work.
//!
//! Entries that newer operands may prolong are judged by the *horizon*: the first operand of any newer table or memtable.
use std::sync::Arc;

use alluvium_env::HashSet;

use super::picker::{Action, Compaction, LevelTargets, into};
use crate::expiry::{Expiry, Fate, Moment};
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
        let keys = super::picker::hull(compaction.inputs()).unwrap_or_default();
        self.moment(newer, &keys, |file| inputs.contains(&file.id))
    }

    /// The references that can be dropped.
    pub(crate) fn drop_expired(&self, version: &Version) -> Option<Compaction> {
        let runs: Vec<&Run> = version.runs().collect();
        let mut dropped: HashSet<FileId> = HashSet::default();
        let mut files = Run::new();
        for (at, run) in runs.iter().enumerate().rev() {
            let (newer, older) = (runs.get(..at).unwrap_or_default(), runs.get(at + 1..).unwrap_or_default());
            for file in run.iter().filter(|file| may_expire(file)) {
                let moment = self.moment(newer.iter().copied(), file.keys(), |_| false);
                let Some(hides_older) = self.expired(file, moment) else { continue };
                let mut below = older.iter().flat_map(|run| overlapping(run, file.keys()));
                if !hides_older || below.all(|file| dropped.contains(&file.id)) {
                    dropped.insert(file.id);
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

    /// An expired table that hides something older, with what it hides in the next level. To be asked once nothing can
    /// be dropped.
    pub(crate) fn rewrite_expired(&self, version: &Version, targets: LevelTargets) -> Option<Compaction> {
        let runs: Vec<(usize, &Run)> = version.leveled_runs().collect();
        for (at, (level, run)) in runs.iter().enumerate() {
            let newer = runs.get(..at).unwrap_or_default();
            for file in run.iter().filter(|file| may_expire(file) && file.meta.ages.expiring > 0) {
                let moment = self.moment(newer.iter().map(|(_, run)| *run), file.keys(), |_| false);
                if self.expired(file, moment).is_some() {
                    let upper =
                        if *level == 0 { version.level0.clone() } else { vec![vec![Arc::clone(file)]] };
                    return Some(into(version, upper, *level, targets));
                }
            }
        }
        None
    }

    /// When the next table will have expired, among those that have not by now.
    pub(crate) fn next_millis(&self, version: &Version) -> Option<u64> {
        let expiring = version.files().filter(|(_, file)| may_expire(file));
        let at = expiring.filter_map(|(_, file)| file.meta.ages.expire_at_millis(self.expiry));
        at.filter(|at| *at > self.now_millis).min()
    }

    /// Whether all of a table has expired; and if so, whether it must keep what is older hidden.
    fn expired(&self, file: &TableFile, moment: Moment) -> Option<bool> {
        let meta = &file.meta;
        match meta.ages.judge(self.expiry, moment) {
            Fate::Expired { hides_older } => Some(hides_older || meta.deletes > 0 || meta.deleted_ranges > 0),
            Fate::Lasts | Fate::Lives(_) => None,
        }
    }
}

/// Whether every entry expires or is a tombstone.
fn may_expire(file: &TableFile) -> bool {
    file.meta.ages.expiring + file.meta.deletes >= file.meta.entries
}
