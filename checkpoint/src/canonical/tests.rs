//! The page and the code agree, and what is damaged or cut anywhere is found and named.
use std::sync::Arc;

use alluvium_env::{ErrorKind, IoRuntime, Result};
use alluvium_state_api::{
    CANONICAL, KeyGroupRange, RestoredPart, StateEntries, StoredEntry, StoredSchema, StoredState,
    StoredStates, push_list_element,
};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use super::payload::Payload;
use super::{CanonicalEntries, Folder, write};

const PAGE: &str = include_str!("../../../docs/formats/savepoint.md");
const PREFIX: &str = "state/00000002/canonical";
const NAME: &str = "state/00000002/canonical/00000001.entries";

/// The bytes of the page's fenced block with this info string.
fn worked_bytes(info: &str) -> Vec<u8> {
    let block = PAGE.split(&format!("```hex {info}\n")).nth(1).unwrap().split("```").next().unwrap();
    let columns = block.lines().map(|line| line.split("  ").nth(1).unwrap());
    let byte = |hex: &str| u8::from_str_radix(hex, 16).unwrap();
    columns.flat_map(str::split_whitespace).map(byte).collect()
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Entries in memory.
struct InHand {
    states: StoredStates,
    entries: Entries,
    next: usize,
}

impl StateEntries for InHand {
    fn states(&self) -> &StoredStates {
        &self.states
    }

    fn next_entry(&mut self) -> Result<Option<StoredEntry<'_>>> {
        let entry = self.entries.get(self.next);
        self.next += 1;
        Ok(entry.map(|(key, values)| StoredEntry { key, values }))
    }
}

fn in_hand(entries: Entries) -> InHand {
    let schema = StoredSchema { codec: "text".into(), versions: vec![1] };
    let (name, kind) = ("joined".into(), "reducing".into());
    let state = StoredState { name, kind, expired_before_millis: 0, schema };
    InHand { states: StoredStates { time_millis: 1_700_000_000_000, states: vec![state] }, entries, next: 0 }
}

fn list(values: &[&[u8]]) -> Vec<u8> {
    let mut list = Vec::new();
    for value in values {
        push_list_element(&mut list, value);
    }
    list
}

fn of_the_page() -> InHand {
    let ox = (b"\x01\x02\0\0ox\0\0".to_vec(), list(&[b"a", b"bc"]));
    in_hand(vec![ox, (b"\x01\x02\0\0oxen\0\0".to_vec(), list(&[b"d"]))])
}

struct World {
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
}

impl World {
    fn new() -> Self {
        Self { store: Arc::new(InMemory::new()), io: IoRuntime::new(1).unwrap() }
    }

    fn write(&self, mut entries: InHand) -> Result<Payload> {
        write(
            &mut entries,
            &mut Folder { store: &self.store, io: &self.io, prefix: PREFIX, files: 0 },
            &|_| (),
        )
    }

    fn put(&self, bytes: &[u8]) {
        self.io.block_on(self.store.put(&Path::from(NAME), Bytes::copy_from_slice(bytes).into())).unwrap();
    }

    fn get(&self) -> Bytes {
        self.io.block_on(async { self.store.get(&Path::from(NAME)).await?.bytes().await }).unwrap()
    }

    fn read(&self, payload: &Payload, key_groups: KeyGroupRange) -> Result<Entries> {
        let (backend, payload) = (CANONICAL.to_owned(), payload.encode().into());
        let part = RestoredPart { key_groups, backend, payload };
        let mut reader = CanonicalEntries::open(&part, Arc::clone(&self.store), self.io.clone())?;
        let mut entries = Entries::new();
        while let Some(entry) = reader.next_entry()? {
            entries.push((entry.key.to_vec(), entry.values.to_vec()));
        }
        Ok(entries)
    }
}

#[test]
fn the_worked_bytes_of_the_page_decode_and_encode_to_themselves() {
    let world = World::new();
    let written = world.write(of_the_page()).unwrap();
    assert_eq!(written.encode(), worked_bytes("payload"));
    assert_eq!(world.get(), worked_bytes("file"));
    let payload = Payload::decode(&worked_bytes("payload")).unwrap();
    assert_eq!(payload, written);
    world.put(&worked_bytes("file"));
    assert_eq!(world.read(&payload, KeyGroupRange::ALL).unwrap(), of_the_page().entries);
}

#[test]
fn a_flipped_bit_or_a_cut_anywhere_is_found_and_named() {
    let world = World::new();
    let payload = world.write(of_the_page()).unwrap();
    let intact = world.get();
    for at in 0..intact.len() {
        let mut bytes = intact.to_vec();
        bytes[at] ^= 4;
        for damaged in [&bytes[..], &intact[..at]] {
            world.put(damaged);
            let error = world.read(&payload, KeyGroupRange::ALL).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corruption, "offset {at}: {error}");
            assert!(error.to_string().contains(NAME), "{error}");
        }
    }
    let encoded = payload.encode();
    for at in 0..encoded.len() {
        assert!(Payload::decode(&encoded[..at]).is_err(), "a payload of {at} bytes");
    }
    let newer = Payload::decode(&[&[2, 0, 0, 0], &encoded[4..]].concat()).unwrap_err();
    assert_eq!(newer.kind(), ErrorKind::Invalid);
    world.io.block_on(world.store.delete(&Path::from(NAME))).unwrap();
    let missing = world.read(&payload, KeyGroupRange::ALL).unwrap_err();
    assert!(missing.to_string().contains("is missing in"), "{missing}");
}

#[test]
fn files_are_cut_between_key_groups_and_a_range_reads_its_own_entries_only() {
    let world = World::new();
    let noise = |seed: u64| {
        let entropy = alluvium_env::Entropy::from_seed(seed);
        std::iter::repeat_with(|| entropy.next_u64().to_le_bytes())
            .take(1 << 17)
            .flatten()
            .collect::<Vec<u8>>()
    };
    // 80 MiB that do not compress.
    let entry = |at: u16| {
        let key = [&(at / 10).to_be_bytes()[..], &[0, 0], &at.to_be_bytes()].concat();
        (key, list(&[&noise(at.into())]))
    };
    let payload = world.write(in_hand((0..80).map(entry).collect())).unwrap();
    let ranges: Vec<_> =
        payload.files.iter().map(|file| (file.key_groups.start, file.key_groups.end)).collect();
    assert_eq!(ranges, [(0, 7), (7, 8)]);
    let names = |from: u16, to: u16| {
        let read = world.read(&payload, KeyGroupRange { start: from, end: to }).unwrap();
        read.into_iter().map(|(key, _)| u16::from_be_bytes([key[4], key[5]])).collect::<Vec<_>>()
    };
    assert_eq!(names(3, 5), (30..50).collect::<Vec<_>>());
    assert_eq!(names(6, 8), (60..80).collect::<Vec<_>>());
    assert_eq!(names(0, 128), (0..80).collect::<Vec<_>>());
    assert!(names(8, 128).is_empty());
}

#[test]
fn entries_in_no_order_are_refused() {
    let mut entries = of_the_page();
    entries.entries.reverse();
    assert_eq!(World::new().write(entries).unwrap_err().kind(), ErrorKind::Corruption);
}
