//! Values apart from their keys: where they lie, what is left of them, and what a broken one says.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]
#[path = "../common"]
mod common {
    pub(crate) mod bell;
    pub(crate) mod holders;
    pub(crate) mod reads;
}
mod world;

use std::sync::Arc;

use alluvium_env::{Entropy, ErrorKind, Result};
use alluvium_forst::{MergeOperator, MergeOperators, Store};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use world::{World, key_of, noise};

fn in_memory() -> World {
    World::new(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>)
}

/// Every key has the value of its round.
fn assert_values(world: &World, store: &mut Store, keys: u64, round: u64) {
    for key in 0..keys {
        let found = world.get(store, &key_of(key)).unwrap();
        assert!(found == Some(noise(key, round, 1500)), "key {key} has not its value of round {round}");
    }
}

fn write(world: &World, store: &mut Store, keys: u64, round: u64) {
    for key in 0..keys {
        world.put(store, key * 7919 % keys, &noise(key * 7919 % keys, round, 1500));
    }
}

#[test]
fn values_from_the_threshold_on_lie_apart_from_their_keys_and_shorter_ones_do_not() {
    let world = in_memory();
    let mut store = world.open("first", Vec::new());
    let length = |key: u64| if key.is_multiple_of(2) { 999 } else { 1000 };
    for key in 0..600 {
        world.put(&mut store, key, &noise(key, 0, length(key)));
    }
    world.flush(&mut store);
    let (tables, values) = (world.bytes("sst"), world.bytes("val"));
    assert!((300_000..340_000).contains(&values), "{values} bytes in value files");
    assert!((300_000..360_000).contains(&tables), "{tables} bytes in tables");
    let mut scan = store.scan();
    for key in 0..600 {
        assert_eq!(world.get(&mut store, &key_of(key)).unwrap(), Some(noise(key, 0, length(key))), "{key}");
        let (found, value) = scan.next_entry().unwrap().unwrap();
        assert!(found == key_of(key) && value == noise(key, 0, length(key)), "the scan at {key}");
    }
}

#[test]
fn garbage_leaves_the_store_and_what_lives_stays() {
    let world = in_memory();
    let (keys, live) = (2000_usize, 2000 * 1500);
    let mut store = world.open("first", Vec::new());
    let mut rounds = vec![0; keys];
    // Most of the keys each time, so that no value file is ever dead as a whole.
    for round in 0..8 {
        let random = Entropy::from_seed(round);
        for (key, last) in (0..).zip(&mut rounds) {
            if round == 0 || !random.next_u64().is_multiple_of(3) {
                world.put(&mut store, key, &noise(key, round, 1500));
                *last = round;
            }
        }
    }
    drop(store.scan());
    // A file may be garbage by three tenths, and what compactions have not met yet is not known to be.
    while world.keep("last", &mut store).manifest.is_empty() || world.bytes("val") > live * 2 {
        world.turn(&mut store);
    }
    assert!(world.bytes("val") >= live);
    for (key, round) in (0..).zip(rounds) {
        assert!(world.get(&mut store, &key_of(key)).unwrap() == Some(noise(key, round, 1500)), "key {key}");
    }
}

#[test]
fn a_snapshot_keeps_its_values_while_the_store_leaves_them_behind() {
    let world = in_memory();
    let mut store = world.open("first", Vec::new());
    write(&world, &mut store, 300, 0);
    world.flush(&mut store);
    let old = world.keep("old", &mut store);
    world.give_up("flushed");
    let old_files = world.values_of("old");
    assert!(!old_files.is_empty());
    for round in 1..8 {
        write(&world, &mut store, 300, round);
    }
    drop(store.scan());
    let left_behind = |world: &World| {
        let there = world.list("val");
        old_files.iter().any(|old| there.iter().all(|(name, _)| name != old))
    };
    world.delete_the_dead();
    assert!(!left_behind(&world));
    let mut reader = world.open("reader", vec![old]);
    assert_values(&world, &mut reader, 300, 0);
    drop(reader);
    world.give_up("old");
    // Its pages are given up with the next snapshot.
    world.keep("last", &mut store);
    while !left_behind(&world) {
        world.turn(&mut store);
        world.keep("last", &mut store);
    }
    assert_values(&world, &mut store, 300, 7);
}

