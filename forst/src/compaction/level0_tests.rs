//! Level 0 on versions that are made by hand, or at random: what is due, and what is left.
use std::sync::Arc;

use proptest::prelude::*;

use super::{Action, Compaction, LEVEL0_STOP, LevelTargets, pick};
use crate::expiry::Ages;
use crate::key_range::KeyRange;
use crate::table::{FileId, FileMeta, Held, KeepAll, TableFile};
use crate::version::{LEVELS, Run, Version, VersionEdit, table_of};

fn file(id: u64, start: u8, end: u8, size_bytes: u64) -> Arc<TableFile> {
    let meta = FileMeta {
        size_bytes,
        tail_bytes: 0,
        keys: KeyRange::new(&[start], &[end]),
        entries: size_bytes / 100,
        deletes: 0,
        deleted_ranges: 0,
        content_hash: 0,
        ages: Ages::default(),
    };
    let held = Held::new(&id.to_string(), Arc::new(KeepAll));
    Arc::new(TableFile::new(FileId(id), meta, KeyRange::default(), held))
}

/// Runs of level 0 over all keys, above a last level of ten tables.
fn version(runs: u64, run_bytes: u64, table_bytes: u64) -> Version {
    let level0 = (0..runs).map(|run| vec![file(100 + run, 0, 100, run_bytes)]).collect();
    let mut version = Version { level0, ..Version::default() };
    version.levels[LEVELS - 1] =
        (0..10).map(|at| file(at, at as u8 * 10, at as u8 * 10 + 9, table_bytes)).collect();
    version
}

fn targets(version: &Version) -> LevelTargets {
    LevelTargets::of(version, 1 << 30, 2000)
}

fn after(version: &Version, compaction: &Compaction, next_id: u64) -> Version {
    let written = file(next_id, 0, 0, 0);
    let keys = compaction.inputs().fold(None, |keys: Option<KeyRange>, file| {
        let mut keys = keys.unwrap_or_else(|| file.keys().clone());
        keys.extend(file.keys());
        Some(keys)
    });
    let mut meta = written.meta.clone();
    meta.keys = keys.unwrap_or_default();
    meta.size_bytes = compaction.inputs().map(|file| file.shown_bytes()).sum();
    let held = Held::new("written", Arc::new(KeepAll));
    let written = Arc::new(TableFile::new(FileId(next_id), meta, KeyRange::default(), held));
    let removed = compaction.inputs().cloned().collect();
    let mut edit = VersionEdit { removed, ..VersionEdit::default() };
    match (compaction.action, compaction.target) {
        (Action::Move, target) => {
            edit.added = compaction.inputs().map(|file| (target, Arc::clone(file))).collect();
        }
        (_, 0) => edit.merged = vec![written],
        (_, target) => edit.added = vec![(target, written)],
    }
    edit.apply(version)
}

#[test]
fn level_0_grows_to_its_share_of_what_lies_under_it() {
    let due = |runs, run_bytes| {
        let version = version(runs, run_bytes, 1000);
        pick(&version, targets(&version)).is_some()
    };
    assert!(!due(3, 10_000), "three runs are not worth it, whatever they hold");
    assert!(!due(4, 700), "2,800 bytes over 10,000");
    assert!(due(4, 760), "3,040 bytes over 10,000");
    assert!(!due(15, 100) && due(15, 210));
}

#[test]
fn tombstones_count_as_much_as_they_hide() {
    let due = |deletes: u64, ranges: u64| {
        let mut version = version(4, 100, 1000);
        for run in &mut version.level0 {
            let mut meta = run[0].meta.clone();
            (meta.deletes, meta.deleted_ranges) = (deletes, ranges);
            let held = Held::new("deletes", Arc::new(KeepAll));
            run[0] = Arc::new(TableFile::new(run[0].id, meta, KeyRange::default(), held));
        }
        pick(&version, targets(&version)).is_some()
    };
    assert!(!due(0, 0) && !due(6, 0), "2,800 bytes of 10,000 are dead");
    assert!(due(7, 0), "3,200 bytes of 10,000 are dead");
    assert!(due(0, 1), "a range is taken to hide a few");
}

#[test]
fn runs_of_nothing_but_deleted_ranges_count_as_much_as_they_hide() {
    let due = |ranges: u64| {
        let mut version = version(4, 0, 1000);
        for run in &mut version.level0 {
            let meta =
                FileMeta { size_bytes: 300, tail_bytes: 300, deleted_ranges: ranges, ..run[0].meta.clone() };
            let held = Held::new("ranges", Arc::new(KeepAll));
            run[0] = Arc::new(TableFile::new(run[0].id, meta, KeyRange::default(), held));
        }
        pick(&version, targets(&version)).is_some()
    };
    assert!(due(1) && !due(0));
}

#[test]
fn a_slice_cuts_no_table_of_the_level_below_and_leaves_the_rest_of_level_0() {
    let before = version(4, 1000, 1000);
    let slice = pick(&before, targets(&before)).unwrap();
    assert_eq!(slice.lower.iter().map(|file| file.id.0).collect::<Vec<_>>(), [0, 1], "the first of equals");
    assert!(slice.upper.iter().flatten().all(|file| *file.keys() == KeyRange::new(&[0], &[20])));
    assert_eq!(slice.inputs().map(|file| file.shown_bytes()).sum::<u64>(), 2000 + 4 * 500, "half is a guess");
    let after = after(&before, &slice, 500);
    assert!(after.level0.iter().flatten().all(|file| *file.keys() == KeyRange::new(&[20], &[100])));
    assert_eq!(stack(&after, 5), [500]);
    assert_eq!(stack(&after, 25), [100, 101, 102, 103, 2]);
}

