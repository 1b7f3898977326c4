//! The warm-up of a restored store, by what it asks of the object store.
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use alluvium_env::{Clock as _, SystemClock};
use alluvium_forst::{ForstSettings, Resident, Restored, SnapshotFile, Store};
use futures_util::TryStreamExt as _;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

use super::faulty::{Answer, FaultyStore};
use super::world::{World, key_of};
use crate::common::layer::Layered;

const KEYS: u64 = 4000;
/// Some blocks in the middle of a table or two, and then every fifth one or so.
const NEAR: std::ops::Range<u64> = 1500..1700;

fn hot() -> Vec<u64> {
    NEAR.chain((NEAR.end..2700).step_by(21)).collect()
}

/// 960 bytes that do not compress: four to a block.
fn value(number: u64) -> Vec<u8> {
    (0..120).flat_map(|part| super::world::value_of(number * 1009 + part)[..8].to_vec()).collect()
}

fn world(objects: &Arc<Layered<FaultyStore>>) -> World {
    let mut world = World::new(Arc::clone(objects) as Arc<dyn ObjectStore>);
    world.settings.memory_bytes = 8 << 20;
    world.settings.block_size_bytes = 4096;
    world
}

/// The names of a checkpoint's objects, and how to open it.
fn checkpoint(world: &World, store: &mut Store) -> (Vec<String>, Restored) {
    let mut snapshot = store.snapshot();
    world.io.block_on(snapshot.upload()).unwrap();
    let names = snapshot.files().iter().map(|file| file.name.clone()).collect();
    (names, Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() })
}

/// Whether an object is of a kind.
fn is(name: &str, kind: &str) -> bool {
    Path::from(name).extension() == Some(kind)
}

/// Whether a checkpoint names a hint: in a pack with a log, or by itself.
fn has_hint(names: &[String]) -> bool {
    names.iter().any(|name| is(name, "pack") || is(name, "hint"))
}

/// Runs until a checkpoint names a hint of what is in memory.
fn checkpoint_with_hint(world: &World, store: &mut Store) -> Restored {
    for round in 0_u64..100 {
        store.put(b"\0\x01 beside all others", &round.to_be_bytes()).unwrap();
        let (names, restored) = checkpoint(world, store);
        if has_hint(&names) {
            return restored;
        }
        store.poll(&mut |_, _| ()).unwrap();
    }
    panic!("no checkpoint has a hint");
}

/// A store that was filled, without a hint.
fn fill(world: &mut World) -> Restored {
    world.settings.warm_up = false;
    let filled = world.fill("first", KEYS, value);
    world.settings.warm_up = true;
    filled
}

/// A store of which some keys were read and no others; how a checkpoint of it is restored.
fn life(world: &mut World) -> Restored {
    life_of(world, &hot())
}

fn life_of(world: &mut World, hot: &[u64]) -> Restored {
    let filled = fill(world);
    let mut store = world.open("second", Some(&filled));
    for _ in 0..3 {
        check(world, &mut store, hot);
    }
    checkpoint_with_hint(world, &mut store)
}

fn check(world: &World, store: &mut Store, keys: &[u64]) {
    for (key, answer) in keys.iter().zip(world.read(store, keys)) {
        assert_eq!(answer.unwrap(), Some(value(*key)), "key {key}");
    }
}

fn resident(store: &Store, keys: &[u64]) -> usize {
    keys.iter().filter(|key| store.get_resident(&key_of(**key)).unwrap() != Resident::Miss).count()
}

/// Waits until memory knows all keys.
fn wait_until_warm(world: &World, store: &mut Store, keys: &[u64]) {
    loop {
        store.poll(&mut |_, _| ()).unwrap();
        if resident(store, keys) == keys.len() {
            return;
        }
        world.wait();
    }
}

/// Runs for a while in which all that is to be fetched without being asked for would be.
fn run_idle(world: &World, store: &mut Store) {
    for _ in 0..1000 {
        store.poll(&mut |_, _| ()).unwrap();
        world.io.block_on(world.io.spawn(async {})).unwrap();
    }
}

/// From now on counts reads of tables.
fn count(objects: &FaultyStore) -> Arc<AtomicU64> {
    let counted = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&counted);
    objects.plan(move |name, _| {
        counting.fetch_add(u64::from(is(name, "sst")), Ordering::SeqCst);
        Answer::Right
    });
    counted
}

