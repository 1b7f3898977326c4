//! The pickers on versions that are made by hand.
use std::sync::Arc;

use super::{Action, Aging, Compaction, LevelTargets, collect_garbage, garbage_of, pick};
use crate::expiry::tests::Ten;
use crate::expiry::{Ages, ClassAge};
use crate::key_range::KeyRange;
use crate::scan::Depth;
use crate::table::{FileId, FileMeta, Held, KeepAll, TableFile};
use crate::values::{ValueFile, ValueMeta, ValueShare};
use crate::version::{LEVELS, Version, VersionEdit};

/// A table of ten entries, all of class 1 and updated at zero: it expires at ten, and hides nothing.
struct Table {
    keys: (u8, u8),
    size_bytes: u64,
    meta: fn(&mut FileMeta),
}

const BARE: Table = Table { keys: (0, 9), size_bytes: 1000, meta: |_| () };

fn with(meta: fn(&mut FileMeta)) -> Table {
    Table { meta, ..BARE }
}

fn file(id: u64, table: &Table) -> Arc<TableFile> {
    let mut meta = FileMeta {
        size_bytes: table.size_bytes,
        tail_bytes: 0,
        keys: KeyRange::new(&[table.keys.0], &[table.keys.1]),
        entries: 10,
        deletes: 0,
        deleted_ranges: 0,
        content_hash: 0,
        ages: Ages {
            expiring: 10,
            classes: vec![ClassAge { class: 1, updated_millis: 0, raw_bytes: 1000 }],
            operands_since_millis: None,
            raw_bytes: 1000,
        },
    };
    (table.meta)(&mut meta);
    let held = Held::new(&id.to_string(), Arc::new(KeepAll));
    Arc::new(TableFile::new(FileId(id), meta, KeyRange::default(), held))
}

/// Tables with their levels; those of level 0 are runs of their own, newest first. Ids are the places in the list.
fn version(tables: &[(usize, Table)]) -> Version {
    let mut version = Version::default();
    for (id, (level, table)) in tables.iter().enumerate() {
        let file = file(id as u64, table);
        match level.checked_sub(1) {
            None => version.level0.push(vec![file]),
            Some(index) => version.levels[index].push(file),
        }
    }
    version
}

fn ids(compaction: &Compaction) -> Vec<u64> {
    let mut ids: Vec<_> = compaction.inputs().map(|file| file.id.0).collect();
    ids.sort_unstable();
    ids
}

fn aging(ten: &Ten) -> Aging<'_> {
    Aging { expiry: ten, now_millis: ten.now, memtables_since_millis: ten.now }
}

fn dropped(version: &Version, now: u64) -> Vec<u64> {
    let ten = Ten { now };
    aging(&ten).drop_expired(version).map_or_else(Vec::new, |compaction| {
        assert_eq!(compaction.action, Action::Drop);
        ids(&compaction)
    })
}

fn lasts(meta: &mut FileMeta) {
    meta.entries += 1;
    meta.ages.raw_bytes = 100_000;
}

/// Much of which lasts, but not so much.
fn lasts_in_part(meta: &mut FileMeta) {
    meta.entries += 1;
    meta.ages.raw_bytes = 4000;
}

fn has_deletes(meta: &mut FileMeta) {
    (meta.entries, meta.deletes) = (11, 1);
}

fn has_ranges(meta: &mut FileMeta) {
    meta.deleted_ranges = 1;
}

/// What hides something even when it has expired.
fn leaves_tombstones(meta: &mut FileMeta) {
    meta.ages.classes[0].class = 9;
}

fn only_tombstones(meta: &mut FileMeta) {
    meta.deletes = meta.entries;
    meta.ages = Ages::default();
}

#[test]
fn a_table_is_dropped_when_its_last_entry_has_expired_and_not_before() {
    let two = version(&[(2, BARE), (6, with(|meta| meta.ages.classes[0].updated_millis = 5))]);
    assert!(dropped(&two, 9).is_empty());
    assert_eq!(dropped(&two, 10), [0]);
    assert_eq!(dropped(&two, 15), [0, 1]);
    let ten = Ten { now: 9 };
    assert_eq!(aging(&ten).next_millis(&two), Some(10));
    let ten = Ten { now: 10 };
    assert_eq!(aging(&ten).next_millis(&two), Some(15), "the one that has expired by now is not awaited");
    let lasting = version(&[(2, with(lasts)), (6, with(|meta| meta.ages.classes[0].class = 0))]);
    assert!(dropped(&lasting, 1000).is_empty());
    assert_eq!(aging(&ten).next_millis(&lasting), None);
}

