//! What to do with level 0: let it grow to a share of the level below, then merge that a slice at a time.
//!
//! Merging a run rewrites whatever the level below has under it, so each byte of level 0 costs as many bytes as that is
//! larger: a level 0 of a quarter costs five for each of its own, one of a tenth eleven. What it may grow to is given by
//! the space that dead entries may take, so it grows that far and is merged into a level that is large itself, instead
//! of being carried down through small ones (Dayan and Idreos, "Dostoevsky", SIGMOD 2018: lazy leveling).
//!
//! A *slice* is some neighbouring tables of the level below with what level 0 has over their keys. One is merged at a
//! time, the one that is most due: a job of bounded size that gives its space back when it ends, and no wave of work that
//! comes and goes. What it leaves of a table of level 0 stays referenced, clipped.
//!
//! A tombstone is small and what it hides is not, so it counts as much as that: else a store of which everything is deleted
//! would keep it.
//!
//! Every run costs a read a look into a filter, so where the level below is too large for all this, runs of a size are
//! merged with each other first.
use crate::key_range::KeyRange;
use crate::scan::Depth;
use crate::table::TableFile;
use crate::version::{Run, Version, overlapping};

use super::picker::{Action, Compaction, LevelTargets, apart, depth, hull, moved};

/// Runs in level 0 that make it worth compacting where reads mostly go to the store: each merge is a wave of requests.
pub(super) const START: usize = 4;
/// Level 0 may hold so many percent of what lies under it.
const SHARE_PERCENT: u64 = 30;
/// Runs of a size that are merged with each other when the level below is not due for them.
const TIER: usize = 16;
/// Runs at which neighbours are merged with each other whatever their sizes. Below [`LEVEL0_STOP`], where writes stop: if nothing
/// were due there they would stop for good.
const CROWD: usize = 24;
/// Runs in level 0 at which no new records are admitted.
pub(crate) const LEVEL0_STOP: usize = 48;

/// Entries that a deleted range is taken to hide: how many it does, only a look could tell.
const HIDDEN_BY_RANGE: u64 = 16;

/// A part of the key space with what lies there.
#[derive(Debug)]
struct Slice {
    keys: KeyRange,
    /// What the level below has there.
    lower_bytes: u64,
    lower_entries: u64,
}

impl Slice {
    /// Bytes that a table has here, with those that its tombstones hide; `parts` is how many slices it may reach into.
    fn weight(&self, file: &TableFile, parts: usize) -> u64 {
        let (bytes, all) = match file.data_bytes() {
            // Deleted ranges lie in the tail.
            0 if self.keys.covers(file.keys()) => (file.meta.tail_bytes, file.meta.tail_bytes),
            0 => (file.meta.tail_bytes / parts as u64, file.meta.tail_bytes),
            all => (file.bytes_within(&self.keys, parts), all),
        };
        let hides = file.meta.deletes + file.meta.deleted_ranges * HIDDEN_BY_RANGE;
        let entry_bytes = self.lower_bytes / self.lower_entries.max(1);
        let hidden = u128::from(bytes) * u128::from(hides) * u128::from(entry_bytes);
        bytes + u64::try_from(hidden / u128::from(all.max(1))).unwrap_or(u64::MAX / 4)
    }

    /// What level 0 has over a slice, of so many: runs and bytes.
    fn above(&self, version: &Version, slices: usize) -> (usize, u64) {
        let bytes = |run: &Run| -> Option<u64> {
            // How many slices a table of the run reaches into.
            let parts = (slices / run.len().max(1)).max(2);
            let files = overlapping(run, &self.keys);
            files.map(|file| self.weight(file, parts)).reduce(|a, b| a + b)
        };
        version.level0.iter().filter_map(bytes).fold((0, 0), |(runs, all), bytes| (runs + 1, all + bytes))
    }

    /// How urgent it is, in per mille.
    fn score(&self, version: &Version, slices: usize, start_runs: usize) -> u64 {
        let (runs, bytes) = self.above(version, slices);
        if runs < start_runs {
            return 0;
        }
        // A level 0 that is all there is waits for its number only.
        let share = bytes.saturating_mul(100_000) / (self.lower_bytes * SHARE_PERCENT).max(1);
        share.min(runs as u64 * 1000 / start_runs as u64)
    }
}