#[test]
fn a_restored_store_reads_what_was_hot_in_few_requests_and_then_has_it() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let restored = life(&mut world);
    let hot = hot();
    let mut warm = world.open("third", Some(&restored));
    let requests = count(&objects);
    run_idle(&world, &mut warm);
    assert_eq!(objects.requests.load(Ordering::SeqCst), 0, "nothing is fetched before the first record");
    check(&world, &mut warm, &hot[..1]);
    wait_until_warm(&world, &mut warm, &hot);
    let with = requests.load(Ordering::SeqCst);
    check(&world, &mut warm, &hot);
    assert_eq!(requests.load(Ordering::SeqCst), with, "what is hot costs no request any more");
    assert!(warm.counters().warmed > 60, "{:?}", warm.counters());

    world.settings.warm_up = false;
    let mut cold = world.open("fourth", Some(&restored));
    let requests = count(&objects);
    for key in &hot {
        check(&world, &mut cold, &[*key]);
    }
    let without = requests.load(Ordering::SeqCst);
    assert_eq!(cold.counters().warmed, 0);
    assert!(without > 80 && with * 3 < without, "{with} requests with a hint, {without} without");
}

#[test]
fn each_of_two_halves_warms_its_own_and_the_whole_both() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let whole = life(&mut world);
    let middle = NEAR.start + 77;
    let lower = Restored { end: key_of(middle), ..whole.clone() };
    let upper = Restored { start: key_of(middle), ..whole };
    let mut warmed = Vec::new();
    let mut halves = Vec::new();
    for (attempt, half) in [("lower", lower), ("upper", upper)] {
        let own: Vec<u64> = hot().into_iter().filter(|key| (*key < middle) == (attempt == "lower")).collect();
        let mut store = world.open(attempt, Some(&half));
        check(&world, &mut store, &own[..1]);
        wait_until_warm(&world, &mut store, &own);
        run_idle(&world, &mut store);
        let (misses, blocks) = (store.counters().misses, store.counters().warmed);
        check(&world, &mut store, &own);
        assert_eq!(store.counters().misses, misses);
        // What is hot below the middle are neighbours, four to a block.
        let most = if attempt == "lower" { own.len() / 4 + 2 } else { own.len() };
        assert!(blocks <= most as u64, "{attempt}: {blocks} blocks for {} keys", own.len());
        warmed.push(blocks);
        // It names the hint of the whole until it has its own.
        let (names, part) = checkpoint(&world, &mut store);
        assert!(has_hint(&names));
        halves.push(Restored { start: half.start.clone(), end: half.end.clone(), ..part });
    }
    // A block that both see is warmed by both.
    let blocks = warmed.iter().sum::<u64>();
    assert!(warmed.iter().all(|half| *half > 10) && (60..150).contains(&blocks), "{warmed:?}");
    let mut joined = world.open_all("joined", &halves);
    check(&world, &mut joined, &hot()[..1]);
    wait_until_warm(&world, &mut joined, &hot());
    let misses = joined.counters().misses;
    check(&world, &mut joined, &hot());
    assert_eq!(joined.counters().misses, misses);
}

#[test]
fn a_hint_that_is_missing_broken_or_of_other_tables_costs_speed_only() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let restored = life(&mut world);
    // Of other tables: what it names has been merged away since.
    let other = |key| value(key + 1_000_000);
    let overwritten = world.overwrite("other", &restored, KEYS, other);
    let packs = || -> Vec<Path> {
        let listed = world.io.block_on(objects.list(None).try_collect::<Vec<_>>()).unwrap();
        listed
            .into_iter()
            .map(|object| object.location)
            .filter(|name| name.extension() == Some("pack"))
            .collect()
    };
    assert!(!packs().is_empty());
    let all: Vec<u64> = (0..KEYS).step_by(13).collect();
    let mut store = world.open("overwritten", Some(&overwritten));
    for (key, answer) in all.iter().zip(world.read(&mut store, &all)) {
        assert_eq!(answer.unwrap(), Some(other(*key)));
    }
    // The log of the pack is read by the restore, so that stays; the hint behind it does not.
    for pack in packs() {
        let bytes = world.io.block_on(async { objects.get(&pack).await.unwrap().bytes().await.unwrap() });
        let at = bytes.windows(7).position(|window| window == b"ALVMHOT").unwrap();
        for broken in [9, 20, 30] {
            let mut bytes = bytes.to_vec();
            bytes[at + broken] ^= 0x55;
            world.io.block_on(objects.put(&pack, bytes.into())).unwrap();
            let mut store = world.open("broken", Some(&restored));
            check(&world, &mut store, &all);
            check(&world, &mut store, &all);
            assert_eq!(store.counters().warmed, 0);
        }
    }
}

