//! Manifests by page: a snapshot costs what changed, a restart reads the pages of its keys, and what a page names lives as long as
//! the page.
#![expect(clippy::unwrap_used, reason = "a test ends where something fails")]
mod common {
    pub(crate) mod bell;
    pub(crate) mod holders;
}

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use alluvium_env::{Background, ErrorKind, IoRuntime};
use alluvium_forst::inspect::verify_page;
use alluvium_forst::{
    FetchSettings, ForstSettings, NoMerges, Ownership, Restored, Snapshot, SnapshotPage, Store, StoreOptions,
};
use common::bell::Bell;
use common::holders::{Holders, hold, release};
use futures_util::TryStreamExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::throttle::{ThrottleConfig, ThrottledStore};
use object_store::{ObjectStore, ObjectStoreExt as _};

/// From so many tables on there are pages.
const PAGED_TABLES: usize = 16;
/// Rounds that fill a store.
const ROUNDS: u32 = 24;

/// Who holds what.
#[derive(Default)]
struct Held(Mutex<Holders>);

impl Ownership for Held {
    fn hold(&self, name: &str) {
        hold(&mut self.0.lock().unwrap(), name);
    }

    fn release(&self, name: &str) {
        release(&mut self.0.lock().unwrap(), name);
    }
}

struct World {
    objects: Arc<InMemory>,
    /// How stores reach them.
    store: Arc<dyn ObjectStore>,
    io: IoRuntime,
    held: Arc<Held>,
    bell: Bell,
}

impl World {
    fn new() -> Self {
        Self::of(Arc::default(), IoRuntime::new(2).unwrap())
    }

    fn of(objects: Arc<InMemory>, io: IoRuntime) -> Self {
        let store = Arc::clone(&objects) as Arc<dyn ObjectStore>;
        Self { objects, store, io, held: Arc::default(), bell: Bell::default() }
    }

    fn open(&self, attempt: u32, restored: Vec<Restored>) -> Store {
        self.try_open(attempt, restored, PAGED_TABLES).unwrap()
    }

    fn try_open(
        &self,
        attempt: u32,
        restored: Vec<Restored>,
        paged_tables: usize,
    ) -> alluvium_env::Result<Store> {
        Store::open(StoreOptions {
            settings: ForstSettings {
                memory_bytes: ForstSettings::MIN_MEMORY_BYTES,
                paged_tables,
                fetch: FetchSettings {
                    deadline: Duration::from_millis(200),
                    attempt_timeout: Duration::from_millis(200),
                    ..FetchSettings::default()
                },
                ..ForstSettings::default()
            },
            store: Arc::clone(&self.store),
            io: self.io.clone(),
            background: Arc::new(Background::new(1).unwrap()),
            disk: None,
            operators: Arc::new(NoMerges),
            ownership: Arc::clone(&self.held) as Arc<dyn Ownership>,
            notify: self.bell.ringer(),
            prefix: format!("state/{attempt:08}/0000"),
            restored,
        })
    }

    /// Keys in order, so that their tables stay: nothing is merged.
    fn fill(&self, store: &mut Store, rounds: std::ops::Range<u32>) {
        self.fill_keys(store, rounds.start * 1000..rounds.end * 1000);
    }

    fn fill_keys(&self, store: &mut Store, keys: std::ops::Range<u32>) {
        for number in keys {
            self.put(store, number, 0);
        }
        self.flush(store);
    }

    fn put(&self, store: &mut Store, number: u32, round: u32) {
        while !store.admits() {
            self.turn(store);
        }
        store.put(&number.to_be_bytes(), &value_of(number, round)).unwrap();
        store.poll(&mut |_, _| ()).unwrap();
    }

    /// The same objects, held by nobody.
    fn beside(&self) -> Self {
        Self::of(Arc::clone(&self.objects), self.io.clone())
    }

    fn flush(&self, store: &mut Store) {
        drop(store.scan());
        while !store.snapshot().is_flushed() {
            self.turn(store);
        }
    }

    fn turn(&self, store: &mut Store) {
        self.bell.wait(Duration::from_mins(1)).unwrap();
        store.poll(&mut |_, _| ()).unwrap();
    }

    fn snapshot(&self, store: &mut Store) -> (Snapshot, u64) {
        let mut snapshot = store.snapshot();
        let bytes = self.io.block_on(snapshot.upload()).unwrap();
        (snapshot, bytes)
    }

    fn names(&self, kind: &str) -> BTreeSet<String> {
        let listing: Vec<_> = self.io.block_on(self.objects.list(None).try_collect()).unwrap();
        let names = listing.into_iter().map(|object| object.location.to_string());
        names.filter(|name| is_a(kind, name)).collect()
    }

    fn is_held(&self, name: &str) -> bool {
        self.held.0.lock().unwrap().contains_key(name)
    }
}

