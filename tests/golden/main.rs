//! Golden files: what released builds wrote still opens, reads as it was meant, and goes on.
//!
//! `vN` below this folder is a generation: a store as the build of that time wrote it (`README.md` there says which formats
//! it has). To add one after a format has changed: `ALLUVIUM_GOLDEN=vN cargo test --test golden the_golden_store`, then add
//! it to [`GENERATIONS`]. A generation that is there is never written again.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]
mod content;
mod world;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use alluvium::checkpoint::RetainedCheckpoints;
use alluvium::forst::inspect::verify_table;
use alluvium::forst::{Compression, ForstSettings};
use alluvium::state_api::{CheckpointId, MaxParallelism};
use bytes::Bytes;

use content::{PAUSE, READ_AFTER, expected, key_of};
use world::{INPUTS, SOURCE, World, copy, shape, within};

/// What is below this folder; older builds wrote all but the last.
const GENERATIONS: [&str; 7] = ["v1", "v2", "v3", "v4", "v5", "v6", "v7"];
/// Those that were written before there was operator state.
const WITHOUT_OPERATOR_STATE: [&str; 3] = ["v1", "v2", "v3"];

fn golden(generation: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(generation)
}

/// Has this build write a store: the first half with LZ4, the other with Zstandard and manifests by page.
fn write(folder: &Path) {
    let half = |compression| ForstSettings { compression, ..ForstSettings::default() };
    let paged = ForstSettings { paged_tables: 2, ..half(Compression::Zstd { level: 1 }) };
    let halves = [half(Compression::Lz4), paged];
    World::open(folder, Duration::ZERO).write(halves);
}

/// Copies of all golden stores, and of one that this build has written.
fn worlds() -> impl Iterator<Item = (String, tempfile::TempDir)> {
    let copied = GENERATIONS.iter().map(|generation| {
        let folder = tempfile::tempdir().unwrap();
        copy(&golden(generation), folder.path());
        ((*generation).to_owned(), folder)
    });
    let own = std::iter::once_with(|| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path());
        ("this build".to_owned(), folder)
    });
    copied.chain(own)
}

fn shown(found: &BTreeMap<Vec<u8>, Vec<u8>>) -> Vec<(String, String)> {
    let short = |bytes: &[u8]| bytes[..bytes.len().min(40)].escape_ascii().to_string();
    found.iter().map(|(key, value)| (short(key), format!("{} {}", value.len(), short(value)))).collect()
}

#[test]
fn the_golden_store_of_this_build_is_written() {
    let Some(generation) = std::env::var_os("ALLUVIUM_GOLDEN") else { return };
    let folder = golden(generation.to_str().unwrap());
    assert!(!folder.exists(), "{} is there already", folder.display());
    write(&folder);
}

#[test]
fn every_checkpoint_of_every_generation_reads_as_it_was_meant_at_any_parallelism() {
    for (generation, folder) in worlds() {
        let world = World::open(folder.path(), READ_AFTER);
        let retained = RetainedCheckpoints::read(Arc::clone(&world.storage.store), &world.io).unwrap();
        assert_eq!(retained.all().len(), 2, "{generation}");
        let opened = world.checkpoints();
        let files = Arc::clone(opened.checkpoints.files());
        for (number, expected) in (1..).zip(expected(READ_AFTER)) {
            let checkpoint = retained.checkpoint(CheckpointId(number)).unwrap();
            checkpoint.check(&shape(2)).unwrap();
            assert_eq!(checkpoint.source, SOURCE);
            assert_eq!(
                (&checkpoint.subtasks[0].inputs[..], checkpoint.subtasks[0].inputs_count),
                (INPUTS, 1)
            );
            for (index, parallelism) in [(0, 1), (0, 3), (1, 3), (2, 3)] {
                let place = format!("{generation}, checkpoint {number}, subtask {index} of {parallelism}");
                let factory = world.factory(ForstSettings::default(), false);
                let mut subtask = world.subtask(
                    &factory,
                    (index, parallelism),
                    Some(checkpoint),
                    (opened.incarnation, Arc::clone(&files) as _),
                );
                let expected = within(&expected, subtask.key_groups);
                assert!(expected.len() > 20, "{place} has next to nothing");
                assert_eq!(shown(&subtask.get_all()), shown(&expected), "{place}, by keys");
                let scanned = subtask.scan();
                assert_eq!(shown(&scanned), shown(&expected), "{place}, by scan");
                assert!(scanned == expected, "{place} differs behind what is shown");
            }
        }
    }
}