#[test]
fn a_warm_up_takes_no_more_than_there_is_room_for_and_ends_with_its_store() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    // Three hundred blocks, of which two thirds have room.
    let hot: Vec<u64> = (0..1200).collect();
    let restored = life_of(&mut world, &hot);
    world.settings.memory_bytes = ForstSettings::MIN_MEMORY_BYTES;
    let mut store = world.open("small", Some(&restored));
    check(&world, &mut store, &[0]);
    objects.plan(|_, _| Answer::After(Duration::from_millis(5)));
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    while store.counters().warmed == 0 || clock.monotonic().saturating_sub(begun) < Duration::from_millis(300)
    {
        store.poll(&mut |_, _| ()).unwrap();
        std::thread::yield_now();
    }
    let kept = resident(&store, &hot);
    assert!(kept > 200 && kept < 1000, "{kept} keys");
    assert!(objects.most_in_flight.load(Ordering::SeqCst) <= 4);
    drop(store);

    world.settings.memory_bytes = 8 << 20;
    let mut store = world.open("closed", Some(&restored));
    // It begins to fetch once the hint is there, and by then no table answers.
    let late = Answer::After(Duration::from_millis(200));
    objects.plan(move |name, _| if is(name, "pack") { late } else { Answer::Right });
    check(&world, &mut store, &[0]);
    let begun = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&begun);
    objects.plan(move |name, _| {
        counting.fetch_add(u64::from(is(name, "sst")), Ordering::SeqCst);
        if is(name, "sst") { Answer::Never } else { Answer::Right }
    });
    while begun.load(Ordering::SeqCst) == 0 {
        store.poll(&mut |_, _| ()).unwrap();
        std::thread::yield_now();
    }
    drop(store);
    // Left alone, an attempt is given up after ten seconds.
    let closed = clock.monotonic();
    while objects.under_way() > 0 {
        std::thread::yield_now();
    }
    let took = clock.monotonic().saturating_sub(closed);
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_checkpoint_with_a_log_makes_one_request_with_or_without_a_hint() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let filled = fill(&mut world);
    let mut store = world.open("second", Some(&filled));
    let listed =
        || -> u64 { world.io.block_on(objects.list(None).try_collect::<Vec<_>>()).unwrap().len() as u64 };
    let (before, checkpoints) = (listed(), 40);
    let mut with_hint = 0;
    for round in 0..checkpoints {
        check(&world, &mut store, &[round * 10]);
        for key in 0..20 {
            store.put(&key_of(key), &value(round + key)).unwrap();
        }
        let mut snapshot = store.snapshot();
        world.io.block_on(snapshot.upload()).unwrap();
        with_hint += u64::from(snapshot.files().iter().any(|file| is(&file.name, "pack")));
        store.poll(&mut |_, _| ()).unwrap();
    }
    assert_eq!(listed() - before, checkpoints, "objects of {checkpoints} checkpoints");
    assert!(with_hint > checkpoints / 2, "{with_hint} of them name a hint");
}

/// Checkpoints of so many rounds, each of a large log; in which ones another hint was named than before, and the bytes of logs and of
/// hints that they uploaded.
fn rounds_with_news(
    world: &World,
    store: &mut Store,
    (rounds, named): (std::ops::Range<u64>, &mut Option<SnapshotFile>),
) -> (Vec<u64>, u64, u64) {
    let (mut news, mut log_bytes, mut hint_bytes) = (Vec::new(), 0, 0);
    for round in rounds {
        for key in 0..1200_u64 {
            let key = [b"\0\x01 beside all others".as_slice(), &key.to_be_bytes()].concat();
            store.put(&key, &value(round + 1_000_000)).unwrap();
        }
        let mut snapshot = store.snapshot();
        let uploaded = world.io.block_on(snapshot.upload()).unwrap();
        let hint = snapshot.files().into_iter().find(|file| is(&file.name, "hint"));
        let new_bytes = hint.as_ref().filter(|_| hint != *named).map_or(0, |hint| hint.size_bytes);
        if new_bytes > 0 {
            news.push(round);
        }
        log_bytes += uploaded - new_bytes;
        hint_bytes += new_bytes;
        *named = hint;
        for _ in 0..100 {
            store.poll(&mut |_, _| ()).unwrap();
        }
    }
    (news, log_bytes, hint_bytes)
}