#[test]
fn the_slice_that_has_most_over_it_goes_first() {
    let mut version = version(3, 100, 1000);
    version.level0.insert(0, vec![file(200, 45, 55, 1000)]);
    let slice = pick(&version, targets(&version)).unwrap();
    assert_eq!(slice.lower.iter().map(|file| file.id.0).collect::<Vec<_>>(), [4, 5]);
}

#[test]
fn runs_of_a_size_are_merged_where_level_0_is_far_below_its_share() {
    let mut before = version(17, 100, 1_000_000);
    before.level0.insert(3, vec![file(300, 0, 100, 5000)]);
    assert!(pick(&before, targets(&before)).is_none(), "three runs and fourteen, with a large one between");
    before.level0.push(vec![file(301, 0, 100, 100)]);
    before.level0.push(vec![file(302, 0, 100, 150)]);
    before.level0.push(vec![file(303, 0, 100, 9000)]);
    let tier = pick(&before, targets(&before)).unwrap();
    assert_eq!((tier.target, tier.upper.len()), (0, 16));
    let after = after(&before, &tier, 500);
    let runs: Vec<_> = after.level0.iter().map(|run| run[0].id.0).collect();
    assert_eq!(runs, [100, 101, 102, 300, 500, 303], "in the place of the newest");
}

#[test]
fn before_level_0_stops_writes_something_is_due_whatever_the_sizes_of_its_runs() {
    // No two neighbours are of a size, and all of them are far below their share of the level below.
    let mut before = version(0, 0, 1_000_000);
    let run = |at: u64| vec![file(100 + at, 0, 100, if at.is_multiple_of(2) { 100 } else { 1000 + at })];
    before.level0 = (0..23).map(run).collect();
    assert!(pick(&before, targets(&before)).is_none(), "there is room");
    before.level0 = (0..LEVEL0_STOP as u64).map(run).collect();
    for next_id in 500.. {
        let Some(crowd) = pick(&before, targets(&before)) else { break };
        assert_eq!((crowd.target, crowd.upper.len()), (0, 16));
        before = after(&before, &crowd, next_id);
    }
    assert!(before.level0.len() < 24, "{} runs", before.level0.len());
    // Runs that have nothing to do with each other, but with the level below.
    before.level0 = (0..LEVEL0_STOP as u64).map(|at| vec![file(100 + at, at as u8, at as u8, 100)]).collect();
    assert!(pick(&before, targets(&before)).is_some());
}

#[test]
fn the_oldest_run_sinks_where_it_meets_nothing_whatever_is_newer() {
    let mut version = version(0, 0, 1000);
    version.level0 =
        (0..4).map(|run| vec![file(100 + run, 130 - run as u8 * 2, 139 - run as u8 * 2, 10)]).collect();
    let moved = pick(&version, targets(&version)).unwrap();
    assert_eq!((moved.action, moved.target, moved.upper.len()), (Action::Move, LEVELS, 1));
    assert_eq!(moved.upper[0][0].id.0, 103, "the oldest");
}

/// What a key's newest to oldest tables are, by file.
fn stack(version: &Version, key: u8) -> Vec<u64> {
    version.runs().filter_map(|run| table_of(run, &[key])).map(|file| file.id.0).collect()
}

proptest! {
    #[test]
    fn whatever_is_picked_takes_a_key_s_newer_tables_along_and_loses_none(
        runs in proptest::collection::vec(proptest::collection::btree_set(0_u8..60, 2..8), 0..22),
        lower in proptest::collection::btree_set(0_u8..60, 2..12),
        run_bytes in 1_u64..3000,
    ) {
        let run = |bounds: &std::collections::BTreeSet<u8>, first: u64| -> Run {
            let bounds: Vec<u8> = bounds.iter().copied().collect();
            let pairs = bounds.chunks_exact(2).zip(first..);
            pairs.map(|(pair, id)| file(id, pair[0], pair[1], run_bytes)).collect()
        };
        let mut now = Version {
            level0: runs.iter().zip(1..).map(|(bounds, at)| run(bounds, at * 100)).collect(),
            ..Version::default()
        };
        now.levels[LEVELS - 1] = run(&lower, 10);
        for next_id in 10_000..10_100 {
            let Some(compaction) = pick(&now, targets(&now)) else { break };
            let next = after(&now, &compaction, next_id);
            for key in 0..60 {
                let (old, new) = (stack(&now, key), stack(&next, key));
                let taken: Vec<u64> = compaction
                    .inputs()
                    .filter(|file| file.keys().contains(&[key]))
                    .map(|file| file.id.0)
                    .collect();
                let left: Vec<u64> = old.iter().copied().filter(|id| !taken.contains(id)).collect();
                if compaction.action == Action::Move {
                    prop_assert_eq!(&new, &old, "key {}", key);
                    continue;
                }
                let kept: Vec<u64> = new.iter().copied().filter(|id| *id != next_id).collect();
                prop_assert_eq!(&kept, &left, "key {}", key);
                // What is written stands where the newest that went in stood.
                if let Some(place) = old.iter().position(|id| taken.contains(id)) {
                    prop_assert_eq!(new.iter().position(|id| *id == next_id), Some(place), "key {}", key);
                    prop_assert_eq!(&old[place..place + taken.len()], taken.as_slice(), "key {}", key);
                }
            }
            now = next;
        }
    }
}