#[test]
fn a_store_that_dies_leaves_no_value_behind_and_its_snapshot_is_whole() {
    let world = in_memory();
    let mut store = world.open("first", Vec::new());
    write(&world, &mut store, 300, 0);
    write(&world, &mut store, 300, 1);
    let kept = world.keep("last", &mut store);
    let named = world.list("");
    write(&world, &mut store, 300, 2);
    assert!(world.list("").len() > named.len(), "nothing was written since");
    drop(store);
    world.delete_the_dead();
    assert!(world.list("").iter().all(|object| named.contains(object)));
    let mut store = world.open("second", vec![kept]);
    assert_values(&world, &mut store, 300, 1);
    write(&world, &mut store, 300, 3);
    let kept = world.keep("last", &mut store);
    drop(store);
    assert_values(&world, &mut world.open("third", vec![kept]), 300, 3);
}

#[test]
fn a_broken_value_is_an_error_that_names_object_and_offset() {
    let world = in_memory();
    let mut store = world.open("first", Vec::new());
    write(&world, &mut store, 100, 0);
    world.flush(&mut store);
    let restored = world.keep("last", &mut store);
    let replace = |change: &dyn Fn(&mut Vec<u8>)| {
        for (name, _) in world.list("val") {
            let path = Path::from(name);
            let object = world.io.block_on(async { world.objects.get(&path).await?.bytes().await });
            let mut bytes = object.unwrap().to_vec();
            change(&mut bytes);
            world.io.block_on(world.objects.put(&path, PutPayload::from(bytes))).unwrap();
        }
    };
    let errors = |attempt: &str, keys| {
        let mut store = world.open(attempt, vec![restored.clone()]);
        let found = (0..keys).filter_map(|key| match world.get(&mut store, &key_of(key)) {
            Ok(value) => {
                assert!(value == Some(noise(key, 0, 1500)), "key {key} has another value");
                None
            }
            Err(error) => Some((error.kind(), error.to_string())),
        });
        found.collect::<Vec<_>>()
    };
    replace(&|bytes| bytes[100] ^= 0x10);
    let found = errors("flipped", 100);
    assert_eq!(found.len(), world.list("val").len(), "one value of each file is broken: {found:?}");
    for (kind, sentence) in found {
        let told = ["val at offset 0", "expected checksum", "got"].iter().all(|word| sentence.contains(word));
        assert!(kind == ErrorKind::Corruption && told, "{sentence}");
    }
    replace(&|bytes| bytes.truncate(200));
    let found = errors("cut", 1);
    assert!(
        matches!(&found[..], [(ErrorKind::Corruption, sentence)] if sentence.contains("val is truncated")),
        "{found:?}"
    );
}

/// Appends bytes.
struct Append;

impl MergeOperator for Append {
    fn merge(&self, acc: &mut Vec<u8>, operand: &[u8]) -> Result<()> {
        acc.extend_from_slice(operand);
        Ok(())
    }
}

impl MergeOperators for Append {
    fn operator(&self, _: &[u8]) -> Option<&dyn MergeOperator> {
        Some(self)
    }
}

#[test]
fn operands_fold_onto_a_value_that_lies_apart() {
    let world = in_memory();
    let mut store = world.open("first", Vec::new());
    write(&world, &mut store, 200, 0);
    world.flush(&mut store);
    let restored = world.keep("last", &mut store);
    drop(store);
    let mut store = world.open_with("second", vec![restored], Arc::new(Append));
    let folded = |key| [noise(key, 0, 1500), b"end".to_vec()].concat();
    for key in 0..200 {
        store.merge(&key_of(key), b"end").unwrap();
    }
    for key in 0..200 {
        assert!(world.get(&mut store, &key_of(key)).unwrap() == Some(folded(key)), "read of {key}");
    }
    // Once they are compacted the values lie with their keys, and the value files are gone.
    for _ in 0..8 {
        for key in 0..200 {
            store.merge(&key_of(key), b"").unwrap();
        }
        world.flush(&mut store);
    }
    loop {
        world.keep("last", &mut store);
        world.give_up("flushed");
        if world.list("val").is_empty() {
            break;
        }
        world.turn(&mut store);
    }
    for key in 0..200 {
        assert!(
            world.get(&mut store, &key_of(key)).unwrap() == Some(folded(key)),
            "{key} once it is compacted"
        );
    }
}