#[test]
fn beside_large_logs_the_first_hint_goes_at_once_and_others_when_they_are_news() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let filled = fill(&mut world);
    // Memory for all there is: what is hot changes by what is read.
    world.settings.memory_bytes = 256 << 20;
    let mut store = world.open("second", Some(&filled));
    let (mut named, few, all) = (None, 400, KEYS);
    check(&world, &mut store, &(0..few).collect::<Vec<_>>());
    let (news, ..) = rounds_with_news(&world, &mut store, (0..12, &mut named));
    assert_eq!(
        news,
        [1],
        "the first checkpoint finds memory in use, the next has the hint, and it stays true"
    );
    let (news, ..) = rounds_with_news(&world, &mut store, (12..20, &mut named));
    assert_eq!(news, [17], "one in sixteen, since it may not be quite true");

    // More is read each time, up to twice as much as before.
    let (mut news, mut log_bytes, mut hint_bytes) = (Vec::new(), 0, 0);
    for begun in (20..44).step_by(3) {
        let hot = few + (all - few) * (begun - 17) / 24;
        check(&world, &mut store, &(0..hot.min(all)).collect::<Vec<_>>());
        let (more, logs, hints) = rounds_with_news(&world, &mut store, (begun..begun + 3, &mut named));
        news.extend(more);
        log_bytes += logs;
        hint_bytes += hints;
    }
    assert!(news.windows(2).all(|two| two[1] - two[0] >= 4) && news.len() >= 3, "{news:?}");
    assert!(hint_bytes * 32 < log_bytes, "{hint_bytes} bytes of hints, {log_bytes} of logs");
    // Most of it is in the last one.
    let restored = checkpoint(&world, &mut store).1;
    let mut warm = world.open("third", Some(&restored));
    check(&world, &mut warm, &[0]);
    wait_until_warm(&world, &mut warm, &(0..all * 2 / 3).collect::<Vec<_>>());
}

/// How many parts of tables a store reads that is asked for these keys and nothing else.
fn parts_of(world: &mut World, restored: &Restored, keys: &[u64]) -> u64 {
    world.settings.warm_up = false;
    let mut cold = world.open("cold", Some(restored));
    check(world, &mut cold, keys);
    world.settings.warm_up = true;
    cold.counters().misses
}

/// A store of which all tails are in memory, and the hint arrives so much later.
fn tails_first(world: &World, objects: &FaultyStore, restored: &Restored, delay: Duration) -> Store {
    let mut store = world.open("tails", Some(restored));
    objects.plan(move |name, _| if is(name, "pack") { Answer::After(delay) } else { Answer::Right });
    check(world, &mut store, &hot().into_iter().step_by(20).collect::<Vec<_>>());
    store
}

#[test]
fn a_read_waits_for_what_a_warm_up_has_under_way_and_fetches_what_does_not_come() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let restored = life(&mut world);
    let parts = parts_of(&mut world, &restored, &hot());
    let delay = Duration::from_millis(50);
    for (comes, answer) in [(true, Answer::After(delay)), (false, Answer::DeniedAfter(delay))] {
        let mut store = tails_first(&world, &objects, &restored, delay);
        let (unasked, reads) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counting, reading) = (Arc::clone(&unasked), Arc::clone(&reads));
        objects.plan(move |name, _| {
            if !is(name, "sst") || reading.load(Ordering::SeqCst) {
                return Answer::Right;
            }
            counting.fetch_add(1, Ordering::SeqCst);
            answer
        });
        while unasked.load(Ordering::SeqCst) == 0 {
            store.poll(&mut |_, _| ()).unwrap();
            std::thread::yield_now();
        }
        reads.store(true, Ordering::SeqCst);
        check(&world, &mut store, &hot());
        run_idle(&world, &mut store);
        let counters = store.counters();
        assert!(counters.warmed > 15 || !comes, "{counters:?}");
        assert!(counters.misses + counters.warmed <= parts, "of {parts} parts: {counters:?}");
    }
}

#[test]
fn a_warm_up_leaves_to_reads_what_they_wait_for() {
    let objects = FaultyStore::new();
    let mut world = world(&objects);
    let restored = life(&mut world);
    let parts = parts_of(&mut world, &restored, &hot());
    let delay = Duration::from_millis(50);
    let mut store = tails_first(&world, &objects, &restored, delay);
    objects.plan(move |name, _| if is(name, "sst") { Answer::After(delay * 4) } else { Answer::Right });
    check(&world, &mut store, &hot());
    while objects.under_way() > 0 {
        store.poll(&mut |_, _| ()).unwrap();
        std::thread::yield_now();
    }
    run_idle(&world, &mut store);
    let counters = store.counters();
    assert!(counters.misses + counters.warmed <= parts, "of {parts} parts: {counters:?}");
}
