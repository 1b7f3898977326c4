//! Cold data is compressed as the settings say, takes less, and reads like any other.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]
mod common {
    pub(crate) mod bell;
}

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use alluvium_env::{Background, Entropy, ErrorKind, IoRuntime};
use alluvium_forst::inspect::{StoredObject, TableInspector};
use alluvium_forst::{
    Compression, ForstSettings, KeepAll, NoMerges, Restored, SnapshotReader, Store, StoreOptions,
};
use common::bell::Bell;
use object_store::ObjectStore;
use object_store::memory::InMemory;

const KEYS: u64 = 40_000;

/// Digits: nothing repeats, so LZ4 finds nothing, but each has half a byte in it.
fn value_of(key: u64) -> String {
    let random = Entropy::from_seed(key);
    (0..80).map(|_| char::from(b"0123456789abcdef"[(random.next_u64() % 16) as usize])).collect()
}

/// Loads a store; its snapshot, and what the best packed of its tables takes, in per mille of its keys and values: which
/// tables a moment finds cold is another matter.
fn loaded(objects: &Arc<dyn ObjectStore>, io: &IoRuntime, settings: ForstSettings) -> (Restored, u64) {
    let bell = Bell::default();
    let mut store = Store::open(StoreOptions {
        settings,
        store: Arc::clone(objects),
        io: io.clone(),
        background: Arc::new(Background::new(1).unwrap()),
        disk: None,
        operators: Arc::new(NoMerges),
        ownership: Arc::new(KeepAll),
        notify: bell.ringer(),
        prefix: "state".to_owned(),
        restored: Vec::new(),
    })
    .unwrap();
    let turn = |store: &mut Store| {
        bell.wait(Duration::from_mins(1)).unwrap();
        store.poll(&mut |_, _| ()).unwrap();
    };
    // Again and again and each time everywhere, so that what came to the last level while memory could hold it is written
    // anew. A prime, and so a permutation.
    for key in (0..5 * KEYS).map(|number| number * 7919 % KEYS) {
        store.put(&key.to_be_bytes(), value_of(key).as_bytes()).unwrap();
        while !store.admits() {
            turn(&mut store);
        }
    }
    let mut snapshot = store.snapshot();
    io.block_on(snapshot.upload()).unwrap();
    let tables =
        snapshot.files().into_iter().filter(|file| Path::new(&file.name).extension() == Some("sst".as_ref()));
    let packed = tables.map(|file| {
        let object = StoredObject::new(Arc::clone(objects), io.clone(), file.name, file.size_bytes);
        let table = TableInspector::open(object).unwrap().summary();
        table.data_bytes * 1000 / table.raw_bytes
    });
    let best = packed.min().unwrap();
    (Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }, best)
}

fn assert_holds_everything(objects: &Arc<dyn ObjectStore>, io: &IoRuntime, restored: Restored) {
    let reader =
        SnapshotReader::open(Arc::clone(objects), io.clone(), Arc::new(NoMerges), vec![restored]).unwrap();
    let mut scan = reader.scan([(Vec::new(), Vec::new())]).unwrap();
    for key in 0..KEYS {
        let found = scan.next_entry().unwrap().map(|(key, value)| (key.to_vec(), value.to_vec()));
        assert_eq!(found, Some((key.to_be_bytes().to_vec(), value_of(key).into_bytes())));
    }
    assert!(scan.next_entry().unwrap().is_none());
}

#[test]
fn cold_tables_take_less_with_zstandard_and_read_alike() {
    let io = IoRuntime::new(2).unwrap();
    let settings = |cold_compression| ForstSettings {
        memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
        cold_compression,
        ..ForstSettings::default()
    };
    let mut sizes = Vec::new();
    for cold in [Compression::Lz4, Compression::Zstd { level: 1 }] {
        let objects: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
        let (restored, best) = loaded(&objects, &io, settings(cold));
        assert_holds_everything(&objects, &io, restored);
        sizes.push(best);
    }
    assert!(sizes[1] * 4 < sizes[0] * 3, "LZ4 {} per mille, Zstandard {}", sizes[0], sizes[1]);
}

#[test]
fn a_level_that_zstandard_does_not_have_is_refused_and_its_setting_named() {
    for (level, is_right) in [(0, false), (1, true), (3, true), (4, false)] {
        let cold = Compression::Zstd { level };
        let cold = ForstSettings { cold_compression: cold, ..ForstSettings::default() }.validate();
        let hot =
            ForstSettings { compression: Compression::Zstd { level }, ..ForstSettings::default() }.validate();
        for (refused, name) in [(cold, "cold_compression is"), (hot, "compression is")] {
            assert_eq!(refused.is_ok(), is_right, "level {level}");
            if let Err(error) = refused {
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(
                    error.message().starts_with(name) && error.message().contains("between 1 and 3"),
                    "{error}"
                );
            }
        }
    }
}