fn is_a(kind: &str, name: &str) -> bool {
    Path::from(name).extension() == Some(kind)
}

fn value_of(number: u32, round: u32) -> Vec<u8> {
    let seed = u64::from(number) * 31 + (u64::from(round) << 40);
    // Bytes that do not pack.
    (0..25_u64).flat_map(|part| (seed + part).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes()).collect()
}

fn restored(snapshot: &Snapshot, start: &[u8], end: &[u8]) -> Restored {
    Restored { manifest: snapshot.manifest(), start: start.to_vec(), end: end.to_vec() }
}

fn pages(snapshot: &Snapshot) -> Vec<Arc<SnapshotPage>> {
    snapshot.pages().map(Arc::clone).collect()
}

fn page_names(snapshot: &Snapshot) -> BTreeSet<String> {
    snapshot.pages().map(|page| page.object().name).collect()
}

/// All of these keys, with the values of round 0, or of later ones as far as those are told.
fn assert_holds(world: &World, store: &mut Store, keys: std::ops::Range<u32>, later: &BTreeMap<u32, u32>) {
    let mut scan = store.scan();
    let mut number = keys.start;
    while let Some((key, value)) = scan.next_entry().unwrap() {
        let round = later.get(&number).copied().unwrap_or(0);
        assert!((key, value) == (&number.to_be_bytes()[..], &value_of(number, round)[..]), "key {number}");
        number += 1;
    }
    assert_eq!(number, keys.end);
    drop(scan);
    world.flush(store);
}

#[test]
fn a_small_store_has_no_page_and_a_large_one_names_few_tables_itself() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..3);
    let (few, _) = world.snapshot(&mut store);
    assert!(few.files().len() < PAGED_TABLES, "the test's store is small");
    assert_eq!((pages(&few).len(), few.named()), (0, few.files()));
    world.fill(&mut store, 3..ROUNDS);
    let (many, bytes) = world.snapshot(&mut store);
    let tables = world.names("sst").len();
    assert!(tables > 2 * PAGED_TABLES, "{tables} tables");
    assert!(many.named().len() <= PAGED_TABLES / 16, "{:?}", many.named());
    assert!(pages(&many).len() >= tables / (PAGED_TABLES / 4));
    // All of them are named once, by a page or by the manifest.
    let all: Vec<String> = many.files().into_iter().map(|file| file.name).collect();
    assert_eq!(all.iter().filter(|name| is_a("sst", name)).count(), tables);
    assert_eq!(
        all.iter().filter(|name| is_a("page", name)).cloned().collect::<BTreeSet<_>>(),
        world.names("page")
    );
    let uploaded: u64 = pages(&many).iter().map(|page| page.object().size_bytes).sum();
    assert_eq!(bytes, uploaded);
    for page in pages(&many) {
        let object = world
            .io
            .block_on(async { world.objects.get(&Path::from(page.object().name)).await?.bytes().await });
        assert!(verify_page(&object.unwrap(), &mut |_| ()).unwrap().is_sound());
    }
}

#[test]
fn a_snapshot_writes_what_changed_and_names_the_pages_of_the_one_before() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    let (first, _) = world.snapshot(&mut store);
    let (again, bytes) = world.snapshot(&mut store);
    assert_eq!((bytes, again.manifest()), (0, first.manifest()));
    world.fill(&mut store, ROUNDS..ROUNDS + 2);
    let (next, bytes) = world.snapshot(&mut store);
    let (before, now) = (page_names(&first), page_names(&next));
    let kept = before.intersection(&now).count();
    assert!(kept + 2 >= before.len(), "{kept} of {} pages are as they were", before.len());
    let all: u64 = pages(&first).iter().map(|page| page.object().size_bytes).sum();
    assert!(bytes > 0 && bytes * 2 < all, "{bytes} bytes of {all}");
    drop((first, again, next));
    world.flush(&mut store);
}

#[test]
fn a_page_goes_on_when_memory_has_less_of_its_tables() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    // Filters of all tables are more than a store of the least memory keeps, those of two thirds are not.
    let fill = |store: &mut Store, keys: std::ops::Range<u32>| {
        for number in keys {
            while !store.admits() {
                world.turn(store);
            }
            store.put(&number.to_be_bytes(), b"short").unwrap();
        }
        world.flush(store);
    };
    fill(&mut store, 0..140_000);
    let (before, _) = world.snapshot(&mut store);
    fill(&mut store, 140_000..210_000);
    let (after, _) = world.snapshot(&mut store);
    let (before, now) = (page_names(&before), page_names(&after));
    let kept = before.intersection(&now).count();
    assert!(
        before.len() > 2 && kept + 1 >= before.len(),
        "{kept} of {} pages are as they were",
        before.len()
    );
}

