//! What the stores of a process upload for one checkpoint travels together, and is each store's own again when it is read.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use alluvium_env::{Background, IoRuntime};
use alluvium_forst::inspect::verify_pack;
use alluvium_forst::{
    FetchSettings, ForstSettings, NoMerges, Ownership, Packer, Resident, Restored, Snapshot, Store,
    StoreOptions,
};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::{FutureExt as _, TryStreamExt as _};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};

/// Who holds what.
#[derive(Default)]
struct Holders(Mutex<BTreeMap<String, u32>>);

impl Ownership for Holders {
    fn hold(&self, name: &str) {
        *self.0.lock().unwrap().entry(name.to_owned()).or_default() += 1;
    }

    fn release(&self, name: &str) {
        let mut holders = self.0.lock().unwrap();
        let count = holders.get_mut(name).unwrap();
        *count -= 1;
        if *count == 0 {
            holders.remove(name);
        }
    }
}

struct World {
    objects: Arc<InMemory>,
    io: IoRuntime,
    background: Arc<Background>,
    holders: Arc<Holders>,
    packer: Arc<Packer>,
}

impl World {
    fn new() -> Self {
        Self {
            objects: Arc::default(),
            io: IoRuntime::new(2).unwrap(),
            background: Arc::new(Background::new(1).unwrap()),
            holders: Arc::default(),
            packer: Packer::new(),
        }
    }

    fn open(&self, subtask: usize, restored: Vec<Restored>) -> Store {
        let mut store = Store::open(StoreOptions {
            settings: ForstSettings { fetch: FetchSettings::default(), ..ForstSettings::default() },
            store: Arc::clone(&self.objects) as Arc<dyn ObjectStore>,
            io: self.io.clone(),
            background: Arc::clone(&self.background),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::clone(&self.holders) as Arc<dyn Ownership>,
            notify: Arc::new(|| ()),
            prefix: format!("state/00000001/{subtask:04}"),
            restored,
        })
        .unwrap();
        store.pack_with(&self.packer);
        store
    }

    /// A checkpoint of all stores.
    fn upload(&self, stores: &mut [Store]) -> Vec<Snapshot> {
        let mut snapshots: Vec<Snapshot> = stores.iter_mut().map(Store::snapshot).collect();
        let uploads = join_all(snapshots.iter_mut().map(Snapshot::upload));
        let bytes: Result<Vec<u64>, _> = self.io.block_on(uploads).into_iter().collect();
        assert_eq!(bytes.unwrap().len(), stores.len());
        snapshots
    }

    fn names(&self) -> Vec<String> {
        let listing = self.objects.list(None).map_ok(|object| object.location.to_string());
        let mut names: Vec<String> = self.io.block_on(listing.try_collect()).unwrap();
        names.sort();
        names
    }
}

fn key(subtask: usize, number: u32) -> Vec<u8> {
    [&[subtask as u8][..], &number.to_be_bytes()].concat()
}

fn fill(stores: &mut [Store], round: u32) {
    for (subtask, store) in stores.iter_mut().enumerate() {
        for number in 0..10 + subtask as u32 {
            store.put(&key(subtask, number), &round.to_be_bytes()).unwrap();
        }
    }
}

fn assert_holds(store: &Store, subtask: usize, round: u32) {
    for number in 0..10 + subtask as u32 {
        let found = store.get_resident(&key(subtask, number)).unwrap();
        assert_eq!(found, Resident::Value(round.to_be_bytes()[..].into()), "{subtask}, {number}");
    }
    assert_eq!(store.get_resident(&key(subtask + 1, 0)).unwrap(), Resident::Absent, "another store's");
}

fn restored(snapshot: &Snapshot) -> Restored {
    Restored { manifest: snapshot.manifest(), start: Vec::new(), end: Vec::new() }
}

#[test]
fn the_logs_of_eight_stores_are_one_object_and_each_is_read_as_its_own() {
    let world = World::new();
    let mut stores: Vec<Store> = (0..8).map(|subtask| world.open(subtask, Vec::new())).collect();
    let mut snapshots = Vec::new();
    for round in 0..3 {
        fill(&mut stores, round);
        snapshots = world.upload(&mut stores);
        assert_eq!(world.names().len(), round as usize + 1, "{:?}", world.names());
    }
    for name in world.names() {
        let object = world.io.block_on(async { world.objects.get(&Path::from(name)).await?.bytes().await });
        let object: Bytes = object.unwrap();
        let report = verify_pack(&object, &mut |_| ()).unwrap();
        assert!(report.is_sound());
        assert_eq!(report.summary.entries, (0..8).map(|subtask| 10 + subtask).sum::<u64>());
    }
    for (subtask, snapshot) in snapshots.iter().enumerate() {
        let files = snapshot.files();
        assert_eq!(
            files.iter().map(|file| &file.name).collect::<Vec<_>>(),
            world.names().iter().collect::<Vec<_>>()
        );
        assert_holds(&world.open(100 + subtask, vec![restored(snapshot)]), subtask, 2);
    }
}

#[test]
fn a_pack_is_held_until_the_last_store_with_a_log_in_it_lets_go() {
    let world = World::new();
    let mut stores: Vec<Store> = (0..2).map(|subtask| world.open(subtask, Vec::new())).collect();
    fill(&mut stores, 1);
    drop(world.upload(&mut stores));
    let names = world.names();
    assert_eq!(world.holders.0.lock().unwrap().keys().cloned().collect::<Vec<_>>(), names);
    drop(stores.pop());
    assert_eq!(world.holders.0.lock().unwrap().len(), 1, "the other store's log is in it");
    drop(stores);
    assert!(world.holders.0.lock().unwrap().is_empty());
}

#[test]
fn a_store_without_company_writes_a_delta_of_its_own() {
    let world = World::new();
    let mut alone = [world.open(0, Vec::new())];
    fill(&mut alone, 1);
    world.upload(&mut alone);
    // The other one has nothing to upload.
    let [first] = alone;
    let mut both = [first, world.open(1, Vec::new())];
    both[0].put(b"key", b"value").unwrap();
    world.upload(&mut both);
    let names = world.names();
    assert_eq!(names.len(), 2);
    assert!(names.iter().all(|name| Path::from(name.as_str()).extension() == Some("delta")), "{names:?}");
}

#[test]
fn an_upload_that_is_given_up_fails_nobody_else_s() {
    let world = World::new();
    let mut stores: Vec<Store> = (0..3).map(|subtask| world.open(subtask, Vec::new())).collect();
    fill(&mut stores, 1);
    let mut snapshots: Vec<Snapshot> = stores.iter_mut().map(Store::snapshot).collect();
    let (first, others) = snapshots.split_first_mut().unwrap();
    world.io.block_on(async {
        let mut upload = Box::pin(first.upload());
        assert!((&mut upload).now_or_never().is_none(), "it waits for the others");
        drop(upload);
        for uploaded in join_all(others.iter_mut().map(Snapshot::upload)).await {
            uploaded.unwrap();
        }
    });
    for (subtask, snapshot) in snapshots.iter().enumerate().skip(1) {
        assert_holds(&world.open(100 + subtask, vec![restored(snapshot)]), subtask, 1);
    }
    // What was given up is uploaded by the next one.
    let again = world.upload(&mut stores);
    assert_holds(&world.open(100, vec![restored(&again[0])]), 0, 1);
}
