//! What to compact next: `Version → Option<Compaction>`, with no state of its own.
//!
//! Leveled: level 0 by its number of tables, the others by bytes against targets that grow tenfold. From a level that
//! is too large, the table that drags in the fewest bytes of the next one goes first, which also spreads the work over
//! the key space (`RocksDB` calls it `kMinOverlappingRatio`).
use std::sync::Arc;

use crate::scan::Depth;
use crate::table::TableFile;
use crate::version::{LEVELS, Version};

/// Tables in level 0 that make it worth compacting.
const LEVEL0_START: usize = 4;
/// Tables in level 0 at which no new records are admitted: each costs every read a filter probe.
pub(crate) const LEVEL0_STOP: usize = 24;
/// The factor between the targets of two levels.
const LEVEL_FACTOR: u64 = 10;

/// How large the levels should be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LevelTargets {
    pub(crate) level1_bytes: u64,
}

impl LevelTargets {
    fn bytes(self, level: usize) -> u64 {
        self.level1_bytes.saturating_mul(LEVEL_FACTOR.saturating_pow(level as u32 - 1))
    }
}

/// Tables to merge into a level.
#[derive(Debug)]
pub(crate) struct Compaction {
    /// Newest first; those of one deeper level in key order behind each other.
    pub(crate) upper: Vec<Arc<TableFile>>,
    /// Whether `upper` is of level 0, whose tables overlap each other.
    pub(crate) from_level0: bool,
    pub(crate) lower: Vec<Arc<TableFile>>,
    pub(crate) target: usize,
    pub(crate) depth: Depth,
}

impl Compaction {
    /// Whether moving the references is enough.
    pub(crate) fn is_trivial_move(&self) -> bool {
        self.lower.is_empty() && self.upper.len() == 1
    }
}

/// The most urgent compaction, if any is due.
pub(crate) fn pick(version: &Version, targets: LevelTargets) -> Option<Compaction> {
    // Scores are per mille of what a level may hold.
    let level0 = version.level0.len() as u64 * 1000 / LEVEL0_START as u64;
    let deeper = (1..LEVELS).map(|level| {
        let bytes: u64 = version.level(level).iter().map(|file| file.data_bytes()).sum();
        (bytes.saturating_mul(1000) / targets.bytes(level), level)
    });
    let (score, level) = deeper.chain([(level0, 0)]).max_by_key(|(score, _)| *score)?;
    if score < 1000 {
        return None;
    }
    if level == 0 { Some(of_level0(version)) } else { of_level(version, level) }
}

fn bounds(files: &[Arc<TableFile>]) -> Option<(Vec<u8>, Vec<u8>)> {
    let lower = files.iter().map(|file| file.lower()).min()?;
    let upper = files.iter().map(|file| file.meta.largest.as_slice()).max()?;
    Some((lower.to_vec(), upper.to_vec()))
}

fn of_level0(version: &Version) -> Compaction {
    with_lower(version, version.level0.clone(), 0)
}

fn of_level(version: &Version, level: usize) -> Option<Compaction> {
    let cost = |file: &&Arc<TableFile>| {
        let below = version.overlapping(level + 1, file.lower(), &file.meta.largest);
        let dragged: u64 = below.iter().map(|f| f.data_bytes()).sum();
        dragged.saturating_mul(1000) / file.data_bytes().max(1)
    };
    let file = version.level(level).iter().min_by_key(cost)?;
    Some(with_lower(version, vec![Arc::clone(file)], level))
}

fn with_lower(version: &Version, upper: Vec<Arc<TableFile>>, level: usize) -> Compaction {
    let target = level + 1;
    let (first, last) = bounds(&upper).unwrap_or_default();
    let lower = version.overlapping(target, &first, &last);
    let (low, high) = bounds(&lower).unwrap_or_else(|| (first.clone(), last.clone()));
    let (low, high) = (low.min(first), high.max(last));
    let deeper =
        (target + 1..=LEVELS).any(|l| version.level(l).iter().any(|file| file.overlaps(&low, &high)));
    let depth = if deeper { Depth::Middle } else { Depth::Bottom };
    Compaction { upper, from_level0: level == 0, lower, target, depth }
}