#[test]
fn a_restart_reads_the_pages_of_its_keys_and_no_others() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    let (snapshot, _) = world.snapshot(&mut store);
    let whole = restored(&snapshot, b"", b"");
    assert_holds(&world, &mut world.open(2, vec![whole.clone()]), 0..ROUNDS * 1000, &BTreeMap::new());
    // A tenth of the keys opens although the pages of others are not there.
    let (from, to) = (10_000_u32, 12_000_u32);
    let part = restored(&snapshot, &from.to_be_bytes(), &to.to_be_bytes());
    let mut lost = 0;
    for page in world.names("page") {
        let path = Path::from(page.as_str());
        let object = world.io.block_on(async { world.objects.get(&path).await?.bytes().await }).unwrap();
        world.io.block_on(world.objects.delete(&path)).unwrap();
        match world.try_open(3, vec![part.clone()], PAGED_TABLES) {
            Ok(mut store) => {
                assert_holds(&world, &mut store, from..to, &BTreeMap::new());
                lost += 1;
            }
            Err(error) => {
                assert!(error.to_string().contains(&page), "{error}");
                world.io.block_on(world.objects.put(&path, object.into())).unwrap();
            }
        }
    }
    assert!(lost * 2 > pages(&snapshot).len(), "{lost} of {} pages were not read", pages(&snapshot).len());
    assert_eq!(world.try_open(4, vec![whole], PAGED_TABLES).err().unwrap().kind(), ErrorKind::Corruption);
}

#[test]
fn a_restored_store_goes_on_with_the_pages_it_was_opened_from() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    let (mut before, _) = world.snapshot(&mut store);
    let all = world.names("page");
    for attempt in 2..5 {
        // Nobody but it holds what it names.
        let other = world.beside();
        let mut opened = other.open(attempt, vec![restored(&before, b"", b"")]);
        let (first, bytes) = other.snapshot(&mut opened);
        assert_eq!((bytes, page_names(&first)), (0, all.clone()));
        assert!(first.files().iter().all(|file| other.is_held(&file.name)));
        let of =
            |snapshot: &Snapshot| -> Vec<_> { pages(snapshot).iter().map(|page| page.totals()).collect() };
        assert_eq!((of(&first), first.named()), (of(&before), before.named()));
        assert_holds(&other, &mut opened, 0..ROUNDS * 1000, &BTreeMap::new());
        before = first;
    }
    assert_eq!(world.names("page"), all);
}

#[test]
fn a_page_that_one_upload_drops_is_named_by_none_that_begins_later() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    let is_small = |page: &Arc<SnapshotPage>| page.totals().0 <= PAGED_TABLES as u64 / 8;
    let mut keys = ROUNDS * 1000;
    world.fill(&mut store, 0..ROUNDS);
    let before = loop {
        let (before, _) = world.snapshot(&mut store);
        if pages(&before).iter().any(is_small) {
            break before;
        }
        world.fill_keys(&mut store, keys..keys + 300);
        keys += 300;
    };
    let small: BTreeSet<_> =
        pages(&before).into_iter().filter(is_small).map(|page| page.object().name).collect();
    let mut other = world.beside();
    // So that the first one is under way while the second one begins.
    let wait_put_per_call = Duration::from_millis(20);
    let config = ThrottleConfig { wait_put_per_call, ..ThrottleConfig::default() };
    other.store = Arc::new(ThrottledStore::new(Arc::clone(&other.store), config));
    let mut opened = other.open(2, vec![restored(&before, b"", b"")]);
    // Nothing is due for this one, and small pages are written anew for the other.
    let mut as_it_was = opened.snapshot();
    other.fill_keys(&mut opened, keys..keys + 2000);
    let mut grown = opened.snapshot();
    let uploads = async { futures_util::future::try_join(grown.upload(), as_it_was.upload()).await };
    other.io.block_on(uploads).unwrap();
    let (next, _) = other.snapshot(&mut opened);
    for (what, snapshot) in [("grown", &grown), ("as it was", &as_it_was), ("next", &next)] {
        let names = page_names(snapshot);
        assert!(!names.is_empty() && names.is_disjoint(&small), "{what}: {names:?} has one of {small:?}");
        let keys = if what == "as it was" { keys } else { keys + 2000 };
        let again = other.beside();
        let mut store = again.open(3, vec![restored(snapshot, b"", b"")]);
        assert_holds(&again, &mut store, 0..keys, &BTreeMap::new());
    }
}