#[test]
fn operator_states_of_every_generation_are_handed_out_as_they_were_meant() {
    for (generation, folder) in worlds() {
        let world = World::open(folder.path(), READ_AFTER);
        let opened = world.checkpoints();
        let latest = opened.latest().unwrap();
        let taken = |subtask, parallelism| {
            let parts = latest.operator_states_for(subtask, parallelism).unwrap();
            let text = |bytes: &[Bytes]| String::from_utf8(bytes.concat()).unwrap();
            let shown = parts.iter().map(|part| [part.name.clone(), text(&part.keys), text(&part.elements)]);
            shown.collect::<Vec<_>>()
        };
        if WITHOUT_OPERATOR_STATE.contains(&generation.as_str()) {
            assert!(taken(0, 1).is_empty(), "{generation}");
            continue;
        }
        let others = || [["workers", "", "firstsecond"], ["rules", "euus", "blockallow"]];
        let with = |offsets| [vec![["offsets", "", offsets]], others().to_vec()].concat();
        for (place, offsets) in [((0, 1), "abc"), ((0, 2), "ab"), ((1, 2), "c"), ((0, 4), "a"), ((2, 4), "c")]
        {
            assert_eq!(taken(place.0, place.1), with(offsets), "{generation}, subtask {place:?}");
        }
    }
}

#[test]
fn a_store_of_every_generation_goes_on_in_this_build() {
    for (generation, folder) in worlds() {
        let world = World::open(folder.path(), PAUSE);
        let opened = world.checkpoints();
        let files = Arc::clone(opened.checkpoints.files());
        let factory = world.factory(ForstSettings::default(), false);
        let latest = opened.latest().unwrap();
        let mut subtask =
            world.subtask(&factory, (0, 1), Some(latest), (opened.incarnation, Arc::clone(&files) as _));
        let mut expected = expected(PAUSE).pop().unwrap();
        assert!(expected.len() > 200, "{generation}: nothing has expired yet");
        let all: Vec<_> = expected.keys().cloned().collect();
        for (number, key) in all.iter().enumerate().filter(|(_, key)| key[3] == 0) {
            let value = format!("from this build {number}").into_bytes();
            subtask.backend.put(key, &value).unwrap();
            expected.insert(key.clone(), value);
        }
        subtask.backend.delete_prefix(&key_of(3, 0, None)).unwrap();
        expected.retain(|key, _| !key.starts_with(&key_of(3, 0, None)));
        subtask.flush();
        let snapshot = world.io.block_on(subtask.backend.snapshot(CheckpointId(9)).unwrap()).unwrap();
        let mut again = latest.clone();
        again.subtasks.truncate(1);
        again.subtasks[0].key_groups = snapshot.key_groups;
        again.subtasks[0].payload = snapshot.payload.clone();
        let mut again =
            world.subtask(&factory, (0, 1), Some(&again), (opened.incarnation + 1, Arc::clone(&files) as _));
        assert_eq!(shown(&again.scan()), shown(&expected), "{generation}");
    }
}

#[test]
fn every_table_of_every_generation_is_sound() {
    for (generation, folder) in worlds() {
        let mut tables = 0;
        let mut folders = vec![folder.path().join("store/state")];
        while let Some(folder) = folders.pop() {
            for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension() == Some("sst".as_ref()) {
                    let report = verify_table(&Bytes::from(fs::read(&path).unwrap()), &mut |_| ()).unwrap();
                    assert_eq!(report.findings, [], "{generation}: {}", path.display());
                    tables += 1;
                }
            }
        }
        assert!(tables > 0, "{generation} has no table");
    }
}

#[test]
fn the_disk_tier_of_every_generation_is_warm_or_left_alone() {
    for (generation, folder) in worlds() {
        let world = World::open(folder.path(), READ_AFTER);
        let opened = world.checkpoints();
        let files = Arc::clone(opened.checkpoints.files());
        let factory = world.factory(ForstSettings::default(), true);
        let place = (opened.incarnation, files as _);
        let mut subtask = world.subtask(&factory, (0, 2), Some(opened.latest().unwrap()), place);
        let expected = within(&expected(READ_AFTER)[1], MaxParallelism::DEFAULT.range_of(0, 2).unwrap());
        assert_eq!(shown(&subtask.get_all()), shown(&expected), "{generation}");
        let stats = subtask.backend.stats();
        assert!(stats.disk_hits > 0, "{generation}: {stats:?}");
    }
}
