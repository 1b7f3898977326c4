//! The disk tier: warm after a restart, within its limits, and never the reason for a wrong or missing answer.
use std::fs::{self, File};
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use alluvium_forst::{DiskCache, DiskLimits};
use object_store::memory::InMemory;

use super::world::{World, value_of};

const KEYS: u64 = 3000;
/// Several tables, but too few for a compaction, after which their mirrors would be forgotten.
const MANY: u64 = 9000;
const ROOMY: DiskLimits = DiskLimits { size_bytes: 64 << 20, min_free_bytes: 0 };

fn mirrors(cache: &Path) -> Vec<PathBuf> {
    let files = fs::read_dir(cache.join("alluvium-blocks-v2")).unwrap();
    files.map(|entry| entry.unwrap().path()).collect()
}

fn taken(cache: &Path) -> u64 {
    // One may be evicted meanwhile.
    mirrors(cache).iter().filter_map(|path| fs::metadata(path).ok()).map(|file| file.blocks() * 512).sum()
}

/// A world with a disk tier in `cache`.
fn world(cache: &Path) -> World {
    let mut world = World::new(Arc::new(InMemory::new()));
    world.disk = Some(DiskCache::open(cache, ROOMY).unwrap());
    world
}

/// Ends the process that uses the tier, and begins another.
fn restart(world: &mut World, cache: &Path) {
    // The runtime first: what it still runs holds the tier.
    let objects = Arc::clone(&world.objects);
    let settings = world.settings.clone();
    let old = std::mem::replace(world, World::new(objects));
    world.settings = settings;
    let disk = old.disk.clone().unwrap();
    drop(old);
    while Arc::strong_count(&disk) > 1 {
        std::thread::yield_now();
    }
    drop(disk);
    world.disk = Some(DiskCache::open(cache, ROOMY).unwrap());
}

#[test]
fn what_was_written_is_read_from_the_disk_and_still_is_after_a_restart() {
    let cache = tempfile::tempdir().unwrap();
    let mut world = world(cache.path());
    let restored = world.fill("first", KEYS, value_of);
    let warm = world.check_all("warm", &restored, KEYS, value_of);
    assert_eq!((warm.misses, warm.disk_hits > 10), (0, true), "flush and compaction write through: {warm:?}");
    restart(&mut world, cache.path());
    let restarted = world.check_all("restarted", &restored, KEYS, value_of);
    assert_eq!(
        (restarted.misses, restarted.disk_hits),
        (0, warm.disk_hits),
        "tails and blocks are found again"
    );
}

#[test]
fn what_was_read_once_is_on_the_disk_afterwards() {
    let cache = tempfile::tempdir().unwrap();
    let mut world = world(cache.path());
    let disk = world.disk.take();
    let restored = world.fill("first", KEYS, value_of);
    world.disk = disk;
    let cold = world.check_all("cold", &restored, KEYS, value_of);
    assert_eq!(cold.disk_hits, 0);
    restart(&mut world, cache.path());
    let warm = world.check_all("warm", &restored, KEYS, value_of);
    assert_eq!((warm.misses, warm.disk_hits), (0, cold.misses));
}

#[test]
fn other_state_under_the_same_names_is_never_answered_from_the_old_mirrors() {
    let cache = tempfile::tempdir().unwrap();
    let mut world = world(cache.path());
    let before = world.fill("same", KEYS, value_of);
    world.check_all("before", &before, KEYS, value_of);
    restart(&mut world, cache.path());
    world.objects = Arc::new(InMemory::new());
    // The same keys, and values of the same lengths: tables whose tails do not differ by a byte.
    let other = |key| value_of(key + 1_000_000);
    let disk = world.disk.take();
    let after = world.fill("same", KEYS, other);
    world.disk = disk;
    let counters = world.check_all("after", &after, KEYS, other);
    assert_eq!(counters.disk_hits, 0);
    world.check_all("after again", &after, KEYS, other);
}

/// What may happen to a cache between two processes, or under one.
fn damage(what: &str, cache: &Path) {
    for path in mirrors(cache) {
        let file = File::options().read(true).write(true).open(&path).unwrap();
        let length = file.metadata().unwrap().len();
        match what {
            "garbage in the blocks" => file.write_all_at(&vec![0x5A; length as usize - 4096], 4096).unwrap(),
            "garbage everywhere" => file.write_all_at(&vec![0x5A; length as usize], 0).unwrap(),
            "zeros" => file.write_all_at(&vec![0; length as usize - 4096], 4096).unwrap(),
            "a flipped bit in the header" => {
                let mut byte = [0];
                file.read_exact_at(&mut byte, 20).unwrap();
                file.write_all_at(&[byte[0] ^ 1], 20).unwrap();
            }
            "cut" => file.set_len(length / 2).unwrap(),
            "cut to nothing" => file.set_len(0).unwrap(),
            "cut and grown again" => {
                file.set_len(length / 2).unwrap();
                file.set_len(length).unwrap();
            }
            "gone" => fs::remove_file(&path).unwrap(),
            "blocks of other keys" => {
                let mut bytes = fs::read(&path).unwrap();
                let half = (bytes.len() - 4096) / 2;
                bytes.copy_within(4096 + half.., 4096);
                file.write_all_at(&bytes, 0).unwrap();
            }
            other => panic!("what is {other}?"),
        }
    }
}