#[test]
fn pages_of_which_nothing_is_clipped_go_on_through_a_rescale() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    let (whole, _) = world.snapshot(&mut store);
    let middle = ROUNDS * 500 + 7;
    let bound = middle.to_be_bytes();
    let parts = [(&b""[..], &bound[..], 0..middle), (&bound, b"", middle..ROUNDS * 1000)];
    let mut halves = Vec::new();
    for (start, end, keys) in parts.clone() {
        let mut half = world.open(halves.len() as u32 + 2, vec![restored(&whole, start, end)]);
        let (snapshot, _) = world.snapshot(&mut half);
        assert_holds(&world, &mut half, keys, &BTreeMap::new());
        halves.push(snapshot);
    }
    let [left, right] = [&halves[0], &halves[1]].map(page_names);
    let before = page_names(&whole);
    let [kept_left, kept_right] = [&left, &right].map(|names| names.intersection(&before).count());
    assert!(left.is_disjoint(&right), "a page that is clipped describes neither half");
    assert!(kept_left > 0 && kept_right > 0 && kept_left + kept_right < before.len());
    // Both halves together have all pages of both.
    let both = halves.iter().zip(&parts).map(|(half, (start, end, _))| restored(half, start, end)).collect();
    let mut joined = world.open(4, both);
    let (snapshot, _) = world.snapshot(&mut joined);
    assert!(page_names(&snapshot).is_superset(&left) && page_names(&snapshot).is_superset(&right));
    assert_holds(&world, &mut joined, 0..ROUNDS * 1000, &BTreeMap::new());
}

#[test]
fn what_was_clipped_of_a_page_does_not_come_back_with_it() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    let (whole, _) = world.snapshot(&mut store);
    // Through each of the tables of a page.
    for (attempt, end) in (2..).zip((4000_u32..5500).step_by(125)) {
        let mut part = world.open(attempt, vec![restored(&whole, b"", &end.to_be_bytes())]);
        let (snapshot, _) = world.snapshot(&mut part);
        // Whoever opens that need not know where it ends.
        let mut opened = world.open(attempt + 100, vec![restored(&snapshot, b"", b"")]);
        assert_holds(&world, &mut opened, 0..end, &BTreeMap::new());
    }
}

#[test]
fn what_is_gone_of_a_page_is_held_until_the_page_is_given_up() {
    let world = World::new();
    let mut store = world.open(1, Vec::new());
    world.fill(&mut store, 0..ROUNDS);
    drop(world.snapshot(&mut store));
    let before = world.names("sst");
    // Overwritten until compactions have left some of it behind.
    let mut left_behind = 0;
    while left_behind == 0 {
        world.fill(&mut store, 0..ROUNDS);
        let (snapshot, _) = world.snapshot(&mut store);
        for page in pages(&snapshot) {
            assert!(page.files().all(|(name, _)| world.is_held(name)), "{page:?} names what may be gone");
        }
        drop(snapshot);
        left_behind = before.iter().filter(|name| !world.is_held(name)).count();
    }
    drop(store);
    assert!(world.held.0.lock().unwrap().is_empty(), "all is given back");
}

/// A store that takes everything over has the pages of this snapshot, and holds what they name.
fn goes_on_with(other: &World, attempt: u32, snapshot: &Snapshot, named: &BTreeSet<String>) {
    let mut opened = other.try_open(attempt, vec![restored(snapshot, b"", b"")], 64).unwrap();
    let (next, _) = other.snapshot(&mut opened);
    assert_eq!(page_names(&next), page_names(snapshot));
    assert!(named.iter().all(|name| other.is_held(name)), "a page names what may be gone");
}

#[test]
fn what_is_gone_of_a_page_is_not_of_the_state_that_is_opened() {
    let world = World::new();
    // So large that a page goes on with one or two of its tables gone.
    let mut store = world.try_open(1, Vec::new(), 64).unwrap();
    world.fill(&mut store, 0..ROUNDS);
    let (mut last, mut met, mut later) = (ROUNDS * 1000, 0, BTreeMap::new());
    for attempt in 2..40 {
        let (snapshot, _) = world.snapshot(&mut store);
        let named: BTreeSet<String> = snapshot.files().into_iter().map(|file| file.name).collect();
        let other = world.beside();
        // Without pages of its own it holds what stands, and no more.
        let mut opened = other.try_open(attempt, vec![restored(&snapshot, b"", b"")], usize::MAX).unwrap();
        let gone = named.iter().filter(|name| is_a("sst", name) && !other.is_held(name)).count();
        met += gone;
        assert_holds(&other, &mut opened, 0..last, &later);
        drop(opened);
        if gone > 0 {
            goes_on_with(&world.beside(), attempt, &snapshot, &named);
        }
        drop(snapshot);
        if met > 3 {
            return;
        }
        // A few tables of the middle are merged with what comes over them.
        let from = 3000 + attempt * 317 % 15_000;
        for number in from..from + 700 {
            world.put(&mut store, number, attempt);
            later.insert(number, attempt);
        }
        world.fill(&mut store, last / 1000..last / 1000 + 1);
        last += 1000;
    }
    unreachable!("no page went on with a table gone: {met}");
}