#[test]
fn a_table_that_hides_something_is_dropped_only_with_all_that_it_may_hide() {
    for hides in [has_deletes, has_ranges, leaves_tombstones, only_tombstones] {
        let beside = Table { keys: (9, 12), ..with(lasts) };
        assert_eq!(
            dropped(&version(&[(3, with(hides)), (6, beside)]), 10),
            [0],
            "nothing lies under its keys"
        );
        let over_lasting = version(&[(3, with(hides)), (6, with(lasts))]);
        assert!(dropped(&over_lasting, 10).is_empty());
        assert!(dropped(&version(&[(0, with(hides)), (0, with(lasts))]), 10).is_empty(), "in level 0");
        assert_eq!(
            dropped(&version(&[(0, with(hides)), (4, with(hides)), (6, BARE)]), 10),
            [0, 1, 2],
            "a stack"
        );
    }
    assert_eq!(dropped(&version(&[(3, BARE), (6, with(lasts))]), 10), [0], "what hides nothing goes at once");
}

#[test]
fn newer_operands_keep_an_older_table_they_may_prolong() {
    // `Ten` judges by now alone, so ask for the moment.
    let ten = Ten { now: 100 };
    let operands = |meta: &mut FileMeta| meta.ages.operands_since_millis = Some(40);
    let older = |meta: &mut FileMeta| meta.ages.operands_since_millis = Some(20);
    let stack = version(&[(0, with(older)), (3, with(operands)), (5, BARE), (6, BARE)]);
    let merge = |upper: u64, level: usize, target: usize| {
        let file = |level: usize| Arc::clone(&stack.run(level)[0]);
        assert_eq!(file(level).id, FileId(upper));
        let (upper, lower) = (vec![vec![file(level)]], vec![file(target)]);
        Compaction { upper, lower, target, depth: Depth::Bottom, action: Action::Merge }
    };
    let moment = |compaction: &Compaction| aging(&ten).moment_of(&stack, compaction);
    assert_eq!(moment(&merge(2, 5, 6)).horizon_millis, 20, "level 0 has the first operand");
    assert_eq!(moment(&merge(1, 3, 5)).horizon_millis, 20);
    let all = Compaction { upper: stack.level0.clone(), ..merge(1, 3, 5) };
    assert_eq!(moment(&all).horizon_millis, 40, "what is merged as well is seen");
    let since = Aging { memtables_since_millis: 7, ..aging(&ten) };
    assert_eq!(since.moment_of(&stack, &all).horizon_millis, 7, "a memtable has operands too");
    assert_eq!(since.moment_of(&stack, &all).now_millis, 100);

    // A merge may take one part of a table and leave another, over the same keys of the level below.
    let part = |keys: (u8, u8)| file(7, &Table { keys, ..with(operands) });
    let mut apart = version(&[(3, Table { keys: (0, 9), ..BARE })]);
    apart.levels[1] = vec![part((0, 3)), part((6, 9))];
    let (upper, lower) = (vec![vec![Arc::clone(&apart.levels[1][0])]], apart.levels[2].clone());
    let one = Compaction { upper, lower, target: 3, depth: Depth::Bottom, action: Action::Merge };
    assert_eq!(aging(&ten).moment_of(&apart, &one).horizon_millis, 40, "the other part is not merged");

    // Or of a reference what lies above some tables of that level.
    apart.levels[1] = vec![part((0, 9))];
    let clipped = apart.levels[1][0].within(&KeyRange::new(&[2], &[5])).unwrap();
    let inside = Compaction { upper: vec![vec![clipped]], lower: Vec::new(), ..one };
    assert_eq!(
        aging(&ten).moment_of(&apart, &inside).horizon_millis,
        100,
        "nothing is left between these keys"
    );
}

#[test]
fn an_expired_table_that_cannot_be_dropped_is_merged_into_what_it_hides() {
    let ten = Ten { now: 10 };
    let targets = |version: &Version| LevelTargets::of(version, 1 << 30, 1 << 20);
    let stack = version(&[(3, with(has_deletes)), (6, with(lasts))]);
    let rewrite = aging(&ten).rewrite_expired(&stack, targets(&stack)).unwrap();
    assert_eq!((rewrite.action, ids(&rewrite), rewrite.target), (Action::Merge, vec![0, 1], 6));
    assert_eq!(rewrite.depth, Depth::Bottom);
    let runs = version(&[(0, with(lasts)), (0, with(leaves_tombstones)), (6, with(lasts))]);
    let rewrite = aging(&ten).rewrite_expired(&runs, targets(&runs)).unwrap();
    assert_eq!(ids(&rewrite), [0, 1, 2], "level 0 goes as a whole");
    let mixed = version(&[(3, with(lasts_in_part)), (6, with(lasts))]);
    let rewrite = aging(&ten).rewrite_expired(&mixed, targets(&mixed)).unwrap();
    assert_eq!((rewrite.action, ids(&rewrite), rewrite.target), (Action::Merge, vec![0], 3), "in place");
    assert_eq!(rewrite.depth, Depth::Middle);
    let early = Ten { now: 9 };
    assert!(aging(&early).rewrite_expired(&mixed, targets(&mixed)).is_none());
    assert_eq!(aging(&early).next_millis(&mixed), Some(10));
    for quiet in [only_tombstones, lasts] {
        let stack = version(&[(3, with(quiet)), (6, with(lasts))]);
        assert!(aging(&ten).rewrite_expired(&stack, targets(&stack)).is_none(), "nothing has expired");
    }
}

