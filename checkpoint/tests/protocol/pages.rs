//! Manifest pages: until they are read nothing is deleted, and one that cannot be read is named and costs no file.
use std::collections::BTreeSet;
use std::sync::Arc;

use alluvium_checkpoint::{
    CheckpointStore, Garbage, RetainedCheckpoints, SavepointRequest, Transfer, create_savepoint,
    retire_checkpoints,
};
use alluvium_env::{Entropy, ErrorKind, IoRuntime};
use alluvium_state_api::{CheckpointId, FileOwnership};
use bytes::Bytes;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};

use crate::job::{Job, Oracle, RETAINED, named, names_in};
use crate::page::encode;

/// A root whose job was killed; what its latest checkpoint names in pages, and a file that no checkpoint names.
struct Killed {
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    page: String,
    of_page: BTreeSet<String>,
    orphan: String,
}

fn killed() -> Killed {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let mut job = Job::start(Arc::clone(&store), &io, 1).unwrap().paged(true);
    for _ in 0..4 {
        job.step().unwrap();
        job.step().unwrap();
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    let before = names_in(&store, &io, "state");
    job.step().unwrap();
    let orphan = names_in(&store, &io, "state").difference(&before).next().unwrap().clone();
    job.files.settle();
    let retained = RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap();
    let latest = retained.latest().unwrap();
    let page = latest.pages().next().unwrap().object.name.clone();
    let own: BTreeSet<String> = latest.files().map(|file| file.name.clone()).collect();
    let all = named(&store, &io, std::slice::from_ref(latest));
    let of_page = all.difference(&own).cloned().collect();
    Killed { store, io, page, of_page, orphan }
}

impl Killed {
    fn there(&self) -> BTreeSet<String> {
        names_in(&self.store, &self.io, "state")
    }

    fn read(&self, name: &str) -> Bytes {
        self.io.block_on(async { self.store.get(&Path::from(name)).await?.bytes().await }).unwrap()
    }

    fn write(&self, name: &str, bytes: Bytes) {
        self.io.block_on(self.store.put(&Path::from(name), bytes.into())).unwrap();
    }

    /// Flips a bit in the middle of the page.
    fn damage_the_page(&self) -> Bytes {
        let sound = self.read(&self.page);
        let mut broken = sound.to_vec();
        broken[sound.len() / 2] ^= 1;
        self.write(&self.page, broken.into());
        sound
    }
}

#[test]
fn nothing_is_deleted_until_the_pages_of_former_attempts_are_read() {
    let killed = killed();
    let sound = killed.damage_the_page();
    let before = killed.there();
    let opened =
        CheckpointStore::open(Arc::clone(&killed.store), killed.io.clone(), &Entropy::from_seed(2)).unwrap();
    // A subtask that takes everything over and at once has no more use of it.
    for name in &killed.of_page {
        opened.files.hold(name);
        opened.files.release(name);
    }
    let stats = opened.files.settle();
    assert!(stats.swept && stats.waiting > 0 && stats.deleted == 0, "{stats:?}");
    assert_eq!(killed.there(), before);
    killed.write(&killed.page, sound);
    let stats = opened.files.settle();
    assert_eq!((stats.waiting, killed.there().contains(&killed.orphan)), (0, false), "{stats:?}");
    assert_eq!(killed.there(), named(&killed.store, &killed.io, &opened.retained));
}

#[test]
fn a_damaged_page_that_no_checkpoint_needs_any_more_holds_nothing_up() {
    let killed = killed();
    killed.damage_the_page();
    let mut job = Job::start(Arc::clone(&killed.store), &killed.io, 2).unwrap();
    job.files.settle();
    assert!(killed.there().contains(&killed.orphan));
    for _ in 0..=RETAINED {
        (0..3).for_each(|_| job.step().unwrap());
        job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
    }
    let stats = job.files.settle();
    assert_eq!(stats.waiting, 0, "{stats:?}");
    job.end();
    let next = Job::start(Arc::clone(&killed.store), &killed.io, 3).unwrap();
    next.files.settle();
    assert_eq!(killed.there(), named(&killed.store, &killed.io, &next.retained));
}

#[test]
fn whoever_follows_pages_names_a_damaged_or_missing_one_and_deletes_nothing() {
    for damage in ["a bit", "gone", "another"] {
        let killed = killed();
        match damage {
            "gone" => killed.io.block_on(killed.store.delete(&Path::from(killed.page.as_str()))).unwrap(),
            "another" => killed.write(&killed.page, encode(&[])),
            _ => drop(killed.damage_the_page()),
        }
        let (before, io) = (killed.there(), &killed.io);
        let ledger = names_in(&killed.store, io, "ledger");
        let store = || Arc::clone(&killed.store);
        let transfer = Transfer { from: store(), to: Arc::new(InMemory::new()), shared: None };
        let request =
            SavepointRequest { transfer, url: "mem:///state".into(), checkpoint: None, copied: &|_| () };
        let entropy = Entropy::from_seed(5);
        let refused = [
            create_savepoint(&request, io, &entropy).err().unwrap(),
            io.block_on(Garbage::look(store())).err().unwrap(),
            io.block_on(Garbage::take_over(store(), &entropy)).err().unwrap(),
            retire_checkpoints(store(), io, &entropy, &[CheckpointId(3)]).err().unwrap(),
        ];
        for error in refused {
            assert_eq!(error.kind(), ErrorKind::Corruption, "{error}");
            assert!(error.to_string().contains(&killed.page), "{error}");
        }
        assert_eq!(killed.there(), before);
        assert_eq!(names_in(&killed.store, io, "ledger"), ledger, "nobody is fenced for it");
    }
}

#[test]
fn what_a_page_names_lives_as_long_as_any_checkpoint_names_the_page() {
    let (store, io): (Arc<dyn ObjectStore>, _) = (Arc::new(InMemory::new()), IoRuntime::new(1).unwrap());
    let mut job = Job::start(Arc::clone(&store), &io, 1).unwrap().paged(true);
    let mut most = 0;
    for number in 0..12 {
        job.step().unwrap();
        // Some are given up, before and after their acknowledgement.
        if number % 3 == 2 {
            let (id, _) = job.begin_checkpoint().unwrap();
            job.coordinator.abort(id, "the source is gone");
        } else {
            job.checkpoint(&mut Oracle::new()).unwrap().unwrap();
        }
        job.files.settle();
        let retained = RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap();
        let (there, needed) = (names_in(&store, &io, "state"), named(&store, &io, retained.all()));
        assert!(there.is_superset(&needed), "{:?} are gone", needed.difference(&there));
        most = most.max(there.len());
    }
    assert!(most < 14, "{most} objects of three live files and two checkpoints");
    job.end();
    let retained = RetainedCheckpoints::read(Arc::clone(&store), &io).unwrap();
    assert_eq!(names_in(&store, &io, "state"), named(&store, &io, retained.all()));
}
