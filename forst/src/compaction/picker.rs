//! What to compact next: `Version → Option<Compaction>`, with no state of its own.
//!
//! Leveled with dynamic level sizes (Dong et al., "Optimizing Space Amplification in `RocksDB`", CIDR 2017): the last level
//! holds nearly everything, each level above it a tenth of the one below, and level 0 goes straight to the first of them
//! that is not too small, which is the last one unless state is very large (`level0.rs`). So dead entries are at most a
//! fraction of the live ones however much state there is. From a level that is too large, the table that drags in the
//! fewest bytes of the next one goes first, which also spreads the work over the key space (`RocksDB` calls it
//! `kMinOverlappingRatio`).
use std::sync::Arc;

use super::level0;
use crate::key_range::KeyRange;
use crate::scan::Depth;
use crate::table::TableFile;
use crate::version::{LEVELS, Run, Version, overlapping};

/// The largest factor between two levels.
const LEVEL_FACTOR: u64 = 10;

/// How large the levels should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LevelTargets {
    /// Where level 0 is compacted to; the levels above it are empty.
    base_level: usize,
    /// What the base level may hold; each further level ten times the one above.
    base_bytes: u64,
    /// What the level below level 0 has in one slice, about.
    pub(super) slice_bytes: u64,
    /// Runs in level 0 that make it worth compacting.
    pub(super) start_runs: usize,
}

impl LevelTargets {
    /// The targets for a version whose base level should hold at most `base_bytes`, and whose level 0 is merged into it by
    /// about `slice_bytes`.
    pub(crate) fn of(version: &Version, base_bytes: u64, slice_bytes: u64) -> Self {
        let last = version.level_bytes(LEVELS).max((1..LEVELS).map(|l| version.level_bytes(l)).sum());
        let mut targets =
            Self { base_level: LEVELS, base_bytes: last, slice_bytes, start_runs: level0::START };
        while targets.base_bytes > base_bytes && targets.base_level > 1 {
            targets.base_level -= 1;
            targets.base_bytes /= LEVEL_FACTOR;
        }
        targets
    }

    /// Merges level 0 as soon as it has its share, in slices of at most `slice_bytes`: what is dead leaves early, and the
    /// inputs of a job are few.
    pub(crate) fn eager(self, slice_bytes: u64) -> Self {
        Self { slice_bytes: self.slice_bytes.min(slice_bytes), start_runs: 1, ..self }
    }

    fn bytes(self, level: usize) -> u64 {
        self.base_bytes
            .saturating_mul(LEVEL_FACTOR.saturating_pow(level.saturating_sub(self.base_level) as u32))
    }

    /// Where tables of a level go. Levels between are empty, but for what is left there when the base level has gone
    /// deeper: nothing newer may pass it.
    pub(super) fn below(self, version: &Version, level: usize) -> usize {
        let next = (level + 1).max(self.base_level);
        (level + 1..next).find(|level| !version.run(*level).is_empty()).unwrap_or(next)
    }

    /// Per mille of what a level may hold.
    fn score(self, version: &Version, level: usize) -> u64 {
        let bytes = version.level_bytes(level);
        match level {
            // The last level takes what comes.
            LEVELS => 0,
            _ if level < self.base_level => 1001 * u64::from(bytes > 0),
            _ => bytes.saturating_mul(1000) / self.bytes(level).max(1),
        }
    }
}

/// Tables to merge into a level.
#[derive(Debug)]
pub(crate) struct Compaction {
    /// Newest first.
    pub(crate) upper: Vec<Run>,
    pub(crate) lower: Run,
    pub(crate) target: usize,
    pub(crate) depth: Depth,
    pub(crate) action: Action,
}

/// What a compaction does with its tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Merges them.
    Merge,
    /// Moves the references: nothing has to be merged.
    Move,
    /// Drops the references: nothing is left.
    Drop,
}

impl Compaction {
    /// Every table that goes in.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Arc<TableFile>> {
        self.upper.iter().flatten().chain(&self.lower)
    }
}