const DAMAGES: [&str; 9] = [
    "garbage in the blocks",
    "garbage everywhere",
    "zeros",
    "a flipped bit in the header",
    "cut",
    "cut to nothing",
    "cut and grown again",
    "blocks of other keys",
    "gone",
];

#[test]
fn a_damaged_cache_costs_speed_only_whether_it_is_in_use_or_found() {
    for in_use in [true, false] {
        for what in DAMAGES {
            let cache = tempfile::tempdir().unwrap();
            let mut world = world(cache.path());
            let restored = world.fill("first", KEYS, value_of);
            world.check_all("warm", &restored, KEYS, value_of);
            damage(what, cache.path());
            if !in_use {
                restart(&mut world, cache.path());
            }
            let case = format!("{what}, in use: {in_use}");
            world.check_all(&case, &restored, KEYS, value_of);
            assert_eq!(world.disk.as_ref().unwrap().trouble(), None, "{case}");
            let again = world.check_all("again", &restored, KEYS, value_of);
            let learned = again.disk_hits > 10 || (in_use && what == "a flipped bit in the header");
            assert!(learned, "{case}: the tier goes on, {again:?}");
        }
    }
}

#[test]
fn a_folder_that_vanishes_is_reported_and_costs_speed_only() {
    let cache = tempfile::tempdir().unwrap();
    let world = world(cache.path());
    let restored = world.fill("first", KEYS, value_of);
    fs::remove_dir_all(cache.path()).unwrap();
    world.check_all("gone", &restored, KEYS, value_of);
    world.fill("more", KEYS, value_of);
    let trouble = world.disk.as_ref().unwrap().trouble().unwrap();
    assert!(trouble.contains("off until a restart") && trouble.contains("alluvium-blocks"), "{trouble}");
    world.check_all("still gone", &restored, KEYS, value_of);
}

#[test]
fn the_tier_stays_within_its_limits_and_follows_them_when_they_change() {
    let cache = tempfile::tempdir().unwrap();
    let world = world(cache.path());
    let disk = Arc::clone(world.disk.as_ref().unwrap());
    let restored = world.fill("first", MANY, value_of);
    world.check_all("all", &restored, MANY, value_of);
    let all = taken(cache.path());
    assert!(all > 200_000 && all == disk.disk_bytes(), "{all} and {}", disk.disk_bytes());
    for size_bytes in [all / 2, all / 4] {
        disk.set_limits(DiskLimits { size_bytes, min_free_bytes: 0 });
        for round in 0..3 {
            assert!(
                taken(cache.path()) <= size_bytes,
                "{} of {size_bytes}, round {round}",
                taken(cache.path())
            );
            let counters = world.check_all("less", &restored, MANY, value_of);
            assert!(counters.misses > 0, "what was given back is read from the store: {counters:?}");
        }
        // What is read comes in behind the reads.
        let used = || {
            world.check_all("room", &restored, MANY, value_of);
            taken(cache.path()) > size_bytes / 4
        };
        assert!((0..100).any(|_| used()), "what room there is is used");
    }
    disk.set_limits(DiskLimits { size_bytes: 64 << 20, min_free_bytes: u64::MAX });
    assert_eq!(taken(cache.path()), 0, "the disk has less free than others need");
    world.check_all("nothing", &restored, MANY, value_of);
    assert_eq!((taken(cache.path()), disk.trouble()), (0, None));
    disk.set_limits(ROOMY);
    let misses = || world.check_all("again", &restored, MANY, value_of).misses;
    assert!((0..100).any(|_| misses() == 0), "{} on the disk of {all}", disk.disk_bytes());
}

#[test]
fn mirrors_that_a_whole_process_did_not_use_are_gone_after_it() {
    let cache = tempfile::tempdir().unwrap();
    let mut world = world(cache.path());
    let old = world.fill("old", KEYS, value_of);
    restart(&mut world, cache.path());
    let before = mirrors(cache.path());
    // A process that uses nothing ages nothing.
    restart(&mut world, cache.path());
    assert_eq!(mirrors(cache.path()).len(), before.len());
    // Times of files are as coarse as the system's timer.
    let fresh = |path: &PathBuf| fs::metadata(path).unwrap().modified().unwrap();
    let newest = before.iter().map(fresh).max().unwrap();
    while fresh(&tempfile::NamedTempFile::new_in(cache.path()).unwrap().path().to_path_buf()) <= newest {}
    let new = world.fill("new", KEYS, value_of);
    restart(&mut world, cache.path());
    assert!(before.iter().all(|path| !path.exists()), "nobody asked for the old tables");
    assert_eq!(world.check_all("new again", &new, KEYS, value_of).misses, 0);
    assert!(world.check_all("old again", &old, KEYS, value_of).misses > 0);
}