/// The slices of a level: some tables each, all keys together.
fn slices(lower: &Run, slice_bytes: u64) -> Vec<Slice> {
    let mut slices = vec![Slice { keys: KeyRange::default(), lower_bytes: 0, lower_entries: 0 }];
    for file in lower {
        let Some(last) = slices.last_mut() else { continue };
        if last.lower_bytes >= slice_bytes {
            last.keys.end.clone_from(&file.keys().start);
            let keys = KeyRange::new(&file.keys().start, &[]);
            slices.push(Slice { keys, lower_bytes: file.shown_bytes(), lower_entries: file.meta.entries });
        } else {
            last.lower_bytes += file.shown_bytes();
            last.lower_entries += file.meta.entries;
        }
    }
    slices
}

/// The most urgent slice's compaction, or a move, and how urgent it is in per mille.
pub(super) fn pick(version: &Version, targets: LevelTargets) -> Option<(u64, Compaction)> {
    let runs = version.level0.len();
    let target = targets.below(version, 0);
    // Where the oldest run meets nothing below it sinks for nothing, whatever is newer: keys that come in order never wait
    // to be merged.
    let oldest = version.level0.last()?;
    if let Some(moved) = moved(version, oldest, 0, target) {
        return Some(((runs as u64 * 1000 / targets.start_runs as u64).max(1000), moved));
    }
    if runs < targets.start_runs {
        return None;
    }
    let slices = slices(version.run(target), targets.slice_bytes);
    let scored = slices.iter().map(|slice| (slice.score(version, slices.len(), targets.start_runs), slice));
    // Of equals the first: neighbours in turn leave fewer pieces.
    let (score, slice) = scored.rev().max_by_key(|(score, _)| score / 125)?;
    (score >= 1000).then(|| (score, merge(version, &slice.keys, target)))
}

/// The compaction of all that level 0 has over some keys, whether it is due or not.
pub(super) fn around(version: &Version, keys: &KeyRange, targets: LevelTargets) -> Compaction {
    let target = targets.below(version, 0);
    let mut keys = keys.clone();
    if let Some(lower) = hull(overlapping(version.run(target), &keys)) {
        keys.extend(&lower);
    }
    merge(version, &keys, target)
}

/// Keys that cut no table of the target.
fn merge(version: &Version, keys: &KeyRange, target: usize) -> Compaction {
    let part = |run: &Run| -> Run { overlapping(run, keys).filter_map(|file| file.within(keys)).collect() };
    let upper: Vec<Run> = version.level0.iter().map(part).filter(|run| !run.is_empty()).collect();
    let lower = version.overlapping(target, keys);
    let depth = depth(version, target, keys);
    Compaction { upper, lower, target, depth, action: Action::Merge }
}

/// The newest runs of a size, to be merged with each other, if there are many; of a crowd without so many of a size, the
/// neighbours that take the fewest bytes.
pub(super) fn tier(version: &Version) -> Option<Compaction> {
    let bytes = |run: &Run| run.iter().map(|file| file.shown_bytes()).sum::<u64>();
    let sizes: Vec<u64> = version.level0.iter().map(bytes).collect();
    let merged = |runs: &[Run]| Compaction {
        upper: runs.to_vec(),
        lower: Run::new(),
        target: 0,
        depth: Depth::Middle,
        action: Action::Merge,
    };
    for first in 0..sizes.len() {
        let alike = |size: &&u64| sizes.get(first).is_some_and(|of| **size <= of * 2 && *of <= **size * 2);
        let rest = sizes.get(first..).unwrap_or_default();
        let many = rest.iter().take_while(alike).count();
        let runs = version.level0.get(first..first + many).unwrap_or_default();
        if many >= TIER && !apart(runs) {
            return Some(merged(runs));
        }
    }
    let neighbours = version.level0.windows(TIER).filter(|_| sizes.len() >= CROWD);
    // Those that are apart would be written anew for their number alone: if there are no others.
    neighbours.min_by_key(|runs| (apart(runs), runs.iter().map(bytes).sum::<u64>())).map(merged)
}

/// Bytes of level 0 over slices that are due.
pub(super) fn debt_bytes(version: &Version, targets: LevelTargets) -> u64 {
    if version.level0.len() < targets.start_runs {
        return 0;
    }
    let slices = slices(version.run(targets.below(version, 0)), targets.slice_bytes);
    let due = slices.iter().filter(|slice| slice.score(version, slices.len(), targets.start_runs) >= 1000);
    due.map(|slice| slice.above(version, slices.len()).1).sum()
}