/// The most urgent compaction, if any is due.
pub(crate) fn pick(version: &Version, targets: LevelTargets) -> Option<Compaction> {
    let level0 = level0::pick(version, targets);
    let (score, level) =
        (1..=LEVELS).map(|level| (targets.score(version, level), level)).max_by_key(|(score, _)| *score)?;
    match level0 {
        Some((level0, compaction)) if level0 >= score => Some(compaction),
        _ if score >= 1000 => Some(into(version, cheapest(version, level)?, level, targets)),
        _ => level0::tier(version),
    }
}

/// Bytes of compaction that the targets ask for: what a growing debt shows in.
pub(crate) fn debt_bytes(version: &Version, targets: LevelTargets) -> u64 {
    let over = |level| version.level_bytes(level).saturating_sub(targets.bytes(level));
    let deeper: u64 = (targets.base_level..LEVELS).map(over).sum();
    let stranded: u64 = (1..targets.base_level).map(|level| version.level_bytes(level)).sum();
    level0::debt_bytes(version, targets) + deeper + stranded
}

/// The table of a level that drags in the fewest bytes for its own.
fn cheapest(version: &Version, level: usize) -> Option<Run> {
    let cost = |file: &&Arc<TableFile>| {
        let below = version.overlapping(level + 1, file.keys());
        let dragged: u64 = below.iter().map(|f| f.shown_bytes()).sum();
        dragged.saturating_mul(1000) / file.shown_bytes().max(1)
    };
    version.run(level).iter().min_by_key(cost).map(|file| vec![Arc::clone(file)])
}

pub(super) fn hull<'a>(files: impl IntoIterator<Item = &'a Arc<TableFile>>) -> Option<KeyRange> {
    let mut files = files.into_iter();
    let mut hull = files.next()?.keys().clone();
    files.for_each(|file| hull.extend(file.keys()));
    Some(hull)
}

/// The compaction of tables of a level below level 0 into the next one.
pub(super) fn into(version: &Version, upper: Run, level: usize, targets: LevelTargets) -> Compaction {
    let target = targets.below(version, level);
    if let Some(moved) = moved(version, &upper, level, target) {
        return moved;
    }
    let mut keys = hull(&upper).unwrap_or_default();
    let lower = version.overlapping(target, &keys);
    if let Some(lower) = hull(&lower) {
        keys.extend(&lower);
    }
    let depth = depth(version, target, &keys);
    Compaction { upper: vec![upper], lower, target, depth, action: Action::Merge }
}

/// The move of a run to `target` or as deep as nothing is in the way, if nothing is.
pub(super) fn moved(version: &Version, upper: &Run, level: usize, target: usize) -> Option<Compaction> {
    let free = |level: usize| !version.run(level).iter().any(|file| touches(upper, file));
    let deepest = (level + 1..=LEVELS).take_while(|level| free(*level)).last();
    let target = deepest.filter(|deepest| *deepest >= target)?;
    let (upper, lower) = (vec![upper.clone()], Run::new());
    Some(Compaction { upper, lower, target, depth: Depth::Middle, action: Action::Move })
}

/// The compaction of tables of a level below level 0 into themselves.
pub(super) fn in_place(version: &Version, lower: Run, level: usize) -> Compaction {
    let depth = depth(version, level, &hull(&lower).unwrap_or_default());
    Compaction { upper: Vec::new(), lower, target: level, depth, action: Action::Merge }
}

pub(super) fn depth(version: &Version, target: usize, keys: &KeyRange) -> Depth {
    let mut deeper = (target + 1..=LEVELS).flat_map(|level| overlapping(version.run(level), keys));
    if deeper.next().is_some() { Depth::Middle } else { Depth::Bottom }
}

/// Whether any table of the run overlaps `file`.
fn touches(run: &Run, file: &TableFile) -> bool {
    run.iter().any(|own| own.keys().overlaps(file.keys()))
}

/// Whether no two tables of the runs overlap.
pub(super) fn apart(runs: &[Run]) -> bool {
    let mut files: Vec<_> = runs.iter().flatten().collect();
    files.sort_unstable_by(|a, b| a.keys().start.cmp(&b.keys().start));
    files.is_sorted_by(|a, b| !a.keys().overlaps(b.keys()))
}