#[test]
fn nothing_is_merged_past_a_level_that_holds_something() {
    // The base level was 4 while the last one was large; now that it has shrunk, it is 6.
    let mut tables: Vec<_> = (0..5).map(|_| (0, BARE)).collect();
    tables.extend([(4, BARE), (LEVELS, BARE)]);
    let version = version(&tables);
    let compaction = pick(&version, LevelTargets::of(&version, 1 << 20, 1 << 20)).unwrap();
    assert_eq!((ids(&compaction), compaction.target), ((0..6).collect(), 4));
}

/// A value file of ten thousand bytes.
fn value_file(id: u64) -> Arc<ValueFile> {
    let file = ValueFile::new(FileId(id), Held::new(&format!("{id}.val"), Arc::new(KeepAll)));
    file.end(ValueMeta { size_bytes: 10_100, data_bytes: 10_000, content_hash: 1 });
    Arc::new(file)
}

/// A table with an id and a size that points to so many bytes of a value file.
fn pointing(id: u64, size_bytes: u64, values: &[(&Arc<ValueFile>, u64)]) -> Arc<TableFile> {
    let share = |(file, bytes): &(&Arc<ValueFile>, u64)| ValueShare {
        file: Arc::clone(file),
        values: 1,
        bytes: *bytes,
    };
    let keys = (id as u8, id as u8 + 1);
    let table = Arc::into_inner(file(id, &Table { keys, size_bytes, meta: |_| () })).unwrap();
    Arc::new(table.with_values(values.iter().map(share).collect()))
}

fn at_level(level: usize, tables: Vec<Arc<TableFile>>) -> Version {
    let edit = match level {
        0 => VersionEdit { flushed: tables, ..VersionEdit::default() },
        _ => VersionEdit {
            added: tables.into_iter().map(|table| (level, table)).collect(),
            ..VersionEdit::default()
        },
    };
    edit.apply(&Version::default())
}

#[test]
fn a_table_is_rewritten_for_the_garbage_of_its_values_where_that_pays() {
    let targets = |version: &Version| LevelTargets::of(version, 1 << 30, 1 << 30);
    let collected = |version: &Version| {
        let compaction = collect_garbage(version, targets(version), 30)?;
        let garbage = garbage_of(version, &compaction, 30);
        Some((ids(&compaction), garbage.into_iter().map(|file| file.0).collect::<Vec<_>>()))
    };
    let old = value_file(100);
    let one = |live, size| at_level(5, vec![pointing(1, size, &[(&old, live)])]);
    assert_eq!(collected(&one(7001, 10)), None, "less than three tenths are garbage");
    assert_eq!(collected(&one(7000, 10)), None, "the table's own bytes are too many for that");
    assert_eq!(collected(&one(4000, 1000)), Some((vec![1], vec![100])));
    assert_eq!(collected(&one(4000, 20_000)), None, "6,000 bytes are not worth writing 24,000");
    // Two tables share the garbage; the one that has more of the values goes first, and what is no garbage stays.
    let new = value_file(101);
    let both = |new_live| {
        vec![
            pointing(1, 500, &[(&old, 500), (&new, new_live)]),
            pointing(2, 500, &[(&old, 1500), (&new, 10_000 - new_live)]),
        ]
    };
    assert_eq!(collected(&at_level(5, both(3000))), Some((vec![2], vec![100])));
    assert_eq!(collected(&at_level(0, both(3000))).map(|(ids, _)| ids), Some(vec![2]), "a slice of level 0");
}

#[test]
fn what_lives_of_a_value_file_is_what_tables_point_to() {
    let values = value_file(100);
    let (one, two) = (pointing(1, 10, &[(&values, 4000)]), pointing(2, 10, &[(&values, 5000)]));
    let garbage = |version: &Version| Some(version.values.get(FileId(100))?.garbage_bytes());
    let version = at_level(0, vec![Arc::clone(&one), Arc::clone(&two)]);
    assert_eq!(garbage(&version), Some(1000));
    let moved = VersionEdit {
        added: vec![(3, Arc::clone(&one))],
        removed: vec![Arc::clone(&one)],
        ..VersionEdit::default()
    };
    let version = moved.apply(&version);
    assert_eq!(garbage(&version), Some(1000), "a move takes nothing away");
    let without =
        |table: &Arc<TableFile>| VersionEdit { removed: vec![Arc::clone(table)], ..VersionEdit::default() };
    let version = without(&two).apply(&version);
    assert_eq!(garbage(&version), Some(6000));
    assert_eq!(garbage(&without(&one).apply(&version)), None, "nobody points to it");
}
